//! A machine between two networks: clients in front, containers behind. Each is a network namespace, which is removed
//! when the site is dropped.

use docker_glue::udp::{
    answer::{FlowReport, PlaneReport, UdpAnswer, UdpListenerReport},
    client::PlaneClient,
    command::UdpCommand,
    config::{NewFlows, ProxyHeader, Sticky, UdpEndpoint, UdpListener},
};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    io::{BufRead, BufReader, ErrorKind, Write},
    net::{SocketAddr, UdpSocket},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a test waits for what it expects.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long a test waits for what it does not expect.
const SILENCE: Duration = Duration::from_millis(300);

/// The addresses: those of the machine for clients, of clients, and of containers.
pub(crate) const MACHINE: &str = "10.99.1.1";
pub(crate) const SECOND_MACHINE: &str = "10.99.1.2";
pub(crate) const MACHINE_SIX: &str = "fd99:1::1";
pub(crate) const CLIENT: &str = "10.99.1.7";
pub(crate) const SECOND_CLIENT: &str = "10.99.1.8";
pub(crate) const CLIENT_SIX: &str = "fd99:1::7";

static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(crate) struct Site {
    prefix: String,
    directory: tempfile::TempDir,
    plane: Mutex<Option<Child>>,
    arguments: Vec<String>,
}

impl Site {
    /// Returns `None` for users other than root, who cannot create namespaces.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        let site = Self::without_plane(arguments)?;
        site.start_plane();
        Some(site)
    }

    /// A site whose plane has this engine.
    pub(crate) fn start_engine(engine: &str) -> Option<Self> {
        let site = Self::without_plane(&["--engine", engine])?;
        if engine == "nft" {
            site.set_up_docker();
        }
        site.start_plane();
        Some(site)
    }

    /// The machine as Docker leaves it: it forwards nothing that no rule accepts, and has the chain for rules of others.
    pub(crate) fn set_up_docker(&self) {
        for line in "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\
            |iptables -N DOCKER-USER|iptables -P FORWARD DROP|iptables -A FORWARD -j DOCKER-USER\
            |iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\
            |ip6tables -N DOCKER-USER|ip6tables -P FORWARD DROP|ip6tables -A FORWARD -j DOCKER-USER\
            |ip6tables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            .split('|')
        {
            self.run_on_machine(line);
        }
    }

    /// Runs a program on the machine and returns its output.
    pub(crate) fn run_on_machine(&self, line: &str) -> String {
        let words = line.split_whitespace();
        let machine = self.namespace("M");
        let done =
            Command::new("ip").args(["netns", "exec", &machine]).args(words).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    pub(crate) fn without_plane(arguments: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            crate::record_skip("network namespaces need root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let site = Self {
            prefix: format!("gu{}-{number}", std::process::id()),
            directory: tempfile::tempdir().unwrap(),
            plane: Mutex::new(None),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        site.set_up();
        Some(site)
    }

    fn set_up(&self) {
        for line in "netns add M|netns add C|netns add E\
            |link add Pc netns C type veth peer name Pm netns M\
            |link add Pe netns E type veth peer name Pn netns M\
            |-n M link set lo up|-n C link set lo up|-n E link set lo up\
            |-n C link set Pc up|-n M link set Pm up|-n E link set Pe up|-n M link set Pn up\
            |-n M addr add 10.99.1.1/24 dev Pm|-n M addr add 10.99.1.2/24 dev Pm\
            |-n M addr add fd99:1::1/64 dev Pm nodad\
            |-n C addr add 10.99.1.7/24 dev Pc|-n C addr add 10.99.1.8/24 dev Pc\
            |-n C addr add fd99:1::7/64 dev Pc nodad\
            |-n M addr add 10.99.2.1/24 dev Pn|-n M addr add fd99:2::1/64 dev Pn nodad\
            |-n E addr add 10.99.2.11/24 dev Pe|-n E addr add 10.99.2.12/24 dev Pe\
            |-n E addr add 10.99.2.13/24 dev Pe|-n E addr add fd99:2::11/64 dev Pe nodad\
            |-n C route add default via 10.99.1.1|-n E route add default via 10.99.2.1\
            |-n E route add fd99:1::/64 via fd99:2::1"
            .split('|')
        {
            self.run_ip(line.trim());
        }
        // A link that is not up yet drops what is sent.
        for place in ["M", "C", "E"] {
            wait_until("the links are up", || {
                let links = ["-n", &self.namespace(place), "-o", "link", "show", "type", "veth"];
                let links = Command::new("ip").args(links).output().unwrap();
                String::from_utf8_lossy(&links.stdout).lines().all(|link| link.contains("state UP"))
            });
        }
    }

    /// Runs `ip`, with the namespaces M, C and E and the prefix P of interfaces replaced by this site's.
    pub(crate) fn run_ip(&self, line: &str) {
        let word = |word: &str| match word {
            "M" | "C" | "E" => self.namespace(word),
            "Pc" | "Pm" | "Pe" | "Pn" => format!("{}{}", self.prefix, &word[1..]),
            word => word.to_owned(),
        };
        let words: Vec<_> = line.split_whitespace().map(word).collect();
        let done = Command::new("ip").args(&words).output().unwrap();
        assert!(done.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn namespace(&self, place: &str) -> String {
        format!("{}{place}", self.prefix)
    }

    /// Opens a socket in a namespace, which it stays in.
    pub(crate) fn bind(&self, place: &str, at: &str) -> UdpSocket {
        bind_in(format!("/run/netns/{}", self.namespace(place)), at)
    }

    /// Another program on the machine that has a port.
    pub(crate) fn hold_port(&self, at: &str) -> UdpSocket {
        self.bind("M", at)
    }

    pub(crate) fn socket_path(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.directory.path().join("listeners.json")
    }

    /// Starts docker-glue-udp on the machine, and waits until it answers.
    pub(crate) fn start_plane(&self) {
        self.start_plane_with(&[]);
    }

    pub(crate) fn start_plane_with(&self, env: &[(&str, &str)]) {
        self.run_plane(self.plane_command().envs(env.iter().copied()));
    }

    pub(crate) fn start_plane_with_arguments(&self, arguments: &[&str]) {
        self.run_plane(self.command_in_machine(&[]).args(arguments));
    }

    /// Starts docker-glue-udp by another program, which is given with its arguments.
    pub(crate) fn start_plane_by(&self, program: &[&str]) {
        self.run_plane(self.command_in_machine(program).args(&self.arguments));
    }

    fn run_plane(&self, command: &mut Command) {
        *self.plane.lock().unwrap() = Some(command.spawn().unwrap());
        wait_until("the plane listens", || UnixStream::connect(self.socket_path()).is_ok());
        // It listens before it has restored its listeners and removed the rules of another engine.
        self.command_line("totals");
    }

    /// Returns the process of the plane.
    pub(crate) fn plane_pid(&self) -> u32 {
        self.plane.lock().unwrap().as_ref().unwrap().id()
    }

    /// Returns the command that starts docker-glue-udp on the machine.
    pub(crate) fn plane_command(&self) -> Command {
        let mut command = self.command_in_machine(&[]);
        command.args(&self.arguments);
        command
    }

    /// Returns the command that starts docker-glue-udp on the machine by another program.
    pub(crate) fn command_in_machine(&self, by: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace("M")])
            .args(by)
            .arg(env!("CARGO_BIN_EXE_docker-glue-udp"))
            .arg("--socket")
            .arg(self.socket_path())
            .env_remove("NOTIFY_SOCKET")
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn signal_plane(&self, signal: Signal) {
        kill(Pid::from_raw(self.plane_pid().cast_signed()), signal).unwrap();
    }

    /// Sends a signal to the plane and waits until it has ended.
    pub(crate) fn end_plane(&self, signal: Signal) -> std::process::Output {
        self.signal_plane(signal);
        let child = self.plane.lock().unwrap().take().unwrap();
        child.wait_with_output().unwrap()
    }

    /// Sends a line and returns the first line of the answer.
    pub(crate) fn command_line(&self, line: &str) -> String {
        command_line(&self.socket_path(), line)
    }

    /// # Panics
    /// If the plane refuses the command or answers with another listener.
    pub(crate) fn set(&self, listener: &UdpListener) {
        let answers = self.execute(&[UdpCommand::Set(Box::new(listener.clone()))]);
        match &answers[..] {
            [UdpAnswer::Listener(report)] => assert_eq!(report.listener, *listener),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn delete(&self, bind: &str) {
        self.execute(&[UdpCommand::Delete(bind.parse().unwrap())]);
    }

    pub(crate) fn execute(&self, commands: &[UdpCommand]) -> Vec<UdpAnswer> {
        self.with_client(async |client| {
            let answers = client.execute(commands).await.unwrap();
            answers.into_iter().map(|answer| answer.unwrap()).collect()
        })
    }

    pub(crate) fn read_all(&self) -> (PlaneReport, Vec<UdpListenerReport>) {
        self.with_client(async |client| client.read_all().await.unwrap())
    }

    pub(crate) fn count_flows(&self, start: &str) -> FlowReport {
        self.with_client(async |client| client.count_flows(start).await.unwrap())
    }

    /// Returns the report of the only listener.
    pub(crate) fn report(&self) -> UdpListenerReport {
        let (_, reports) = self.read_all();
        let [report] = reports.try_into().expect("one listener");
        report
    }

    fn with_client<T>(&self, work: impl AsyncFnOnce(&mut PlaneClient) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut client = PlaneClient::connect(&self.socket_path()).await.unwrap();
            work(&mut client).await
        })
    }

    /// A client at an address and port, in front of the machine.
    pub(crate) fn client(&self, at: &str) -> Client {
        Client::new(self.bind("C", at))
    }

    /// A client on the machine itself.
    pub(crate) fn local_client(&self, at: &str) -> Client {
        Client::new(self.bind("M", at))
    }

    /// A client among the containers.
    pub(crate) fn inner_client(&self, at: &str) -> Client {
        Client::new(self.bind("E", at))
    }

    /// A program in a container that answers each datagram with its name, a colon and the datagram.
    pub(crate) fn echo(&self, name: &str, at: &str) -> Container {
        let name = name.to_owned();
        self.container(at, move |request| vec![[name.as_bytes(), b":", request].concat()])
    }

    /// A program that answers as the function says.
    pub(crate) fn container(
        &self,
        at: &str,
        answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Container {
        Container::start(self.bind("E", at), answer)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.plane.lock().unwrap().take() {
            let _ = child.kill();
            let output = child.wait_with_output();
            if thread::panicking() {
                eprintln!("{}", String::from_utf8_lossy(&output.unwrap().stderr));
            }
        }
        for place in ["M", "C", "E"] {
            let _ = Command::new("ip").args(["netns", "delete", &self.namespace(place)]).output();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        Self(socket)
    }

    pub(crate) fn send(&self, to: &str, datagram: impl AsRef<[u8]>) {
        self.0.send_to(datagram.as_ref(), to.parse::<SocketAddr>().unwrap()).unwrap();
    }

    /// Returns the next answer and its sender.
    pub(crate) fn receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        self.receive_within(DEADLINE)
    }

    pub(crate) fn receive_within(&self, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (length, from) = self.0.recv_from(&mut buffer).ok()?;
        buffer.truncate(length);
        Some((buffer, from))
    }

    /// Sends a datagram and returns its answer, which has to come from the address that was used.
    pub(crate) fn ask(&self, to: &str, datagram: &str) -> String {
        self.send(to, datagram);
        let (answer, from) = self.receive().unwrap_or_else(|| panic!("no answer to {datagram}"));
        assert_eq!(from.to_string(), to);
        String::from_utf8(answer).unwrap()
    }

    /// Returns the name of the container that answers.
    pub(crate) fn ask_name(&self, to: &str) -> String {
        let answer = self.ask(to, "who");
        answer.split(':').next().unwrap().to_owned()
    }

    pub(crate) fn assert_no_answer(&self) {
        let answer = self.receive_within(SILENCE);
        assert_eq!(answer.map(|(text, _)| String::from_utf8_lossy(&text).into_owned()), None);
    }
}

/// A program in a container. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    socket: Arc<UdpSocket>,
    state: Arc<ContainerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct ContainerState {
    ended: AtomicBool,
    received: AtomicUsize,
    datagrams: Mutex<Vec<(Vec<u8>, SocketAddr)>>,
}

impl Container {
    pub(crate) fn start(
        socket: UdpSocket,
        answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let (socket, state) = (Arc::new(socket), Arc::new(ContainerState::default()));
        let (served, shared) = (Arc::clone(&socket), Arc::clone(&state));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            loop {
                // Before the receipt: what has arrived before the end is answered, also if this thread was not running.
                let ended = shared.ended.load(Ordering::Acquire);
                match served.recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        let request = &buffer[..length];
                        shared.received.fetch_add(1, Ordering::Relaxed);
                        shared.datagrams.lock().unwrap().push((request.to_vec(), from));
                        for datagram in answer(request) {
                            let _ = served.send_to(&datagram, from);
                        }
                    }
                    // Not the report that a client has left.
                    Err(error) if ended && error.kind() == ErrorKind::WouldBlock => return,
                    Err(_) => {}
                }
            }
        });
        Self { socket, state, thread: Some(thread) }
    }

    pub(crate) fn received(&self) -> usize {
        self.state.received.load(Ordering::Relaxed)
    }

    pub(crate) fn datagrams(&self) -> Vec<(Vec<u8>, SocketAddr)> {
        self.state.datagrams.lock().unwrap().clone()
    }

    /// Ends the program as the kernel does: from one moment on, datagrams are refused. Those that the program has
    /// received before are answered, so that a test can count what the plane loses. Returns their number.
    pub(crate) fn end(mut self) -> usize {
        self.stop();
        self.received()
    }

    fn stop(&mut self) {
        // A connected socket receives only from its peer, and nothing has this port.
        let other =
            if self.socket.local_addr().unwrap().is_ipv4() { "127.0.0.1:9" } else { "[::1]:9" };
        let _ = self.socket.connect(other);
        self.state.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a line to a control socket and returns the first line of the answer.
pub(crate) fn command_line(socket: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim().to_owned()
}

/// Opens a socket in the network namespace of a file.
pub(crate) fn bind_in(path: String, at: &str) -> UdpSocket {
    let at: SocketAddr = at.parse().unwrap();
    let bound = thread::spawn(move || {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
        // A killed endpoint that returns finds its port again.
        UdpSocket::bind(at)
    });
    bound.join().unwrap().unwrap_or_else(|error| panic!("{at}: {error}"))
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "never happened: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A listener as `BIND RULE… | ENDPOINT…`, in which a rule is `sticky=…`, `idle=MILLISECONDS`, `replies=…` or `proxy=v2`, and
/// an endpoint `NAME@ADDRESS`, with an optional `*WEIGHT` or `*drain`.
pub(crate) fn listener(text: &str) -> UdpListener {
    let (rules, endpoints) = text.split_once('|').unwrap_or((text, ""));
    let mut rules = rules.split_whitespace();
    let mut listener = UdpListener::new(rules.next().unwrap().parse().unwrap());
    for rule in rules {
        match rule.split_once('=').unwrap() {
            ("sticky", "source") => listener.sticky = Sticky::Source,
            ("sticky", "none") => listener.sticky = Sticky::None,
            ("idle", time) => listener.idle = Duration::from_millis(time.parse().unwrap()),
            ("replies", count) => listener.replies = Some(count.parse().unwrap()),
            ("proxy", "v2") => listener.proxy = ProxyHeader::V2,
            other => panic!("{other:?}"),
        }
    }
    listener.endpoints = endpoints.split_whitespace().map(endpoint).collect();
    listener
}

fn endpoint(text: &str) -> UdpEndpoint {
    let (name, address) = text.split_once('@').unwrap();
    let (address, weight) = address.split_once('*').unwrap_or((address, "100"));
    let flows = if weight == "drain" { NewFlows::Drain } else { NewFlows::Accept };
    UdpEndpoint {
        id: name.into(),
        name: name.into(),
        address: address.parse().unwrap(),
        weight: weight.parse().unwrap_or(100),
        flows,
    }
}
