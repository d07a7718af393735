//! Default paths of state and sockets, checks that only this user can write to them, and the search for the haproxy
//! program.

use super::HostEnv;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, DirBuilder, Metadata},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

const DIR_NAME: &str = "docker-glue";
const UDP_DIR_NAME: &str = "docker-glue-udp";

/// The state directory of docker-glue as root. The packages run docker-balancer and docker-glue as two users, so that
/// handlers cannot read the keys in docker-balancer's state directory.
const HANDLERS_STATE_DIR: &str = "/var/lib/docker-glue-handlers";

/// A socket's path has at most 107 bytes; this leaves room for its name and for HAProxy's suffixes.
const MAX_SOCKET_DIR_BYTES: usize = 75;

pub fn default_state_dir(machine: &HostEnv) -> Result<PathBuf> {
    if machine.is_root() {
        return Ok(Path::new("/var/lib").join(DIR_NAME));
    }
    let home = || machine.absolute_dir("HOME").map(|home| home.join(".local/state"));
    machine
        .absolute_dir("XDG_STATE_HOME")
        .or_else(home)
        .map(|parent| parent.join(DIR_NAME))
        .context("neither XDG_STATE_HOME nor HOME is set; set --state-dir DIR")
}

/// Returns the state directory of docker-glue. For a user it is the same as docker-balancer's.
///
/// # Errors
/// If the user has no home directory.
pub fn default_handlers_state_dir(machine: &HostEnv) -> Result<PathBuf> {
    if machine.is_root() { Ok(HANDLERS_STATE_DIR.into()) } else { default_state_dir(machine) }
}

pub fn default_runtime_dir(machine: &HostEnv) -> PathBuf {
    if machine.is_root() {
        return Path::new("/run").join(DIR_NAME);
    }
    match machine.absolute_dir("XDG_RUNTIME_DIR") {
        Some(parent) => parent.join(DIR_NAME),
        None => PathBuf::from(format!("/tmp/{DIR_NAME}-{}", machine.uid)),
    }
}

/// Returns the control socket of docker-glue-udp. It has a directory of its own, because it runs as another user.
pub fn default_udp_socket(machine: &HostEnv) -> PathBuf {
    let directory = if machine.is_root() {
        Path::new("/run").join(UDP_DIR_NAME)
    } else {
        match machine.absolute_dir("XDG_RUNTIME_DIR") {
            Some(parent) => parent.join(UDP_DIR_NAME),
            None => PathBuf::from(format!("/tmp/{UDP_DIR_NAME}-{}", machine.uid)),
        }
    };
    directory.join("control.sock")
}

/// Returns the list of certificates of a docker-balancer with this runtime directory.
pub fn default_certificate_list(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("certificates.json")
}

/// Returns a program name as it is if PATH contains it, or else its path in one of the sbin directories.
/// Distributions install haproxy there, and an ordinary user's PATH may not include them.
pub fn find_program(name: PathBuf, machine: &HostEnv) -> PathBuf {
    let Some(path) = machine.env.get("PATH").filter(|_| name.components().count() == 1) else {
        return name;
    };
    let there = |folder: PathBuf| Some(folder.join(&name)).filter(|path| path.is_file());
    if std::env::split_paths(path).any(|folder| there(folder).is_some()) {
        return name;
    }
    ["/usr/local/sbin", "/usr/sbin", "/sbin"]
        .into_iter()
        .find_map(|folder| there(folder.into()))
        .unwrap_or(name)
}

/// Checks that the paths of sockets in the directory are short enough.
pub fn check_socket_length(option: &str, directory: PathBuf) -> Result<PathBuf> {
    if MAX_SOCKET_DIR_BYTES < directory.as_os_str().len() {
        bail!(
            "{option}: {} is too long for the sockets in it; use a path of at most \
             {MAX_SOCKET_DIR_BYTES} bytes",
            directory.display()
        );
    }
    Ok(directory)
}

/// Creates the directory with mode 0700, unless it exists.
pub fn create_dir(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot create the directory {}", directory.display()))
}

/// Creates a directory, and checks that no other user created it first.
pub fn create_private_dir(directory: &Path, uid: u32) -> Result<()> {
    create_dir(directory)?;
    let found = directory
        .symlink_metadata()
        .with_context(|| format!("cannot read the metadata of {}", directory.display()))?;
    if !is_owned_and_private(&found, uid) {
        bail!(
            "{} belongs to another user, or other users can write to it; remove it, or set another \
             directory",
            directory.display()
        );
    }
    Ok(())
}

/// Checks whether a default folder may be trusted. A folder that does not exist is trusted.
///
/// # Errors
/// If it is a symbolic link, or if it or a file in it belongs to another user or is writable by others.
pub fn check_owner(folder: &Path, (user, group): (u32, u32)) -> Result<(), String> {
    let Ok(found) = folder.symlink_metadata() else { return Ok(()) };
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.filter_map(|entry| {
        let path = entry.path();
        Some((path.display().to_string(), path.metadata().ok()?))
    });
    for (what, found) in std::iter::once(("it".to_owned(), found)).chain(files) {
        return Err(match () {
            () if found.is_symlink() => format!("{what} is a symbolic link"),
            () if ![0, user].contains(&found.uid()) => format!("{what} belongs to another user"),
            () if found.mode() & 0o002 != 0 => format!("other users can write to {what}"),
            // Many users have a private group, with write permission for the group.
            () if found.mode() & 0o020 != 0 && ![0, group].contains(&found.gid()) => {
                format!("the group of {what} can write to it")
            }
            () => continue,
        });
    }
    Ok(())
}

/// Root may have created the directory for this user, as service managers do.
fn is_owned_and_private(found: &Metadata, uid: u32) -> bool {
    found.is_dir() && [0, uid].contains(&found.uid()) && found.mode() & 0o002 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn host_with(uid: u32, env: &[(&str, &str)]) -> HostEnv {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        HostEnv { uid, env, ipv6: true }
    }

    fn check_default_dirs(
        uid: u32,
        env: &[(&str, &str)],
        expected_state: &str,
        expected_runtime: &str,
    ) {
        let machine = host_with(uid, env);
        assert_eq!(default_state_dir(&machine).unwrap(), Path::new(expected_state));
        assert_eq!(default_runtime_dir(&machine), Path::new(expected_runtime));
    }

    #[test]
    fn root_gets_system_dirs_user_gets_xdg_dirs() {
        check_default_dirs(
            0,
            &[("XDG_STATE_HOME", "/s")],
            "/var/lib/docker-glue",
            "/run/docker-glue",
        );
        check_default_dirs(
            7,
            &[("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r"), ("HOME", "/h")],
            "/s/docker-glue",
            "/r/docker-glue",
        );
        check_default_dirs(
            7,
            &[("HOME", "/h")],
            "/h/.local/state/docker-glue",
            "/tmp/docker-glue-7",
        );
        check_default_dirs(
            7,
            &[("HOME", "/h"), ("XDG_STATE_HOME", "s"), ("XDG_RUNTIME_DIR", "")],
            "/h/.local/state/docker-glue",
            "/tmp/docker-glue-7",
        );
        assert!(
            default_state_dir(&host_with(7, &[])).unwrap_err().to_string().contains("--state-dir")
        );
    }

    #[test]
    fn docker_glue_as_root_has_a_state_dir_of_its_own() {
        for (uid, expected) in [(0, "/var/lib/docker-glue-handlers"), (7, "/s/docker-glue")] {
            let machine = host_with(uid, &[("XDG_STATE_HOME", "/s")]);
            assert_eq!(default_handlers_state_dir(&machine).unwrap(), Path::new(expected));
        }
    }

    #[test]
    fn program_in_sbin_is_found_without_path_entry() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ours"), "").unwrap();
        let folder = folder.path().to_str().unwrap();
        let ldconfig = ["/usr/sbin/ldconfig", "/sbin/ldconfig"].into_iter();
        let ldconfig = ldconfig.clone().find(|path| Path::new(path).is_file()).unwrap();
        for (path, name, expected) in [
            (folder, "ours", "ours"),
            (folder, "ldconfig", ldconfig),
            (folder, "nobody-s", "nobody-s"),
            (folder, "./ldconfig", "./ldconfig"),
            ("/usr/sbin:/sbin", "ldconfig", "ldconfig"),
        ] {
            let found = find_program(name.into(), &host_with(7, &[("PATH", path)]));
            assert_eq!(found, Path::new(expected), "{name} in {path}");
        }
        assert_eq!(find_program("ldconfig".into(), &host_with(7, &[])), Path::new("ldconfig"));
    }

    #[test]
    fn default_folder_is_trusted_only_if_owned_and_not_writable_by_others() {
        let parent = tempfile::tempdir().unwrap();
        let found = parent.path().metadata().unwrap();
        let (uid, gid) = (found.uid(), found.gid());
        let at = |name: &str| parent.path().join(name);
        let mode = |name: &str, mode| {
            fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        };
        let reason = |name: &str, uid| {
            let reason =
                check_owner(&at(name), (uid, gid)).map_or_else(|reason| reason, |()| String::new());
            reason.replace(parent.path().to_str().unwrap(), "DIR")
        };
        fs::create_dir(at("ours")).unwrap();
        mode("ours", 0o755);
        fs::write(at("ours/a.ini"), "").unwrap();
        mode("ours/a.ini", 0o644);
        symlink("ours", at("link")).unwrap();
        assert_eq!(reason("absent", uid), "");
        assert_eq!(reason("ours", uid), "");
        assert_eq!(reason("link", uid), "it is a symbolic link");
        mode("ours/a.ini", 0o664);
        assert_eq!(reason("ours", uid), "");
        mode("ours/a.ini", 0o666);
        assert_eq!(reason("ours", uid), "other users can write to DIR/ours/a.ini");
        mode("ours/a.ini", 0o644);
        mode("ours", 0o757);
        assert_eq!(reason("ours", uid), "other users can write to it");
        if uid != 0 {
            return;
        }
        mode("ours", 0o775);
        assert_eq!(reason("ours", 7), "", "root's are trusted by everybody");
        chown(at("ours/a.ini"), Some(7), None).unwrap();
        assert_eq!(reason("ours", 0), "DIR/ours/a.ini belongs to another user");
        assert_eq!(reason("ours", 7), "");
        chown(at("ours"), Some(7), Some(7)).unwrap();
        assert_eq!(reason("ours", 0), "it belongs to another user");
        assert_eq!(reason("ours", 7), "the group of it can write to it");
    }

    #[test]
    fn directory_prepared_by_another_user_is_rejected() {
        let parent = tempfile::tempdir().unwrap();
        let uid = parent.path().metadata().unwrap().uid();
        let ours = parent.path().join("ours");
        create_private_dir(&ours, uid).unwrap();
        create_private_dir(&ours, uid).unwrap();
        assert_eq!(ours.metadata().unwrap().mode() & 0o777, 0o700);

        let link = parent.path().join("link");
        symlink(&ours, &link).unwrap();
        assert!(create_private_dir(&link, uid).is_err());

        std::fs::set_permissions(&ours, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(create_private_dir(&ours, uid).unwrap_err().to_string().contains("another user"));
    }
}
