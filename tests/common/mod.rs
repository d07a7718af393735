//! Shared parts of live tests: a Docker engine, containers and networks that are removed when they are dropped, and
//! waiting for a condition.
//!
//! ```ignore
//! let Some(docker) = common::docker() else { return };
//! let net = docker.network("net");
//! let web = docker.run("web").network(&net).label("glue_http_80_host", "a.test").start();
//! common::until("web answers", async || get(web.address(&net)).await.ok()).await;
//! ```

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

pub mod any;
pub mod balancer;
pub mod between;
pub mod browser;
pub mod certificates;
pub mod elsewhere;
pub mod engine;
pub mod etcd;
pub mod glue;
pub mod haproxy;
pub mod ours;
pub mod output_log;
pub mod pages;
pub mod podman;
pub mod prometheus;
pub mod proxy;
pub mod roster;
pub mod secrets;
pub mod sim;
pub mod six;
pub mod sshd;
pub mod story;
pub mod swarm;
pub mod switch;
pub mod systemd;
pub mod tls_change;
pub mod tls_server;
pub mod udp_echo;

use nix::sched::{CloneFlags, setns};
use std::{
    fmt::Display,
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The limit of each wait. It is far longer than any step takes, so a test that reaches it has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A label with a value that is unique to a test. The programs under test only use containers that have it.
pub const CONSTRAINT: &str = "docker-glue-test";

/// The delay between two attempts of a wait.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns the machine's engine, or the one that `DOCKER_HOST` names. Returns `None` and records the skip if it does
/// not answer, which fails if CI is set.
pub fn find_docker() -> Option<Docker> {
    let docker = Docker { host: None };
    if docker.command(&["version"]).output().is_ok_and(|output| output.status.success()) {
        return Some(docker);
    }
    record_skip("no Docker engine answers");
    None
}

/// Returns the engine if the test runs as root, because processes in containers and their files belong to root.
pub fn find_docker_as_root() -> Option<Docker> {
    if nix::unistd::geteuid().is_root() {
        return find_docker();
    }
    record_skip("needs root");
    None
}

/// Returns whether a program is installed, and records the skip if it is not, which fails if CI is set.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !has {
        record_skip(&format!("no {program} is installed"));
    }
    has
}

/// Reports that the running test is skipped: on standard error, and as a line of `target/skipped`, which `tests/all.sh`
/// prints at the end.
///
/// # Panics
/// If CI is set, as no test may be skipped there.
pub fn record_skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI is set");
    let thread = thread::current();
    let test = thread.name().unwrap_or("unnamed");
    let line = format!("{}::{test}: {reason}\n", env!("CARGO_CRATE_NAME"));
    // The output of `eprintln!` would be suppressed for a test that passes.
    std::io::stderr().write_all(format!("skipped: {line}").as_bytes()).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("skipped");
    let file = File::options().append(true).create(true).open(path);
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

/// Waits until `ask` returns a value.
///
/// # Panics
/// If `ask` returns none within the deadline.
pub async fn wait_until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until `ask` returns a value, without async.
///
/// # Panics
/// If `ask` returns none within the deadline.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_for_within(DEADLINE, what, ask)
}

/// The same with another deadline.
///
/// # Panics
/// If `ask` returns none within `limit`.
pub fn wait_for_within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Starts containers concurrently; they are also removed concurrently.
pub fn start_all(runs: Vec<Run>) -> Fleet {
    let started = thread::scope(|scope| {
        let threads: Vec<_> = runs.into_iter().map(|run| scope.spawn(|| run.start())).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    Fleet(started.into_iter().map(Result::unwrap).collect())
}

/// Containers that are all removed when this is dropped.
#[derive(Debug)]
pub struct Fleet(Vec<Container>);

impl std::ops::Deref for Fleet {
    type Target = [Container];

    fn deref(&self) -> &[Container] {
        &self.0
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for container in self.0.drain(..) {
                scope.spawn(|| drop(container));
            }
        });
    }
}

/// Runs a task on another thread, because the docker commands of the test would block it on the same one.
pub fn spawn_task(task: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || runtime.block_on(task));
}

/// Returns a name that no other test or test run uses.
pub fn unique_name(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("docker-glue-test-{}-{number}-{name}", std::process::id())
}

/// Returns the image of examples/whoami, which is built at the first use together with
/// `docker-glue-whoami:test-health`.
pub fn build_whoami_image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Command::new("sh").args(["tests/whoami-image.sh", "test"]).status().unwrap();
        assert!(made.success(), "tests/whoami-image.sh failed");
    });
    "docker-glue-whoami:test"
}

/// The docker command for one engine.
#[derive(Debug, Clone)]
pub struct Docker {
    /// `None` is the engine that the environment names.
    host: Option<String>,
}

impl Docker {
    pub fn at(host: impl Into<String>) -> Self {
        Self { host: Some(host.into()) }
    }

    /// Returns the URL as a value of `--docker-url`.
    pub fn url(&self) -> String {
        let named = self.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok());
        named.unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
    }

    /// Returns the path of its socket on this machine.
    pub fn socket(&self) -> PathBuf {
        self.url().strip_prefix("unix://").expect("an engine with a socket here").into()
    }

    /// Runs a docker command and returns its output.
    ///
    /// # Panics
    /// If the command fails.
    pub fn run_docker(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until this engine of a test answers, and loads whoami's image from the machine's engine. `folder` is the
    /// test's folder, which contains the engine's `log`.
    ///
    /// # Panics
    /// If the engine does not answer in time.
    pub fn wait_until_ready(&self, folder: &Path) {
        let end = Instant::now() + DEADLINE;
        while !self.command(&["version"]).output().is_ok_and(|output| output.status.success()) {
            let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "the engine at {} does not answer:\n{text}", self.url());
            thread::sleep(POLL_INTERVAL);
        }
        let archive = folder.join("image.tar");
        let file = archive.to_str().unwrap();
        Self { host: None }.run_docker(&["save", "--output", file, build_whoami_image()]);
        self.run_docker(&["load", "--input", file]);
        std::fs::remove_file(file).unwrap();
    }

    /// Returns a container to start, which is removed when it is dropped.
    pub fn run(&self, name: &str) -> Run {
        let name = unique_name(name);
        Run {
            docker: self.clone(),
            image: build_whoami_image().to_owned(),
            options: vec!["--name".into(), name.clone(), "--hostname".into(), name.clone()],
            arguments: Vec::new(),
            name,
        }
    }

    /// Creates a bridge network, which is removed when it is dropped. Its containers must be dropped before.
    pub fn network(&self, name: &str) -> Network {
        self.network_with(name, &[])
    }

    /// Creates a network with further options.
    pub fn network_with(&self, name: &str, options: &[&str]) -> Network {
        let name = unique_name(name);
        self.run_docker(&[&["network", "create"], options, &[&name]].concat());
        Network { docker: self.clone(), name }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }
}

#[derive(Debug)]
pub struct Run {
    docker: Docker,
    name: String,
    image: String,
    options: Vec<String>,
    arguments: Vec<String>,
}

impl Run {
    pub fn label(self, name: &str, value: impl Display) -> Self {
        self.option(&["--label", &format!("{name}={value}")])
    }

    /// Adds several labels in one text: `glue_http_80_host=a.test glue_http_80_prefix=x`.
    pub fn labels(self, labels: &str) -> Self {
        labels.split_whitespace().fold(self, |run, label| run.option(&["--label", label]))
    }

    pub fn env(self, name: &str, value: impl Display) -> Self {
        self.option(&["--env", &format!("{name}={value}")])
    }

    pub fn network(self, network: &Network) -> Self {
        self.option(&["--network", &network.name])
    }

    /// Adds options of `docker run`.
    pub fn option(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// Gives the container the name of one that was removed. Its host name stays its own.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        name.clone_into(&mut self.options[1]);
        self
    }

    /// Gives the container the name and the labels of a container of a compose file's service.
    pub fn of_compose(self, service: &str) -> Self {
        let project = unique_name("project");
        let run = self.named(&format!("{project}-{service}-1"));
        let run = run.label("com.docker.compose.project", &project);
        run.label("com.docker.compose.service", service)
    }

    /// Uses another image than whoami's.
    pub fn image(mut self, image: &str) -> Self {
        image.clone_into(&mut self.image);
        self
    }

    /// Removes the host name: a container on another container's network cannot have its own.
    pub fn bare(mut self) -> Self {
        let at = self.options.iter().position(|option| option == "--hostname");
        drop(at.map(|at| self.options.drain(at..at + 2)));
        self
    }

    /// Adds arguments of the program in the container.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    pub fn start(self) -> Container {
        self.create_container(&["run", "--detach"])
    }

    /// Creates the container without starting it.
    pub fn create(self) -> Container {
        self.create_container(&["create"])
    }

    fn create_container(self, verb: &[&str]) -> Container {
        let Self { docker, name, image, options, arguments } = self;
        // The guard comes first: a container that could not start has to be removed too.
        let mut container = Container { docker, name, id: String::new() };
        let words = verb.iter().copied();
        let words = words.chain(options.iter().map(String::as_str)).chain([image.as_str()]);
        let words: Vec<_> = words.chain(arguments.iter().map(String::as_str)).collect();
        container.id = container.docker.run_docker(&words);
        container
    }
}

/// A container, which is removed when it is dropped.
#[derive(Debug)]
pub struct Container {
    docker: Docker,
    pub name: String,
    pub id: String,
}

impl Container {
    /// Runs a docker command on it: `web.docker(&["pause"])` is `docker pause <web>`.
    pub fn docker(&self, verb: &[&str]) -> String {
        let words: Vec<_> = verb.iter().copied().chain([self.id.as_str()]).collect();
        self.docker.run_docker(&words)
    }

    /// Returns the file of its network namespace, for root.
    pub fn network_namespace(&self) -> PathBuf {
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}"]);
        format!("/proc/{}/ns/net", pid.trim()).into()
    }

    /// Opens a UDP socket in its network, as a program in it would. Needs root.
    pub fn bind_udp(&self, port: u16) -> UdpSocket {
        let namespace = File::open(self.network_namespace()).unwrap();
        // Only the thread enters the network.
        let bound = thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
        });
        bound.join().unwrap()
    }

    /// Returns its IPv4 address on a network.
    pub fn address(&self, network: &Network) -> Ipv4Addr {
        self.network_field(network, "IPAddress").parse().unwrap()
    }

    /// Returns a property of its endpoint on a network: `Gateway`, `GlobalIPv6Address`, …
    pub fn network_field(&self, network: &Network, what: &str) -> String {
        let text = format!("(index .NetworkSettings.Networks {:?})", network.name);
        self.docker(&["inspect", "--format", &format!("{{{{{text}.{what}}}}}")])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.docker.command(&["rm", "--force", "--volumes", &self.name]).output();
    }
}

/// A network, which is removed when it is dropped.
#[derive(Debug)]
pub struct Network {
    docker: Docker,
    pub name: String,
}

impl Network {
    pub fn connect(&self, container: &Container) {
        self.docker.run_docker(&["network", "connect", &self.name, &container.id]);
    }

    pub fn disconnect(&self, container: &Container) {
        self.docker.run_docker(&["network", "disconnect", &self.name, &container.id]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.docker.command(&["network", "rm", &self.name]).output();
    }
}
