//! An etcd of a test: on the loopback interface, or in a network namespace of its own. Its data folder is removed when it
//! is dropped.

use super::{
    DEADLINE,
    balancer::free_port,
    engine::make_certificates,
    is_installed,
    switch::{Switch, run, spawn_apart},
    wait_for,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use nix::{
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Etcd {
    folder: TempDir,
    address: Ipv4Addr,
    port: u16,
    /// The process whose network namespace it runs in, if that is not this machine's.
    namespace: Option<u32>,
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
        let (namespace, peers, process) = (None, None, None);
        let (address, port, scheme) = (Ipv4Addr::LOCALHOST, free_port(), "http");
        Some(Self { folder, address, port, namespace, scheme, options, words, peers, process })
    }

    /// Starts a cluster of three members. Returns `None` and records the skip if etcd is not installed.
    pub fn start_cluster() -> Option<[Self; 3]> {
        let mut members = [Self::new()?, Self::new()?, Self::new()?];
        let own = std::array::from_fn(|_| format!("http://127.0.0.1:{}", free_port()));
        join_cluster(&mut members, own);
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
        format!("{}:{}", self.address, self.port)
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
        format!("{}://{}", self.scheme, self.place())
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
        // nsenter executes etcd, so signals reach it.
        let mut command = match self.namespace {
            None => Command::new("etcd"),
            Some(process) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &process.to_string(), "--net", "etcd"]);
                command
            }
        };
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

    /// Writes or removes keys in one transaction.
    pub fn put_all(&self, changes: &[(String, Option<Value>)]) {
        put_at(&self.place(), changes);
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

/// Writes or removes keys in one transaction, over etcd's JSON gateway: etcdctl takes longer than etcd.
///
/// # Panics
/// If etcd refuses them.
pub fn put_at(place: &str, changes: &[(String, Option<Value>)]) {
    let operation = |(key, value): &(String, Option<Value>)| {
        let key = BASE64_STANDARD.encode(key);
        let Some(value) = value else { return json!({"requestDeleteRange": {"key": key}}) };
        let value = BASE64_STANDARD.encode(value.to_string());
        json!({"requestPut": {"key": key, "value": value}})
    };
    let body = json!({"success": changes.iter().map(operation).collect::<Vec<_>>()}).to_string();
    let mut stream = TcpStream::connect(place).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /v3/kv/txn HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"succeeded\":true"), "{answer}");
}

/// Starts members that know each other by these URLs.
fn join_cluster(members: &mut [Etcd; 3], own: [String; 3]) {
    let named = own.iter().enumerate().map(|(number, url)| format!("m{number}={url}"));
    let all = named.collect::<Vec<_>>().join(",");
    for (number, (member, own)) in members.iter_mut().zip(own).enumerate() {
        member.peers = Some(Peers { own, all: all.clone() });
        member.options.extend(["--name".to_owned(), format!("m{number}")]);
        member.spawn();
    }
    members.iter().for_each(Etcd::wait_until_ready);
}

/// Members of a cluster on machines of their own, whose network can be cut.
#[derive(Debug)]
pub struct EtcdBed {
    pub members: [Etcd; 3],
    machines: Vec<Child>,
    switch: Switch,
    folder: TempDir,
}

/// It waits for its end of the cable.
const MACHINE: &str = r#"
ip link set lo up
until ip link set "$1" up 2>/dev/null; do sleep 0.01; done
ip address add "$2/29" dev "$1"
exec sleep infinity
"#;

const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

impl EtcdBed {
    /// Starts the cluster. Returns `None` and records the skip if that is not possible.
    ///
    /// # Panics
    /// If a member does not answer in time.
    pub fn start() -> Option<Self> {
        super::find_docker_as_root()?;
        if !["ip", "iptables", "unshare", "nsenter"].into_iter().all(is_installed) {
            return None;
        }
        let members = [Etcd::new()?, Etcd::new()?, Etcd::new()?];
        let folder = tempfile::Builder::new().prefix("docker-glue-etcd-bed-").tempdir().unwrap();
        let switch = Switch::start(folder.path(), "ge");
        let mut bed = Self { members, machines: Vec::new(), switch, folder };
        for number in 1..=3 {
            bed.add_machine(number);
        }
        let peers =
            bed.members.each_ref().map(|etcd| format!("http://{}:{PEER_PORT}", etcd.address));
        join_cluster(&mut bed.members, peers);
        Some(bed)
    }

    fn add_machine(&mut self, number: u8) {
        let (address, cable) = (self.switch.address(number), self.switch.cable(number));
        let script = [MACHINE, "sh", &cable, &address.to_string()];
        let machine =
            spawn_apart(self.folder.path(), &format!("machine{number}"), &["--net"], &script);
        let process = machine.id();
        self.machines.push(machine);
        self.switch.connect_process(number, process);
        let etcd = &mut self.members[usize::from(number) - 1];
        (etcd.address, etcd.port, etcd.namespace) = (address, CLIENT_PORT, Some(process));
        wait_for("the address of a member", || {
            let process = process.to_string();
            let words = ["--target", &process, "--net", "ip", "address", "show", "dev", &cable];
            let shown = Command::new("nsenter").args(words).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains(&address.to_string()).then_some(())
        });
    }

    /// Cuts a member, counted from 0, off from the others. Clients still reach it.
    pub fn cut_off_from_peers(&self, member: usize) {
        let port = PEER_PORT.to_string();
        for chain in ["INPUT", "OUTPUT"] {
            let rule = ["-p", "tcp", "-m", "multiport", "--ports", &port, "-j", "DROP"];
            self.run_iptables(member, &[&["-A", chain], &rule[..]].concat());
        }
    }

    pub fn reconnect_to_peers(&self, member: usize) {
        self.run_iptables(member, &["-F"]);
    }

    fn run_iptables(&self, member: usize, words: &[&str]) {
        let process = self.machines[member].id().to_string();
        run("nsenter", &[&["--target", &process, "--net", "iptables"], words].concat());
    }

    /// Unplugs the cable of a member, counted from 0. Neither the others nor clients reach it.
    pub fn cut_off(&self, member: u8) {
        self.switch.cut_off(member + 1);
    }

    pub fn reconnect(&self, member: u8) {
        self.switch.reconnect(member + 1);
    }
}

impl Drop for EtcdBed {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        for machine in &mut self.machines {
            let _ = machine.kill();
            let _ = machine.wait();
        }
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
