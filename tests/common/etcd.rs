//! An etcd of a test on the loopback interface. Its data folder is removed when it is dropped.

use super::{DEADLINE, balancer::free_port, engine::make_certificates};
use nix::{
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::Pid,
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Etcd {
    folder: TempDir,
    port: u16,
    scheme: &'static str,
    options: Vec<String>,
    /// Options of etcdctl.
    words: Vec<String>,
    process: Option<Child>,
}

impl Etcd {
    /// Returns an etcd that is not started yet. Returns `None` and records the skip if etcd is not installed, which
    /// fails if CI is set.
    pub fn new() -> Option<Self> {
        let has = |name: &str| Command::new(name).arg("--help").output().is_ok();
        if !has("etcd") || !has("etcdctl") {
            super::record_skip("there is no etcd");
            return None;
        }
        let folder =
            tempfile::Builder::new().prefix("docker-glue-etcd-").tempdir_in(data_folder()).unwrap();
        let (options, words) = (Vec::new(), Vec::new());
        Some(Self { folder, port: free_port(), scheme: "http", options, words, process: None })
    }

    pub fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(ToString::to_string));
        self
    }

    /// Requires a client certificate: `ca.pem`, `cert.pem` and `key.pem` in its folder, see `file()`.
    pub fn with_tls(mut self) -> Self {
        make_certificates(self.folder.path());
        self.scheme = "https";
        for (option, own, file) in [
            ("--trusted-ca-file", "--cacert", "ca.pem"),
            ("--cert-file", "--cert", "cert.pem"),
            ("--key-file", "--key", "key.pem"),
        ] {
            let file = self.file(file).display().to_string();
            self.options.extend([option.to_owned(), file.clone()]);
            self.words.extend([own.to_owned(), file]);
        }
        self.option(&["--client-cert-auth"])
    }

    /// Adds an option of etcdctl for later calls, such as `--user=root:x`.
    pub fn add_etcdctl_option(&mut self, word: &str) {
        self.words.push(word.to_owned());
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// # Panics
    /// If it does not answer in time.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.file("log")).unwrap();
        let log_too = log.try_clone().unwrap();
        let peers = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self.file("data"));
        command.args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]).args(&self.options);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        self.process = Some(command.spawn().unwrap());
        let end = Instant::now() + DEADLINE;
        while self.try_ctl(&["endpoint", "health"]).is_err() {
            let report = || std::fs::read_to_string(self.file("log")).unwrap_or_default();
            assert!(Instant::now() < end, "etcd does not answer:\n{}", report());
        }
    }

    /// Kills etcd, as if its machine lost power.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops etcd with SIGSTOP: it keeps its connections and answers nothing until it is dropped.
    pub fn pause_server(&self) {
        let pid = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGSTOP).unwrap();
    }

    pub fn delete_data(&self) {
        std::fs::remove_dir_all(self.file("data")).unwrap();
    }

    /// Runs etcdctl and returns its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn run_etcdctl(&self, words: &[&str]) -> String {
        self.try_ctl(words).unwrap_or_else(|text| panic!("etcdctl {words:?}: {text}"))
    }

    fn try_ctl(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]);
        let output = command.args(&self.words).args(words).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Returns the keys with this prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let text = self.run_etcdctl(&["get", "--prefix", "--keys-only", prefix]);
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Returns the value of a key; empty if the key does not exist.
    pub fn get(&self, key: &str) -> String {
        self.run_etcdctl(&["get", "--print-value-only", key])
    }
}

/// Returns a folder in memory if there is room: etcd waits for its disk at each change, and allocates 130 MB at once.
fn data_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room =
        statvfs(memory).map_or(0, |statvfs| statvfs.blocks_available() * statvfs.fragment_size());
    if room < 1 << 30 { std::env::temp_dir() } else { memory.to_owned() }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
