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
    /// The members of its cluster, if there are several.
    peers: Option<Peers>,
    process: Option<Child>,
}

/// How members of a cluster reach each other.
#[derive(Debug, Clone)]
struct Peers {
    own: String,
    /// All members with their names, as `--initial-cluster` has them.
    all: String,
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
        let (peers, process) = (None, None);
        Some(Self { folder, port: free_port(), scheme: "http", options, words, peers, process })
    }

    /// Starts a cluster of three members. Returns `None` and records the skip if etcd is not installed.
    pub fn start_cluster() -> Option<[Self; 3]> {
        let mut members = [Self::new()?, Self::new()?, Self::new()?];
        let own: [_; 3] = std::array::from_fn(|_| format!("http://127.0.0.1:{}", free_port()));
        let named = own.iter().enumerate().map(|(number, url)| format!("m{number}={url}"));
        let all = named.collect::<Vec<_>>().join(",");
        for (number, (member, own)) in members.iter_mut().zip(own).enumerate() {
            member.peers = Some(Peers { own, all: all.clone() });
            member.options.extend(["--name".to_owned(), format!("m{number}")]);
            member.spawn();
        }
        members.iter().for_each(Self::wait_until_ready);
        Some(members)
    }

    /// Whether it leads its cluster.
    pub fn is_leader(&self) -> bool {
        let status = self.run_etcdctl(&["endpoint", "status", "--write-out=fields"]);
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name:?} : ")));
            line.unwrap_or_else(|| panic!("no {name}: {status}")).to_owned()
        };
        field("MemberID") == field("Leader")
    }

    /// `10.0.0.2:2379`, as in the URL of a source.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
        self.spawn();
        self.wait_until_ready();
    }

    /// Starts it without waiting for an answer: a member of a cluster has none without the others.
    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.file("log")).unwrap();
        let log_too = log.try_clone().unwrap();
        let Peers { own: peers, all } = self.peers.clone().unwrap_or_else(|| {
            let own = format!("http://127.0.0.1:{}", free_port());
            Peers { all: format!("default={own}"), own }
        });
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(self.file("data"));
        command.args(["--listen-client-urls", &self.url(), "--advertise-client-urls", &self.url()]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &all]).args(&self.options);
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        self.process = Some(command.spawn().unwrap());
    }

    fn wait_until_ready(&self) {
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

    /// Stops etcd with SIGSTOP: it keeps its connections and answers nothing until it is resumed.
    pub fn pause_server(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn resume_server(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
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

    /// Watches all keys with this prefix from now on.
    pub fn watch(&self, prefix: &str) -> EtcdHistory {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]).args(&self.words);
        // Its own revision shows whether the watch is open.
        let state = self.run_etcdctl(&["get", "--write-out=fields", "x"]);
        let revision = state.lines().find_map(|line| line.strip_prefix("\"Revision\" : "));
        let next = revision.unwrap().trim().parse::<i64>().unwrap() + 1;
        command.args(["watch", "--prefix", prefix, "--rev", &next.to_string()]);
        command.stdin(Stdio::null()).stdout(file.reopen().unwrap());
        EtcdHistory { file, process: command.spawn().unwrap() }
    }

    fn try_ctl(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]);
        let output = command.args(&self.words).args(words).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Writes a key. Returns whether etcd accepts it.
    pub fn try_put(&self, key: &str, value: &str) -> bool {
        self.try_ctl(&["put", key, value]).is_ok()
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

/// What `etcdctl watch` prints. It ends when it is dropped.
#[derive(Debug)]
pub struct EtcdHistory {
    file: tempfile::NamedTempFile,
    process: Child,
}

impl EtcdHistory {
    pub fn read(&self) -> String {
        std::fs::read_to_string(self.file.path()).unwrap()
    }
}

impl Drop for EtcdHistory {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
