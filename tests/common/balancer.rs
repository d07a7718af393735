//! The docker-balancer program on the machine's engine, with its own HAProxy and ports, and the view of its clients.
//! `HAPROXY_BIN` names the HAProxy; by default it is the installed one.
//!
//! ```ignore
//! let Some(docker) = common::docker() else { return };
//! let balancer = Balancer::of(&docker).ports(&[80, 8080]).option(&["--hold", "1s"]).start();
//! let web = balancer.run("web").label("glue_http_80_host", "a.test").start();
//! balancer.until_serves("a.test/x", "web saw /x");
//! drop(web);
//! balancer.until_serves("a.test/x", "503");
//! ```
//!
//! `Balancer::of(&docker).inside("front")` runs it in a container on that network.
//!
//! To serve containers from the first moment, start them before the balancer:
//! `let plan = Balancer::of(&docker); let web = plan.run("web")….start(); let balancer = plan.start();`

use super::{
    CONSTRAINT, Container, DEADLINE, Docker, Run, output_log::OutputLog, secrets, unique_name,
    wait_for,
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// A balancer that has not been started.
#[derive(Debug)]
pub struct BalancerPlan {
    docker: Docker,
    constraint: String,
    folder: TempDir,
    ports: BTreeMap<u16, u16>,
    /// Ports of UDP that its own container publishes.
    datagram_ports: Vec<u16>,
    options: Vec<String>,
    /// The network of its own container, if it runs in one.
    inside: Option<String>,
    /// The network namespace that it runs in, if it is not this machine's.
    namespace: Option<PathBuf>,
    environment: Vec<(String, OsString)>,
    /// Its log is not read.
    deaf: bool,
}

/// A running balancer. Dropping it ends it by SIGTERM, and HAProxy with it. Its log is printed if the test fails. If a
/// private key is outside its store, the test fails.
#[derive(Debug)]
pub struct Balancer {
    /// Dropped before the plan, because the container writes to the plan's folder.
    container: Option<Container>,
    plan: BalancerPlan,
    process: Option<Child>,
    log: OutputLog,
    stdout: OutputLog,
    /// The log's pipe, if it is not read.
    unread: Option<ChildStderr>,
}

impl Balancer {
    /// Returns a balancer with public port 80 unless others are given.
    pub fn plan(docker: &Docker) -> BalancerPlan {
        let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        let plan = BalancerPlan {
            docker: docker.clone(),
            constraint: unique_name("balancer"),
            folder,
            ports: BTreeMap::new(),
            datagram_ports: Vec::new(),
            options: Vec::new(),
            inside: None,
            namespace: None,
            environment: Vec::new(),
            deaf: false,
        };
        plan.ports(&[80])
    }
}

impl BalancerPlan {
    /// Sets the public ports, each bound to a free port.
    pub fn ports(mut self, public: &[u16]) -> Self {
        self.ports = public.iter().map(|port| (*port, free_port())).collect();
        self
    }

    /// Binds a public port to this port.
    pub fn bind(mut self, public: u16, bound: u16) -> Self {
        self.ports.insert(public, bound);
        self
    }

    /// Serves the containers of another balancer, too.
    pub fn sharing_containers_of(mut self, other: &Self) -> Self {
        self.constraint.clone_from(&other.constraint);
        self
    }

    /// Adds options of docker-balancer.
    pub fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(ToString::to_string));
        self
    }

    /// Runs it in its own container on this network (a value of `docker run --network`). The ports are published if the
    /// container has its own address.
    pub fn in_container(mut self, network: &str) -> Self {
        self.inside = Some(network.to_owned());
        self
    }

    /// Runs it in another network namespace, with all else of this machine. Needs root.
    pub fn in_namespace(mut self, path: PathBuf) -> Self {
        self.namespace = Some(path);
        self
    }

    /// Publishes a port of UDP if it runs in its own container.
    pub fn publish_datagrams(mut self, port: u16) -> Self {
        self.datagram_ports.push(port);
        self
    }

    /// Sets a variable of docker-balancer's environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Leaves the log unread: the pipe fills and stays full.
    pub fn without_reading_log(mut self) -> Self {
        self.deaf = true;
        self
    }

    /// Returns a container that this balancer serves. whoami answers with the name `name`.
    pub fn run(&self, name: &str) -> Run {
        self.run_at(&self.docker, name)
    }

    /// Returns a container of another engine that this balancer serves.
    pub fn run_at(&self, docker: &Docker, name: &str) -> Run {
        docker.run(name).label(CONSTRAINT, &self.constraint).env("WHOAMI_NAME", name)
    }

    /// Returns the value of `CONSTRAINT` of the containers that this balancer serves.
    pub fn constraint(&self) -> &str {
        &self.constraint
    }

    /// Returns the port that a public port is bound to.
    pub fn bound_port(&self, public: u16) -> u16 {
        self.ports[&public]
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Starts it with `-w`.
    pub fn start(self) -> Balancer {
        let mut balancer = Balancer {
            container: self.inside.as_deref().map(|network| self.own_container(network)),
            plan: self,
            process: None,
            log: OutputLog::default(),
            stdout: OutputLog::default(),
            unread: None,
        };
        balancer.start_again();
        balancer
    }

    /// Returns a docker-balancer command with these options; the caller adds the mode.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_docker-balancer");
        let mut command = match &self.namespace {
            None => Command::new(program),
            Some(path) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", path.display())).arg(program);
                command
            }
        };
        command.env("NO_COLOR", "1").args(self.common_options());
        if let Some(host) = &self.docker.host {
            command.arg("--docker-url").arg(host);
        }
        let own = self.options.iter().any(|word| word == "--haproxy-bin");
        if let Some(bin) = std::env::var_os("HAPROXY_BIN").filter(|_| !own) {
            command.arg("--haproxy-bin").arg(bin);
        }
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Returns the options that are the same in a container and outside.
    fn common_options(&self) -> Vec<String> {
        let position = |path: PathBuf| path.display().to_string();
        let mut words = vec!["--state-dir".to_owned(), position(self.state())];
        words.extend(["--runtime-dir".to_owned(), position(self.runtime())]);
        words.extend(["--constraint".to_owned(), format!("{CONSTRAINT}={}", self.constraint)]);
        for (public, bound) in &self.ports {
            words.extend(["--map-port".to_owned(), format!("{public}={bound}")]);
        }
        words.extend(self.options.iter().cloned());
        words
    }

    /// Creates its own container, which is not started yet. The folder of the socket is mounted, because the engine
    /// creates a new socket when it restarts.
    fn own_container(&self, network: &str) -> Container {
        let run = self.docker.run("balancer").image(build_balancer_image()).bare();
        let host = self.docker.host.as_deref().and_then(|host| host.strip_prefix("unix://"));
        let socket = Path::new(host.unwrap_or("/run/docker.sock")).parent().unwrap().display();
        let run =
            run.option(&["--network", network, "--volume", &format!("{socket}:/host/run:ro")]);
        // The same path as on the host, so that the sockets are found there too.
        let folder = self.folder.path().display();
        let run = run.option(&["--volume", &format!("{folder}:{folder}")]);
        let run = run.env("DOCKER_HOST", "unix:///host/run/docker.sock").env("NO_COLOR", "1");
        let publish = |run: Run, port: &u16| {
            let protocol = if self.datagram_ports.contains(port) { "/udp" } else { "" };
            run.option(&["--publish", &format!("127.0.0.1:{port}:{port}{protocol}")])
        };
        let own_address = network != "host" && !network.starts_with("container:");
        let ports = self.ports.values().chain(&self.datagram_ports).filter(|_| own_address);
        let words = self.common_options();
        let words: Vec<_> = words.iter().map(String::as_str).chain(["-w"]).collect();
        ports.fold(run, publish).arguments(&words).create()
    }

    /// Returns HAProxy's answer to a command on its stats socket.
    pub fn ask_haproxy(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.runtime().join("haproxy.sock")).unwrap();
        socket.write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits for HAProxy's master. While a master re-executes itself its command line is empty, and its pid file is
    /// replaced.
    pub fn master_pid(&self) -> i32 {
        wait_for("HAProxy's master", || self.find_master())
    }

    /// Returns the pid of HAProxy's master if it runs outside a container.
    pub fn find_master(&self) -> Option<i32> {
        if self.inside.is_some() {
            return None;
        }
        let pid = std::fs::read_to_string(self.runtime().join("haproxy.pid")).ok()?;
        let pid: i32 = pid.trim().parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = self.runtime().display().to_string();
        String::from_utf8_lossy(&line).contains(&ours).then_some(pid)
    }
}

impl BalancerPlan {
    /// Returns the pid of the docker-glue-udp that docker-balancer has started.
    pub fn find_plane(&self) -> Option<i32> {
        let socket = self.runtime().join("udp.sock");
        let entries = std::fs::read_dir("/proc").ok()?.flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words.next().is_some_and(|program| program.ends_with(b"docker-glue-udp"))
                && words.any(|word| word == socket.as_os_str().as_encoded_bytes())
        })
    }
}

/// Also kills an HAProxy that was left running, with its workers: it leads its own process group. The same for
/// docker-glue-udp.
impl Drop for BalancerPlan {
    fn drop(&mut self) {
        if let Some(pid) = self.find_plane() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(pid) = self.find_master() {
            let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
        }
    }
}

impl std::ops::Deref for Balancer {
    type Target = BalancerPlan;

    fn deref(&self) -> &BalancerPlan {
        &self.plan
    }
}

impl Balancer {
    /// Sets a variable of its environment for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.plan.environment.push((name.to_owned(), value.into()));
    }

    /// Starts it again after its end, with the same options and directories.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = match &self.container {
            None => {
                let mut command = self.plan.command();
                command.arg("-w");
                command
            }
            // `docker start --attach` passes signals on, and exits when the container does.
            Some(container) => self.docker.command(&["start", "--attach", &container.id]),
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stderr = process.stderr.take().unwrap();
        if self.plan.deaf {
            // The smallest possible pipe.
            fcntl(&stderr, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
            self.unread = Some(stderr);
        } else {
            self.log.read_from(stderr);
        }
        self.stdout.read_from(process.stdout.take().unwrap());
        self.process = Some(process);
    }

    /// Returns the container that it runs in.
    pub fn container(&self) -> &Container {
        self.container.as_ref().expect("it was to run inside")
    }

    pub fn pid(&self) -> Pid {
        let pid = self.process.as_ref().unwrap().id();
        Pid::from_raw(pid.try_into().unwrap())
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Sends a signal and waits for the end of the process.
    ///
    /// # Panics
    /// If the process does not end in time.
    pub fn stop_with(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.wait_for_exit()
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// If the process does not end in time.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let process = self.process.as_mut().unwrap();
        let status = wait_for("the end of docker-balancer", || process.try_wait().unwrap());
        self.process = None;
        status
    }

    /// Returns the log (stderr) of all starts so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Returns the standard output so far, including HAProxy's.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits for a line of the log that contains all of these, and returns it.
    pub fn wait_for_log(&self, parts: &[&str]) -> String {
        let has = |line: &&str| parts.iter().all(|part| line.contains(part));
        wait_for(&format!("{parts:?} in the log"), || {
            self.log().lines().find(has).map(str::to_owned)
        })
    }

    /// Waits until HAProxy is started, which serves all containers that existed before.
    pub fn wait_until_started(self) -> Self {
        self.wait_for_log(&["started HAProxy"]);
        self
    }

    /// Waits until a GET has this outcome: `"web saw /x?q=1"`, or a status.
    pub fn wait_until_serves(&self, url: &str, outcome: &str) {
        self.wait_until_all_serve(&[(url, outcome)]);
    }

    /// Waits until each GET has had its outcome once.
    pub fn wait_until_all_serve(&self, expected: &[(&str, &str)]) {
        for (url, outcome) in expected {
            let mut last = String::new();
            let end = Instant::now() + DEADLINE;
            while last != *outcome {
                assert!(Instant::now() < end, "{url}: waited for {outcome:?}, but {last:?}");
                if !last.is_empty() {
                    std::thread::sleep(super::POLL_INTERVAL);
                }
                last = self.request_outcome(url);
            }
        }
    }

    /// Checks that each GET has its outcome now.
    pub fn assert_serves(&self, expected: &[(&str, &str)]) {
        let wrong = |(url, outcome): &(&str, &str)| {
            let got = self.request_outcome(url);
            (got != *outcome).then(|| format!("{url}: {outcome:?} was expected, but {got:?}"))
        };
        let wrong: Vec<_> = expected.iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    /// Returns the outcome of a GET in a few words.
    pub fn request_outcome(&self, url: &str) -> String {
        self.try_get(url).map_or_else(|e| e.to_string(), |reply| reply.to_string())
    }

    /// Returns how many of the requests each container answered.
    pub fn count_answers(&self, url: &str, requests: usize) -> BTreeMap<String, usize> {
        let mut spread = BTreeMap::new();
        for _ in 0..requests {
            let answer = self.get(url);
            assert_eq!(answer.status, 200, "{url}");
            *spread.entry(answer.name).or_default() += 1;
        }
        spread
    }

    /// Waits until exactly these containers share the requests of a route.
    pub fn wait_until_shared(&self, url: &str, names: &[&str]) {
        wait_for(&format!("{url} shared by {names:?}"), || {
            let answers = (0..4 * names.len()).map(|_| self.request_outcome(url));
            let who: BTreeSet<_> =
                answers.map(|text| text.split(' ').next().unwrap().to_owned()).collect();
            (who == names.iter().map(ToString::to_string).collect()).then_some(())
        });
    }

    /// Sends `GET http://<url>` and waits for the answer.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    pub fn get(&self, url: &str) -> Answer {
        let answer = self.try_get(url);
        answer.unwrap_or_else(|e| panic!("GET {url}: {e}"))
    }

    pub fn try_get(&self, url: &str) -> io::Result<Answer> {
        self.request("GET", url).send()
    }

    /// Returns a request. `url` is `host[:port][/path]`. The request goes to that public port, or to the lowest one if
    /// there is no such port, because a client may name any port in the Host header.
    pub fn request(&self, method: &str, url: &str) -> Request {
        let (authority, path) = match url.find('/') {
            Some(at) => url.split_at(at),
            None => (url, "/"),
        };
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let bound = port.and_then(|public: u16| self.ports.get(&public));
        let bound = *bound.or(self.ports.values().next()).unwrap();
        Request::new((Ipv4Addr::LOCALHOST, bound).into(), method, authority, path)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            let _ = kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGCONT);
        }
        let texts = [("the log", self.log()), ("standard output", self.stdout())];
        let place = secrets::find_key_outside_stores(&self.state(), &self.runtime(), &texts);
        self.stop();
        if !std::thread::panicking() {
            assert_eq!(place, None, "a private key is outside its store");
        }
    }
}

impl Balancer {
    fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let pid = Pid::from_raw(process.id().try_into().unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + DEADLINE;
        while process.try_wait().is_ok_and(|status| status.is_none()) {
            if end < Instant::now() {
                let _ = process.kill();
            }
            std::thread::sleep(super::POLL_INTERVAL);
        }
        if std::thread::panicking() {
            eprintln!("what the balancer said:\n{}", self.log());
        }
    }
}

/// A request to the balancer.
#[derive(Debug, Clone)]
pub struct Request {
    place: SocketAddr,
    lines: Vec<String>,
}

impl Request {
    pub fn new(addr: SocketAddr, method: &str, host: &str, path: &str) -> Self {
        let lines =
            [&format!("{method} {path} HTTP/1.1"), &format!("Host: {host}"), "Connection: close"];
        Self { place: addr, lines: lines.map(str::to_owned).to_vec() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.lines.push(format!("{name}: {value}"));
        self
    }

    /// Sends the request, without a body or with an empty one in chunks, and returns the connection, for tests that do
    /// not read one whole answer.
    pub fn open(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.place)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        // HAProxy from 3.0 on closes the connection only when it has got the whole request.
        let is_chunked = self.lines.iter().any(|line| line == "Transfer-Encoding: chunked");
        let body = if is_chunked { "0\r\n\r\n" } else { "" };
        stream.write_all(format!("{}\r\n\r\n{body}", self.lines.join("\r\n")).as_bytes())?;
        Ok(stream)
    }

    /// Sends the request and waits for the whole answer.
    pub fn send(&self) -> io::Result<Answer> {
        let mut stream = self.open()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Answer::parse(&bytes)
    }
}

/// An answer, with the request as the container saw it.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: String,
    /// The container that answered; empty if none did.
    pub name: String,
    /// The path that the container saw, with the query.
    pub path: String,
    /// The container's address on which the request arrived.
    pub address: Option<SocketAddr>,
    /// The headers that the container saw.
    pub seen: Headers,
}

/// Prints `"web saw /x"` if a container answered with 200, else the status.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            200 => write!(f, "{} saw {}", self.name, self.path),
            status => write!(f, "{status}"),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Returns all values of a header, joined by ", "; `None` if there are none.
    pub fn get(&self, name: &str) -> Option<String> {
        let is = |pair: &&(String, String)| pair.0.eq_ignore_ascii_case(name);
        let all: Vec<_> = self.0.iter().filter(is).map(|pair| pair.1.as_str()).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl Answer {
    /// Parses a whole answer.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let mut room = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut room);
        let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else {
            let text = String::from_utf8_lossy(bytes);
            return Err(io::Error::other(format!("no HTTP answer: {text:?}")));
        };
        let header = |header: &httparse::Header<'_>| {
            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
        };
        let headers = Headers(head.headers.iter().map(header).collect());
        let status = head.code.unwrap_or_default();
        let body = String::from_utf8_lossy(&bytes[length..]).into_owned();
        let answer = Self { status, headers, ..Self::default() };
        Ok(Self { body: body.clone(), ..answer.with_facts(&body) })
    }

    /// Adds the facts that examples/whoami answers with, one a line.
    fn with_facts(mut self, body: &str) -> Self {
        for line in body.lines() {
            match line.split_once(": ") {
                Some(("name", text)) => text.clone_into(&mut self.name),
                Some(("address", text)) => self.address = text.parse().ok(),
                Some(("path", text)) => text.clone_into(&mut self.path),
                Some(("query", text)) if !text.is_empty() => {
                    self.path = format!("{}?{text}", self.path);
                }
                Some(("header", text)) => {
                    let (name, value) = text.split_once(": ").unwrap_or((text, ""));
                    self.seen.0.push((name.to_owned(), value.to_owned()));
                }
                _ => {}
            }
        }
        if self.name.is_empty() {
            self.name = self.headers.get("X-Whoami").unwrap_or_default();
        }
        self
    }
}

/// Returns an image of docker-balancer and HAProxy, which is built at the first use.
pub fn build_balancer_image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let haproxy = std::env::var("HAPROXY_BIN").unwrap_or_else(|_| "haproxy".to_owned());
        let words = ["tests/balancer-image.sh", "test", env!("CARGO_BIN_EXE_docker-balancer")];
        let made = Command::new("sh").args(words).arg(haproxy).status().unwrap();
        assert!(made.success(), "tests/balancer-image.sh failed");
    });
    "docker-glue-balancer:test"
}

/// Returns a free port below the range of outgoing connections, so that no connection takes it a moment later.
pub fn free_port() -> u16 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut candidates = (0..20_000_u32).map(|_| {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let at = std::process::id().wrapping_mul(61).wrapping_add(number);
        10_000 + u16::try_from(at % 20_000).unwrap()
    });
    candidates.find(|port| is_free(*port)).unwrap()
}

/// Does not listen: a child that another thread starts meanwhile has a copy of the socket until it executes its
/// program. A copy of a listening socket would keep the caller from listening, one of a bound socket does not.
fn is_free(port: u16) -> bool {
    let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let tcp = TcpSocket::new_v6().unwrap();
    tcp.set_reuseaddr(true).unwrap();
    tcp.bind(at).is_ok() && UdpSocket::bind(at).is_ok()
}
