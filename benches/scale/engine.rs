//! Simulated Docker engine: lists, inspections, networks and events over a unix socket.
//!
//! Its answers about containers on the default bridge have the order and length of a real engine's. It counts the
//! requests.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[derive(Debug, Clone)]
pub(crate) struct Simulated {
    number: usize,
    host: String,
    port: u16,
    protocol: Protocol,
    state: &'static str,
    /// Further labels, as members of a JSON object with a comma before each.
    more: String,
}

/// What a container's labels are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    /// All routes share one public port, by the server name of TLS.
    Tcp,
    /// Each container has a public port.
    Udp,
}

/// The public port of all routes of TCP.
pub(crate) const TCP_PORT: u16 = 5432;

/// Returns the public UDP port of a container. It is below the ports from which Linux chooses.
pub(crate) fn udp_port(number: usize) -> u16 {
    20_000 + u16::try_from(number).expect("there are few containers with UDP")
}

#[derive(Debug, Default)]
struct Inner {
    /// In the order of creation.
    all: Mutex<Vec<Simulated>>,
    listeners: Mutex<Vec<UnixStream>>,
    questions: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Engine(Arc<Inner>);

impl Simulated {
    pub(crate) fn new(number: usize, host: String, port: u16) -> Self {
        let (protocol, state) = (Protocol::Http, "running");
        Self { number, host, port, protocol, state, more: String::new() }
    }

    pub(crate) fn with_protocol(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    pub(crate) fn with_labels(self, more: String) -> Self {
        Self { more, ..self }
    }

    /// Returns an address in 127/8; all of them belong to this machine.
    pub(crate) fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::from(0x7f01_0000 + u32::try_from(number).unwrap())
    }

    fn id(number: usize) -> String {
        // The short ids are different, too.
        format!("{number:012x}{:052x}", 0xd0c4_u32)
    }

    fn name(&self) -> String {
        format!("project-app{}-1", self.number)
    }

    fn labels(&self) -> String {
        format!(
            r#"{{"com.docker.compose.config-hash":"4c0fb1d1a4cf2bf1a2c6d3ffb13ce8d0ae4ecf1ed9d8dd8e5f6b3a4c5d6e7f80","com.docker.compose.container-number":"1","com.docker.compose.oneoff":"False","com.docker.compose.project":"project","com.docker.compose.service":"{0}","com.docker.compose.version":"2.27.0",{1}{2}}}"#,
            self.service(),
            self.own_labels(),
            self.more
        )
    }

    fn own_labels(&self) -> String {
        let Self { number, host, port, .. } = self;
        match self.protocol {
            Protocol::Http => {
                format!(r#""glue_http_{port}_bind":"80","glue_http_{port}_host":"{host}""#)
            }
            Protocol::Tcp => {
                format!(r#""glue_tcp_{port}_bind":"{TCP_PORT}","glue_tcp_{port}_host":"{host}""#)
            }
            Protocol::Udp => format!(r#""glue_udp_{port}_bind":"{}""#, udp_port(*number)),
        }
    }

    /// Returns one service for all containers of a host: different services on one route would each get a hint.
    fn service(&self) -> &str {
        self.host.split('.').next().unwrap_or_default()
    }

    fn endpoint(&self) -> String {
        let address = if self.state == "running" {
            Self::address(self.number).to_string()
        } else {
            String::new()
        };
        format!(
            r#"{{"IPAMConfig":null,"Links":null,"Aliases":null,"MacAddress":"02:42:ac:11:00:02","DriverOpts":null,"NetworkID":"{0:064x}","EndpointID":"{1:064x}","Gateway":"127.0.0.1","IPAddress":"{address}","IPPrefixLen":8,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,"DNSNames":null}}"#,
            1, self.number
        )
    }

    fn summary(&self) -> String {
        let Self { number, port, state, .. } = self;
        let (id, created) = (Self::id(*number), 1_700_000_000 + number / 20);
        format!(
            r#"{{"Id":"{id}","Names":["/{}"],"Image":"example/app:latest","ImageID":"sha256:{:064x}","Command":"/app --serve","Created":{created},"Ports":[{{"PrivatePort":{port},"Type":"tcp"}}],"Labels":{},"State":"{state}","Status":"Up 5 minutes","HostConfig":{{"NetworkMode":"bridge"}},"NetworkSettings":{{"Networks":{{"bridge":{}}}}},"Mounts":[]}}"#,
            self.name(),
            7,
            self.labels(),
            self.endpoint()
        )
    }

    fn inspection(&self) -> String {
        let Self { number, port, state, .. } = self;
        let (id, running) = (Self::id(*number), *state == "running");
        format!(
            r#"{{"Id":"{id}","Created":"2024-01-01T00:00:00.{number:09}Z","Path":"/app","Args":["--serve"],"State":{{"Status":"{state}","Running":{running},"Paused":false,"Restarting":false,"Dead":false,"Pid":1,"ExitCode":0}},"Image":"sha256:{:064x}","Name":"/{}","HostConfig":{{"NetworkMode":"bridge"}},"Mounts":[],"Config":{{"Hostname":"app","Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":null,"Image":"example/app:latest","ExposedPorts":{{"{port}/tcp":{{}}}},"Labels":{}}},"NetworkSettings":{{"Networks":{{"bridge":{}}}}}}}"#,
            7,
            self.name(),
            self.labels(),
            self.endpoint()
        )
    }

    fn event(&self, action: &str, more: &str) -> String {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut attributes = self.labels();
        attributes.pop();
        format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{}","Attributes":{attributes},"image":"example/app:latest","name":"{}"{more}}}}},"scope":"local","time":{},"timeNano":{}}}"#,
            Self::id(self.number),
            self.name(),
            time.as_secs(),
            time.as_nanos()
        )
    }

    fn connection(&self, action: &str) -> String {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        format!(
            r#"{{"Type":"network","Action":"{action}","Actor":{{"ID":"{:064x}","Attributes":{{"container":"{}","name":"bridge","type":"bridge"}}}},"scope":"local","time":{},"timeNano":{}}}"#,
            1,
            Self::id(self.number),
            time.as_secs(),
            time.as_nanos()
        )
    }
}

impl Engine {
    /// Answers on the socket, in threads that end with their connections.
    pub(crate) fn start(socket: &Path, all: Vec<Simulated>) -> Self {
        let engine = Self(Arc::new(Inner { all: Mutex::new(all), ..Inner::default() }));
        let (listener, answering) = (UnixListener::bind(socket).unwrap(), engine.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let engine = answering.clone();
                std::thread::spawn(move || engine.answer_all(client));
            }
        });
        engine
    }

    pub(crate) fn questions(&self) -> usize {
        self.0.questions.load(Ordering::Relaxed)
    }

    /// Simulates `docker create`.
    pub(crate) fn create(&self, container: Simulated) {
        let made = Simulated { state: "created", ..container };
        let event = made.event("create", "");
        self.0.all.lock().unwrap().push(made);
        self.send_events(&[event]);
    }

    /// Simulates `docker start`.
    pub(crate) fn start_container(&self, number: usize) {
        let simulated = self.set_state(number, "running");
        self.send_events(&[simulated.connection("connect"), simulated.event("start", "")]);
    }

    /// Simulates the exit of a container.
    pub(crate) fn die(&self, number: usize) {
        let simulated = self.set_state(number, "exited");
        self.send_events(&[
            simulated.event("die", r#","exitCode":"0""#),
            simulated.connection("disconnect"),
        ]);
    }

    fn set_state(&self, number: usize, state: &'static str) -> Simulated {
        let mut all = self.0.all.lock().unwrap();
        let simulated = all.iter_mut().find(|simulated| simulated.number == number).unwrap();
        simulated.state = state;
        simulated.clone()
    }

    fn send_events(&self, events: &[String]) {
        let mut chunks = String::new();
        for event in events {
            write!(chunks, "{:x}\r\n{event}\n\r\n", event.len() + 1).unwrap();
        }
        let mut listeners = self.0.listeners.lock().unwrap();
        listeners.retain_mut(|stream| stream.write_all(chunks.as_bytes()).is_ok());
    }

    /// Waits until a client subscribes to the events.
    pub(crate) fn wait_for_listener(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.0.listeners.lock().unwrap().is_empty() {
            assert!(Instant::now() < end, "nobody listens to the engine's events");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn answer_all(&self, client: UnixStream) {
        let mut reader = BufReader::new(client.try_clone().unwrap());
        let mut client = client;
        while let Some(path) = read_request_path(&mut reader) {
            if path.starts_with("/events") {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut listeners = self.0.listeners.lock().unwrap();
                if client.write_all(head.as_bytes()).is_ok() {
                    listeners.push(client);
                }
                return;
            }
            self.0.questions.fetch_add(1, Ordering::Relaxed);
            let (status, body) = self.answer(&path);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            if client.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str) -> (u16, String) {
        let all = self.0.all.lock().unwrap();
        if path.starts_with("/containers/json") {
            return (200, list_json(&all, path));
        }
        if path.starts_with("/networks") {
            let bridge = format!(
                r#"[{{"Name":"bridge","Id":"{:064x}","Driver":"bridge","Scope":"local"}}]"#,
                1
            );
            return (200, bridge);
        }
        let id =
            path.strip_prefix("/containers/").and_then(|remaining| remaining.split_once("/json"));
        match id.and_then(|(id, _)| find_index(&all, id)) {
            Some(at) => (200, all[at].inspection()),
            None => (404, r#"{"message":"No such container"}"#.to_owned()),
        }
    }
}

/// Ids start with the number, and the list is sorted by number.
fn find_index(all: &[Simulated], id: &str) -> Option<usize> {
    let number = usize::from_str_radix(id.get(..12)?, 16).ok()?;
    all.binary_search_by_key(&number, |simulated| simulated.number).ok()
}

/// Lists the youngest container first, as the engine does.
fn list_json(all: &[Simulated], path: &str) -> String {
    let path = path
        .replace("%22", "\"")
        .replace("%3A", ":")
        .replace("%5B", "[")
        .replace("%5D", "]")
        .replace("%2C", ",");
    let words = |key: &str| {
        path.split_once(key).and_then(|(_, remaining)| remaining.split_once(']')).map(|pair| pair.0)
    };
    let chosen: Vec<_> = if let Some(ids) = words("\"id\":[") {
        let ids = ids.split(',').map(|id| id.trim_matches('"'));
        ids.filter_map(|id| Some(all[find_index(all, id)?].summary())).collect()
    } else {
        let before = words("\"before\":[").and_then(|id| find_index(all, id.trim_matches('"')));
        let limit = path.split_once("limit=").and_then(|(_, remaining)| {
            remaining.split('&').next().and_then(|limit| limit.parse().ok())
        });
        let page = all[..before.unwrap_or(all.len())].iter().rev();
        page.take(limit.unwrap_or(usize::MAX)).map(Simulated::summary).collect()
    };
    format!("[{}]\n", chosen.join(","))
}

/// Reads a request without a body, and returns its path.
fn read_request_path(reader: &mut BufReader<UnixStream>) -> Option<String> {
    let mut path = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return path,
            head if path.is_none() => path = Some(head.split(' ').nth(1)?.to_owned()),
            _ => {}
        }
    }
}
