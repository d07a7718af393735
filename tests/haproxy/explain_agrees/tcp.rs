//! The same for connections of TCP: explain names the server that HAProxy connects a client to, by the port and the server
//! name of TLS (SNI).

use super::{answerer::container_address, drawn::Drawn};
use crate::common::{haproxy::HAProxy, story};
use docker_glue::{
    haproxy::stats::{Counters, StatsClient},
    report::{
        StateSnapshot,
        explain::{RequestOutcome, explain, request::ExplainRequest},
        offline::offline_snapshot,
    },
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::Ipv4Addr,
    num::NonZeroU16,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const CONNECTIONS: usize = 10_000;
/// Concurrent clients.
const CLIENTS: usize = 32;
const CONTAINERS: usize = 60;
/// Public ports: of routes without names, of both kinds, and of names alone.
const ANY_PORTS: [u16; 3] = [3001, 3002, 3003];
const MIXED_PORTS: [u16; 3] = [3004, 3005, 3006];
const NAME_PORTS: [u16; 2] = [3007, 3008];
const NAMES: [&str; 9] = [
    "a.db.test",
    "b.db.test",
    "x.a.db.test",
    "db.test",
    "mail.test",
    "*.db.test",
    "*.test",
    "*.a.db.test",
    "xn--bcher-kva.test",
];
const ASKED_NAMES: [&str; 10] = [
    "a.db.test",
    "b.db.test",
    "c.db.test",
    "x.a.db.test",
    "y.a.db.test",
    "db.test",
    "mail.test",
    "other.test",
    "nobody.example",
    "xn--bcher-kva.test",
];

/// What a client sends first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    /// A ClientHello with this name.
    Name(String),
    /// A ClientHello without a name.
    NoName,
    /// A protocol without TLS.
    Plain,
    /// The server speaks first.
    Silence,
}

#[derive(Debug, Clone)]
struct Connection {
    port: NonZeroU16,
    start: Start,
}

#[tokio::test]
async fn explain_predicts_haproxy_for_10000_connections() {
    let mut drawn = Drawn::new();
    let (inside, _servers) = start_servers().await;
    let snapshot = snapshot_of(&draw_story(&mut drawn, inside));
    let wait = Duration::from_millis(1);
    let Some(haproxy) = HAProxy::start_with_wait(&snapshot.config, wait).await else { return };
    let counters = StatsClient::for_socket(haproxy.socket()).fetch_counters().await.unwrap();
    let ports: Vec<_> = snapshot.routes.0.keys().map(|key| key.listener.port).collect();
    let bound: BTreeMap<_, _> = ports.iter().map(|port| (*port, haproxy.bound(*port))).collect();
    let all: Vec<_> = (0..CONNECTIONS).map(|_| draw_connection(&mut drawn, &ports)).collect();

    let shared = Arc::new((snapshot, counters, bound));
    let mut clients = JoinSet::new();
    for share in all.chunks(CONNECTIONS / CLIENTS) {
        let (share, shared) = (share.to_vec(), Arc::clone(&shared));
        clients.spawn(async move { compare_connections(share, &shared).await });
    }
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeMap::<_, usize>::new());
    for (differing, counts) in clients.join_all().await {
        wrong.extend(differing);
        for (outcome, count) in counts {
            *outcomes.entry(outcome).or_default() += count;
        }
    }
    let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {CONNECTIONS} differ:\n{shown}", wrong.len());
    for outcome in [RequestOutcome::Served, RequestOutcome::Closed] {
        let count = outcomes.get(&outcome).copied().unwrap_or_default();
        assert!(200 < count, "only {count} are {outcome:?}: {outcomes:?}");
    }
}

fn draw_story(drawn: &mut Drawn, inside: u16) -> String {
    let mut story = String::new();
    for number in 0..CONTAINERS {
        let state = drawn.of(&["", "", "", "", "", "paused", "unhealthy", "leaving"]);
        let has_names = !drawn.one_in(4);
        let first = if has_names { &NAME_PORTS[..] } else { &ANY_PORTS[..] };
        let ports = [first, &MIXED_PORTS[..]].concat();
        let binds: Vec<_> = (0..2).map(|_| drawn.of(&ports).to_string()).collect();
        write!(story, "c{number} {} {state}", container_address(number)).unwrap();
        write!(story, " glue_tcp_{inside}_bind={}", binds.join(",")).unwrap();
        if has_names {
            let names: Vec<_> = (0..=drawn.below(2)).map(|_| drawn.of(&NAMES)).collect();
            write!(story, " glue_tcp_{inside}_host={}", names.join(",")).unwrap();
        }
        let weight = drawn.of(&["0", "1", "100", "256"]);
        writeln!(story, " glue_tcp_{inside}_weight={weight}").unwrap();
    }
    story
}

fn snapshot_of(story: &str) -> StateSnapshot {
    let (world, rules) = (story::parse_world(story), story::default_rules());
    let wait = Duration::from_secs(10);
    let mut snapshot = offline_snapshot(world, rules, None, None, wait, (Instant::now(), 0));
    snapshot.config = Arc::new(story::build_config(&snapshot.routes));
    snapshot.haproxy.answers = true;
    snapshot
}

fn draw_connection(drawn: &mut Drawn, ports: &[NonZeroU16]) -> Connection {
    let port = drawn.of(ports);
    let start = match drawn.below(10) {
        0 => Start::NoName,
        1 => Start::Plain,
        // HAProxy waits 5 s for the name on the other ports.
        2 | 3 if ANY_PORTS.contains(&port.get()) => Start::Silence,
        _ => {
            let name = drawn.of(&ASKED_NAMES);
            let name = if drawn.one_in(4) { drawn.in_capitals(name) } else { name.to_owned() };
            Start::Name(if drawn.one_in(8) { format!("{name}.") } else { name })
        }
    };
    Connection { port, start }
}

async fn compare_connections(
    all: Vec<Connection>,
    (snapshot, counters, bound): &(StateSnapshot, Counters, BTreeMap<NonZeroU16, u16>),
) -> (Vec<String>, BTreeMap<RequestOutcome, usize>) {
    let (mut wrong, mut outcomes) = (Vec::new(), BTreeMap::new());
    for connection in all {
        let Connection { port, start } = &connection;
        let name = if let Start::Name(name) = start { name.as_str() } else { "" };
        let (method, url) = ("GET".parse().unwrap(), format!("tcp://{name}:{port}"));
        let request = ExplainRequest::new(method, url.parse().unwrap());
        let explanation = explain(&request, snapshot, Some(counters));
        let answer = connect(bound[port], start).await;
        let agrees = match explanation.outcome {
            RequestOutcome::Served => {
                explanation.servers.iter().any(|step| step.address == answer && 0.0 < step.percent)
            }
            RequestOutcome::Closed => answer.is_empty(),
            _ => false,
        };
        if !agrees {
            let (outcome, why) = (explanation.outcome, &explanation.why);
            wrong.push(format!("{connection:?}: {answer:?}, but {outcome:?}, {why}"));
        }
        *outcomes.entry(explanation.outcome).or_default() += 1;
    }
    (wrong, outcomes)
}

/// Returns the address of the server that answers; empty if HAProxy closes the connection.
async fn connect(port: u16, start: &Start) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let first = match start {
        Start::Name(name) => client_hello(Some(name)),
        Start::NoName => client_hello(None),
        Start::Plain => b"EHLO client\r\n".to_vec(),
        Start::Silence => Vec::new(),
    };
    // HAProxy may close the connection at any time.
    let _ = stream.write_all(&first).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// Returns the first record of a TLS connection (RFC 8446, section 4.1.2), with the server name (RFC 6066, section 3).
fn client_hello(name: Option<&str>) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let with_length = |bytes: &[u8]| [&short(bytes.len())[..], bytes].concat();
    let extensions = name.map_or_else(Vec::new, |name| {
        let entry = [&[0][..], &with_length(name.as_bytes())].concat();
        [&[0, 0][..], &with_length(&with_length(&entry))].concat()
    });
    let version_and_random = [&[3, 3][..], &[7; 32]].concat();
    let session_ciphers_compression = [0, 0, 2, 0x13, 0x01, 1, 0];
    let body = [version_and_random, session_ciphers_compression.to_vec(), with_length(&extensions)];
    let body = body.concat();
    let message = [&[1, 0][..], &with_length(&body)].concat();
    [&[22, 3, 1][..], &with_length(&message)].concat()
}

/// Starts servers, one for each container. They answer with their address when a client connects. Returns their port.
async fn start_servers() -> (u16, JoinSet<()>) {
    loop {
        let first = TcpListener::bind((container_address(0), 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for number in 1..CONTAINERS {
            // Another program may have the port at this address.
            listeners.extend(TcpListener::bind((container_address(number), port)).await);
        }
        if listeners.len() == CONTAINERS {
            let mut tasks = JoinSet::new();
            for listener in listeners {
                tasks.spawn(answer_connections(listener));
            }
            return (port, tasks);
        }
    }
}

async fn answer_connections(listener: TcpListener) {
    let address = listener.local_addr().unwrap().to_string();
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (mut stream, _) = listener.accept().await.unwrap();
        let address = address.clone();
        connections.spawn(async move {
            // HAProxy's check closes the connection at once.
            let _ = stream.write_all(address.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
    }
}
