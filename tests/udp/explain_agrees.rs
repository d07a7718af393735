//! Explain names the container to which docker-glue-udp sends a flow: 10,000 flows of drawn clients of IPv4 and IPv6, sent
//! over the loopback interface.

use crate::common::{story, wait_until};
use docker_glue::{
    report::{
        StateSnapshot,
        explain::{FlowTarget, explain, request::ExplainRequest},
        offline::offline_snapshot,
    },
    routing::udp_listener::udp_listener,
    udp::{client::PlaneClient, command::UdpCommand},
};
use proptest::{
    prelude::Rng,
    test_runner::{RngAlgorithm, TestRng},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

const FLOWS: usize = 10_000;
const CONTAINERS: u8 = 12;
/// How many public ports the routes have, and the labels that their containers have in common.
const PORTS: usize = 10;
const POLICIES: [&str; 3] = ["replies=1", "sticky=source", "sticky=none"];

#[derive(Debug)]
struct Drawn(TestRng);

impl Drawn {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64() % u64::try_from(end).unwrap()).unwrap()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Each container serves some of the public ports of each policy, with a weight of its own.
    fn story(&mut self, inside: &[u16], public: &[Vec<u16>]) -> String {
        let mut story = String::new();
        for number in 0..CONTAINERS {
            let state = self.of(&["", "", "", "", "", "paused", "leaving"]);
            write!(story, "c{number} {} {state}", container_address(number)).unwrap();
            for ((port, public), policy) in inside.iter().zip(public).zip(POLICIES) {
                let binds: BTreeSet<_> = (0..4).map(|_| self.of(public)).collect();
                let binds: Vec<_> = binds.iter().map(ToString::to_string).collect();
                let weight = self.of(&["0", "1", "25", "100", "100", "256"]);
                let binds = binds.join(",");
                write!(
                    story,
                    " glue_udp_{port}_bind={binds} glue_udp_{port}_{policy} \
                     glue_udp_{port}_weight={weight}"
                )
                .unwrap();
            }
            story.push('\n');
        }
        story
    }

    fn client(&mut self) -> SocketAddr {
        let mut octet = || u8::try_from(self.below(254)).unwrap() + 1;
        let ip = match octet() {
            0..64 => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::new(127, octet(), octet(), octet())),
        };
        SocketAddr::new(ip, 0)
    }
}

#[tokio::test]
async fn explain_names_the_container_of_10000_flows() {
    let mut drawn = Drawn(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (inside, _containers) = start_containers().await;
    let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
    let plane = Plane::start(&folder.path().join("control.sock"));
    let mut control = plane.connect().await;
    let snapshot = loop {
        let public: Vec<_> = POLICIES.iter().map(|_| free_ports()).collect();
        let snapshot = snapshot_of(&drawn.story(&inside, &public));
        if set_listeners(&mut control, &snapshot).await {
            break snapshot;
        }
        // Another program has taken one of the ports since.
    };
    let keys: Vec<_> = snapshot.routes.0.keys().cloned().collect();
    assert!(PORTS < keys.len(), "{} routes", keys.len());

    let (mut lost, mut spread) = (0_u64, BTreeMap::<_, BTreeSet<_>>::new());
    let mut targets = [0; 3];
    for _ in 0..FLOWS {
        let key = &keys[drawn.below(keys.len())];
        let client = UdpSocket::bind(drawn.client()).await.unwrap();
        let from = client.local_addr().unwrap();
        let server: IpAddr = match from {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let server = SocketAddr::new(server, key.listener.port.get());
        let url = format!("udp://:{}", key.listener.port);
        let request =
            ExplainRequest::with_client("GET".parse().unwrap(), url.parse().unwrap(), Some(from));
        let explanation = explain(&request.unwrap(), &snapshot, None);
        let flow = explanation.flow.expect("the flow of a client is explained");
        match flow.goes_to {
            FlowTarget::Container => {
                targets[0] += 1;
                let answer = ask(&client, server).await;
                assert_eq!(Some(&answer), flow.address.as_ref(), "{url} from {from}");
            }
            FlowTarget::Spread => {
                targets[1] += 1;
                let answer = ask(&client, server).await;
                let is_server = explanation.servers.iter().any(|step| step.address == answer);
                assert!(is_server, "{url} from {from}: {answer}");
                spread.entry(url).or_default().insert(answer);
            }
            FlowTarget::Nowhere => {
                targets[2] += 1;
                client.send_to(b"lost", server).await.unwrap();
                lost += 1;
            }
        }
    }
    assert!(targets.iter().all(|count| 100 < *count), "{targets:?}");
    assert!(spread.values().any(|servers| 2 < servers.len()), "{spread:?}");
    wait_until("all other datagrams were dropped", async || {
        let (plane, _) = control.read_all().await.unwrap();
        (plane.counters.dropped.no_endpoint == lost).then_some(())
    })
    .await;
}

/// docker-glue-udp, which ends with the test.
struct Plane {
    child: Child,
    socket: std::path::PathBuf,
}

impl Plane {
    fn start(socket: &Path) -> Self {
        let program = env!("CARGO_BIN_EXE_docker-glue-udp");
        let child = Command::new(program).arg("--socket").arg(socket).arg("--quiet").spawn();
        Self { child: child.unwrap(), socket: socket.to_owned() }
    }

    async fn connect(&self) -> PlaneClient {
        wait_until("docker-glue-udp", async || PlaneClient::connect(&self.socket).await.ok()).await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn container_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 7, 1, number + 1)
}

/// Starts containers that answer with the address that received the datagram. Returns their ports, one for each policy:
/// only the addresses of the containers differ.
async fn start_containers() -> (Vec<u16>, JoinSet<()>) {
    let (mut ports, mut tasks) = (Vec::new(), JoinSet::new());
    while ports.len() < POLICIES.len() {
        let first = UdpSocket::bind((container_address(0), 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut sockets = vec![first];
        for number in 1..CONTAINERS {
            // Another program may have the port at this address.
            sockets.extend(UdpSocket::bind((container_address(number), port)).await);
        }
        if sockets.len() == usize::from(CONTAINERS) {
            ports.push(port);
            for socket in sockets {
                tasks.spawn(answer_datagrams(socket));
            }
        }
    }
    (ports, tasks)
}

async fn answer_datagrams(socket: UdpSocket) {
    let address = socket.local_addr().unwrap().to_string();
    let mut datagram = [0; 64];
    loop {
        // A client may be gone.
        if let Ok((_, from)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(address.as_bytes(), from).await;
        }
    }
}

fn free_ports() -> Vec<u16> {
    let bind = |_| std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let sockets: Vec<_> = (0..PORTS).map(bind).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

fn snapshot_of(story: &str) -> StateSnapshot {
    let (world, rules) = (story::parse_world(story), story::default_rules());
    let wait = Duration::from_secs(10);
    offline_snapshot(world, rules, None, None, wait, (Instant::now(), 0))
}

/// Returns `false` if the plane refused one of them.
async fn set_listeners(control: &mut PlaneClient, snapshot: &StateSnapshot) -> bool {
    let listener = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let routes = snapshot.routes.0.iter();
    let listeners =
        routes.map(|(key, route)| udp_listener(listener(key.listener.port.get()), route));
    let commands: Vec<_> = listeners.map(|listener| UdpCommand::Set(Box::new(listener))).collect();
    control.execute(&commands).await.unwrap().iter().all(Result::is_ok)
}

/// Sends a datagram until it is answered: a busy machine may lose some.
async fn ask(client: &UdpSocket, server: SocketAddr) -> String {
    for _ in 0..20 {
        client.send_to(b"ask", server).await.unwrap();
        let mut answer = [0; 64];
        if let Ok(received) = timeout(Duration::from_secs(1), client.recv_from(&mut answer)).await {
            let (length, _) = received.unwrap();
            return String::from_utf8_lossy(&answer[..length]).into_owned();
        }
    }
    panic!("no answer of {server}");
}
