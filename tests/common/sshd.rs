//! An sshd of a test on the loopback interface, independent of the machine's: it has its own keys and configuration,
//! and an ssh client that knows them. It runs commands as the user of the test.

use super::{balancer::free_port, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use std::{
    ffi::OsString,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

const NAME: &str = "glue-engine";

#[derive(Debug)]
pub struct Sshd {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Sshd {
    /// Starts an sshd. Returns `None` and records the skip if there is none.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts an sshd with further lines of `sshd_config`.
    pub fn start_with(lines: &str) -> Option<Self> {
        let (Some(sshd), Some(ssh)) = (find_program("sshd"), find_program("ssh")) else {
            super::record_skip("no sshd and ssh are here");
            return None;
        };
        let folder = tempfile::Builder::new().prefix("docker-glue-sshd-").tempdir().unwrap();
        let port = free_port();
        for key in ["host", "user", "stranger"] {
            make_key(&folder.path().join(key));
        }
        let sshd = Self { process: start_sshd(&sshd, folder.path(), port, lines), folder, port };
        sshd.make_client(&ssh);
        sshd.know_host("host.pub");
        sshd.use_key("user");
        wait_for("sshd", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(sshd)
    }

    pub fn url(&self) -> String {
        format!("ssh://{}@127.0.0.1:{}", current_user(), self.port)
    }

    /// Returns the URL with a host name that only the client's configuration defines. [`Self::place_host`] sets its
    /// address.
    pub fn url_by_name(&self) -> String {
        format!("ssh://{}@{NAME}:{}", current_user(), self.port)
    }

    /// Maps that name to this loopback address.
    pub fn place_host(&self, address: &str) {
        self.use_key("user");
        let mut config = fs::read_to_string(self.file("config")).unwrap();
        let host =
            format!("HostKeyAlias [127.0.0.1]:{}\nHost {NAME}\nHostName {address}\n", self.port);
        config.push_str(&host);
        fs::write(self.file("config"), config).unwrap();
    }

    /// Returns a PATH whose ssh knows this sshd.
    pub fn path(&self) -> OsString {
        let remaining = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.file("bin")].into_iter().chain(std::env::split_paths(&remaining));
        std::env::join_paths(folders).unwrap()
    }

    /// Makes the client accept the key in this file as the host's. If there is no such file, the client knows no key.
    pub fn know_host(&self, file: &str) {
        let key = fs::read_to_string(self.file(file)).unwrap_or_default();
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        fs::write(self.file("known_hosts"), if key.is_empty() { String::new() } else { line })
            .unwrap();
    }

    /// Makes the client log in with this key: `user`, which is authorized, or `stranger`.
    pub fn use_key(&self, key: &str) {
        let config = format!(
            "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile none\n",
            self.file(key).display(),
            self.file("known_hosts").display()
        );
        fs::write(self.file("config"), config).unwrap();
    }

    /// Ends all current connections.
    pub fn close_connections(&self) {
        let sessions = child_pids(self.process.id());
        assert!(!sessions.is_empty(), "nobody is connected");
        for session in sessions {
            let _ = kill(session, Signal::SIGKILL);
        }
    }

    fn make_client(&self, ssh: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file("bin/ssh");
        fs::create_dir(self.file("bin")).unwrap();
        let (ssh, config) = (ssh.display(), self.file("config"));
        let script = format!("#!/bin/sh\nexec {ssh} -F {} \"$@\"\n", config.display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for session in child_pids(self.process.id()) {
            let _ = kill(session, Signal::SIGKILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.file("log")).unwrap_or_default();
            eprintln!("what sshd said:\n{log}");
        }
    }
}

fn start_sshd(sshd: &Path, folder: &Path, port: u16, lines: &str) -> Child {
    let at = |name: &str| folder.join(name).display().to_string();
    fs::copy(at("user.pub"), at("authorized_keys")).unwrap();
    // As root the test uses PAM, as the machine's sshd would: without PAM a locked account is refused.
    let pam = if geteuid().is_root() { "yes" } else { "no" };
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nListenAddress 127.0.0.2:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         UsePAM {pam}\nStrictModes no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n",
        at("host"),
        at("authorized_keys")
    );
    let engine = std::env::var("DOCKER_HOST").ok();
    let engine = engine.map(|url| format!("SetEnv DOCKER_HOST={url}\n")).unwrap_or_default();
    fs::write(at("sshd_config"), config + &engine + lines).unwrap();
    if geteuid().is_root() {
        // sshd's privilege separation needs this folder, which the system's service creates.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let mut command = Command::new(sshd);
    command.args(["-D", "-f", &at("sshd_config"), "-E", &at("log")]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

fn make_key(group: &Path) {
    let mut command = Command::new("ssh-keygen");
    let made = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(group).output().unwrap();
    assert!(made.status.success(), "ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
}

fn current_user() -> String {
    User::from_uid(geteuid()).unwrap().unwrap().name
}

/// sshd must be started by its absolute path.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let all = std::env::split_paths(&path).chain(sbin).map(|folder| folder.join(name));
    all.into_iter().find(|file| file.is_file())
}

fn child_pids(pid: u32) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}
