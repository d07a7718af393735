//! The clients: requests at a constant rate, websockets, slow transfers. Runs in its own thread.

use crate::{
    entry::{Entry, Protocol},
    http::{Answer, Connection, Failure},
    http2::Http2Connection,
    stream::{self, StreamEntry, StreamMeasured},
};
use std::{cell::RefCell, collections::BTreeMap, fmt, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinSet, LocalSet, spawn_local},
    time::{Instant, interval, sleep, sleep_until, timeout},
};

/// Requests a second, unless `SOAK_RATE` says otherwise.
const RATE: u32 = 500;
/// Limit of requests in flight; further ones are not sent, but counted.
const MAX_IN_FLIGHT: usize = 4000;
/// HAProxy closes idle connections after 15 s; a client that reuses one at that moment would lose
/// its request.
const IDLE: Duration = Duration::from_secs(10);
pub(crate) const BODY: &[u8] = &[b'x'; 2000];
const WEBSOCKETS: usize = 50;
const SLOW_ONES: usize = 4;
/// Limit of failed or slow requests that are kept individually.
const MAX_KEPT: usize = 20_000;
pub(crate) const LONG: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) entry: Entry,
    /// The service that changes all the time.
    pub(crate) host: String,
    /// A service that does not change.
    pub(crate) still: String,
    /// Both by TCP and UDP.
    pub(crate) streams: StreamEntry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    GetNew,
    GetKept,
    PostNew,
    PostKept,
    SlowGet,
    SlowPost,
    Handshake,
    Probe,
}

/// A request that failed or took long.
#[derive(Debug, Clone)]
pub(crate) struct Odd {
    pub(crate) protocol: Protocol,
    pub(crate) kind: Kind,
    /// Identifies the request in the access log.
    pub(crate) path: String,
    pub(crate) at: Instant,
    pub(crate) after: Duration,
    /// How much of `after` the client itself was late.
    pub(crate) lag: Duration,
    pub(crate) failure: Option<Failure>,
}

/// A websocket that ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) whoami: String,
    pub(crate) at: Instant,
    pub(crate) why: String,
}

#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) requests: BTreeMap<(Protocol, Kind), u64>,
    /// Microseconds from the scheduled time to the whole answer.
    pub(crate) latencies: BTreeMap<Protocol, Vec<u32>>,
    /// How late the load generator itself was, in microseconds.
    pub(crate) lags: Vec<u32>,
    pub(crate) odd: Vec<Odd>,
    pub(crate) unsent: u64,
    pub(crate) echoes: u64,
    pub(crate) ended: Vec<Ended>,
    pub(crate) streams: StreamMeasured,
}

#[derive(Debug, Clone)]
struct Client {
    target: Rc<Target>,
    measured: Rc<RefCell<Measured>>,
    /// Idle keep-alive connections by protocol, the most recently used last.
    idle: Rc<RefCell<BTreeMap<Protocol, Vec<Connection>>>>,
    /// The connection that all requests over HTTP/2 share, except those with a connection of their own.
    shared: Rc<RefCell<Option<Http2Connection>>>,
    stop: watch::Receiver<bool>,
}

/// Runs the load until it is stopped.
pub(crate) fn run_load(target: Target, stop: watch::Receiver<bool>) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (measured, idle, shared) = (Rc::default(), Rc::default(), Rc::default());
    let client = Client { target: Rc::new(target), measured, idle, shared, stop };
    LocalSet::new().block_on(&runtime, async {
        let streams = stream::start_clients(client.target.streams, client.stop.clone());
        client.send_all().await;
        client.measured.borrow_mut().streams = streams.take();
    });
    client.measured.take()
}

impl Client {
    async fn send_all(&self) {
        for number in 0..WEBSOCKETS {
            let client = self.clone();
            spawn_local(async move { client.websockets(number).await });
        }
        for number in 0..SLOW_ONES {
            let (down, up) = (self.clone(), self.clone());
            spawn_local(async move { down.downloads(number).await });
            spawn_local(async move { up.uploads(number).await });
        }
        self.arrivals().await;
    }

    async fn arrivals(&self) {
        let (begin, period) = (Instant::now(), Duration::from_secs(1) / read_rate());
        let mut running = JoinSet::new();
        for number in 0.. {
            let due = begin + period * number;
            sleep_until(due).await;
            while running.try_join_next().is_some() {}
            if *self.stop.borrow() {
                break;
            }
            if MAX_IN_FLIGHT < running.len() {
                self.measured.borrow_mut().unsent += 1;
                continue;
            }
            let client = self.clone();
            running.spawn_local(async move { client.send_one(number, due).await });
        }
        let _ = timeout(Duration::from_secs(30), running.join_all()).await;
    }

    async fn send_one(&self, number: u32, due: Instant) {
        let begun = Instant::now();
        let kind = match (number.is_multiple_of(10), number / 10 % 2 == number % 2) {
            (false, false) => Kind::GetNew,
            (false, true) => Kind::GetKept,
            (true, false) => Kind::PostNew,
            (true, true) => Kind::PostKept,
        };
        // Every kind is sent by every protocol.
        let protocol = Protocol::of_client(number as usize / 20);
        let (path, Target { entry, host, .. }) = (format!("/r/{number}"), &*self.target);
        let answer = match (kind, protocol) {
            (Kind::GetKept | Kind::PostKept, Protocol::Http2) => {
                self.send_on_shared(kind, &path).await
            }
            (Kind::GetKept | Kind::PostKept, _) => self.send_on_kept(protocol, kind, &path).await,
            _ => entry.send_on_new(protocol, kind, &path, host).await.map(drop),
        };
        self.record_result((protocol, kind), path, due, begun - due, answer);
        let mut measured = self.measured.borrow_mut();
        measured.latencies.entry(protocol).or_default().push(to_micros(due.elapsed()));
        measured.lags.push(to_micros(begun - due));
    }

    async fn send_on_kept(
        &self,
        protocol: Protocol,
        kind: Kind,
        path: &str,
    ) -> Result<(), Failure> {
        let Target { entry, host, .. } = &*self.target;
        let idle = self.idle.borrow_mut().entry(protocol).or_default().pop();
        let mut connection = match idle.filter(|connection| connection.used.elapsed() < IDLE) {
            Some(connection) => connection,
            None => entry.connect(protocol, host).await?,
        };
        if connection.send_request(&build_request(kind, path, host)).await?.keeps {
            self.idle.borrow_mut().entry(protocol).or_default().push(connection);
        }
        Ok(())
    }

    async fn send_on_shared(&self, kind: Kind, path: &str) -> Result<(), Failure> {
        let Target { entry, host, .. } = &*self.target;
        let shared = self.shared.borrow().clone().filter(Http2Connection::is_open);
        let mut connection = match shared {
            Some(connection) => connection,
            None => entry.connect_http2(host).await?,
        };
        *self.shared.borrow_mut() = Some(connection.clone());
        connection.send_request(kind, path, host).await.map(drop)
    }

    fn record_result(
        &self,
        (protocol, kind): (Protocol, Kind),
        path: String,
        due: Instant,
        lag: Duration,
        answer: Result<(), Failure>,
    ) {
        let mut measured = self.measured.borrow_mut();
        *measured.requests.entry((protocol, kind)).or_default() += 1;
        let slow = matches!(kind, Kind::SlowGet | Kind::SlowPost);
        let long = LONG < due.elapsed() && !slow;
        if (long || answer.is_err()) && measured.odd.len() < MAX_KEPT {
            let (after, failure) = (due.elapsed(), answer.err());
            measured.odd.push(Odd { protocol, kind, path, at: due, after, lag, failure });
        }
    }

    async fn downloads(&self, lane: usize) {
        let (protocol, kind) = (Protocol::of_client(lane), Kind::SlowGet);
        for number in 0.. {
            if *self.stop.borrow() {
                return;
            }
            let path = format!("/bytes/200000?ms=1500&n={lane}-{number}");
            let due = Instant::now();
            let Target { entry, host, .. } = &*self.target;
            let answer = entry.send_on_new(protocol, kind, &path, host).await.map(drop);
            self.record_result((protocol, kind), path, due, Duration::ZERO, answer);
        }
    }

    async fn uploads(&self, lane: usize) {
        let protocol = Protocol::of_client(lane);
        for number in 0.. {
            if *self.stop.borrow() {
                return;
            }
            let path = format!("/upload/{lane}-{number}");
            let due = Instant::now();
            let answer = self.upload(protocol, &path).await.map(drop);
            self.record_result((protocol, Kind::SlowPost), path, due, Duration::ZERO, answer);
        }
    }

    async fn upload(&self, protocol: Protocol, path: &str) -> Result<Answer, Failure> {
        let (Target { entry, host, .. }, pause) = (&*self.target, Duration::from_millis(50));
        if protocol == Protocol::Http2 {
            let mut connection = entry.connect_http2(host).await?;
            return connection.upload(path, host, (BODY, 30), pause).await;
        }
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Length: 60000\r\n\r\n"
        );
        let mut connection = entry.connect(protocol, host).await?;
        connection.upload(head.as_bytes(), BODY, 30, pause).await
    }

    /// Keeps a websocket open; every second one uses the service that changes, and half of these HTTPS.
    async fn websockets(&self, number: usize) {
        let host = if number.is_multiple_of(2) { &self.target.host } else { &self.target.still };
        let protocol =
            if (number / 2).is_multiple_of(2) { Protocol::Http } else { Protocol::Https };
        let kind = (protocol, Kind::Handshake);
        for life in 0.. {
            let path = format!("/ws/{number}-{life}");
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            let due = Instant::now();
            let open = async {
                let mut connection = self.target.entry.connect(protocol, host).await?;
                let answer = connection.upgrade(request.as_bytes()).await?;
                Ok((connection, answer.whoami))
            };
            match open.await {
                Ok((mut connection, whoami)) => {
                    self.record_result(kind, path, due, Duration::ZERO, Ok(()));
                    let why = self.echo_until_closed(&mut connection).await;
                    if *self.stop.borrow() {
                        return;
                    }
                    let ended = Ended { whoami, at: Instant::now(), why };
                    self.measured.borrow_mut().ended.push(ended);
                }
                Err(failure) => {
                    self.record_result(kind, path, due, Duration::ZERO, Err(failure));
                    sleep(Duration::from_millis(200)).await;
                }
            }
            if *self.stop.borrow() {
                return;
            }
        }
    }

    /// Sends a message every second and reads the echoes; returns why the connection ended.
    async fn echo_until_closed(&self, connection: &mut Connection) -> String {
        let mut stop = self.stop.clone();
        let mut tick = interval(Duration::from_secs(1));
        let mut time = Instant::now();
        loop {
            tokio::select! {
                frame = connection.read_frame() => match frame {
                    Ok(true) => {
                        self.measured.borrow_mut().echoes += 1;
                        time = Instant::now();
                    }
                    Ok(false) => return "closed by the container".to_owned(),
                    Err(error) => return error.kind().to_string(),
                },
                _ = tick.tick() => {
                    if Duration::from_secs(20) < time.elapsed() {
                        return "no echo".to_owned();
                    }
                    // A text frame of five bytes with a zero mask.
                    let _ = connection.write(b"\x81\x85\0\0\0\0hello").await;
                }
                _ = stop.wait_for(|stop| *stop) => return "the end".to_owned(),
            }
        }
    }
}

/// Returns the number of requests a second. A slow or busy machine needs a lower one.
fn read_rate() -> u32 {
    let rate = std::env::var("SOAK_RATE").ok();
    rate.map_or(RATE, |text| text.parse().expect("SOAK_RATE is a number of requests a second"))
}

/// Sends a request over HTTP on a new connection.
pub(crate) async fn send_on_new(at: SocketAddr, request: &[u8]) -> Result<Answer, Failure> {
    Connection::open(at).await?.send_request(request).await
}

pub(crate) fn build_request(kind: Kind, path: &str, host: &str) -> Vec<u8> {
    let connection = match kind {
        Kind::GetKept | Kind::PostKept => "keep-alive",
        _ => "close",
    };
    let (method, length) = match kind {
        Kind::PostKept | Kind::PostNew => ("POST", format!("Content-Length: {}\r\n", BODY.len())),
        _ => ("GET", String::new()),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n{length}\r\n"
    );
    let mut request = head.into_bytes();
    if method == "POST" {
        request.extend_from_slice(BODY);
    }
    request
}

pub(crate) fn to_micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl Kind {
    /// Whether the request may be sent twice (RFC 9110, section 9.2.2).
    pub(crate) fn is_idempotent(self) -> bool {
        !matches!(self, Self::PostNew | Self::PostKept | Self::SlowPost)
    }

    /// Whether the transfer is short. A slow one may be cut by its container's end in the middle,
    /// which no proxy can prevent.
    pub(crate) fn is_short(self) -> bool {
        !matches!(self, Self::SlowGet | Self::SlowPost)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::GetNew => "GET, new connection",
            Self::GetKept => "GET, keep-alive",
            Self::PostNew => "POST, new connection",
            Self::PostKept => "POST, keep-alive",
            Self::SlowGet => "slow download",
            Self::SlowPost => "slow upload",
            Self::Handshake => "websocket handshake",
            Self::Probe => "probe",
        })
    }
}
