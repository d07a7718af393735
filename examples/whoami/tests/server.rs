//! Tests of the real binary over real connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket, client};

struct Whoami {
    child: Child,
    log: BufReader<ChildStderr>,
    port: u16,
}

impl Whoami {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_whoami"))
            .args(["--port", "0", "--name", "me"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .expect("whoami starts");
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let port = read_port(&mut log);
        Self { child, log, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        stream
    }

    /// Sends the text and returns all that the server sends until it closes the
    /// connection.
    fn say(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn get(&self, path: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"))
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").arg(id).status().expect("kill runs");
        assert!(status.success());
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    fn healthcheck(&self) -> bool {
        Command::new(env!("CARGO_BIN_EXE_whoami"))
            .args(["healthcheck", &self.port.to_string()])
            .stderr(Stdio::null())
            .status()
            .expect("whoami starts")
            .success()
    }

    fn websocket(&self) -> WebSocket<TcpStream> {
        let url = format!("ws://127.0.0.1:{}/ws", self.port);
        let (socket, response) = client(url, self.connect()).expect("a websocket");
        assert_eq!(response.headers()["x-whoami"], "me");
        socket
    }
}

/// Returns the port that the next line of the log ends with.
fn read_port(log: &mut impl BufRead) -> u16 {
    let mut line = String::new();
    log.read_line(&mut line).expect("a line");
    line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

impl Drop for Whoami {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn says_the_facts() {
    let answer = Whoami::start(&[]).get("/x?a=1");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nX-Whoami: me\r\n"), "{answer}");
    assert!(answer.contains("\r\n\r\nname: me\naddress: 127.0.0.1:"), "{answer}");
    assert!(answer.contains("method: GET\npath: /x\nquery: a=1\nhost: a.test\n"), "{answer}");
}

#[test]
fn requests_share_a_connection() {
    let answers = Whoami::start(&[]).say(
        "POST /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
         PUT /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
         4\r\nabcd\r\n0\r\n\r\n\
         HEAD /3 HTTP/1.1\r\n\r\nGET /4 HTTP/1.0\r\n\r\n",
    );
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 100 Continue").count(), 1, "{answers}");
    assert!(answers.contains("body: 3 bytes") && answers.contains("body: 4 bytes"));
    assert!(!answers.contains("path: /3") && answers.contains("path: /4"));
}

#[test]
fn misbehaves_on_demand() {
    let mut whoami = Whoami::start(&[]);
    assert!(whoami.get("/status/503").starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(whoami.say("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert_eq!(whoami.get("/empty"), "");
    let started = Instant::now();
    assert!(whoami.get("/bytes/100000?ms=300").len() > 100_000);
    assert!(whoami.get("/slow?ms=200").contains("path: /slow"));
    assert!(started.elapsed() >= Duration::from_millis(500));
    assert_eq!(whoami.get("/die"), "");
    assert_eq!(whoami.wait().code(), Some(1));
}

#[test]
fn health_can_be_switched() {
    let whoami = Whoami::start(&["--healthy-after", "1h"]);
    assert!(!whoami.healthcheck());
    whoami.say("POST /healthy HTTP/1.0\r\n\r\n");
    assert!(whoami.healthcheck());
    whoami.say("POST /unhealthy HTTP/1.0\r\n\r\n");
    assert!(!whoami.healthcheck());
}

#[test]
fn websockets_echo_and_close() {
    let mut whoami = Whoami::start(&[]);
    let mut socket = whoami.websocket();
    assert_eq!(socket.read().unwrap(), Message::text("name: me"));
    for message in [Message::text("hello"), Message::binary(vec![0, 255])] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    whoami.terminate();
    assert!(socket.read().unwrap().is_close());
    assert_eq!(whoami.wait().code(), Some(0));
}

#[test]
fn connections_and_datagrams_are_echoed() {
    let mut whoami = Whoami::start(&["--echo", "0"]);
    let at = ("127.0.0.1", read_port(&mut whoami.log));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for datagram in ["hello", ""] {
        socket.send_to(datagram.as_bytes(), at).unwrap();
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer).unwrap();
        let expected = format!("me {} {datagram}", socket.local_addr().unwrap());
        assert_eq!(String::from_utf8_lossy(&answer[..length]), expected);
    }

    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let expected = format!("me {}\n", stream.local_addr().unwrap());
    let mut greeting = vec![0; expected.len()];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(String::from_utf8_lossy(&greeting), expected);
    // The server waits for the end of the connection.
    whoami.terminate();
    let mut echo = [0; 5];
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    drop(stream);
    assert_eq!(whoami.wait().code(), Some(0));
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let mut whoami = Whoami::start(&[]);
    let _idle = whoami.connect();
    let mut slow = whoami.connect();
    slow.write_all(b"GET /slow?ms=500 HTTP/1.1\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    whoami.terminate();
    thread::sleep(Duration::from_millis(100));
    assert!(TcpStream::connect(("127.0.0.1", whoami.port)).is_err());
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Connection: close") && answer.contains("path: /slow"));
    assert_eq!(whoami.wait().code(), Some(0));
}

#[test]
fn sigterm_can_drop_or_be_ignored() {
    let mut dropping = Whoami::start(&["--drop-on-term"]);
    let mut slow = dropping.connect();
    slow.write_all(b"GET /slow?ms=5000 HTTP/1.1\r\n\r\n").unwrap();
    thread::sleep(Duration::from_millis(100));
    dropping.terminate();
    assert_eq!(dropping.wait().code(), Some(0));

    let ignoring = Whoami::start(&["--ignore-term"]);
    ignoring.terminate();
    thread::sleep(Duration::from_millis(200));
    assert!(ignoring.get("/").contains("name: me"));
}

/// Each client that can connect gets an answer, although a closed port resets
/// connections that it has not accepted.
#[test]
fn sigterm_answers_every_connection() {
    for _ in 0..10 {
        let mut whoami = Whoami::start(&[]);
        let port = whoami.port;
        let ask = move || {
            let request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                let mut answer = String::new();
                stream.write_all(request).unwrap();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.contains("name: me"), "{answer}");
            }
        };
        let clients: Vec<_> = (0..8).map(|_| thread::spawn(ask)).collect();
        thread::sleep(Duration::from_millis(20));
        whoami.terminate();
        for client in clients {
            client.join().unwrap();
        }
        assert_eq!(whoami.wait().code(), Some(0));
    }
}
