//! Where state and sockets live, and that they are ours alone; where HAProxy is.

use super::Machine;
use anyhow::{Context, Result, bail};
use std::{
    fs::{DirBuilder, Metadata},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

const OURS: &str = "docker-glue";

/// A socket's path has at most 107 bytes; this leaves room for its name and for HAProxy's suffixes.
const LONGEST: usize = 75;

pub fn state(machine: &Machine) -> Result<PathBuf> {
    if machine.is_root() {
        return Ok(Path::new("/var/lib").join(OURS));
    }
    let home = || machine.directory("HOME").map(|home| home.join(".local/state"));
    machine
        .directory("XDG_STATE_HOME")
        .or_else(home)
        .map(|parent| parent.join(OURS))
        .context("neither XDG_STATE_HOME nor HOME is set; give --state-dir DIR")
}

pub fn runtime(machine: &Machine) -> PathBuf {
    if machine.is_root() {
        return Path::new("/run").join(OURS);
    }
    match machine.directory("XDG_RUNTIME_DIR") {
        Some(parent) => parent.join(OURS),
        None => PathBuf::from(format!("/tmp/{OURS}-{}", machine.uid)),
    }
}

/// A name as PATH has it, else as the directories of administrators' programs have it: distributions
/// put haproxy there, and an ordinary user's PATH may lack them.
pub fn program(name: PathBuf, machine: &Machine) -> PathBuf {
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

/// Sockets fit into it.
pub fn roomy(option: &str, directory: PathBuf) -> Result<PathBuf> {
    if LONGEST < directory.as_os_str().len() {
        bail!(
            "{option}: {} is too long for the sockets in it; give one of at most {LONGEST} bytes",
            directory.display()
        );
    }
    Ok(directory)
}

/// Makes the directory, for us alone, unless it is there already.
pub fn make(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))
}

/// Makes a directory that others cannot have put there before us.
pub fn make_private(directory: &Path, uid: u32) -> Result<()> {
    make(directory)?;
    let found = directory
        .symlink_metadata()
        .with_context(|| format!("cannot look at {}", directory.display()))?;
    if !is_safe(&found, uid) {
        bail!(
            "{} belongs to somebody else, or others may write to it; remove it, or name another directory",
            directory.display()
        );
    }
    Ok(())
}

/// Root may have made it for us, as service managers do.
fn is_safe(found: &Metadata, uid: u32) -> bool {
    found.is_dir() && [0, uid].contains(&found.uid()) && found.mode() & 0o002 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn machine(uid: u32, env: &[(&str, &str)]) -> Machine {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Machine { uid, env, ipv6: true }
    }

    fn check(uid: u32, env: &[(&str, &str)], expected_state: &str, expected_runtime: &str) {
        let machine = machine(uid, env);
        assert_eq!(state(&machine).unwrap(), Path::new(expected_state));
        assert_eq!(runtime(&machine), Path::new(expected_runtime));
    }

    #[test]
    fn root_has_the_system_s_and_a_user_has_xdg_s() {
        check(0, &[("XDG_STATE_HOME", "/s")], "/var/lib/docker-glue", "/run/docker-glue");
        check(
            7,
            &[("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r"), ("HOME", "/h")],
            "/s/docker-glue",
            "/r/docker-glue",
        );
        check(7, &[("HOME", "/h")], "/h/.local/state/docker-glue", "/tmp/docker-glue-7");
        check(
            7,
            &[("HOME", "/h"), ("XDG_STATE_HOME", "s"), ("XDG_RUNTIME_DIR", "")],
            "/h/.local/state/docker-glue",
            "/tmp/docker-glue-7",
        );
        assert!(state(&machine(7, &[])).unwrap_err().to_string().contains("--state-dir"));
    }

    #[test]
    fn a_program_is_found_where_an_ordinary_user_does_not_look() {
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
            let found = program(name.into(), &machine(7, &[("PATH", path)]));
            assert_eq!(found, Path::new(expected), "{name} in {path}");
        }
        assert_eq!(program("ldconfig".into(), &machine(7, &[])), Path::new("ldconfig"));
    }

    #[test]
    fn a_directory_prepared_by_somebody_else_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let uid = parent.path().metadata().unwrap().uid();
        let ours = parent.path().join("ours");
        make_private(&ours, uid).unwrap();
        make_private(&ours, uid).unwrap();
        assert_eq!(ours.metadata().unwrap().mode() & 0o777, 0o700);

        let link = parent.path().join("link");
        symlink(&ours, &link).unwrap();
        assert!(make_private(&link, uid).is_err());

        std::fs::set_permissions(&ours, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(make_private(&ours, uid).unwrap_err().to_string().contains("somebody else"));
    }
}
