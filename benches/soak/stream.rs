//! Clients of TCP and UDP. The containers speak first on a connection, and echo.
//!
//! Each answer names the container, and the client's address and port as the container sees them.

use crate::load::to_micros;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket},
    sync::watch,
    task::spawn_local,
    time::{Instant, interval, sleep, timeout},
};

/// The port of the containers that echoes.
pub(crate) const PORT: u16 = 7000;
const SHORT_CLIENTS: usize = 4;
const SHORT_PAUSE: Duration = Duration::from_millis(20);
const LONG_CLIENTS: usize = 20;
const PING: Duration = Duration::from_millis(50);
const OPEN_CLIENTS: usize = 20;
const OPEN_PING: Duration = Duration::from_millis(500);
/// Each flow sends a datagram every [`PING`]: 1,000 a second.
const FLOWS: usize = 50;
const STILL_FLOWS: usize = 10;
const QUERY_CLIENTS: usize = 5;
const QUERY_PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for an answer on a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// A datagram without an answer after this time counts as lost.
const DATAGRAM_PATIENCE: Duration = Duration::from_secs(2);

/// Public addresses of the service that changes, and of the one that does not. TCP and UDP have the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamEntry {
    pub(crate) changing: SocketAddr,
    pub(crate) still: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamKind {
    /// A connection for one message.
    Short,
    /// A connection of one to two and a half seconds.
    Long,
    /// A connection with the service that does not change, for the whole run.
    Open,
    /// A datagram of a flow.
    Datagram,
    /// A datagram of a flow of the service that does not change.
    StillDatagram,
    /// A datagram from a socket of its own.
    Query,
}

/// What was not answered.
#[derive(Debug, Clone)]
pub(crate) struct StreamLoss {
    pub(crate) kind: StreamKind,
    /// The container of the connection, or the last one that answered the flow. Empty before the first answer.
    pub(crate) container: String,
    /// The client, which loses at most one datagram when its container is killed.
    pub(crate) client: usize,
    pub(crate) at: Instant,
    pub(crate) why: String,
}

#[derive(Debug, Default)]
pub(crate) struct StreamMeasured {
    /// Connections and datagrams.
    pub(crate) sent: BTreeMap<StreamKind, u64>,
    pub(crate) lost: Vec<StreamLoss>,
    /// Microseconds from a datagram or the begin of a short connection to its answer.
    pub(crate) latencies: BTreeMap<StreamKind, Vec<u32>>,
    /// How often the service that does not change saw another source of the same client.
    pub(crate) moved: u64,
}

#[derive(Clone)]
struct Client {
    entry: StreamEntry,
    measured: Rc<RefCell<StreamMeasured>>,
    stop: watch::Receiver<bool>,
}

/// Starts all clients on this thread. They end soon after `stop`.
pub(crate) fn start_clients(
    entry: StreamEntry,
    stop: watch::Receiver<bool>,
) -> Rc<RefCell<StreamMeasured>> {
    let measured = Rc::default();
    let client = Client { entry, measured: Rc::clone(&measured), stop };
    let run =
        |count: usize,
         task: fn(Client, usize) -> futures_util::future::LocalBoxFuture<'static, ()>| {
            for number in 0..count {
                spawn_local(task(client.clone(), number));
            }
        };
    run(SHORT_CLIENTS, |client, _| Box::pin(async move { client.short_connections().await }));
    run(LONG_CLIENTS, |client, number| {
        Box::pin(async move { client.long_connections(number).await })
    });
    run(OPEN_CLIENTS, |client, number| {
        Box::pin(async move { client.open_connections(number).await })
    });
    run(FLOWS, |client, number| {
        Box::pin(async move { client.flow(StreamKind::Datagram, number).await })
    });
    run(STILL_FLOWS, |client, number| {
        Box::pin(async move { client.flow(StreamKind::StillDatagram, number).await })
    });
    run(QUERY_CLIENTS, |client, number| Box::pin(async move { client.queries(number).await }));
    measured
}

impl Client {
    fn has_ended(&self) -> bool {
        *self.stop.borrow()
    }

    fn count(&self, kind: StreamKind) {
        *self.measured.borrow_mut().sent.entry(kind).or_default() += 1;
    }

    fn record_latency(&self, kind: StreamKind, since: Instant) {
        let mut measured = self.measured.borrow_mut();
        measured.latencies.entry(kind).or_default().push(to_micros(since.elapsed()));
    }

    /// What fails after the end of the run does not count: the containers are removed.
    fn record_loss(
        &self,
        kind: StreamKind,
        client: usize,
        container: &str,
        at: Instant,
        why: &io::Error,
    ) {
        if !self.has_ended() {
            let (container, why) = (container.to_owned(), why.kind().to_string());
            self.measured.borrow_mut().lost.push(StreamLoss { kind, container, client, at, why });
        }
    }

    async fn short_connections(self) {
        while !self.has_ended() {
            let (begun, mut container) = (Instant::now(), String::new());
            let result = async {
                let mut connection = Echoed::open(self.entry.changing).await?;
                container.clone_from(&connection.container);
                connection.ping().await
            };
            let result = result.await;
            self.count(StreamKind::Short);
            match result {
                Ok(()) => self.record_latency(StreamKind::Short, begun),
                Err(why) => self.record_loss(StreamKind::Short, 0, &container, begun, &why),
            }
            sleep(SHORT_PAUSE).await;
        }
    }

    async fn long_connections(self, client: usize) {
        for number in 0.. {
            if self.has_ended() {
                return;
            }
            let pings = 20 + (client + number) % 4 * 10;
            self.hold_connection(StreamKind::Long, client, self.entry.changing, PING, Some(pings))
                .await;
        }
    }

    async fn open_connections(self, client: usize) {
        while !self.has_ended() {
            self.hold_connection(StreamKind::Open, client, self.entry.still, OPEN_PING, None).await;
        }
    }

    /// Keeps a connection open for this number of messages, or until the end of the run.
    async fn hold_connection(
        &self,
        kind: StreamKind,
        client: usize,
        at: SocketAddr,
        pace: Duration,
        pings: Option<usize>,
    ) {
        let (mut last, mut container) = (Instant::now(), String::new());
        self.count(kind);
        let result = async {
            let mut connection = Echoed::open(at).await?;
            container.clone_from(&connection.container);
            let mut tick = interval(pace);
            for number in 0.. {
                if self.has_ended() || pings == Some(number) {
                    break;
                }
                tick.tick().await;
                last = Instant::now();
                connection.ping().await?;
            }
            Ok(())
        };
        if let Err(why) = result.await {
            self.record_loss(kind, client, &container, last, &why);
            sleep(PING).await;
        }
    }

    /// Sends datagrams from one socket, and waits for the answer of each before the next one.
    async fn flow(self, kind: StreamKind, client: usize) {
        let at = if kind == StreamKind::Datagram { self.entry.changing } else { self.entry.still };
        let socket = connect_datagrams(at).await.expect("a socket is there");
        let mut tick = interval(PING);
        let (mut container, mut source) = (String::new(), String::new());
        for number in 0.. {
            tick.tick().await;
            if self.has_ended() {
                return;
            }
            let begun = Instant::now();
            self.count(kind);
            match ask(&socket, number).await {
                Ok(answer) => {
                    self.record_latency(kind, begun);
                    if kind == StreamKind::StillDatagram && number != 0 && source != answer.source {
                        self.measured.borrow_mut().moved += 1;
                    }
                    (container, source) = (answer.container, answer.source);
                }
                Err(why) => self.record_loss(kind, client, &container, begun, &why),
            }
        }
    }

    async fn queries(self, client: usize) {
        for number in 0.. {
            if self.has_ended() {
                return;
            }
            let begun = Instant::now();
            let kind = StreamKind::Query;
            self.count(kind);
            let answer =
                async { ask(&connect_datagrams(self.entry.changing).await?, number).await };
            match answer.await {
                Ok(_) => self.record_latency(kind, begun),
                Err(why) => self.record_loss(kind, client, "", begun, &why),
            }
            sleep(QUERY_PAUSE).await;
        }
    }
}

/// A connection to a container that echoes.
struct Echoed {
    stream: BufReader<TcpStream>,
    container: String,
}

impl Echoed {
    /// Connects, and reads the name of the container, which speaks first.
    async fn open(at: SocketAddr) -> io::Result<Self> {
        timeout(PATIENCE, async {
            let stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            let mut stream = BufReader::new(stream);
            let mut greeting = String::new();
            if stream.read_line(&mut greeting).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let container = greeting.split(' ').next().unwrap_or_default().to_owned();
            Ok(Self { stream, container })
        })
        .await?
    }

    async fn ping(&mut self) -> io::Result<()> {
        timeout(PATIENCE, async {
            let mut echo = [0; 5];
            self.stream.write_all(b"hello").await?;
            self.stream.read_exact(&mut echo).await.map(drop)
        })
        .await?
    }
}

/// The container that answered, and the client as the container sees it.
struct Answer {
    container: String,
    source: String,
}

async fn connect_datagrams(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(at).await?;
    Ok(socket)
}

/// Sends a number and waits for it. Answers to earlier datagrams, which came too late, are skipped.
async fn ask(socket: &UdpSocket, number: usize) -> io::Result<Answer> {
    let number = number.to_string();
    timeout(DATAGRAM_PATIENCE, async {
        socket.send(number.as_bytes()).await?;
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).await?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let words: Vec<_> = text.split(' ').collect();
            if let [container, source, echo] = words[..]
                && echo == number
            {
                return Ok(Answer { container: container.to_owned(), source: source.to_owned() });
            }
        }
    })
    .await?
}

impl StreamKind {
    /// Whether it is a datagram.
    pub(crate) fn is_datagram(self) -> bool {
        matches!(self, Self::Datagram | Self::StillDatagram | Self::Query)
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Short => "short connections",
            Self::Long => "connections of 1 to 2.5 s",
            Self::Open => "connections that stay open",
            Self::Datagram => "datagrams of flows",
            Self::StillDatagram => "datagrams to the unchanged service",
            Self::Query => "datagrams from new sockets",
        })
    }
}
