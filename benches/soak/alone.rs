//! Restarts the only container of a route, recreates it as Compose does, and stops it while it continues to serve.

use crate::{
    chaos::{Activity, Chaos, Span},
    entry::Protocol,
    http::{Answer, Failure},
    load::{Kind, build_request, send_on_new},
};
use std::{cell::Cell, collections::BTreeMap, fmt, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{interval, sleep},
};

pub(crate) const SERVICE: &str = "alone";
/// How long after the container's start its program listens.
const UP_AFTER: &str = "1500ms";
/// Interval between two requests of one client.
const PACE: Duration = Duration::from_millis(10);
/// How long clients send requests before and after each change.
const CALM: Duration = Duration::from_millis(500);
/// Seconds until a container that ignores its stop signal is killed.
const STOP_TIMEOUT: i32 = 5;
/// A little less than `STOP_TIMEOUT`.
const SERVES_ON: Duration = Duration::from_millis(4500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    Restarted,
    RecreatedByComposeOne,
    RecreatedByComposeTwo,
    Stopped,
    /// As `Stopped`, with requests sent to the container's own address.
    StoppedQueriedDirectly,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

pub(crate) type Counts = BTreeMap<Case, Count>;

/// Of clients through HAProxy: half of them use HTTPS.
const CLIENTS: [(Protocol, Kind); 4] = [
    (Protocol::Http, Kind::GetNew),
    (Protocol::Http, Kind::PostNew),
    (Protocol::Https, Kind::GetNew),
    (Protocol::Http2, Kind::PostNew),
];

/// Clients that send requests until they are stopped.
#[derive(Default)]
struct Clients {
    stop: Rc<Cell<bool>>,
    clients: Vec<JoinHandle<Count>>,
}

impl Clients {
    /// Starts clients of HAProxy.
    fn start(chaos: &Chaos) -> Self {
        let mut clients = Self::default();
        for (protocol, kind) in CLIENTS {
            let (entry, host) = (chaos.entry.clone(), chaos.crowd.host(SERVICE));
            clients.add(async move || entry.send_on_new(protocol, kind, "/alone", &host).await);
        }
        clients
    }

    /// Starts clients of the container itself.
    fn start_direct(at: SocketAddr, host: &str) -> Self {
        let mut clients = Self::default();
        for kind in [Kind::GetNew, Kind::PostNew] {
            let request = build_request(kind, "/alone", host);
            clients.add(async move || send_on_new(at, &request).await);
        }
        clients
    }

    fn add(&mut self, send: impl AsyncFn() -> Result<Answer, Failure> + 'static) {
        let stop = Rc::clone(&self.stop);
        self.clients.push(spawn_local(async move { ask_until(&stop, send).await }));
    }

    async fn end(self) -> Count {
        self.stop.set(true);
        let mut sum = Count::default();
        for client in self.clients {
            let Count { sent, lost } = client.await.expect("the client ran to its end");
            sum = Count { sent: sum.sent + sent, lost: sum.lost + lost };
        }
        sum
    }
}

/// Sends one request after another, because each may wait for a container.
async fn ask_until(stop: &Cell<bool>, send: impl AsyncFn() -> Result<Answer, Failure>) -> Count {
    let (mut count, mut pace) = (Count::default(), interval(PACE));
    while !stop.get() {
        let answer = send().await;
        count.sent += 1;
        count.lost += u64::from(answer.is_err());
        pace.tick().await;
    }
    count
}

pub(crate) async fn measure_single_container(chaos: &Chaos) {
    let span = Span::begin(Activity::Alone);
    let crowd = &chaos.crowd;
    let first = chaos.crowd.create(SERVICE, &["--listen-after", UP_AFTER]).await;
    crowd.start(&first).await;
    chaos.wait_until_served(SERVICE, &first).await;

    let clients = start_clients(chaos).await;
    crowd.restart(&first).await;
    wait_until_served(chaos, Case::Restarted, clients, &first).await;

    // docker-compose 1 creates the new container after the old one has stopped.
    let clients = start_clients(chaos).await;
    crowd.stop(&first, STOP_TIMEOUT).await;
    let second = crowd.create(SERVICE, &["--listen-after", UP_AFTER]).await;
    crowd.start(&second).await;
    crowd.remove(&first).await;
    wait_until_served(chaos, Case::RecreatedByComposeOne, clients, &second).await;

    // docker compose 2 creates the new container before the old one is stopped and removed.
    let clients = start_clients(chaos).await;
    let third = crowd.create(SERVICE, &["--listen-after", UP_AFTER]).await;
    crowd.stop(&second, STOP_TIMEOUT).await;
    crowd.remove(&second).await;
    crowd.start(&third).await;
    wait_until_served(chaos, Case::RecreatedByComposeTwo, clients, &third).await;
    crowd.stop(&third, STOP_TIMEOUT).await;
    crowd.remove(&third).await;

    measure_stop(chaos).await;
    chaos.end_span(span);
}

async fn start_clients(chaos: &Chaos) -> Clients {
    let clients = Clients::start(chaos);
    sleep(CALM).await;
    clients
}

/// Waits until the container serves again, and records the requests.
async fn wait_until_served(chaos: &Chaos, case: Case, clients: Clients, name: &str) {
    chaos.wait_until_served(SERVICE, name).await;
    sleep(CALM).await;
    let count = clients.end().await;
    chaos.story.borrow_mut().alone.insert(case, count);
}

/// Measures a container that serves until it is killed. Clients without a proxy are the reference.
async fn measure_stop(chaos: &Chaos) {
    let (crowd, host) = (&chaos.crowd, chaos.crowd.host(SERVICE));
    let name = crowd.create(SERVICE, &["--ignore-term"]).await;
    crowd.start(&name).await;
    chaos.wait_until_served(SERVICE, &name).await;
    let proxied = Clients::start(chaos);
    let direct = Clients::start_direct(crowd.address(&name).await, &host);
    sleep(CALM).await;
    // The engine kills the container after this; later requests would be lost with and without a proxy.
    let stop = crowd.stop(&name, STOP_TIMEOUT);
    let ((), (proxied, direct)) = tokio::join!(stop, async {
        sleep(SERVES_ON).await;
        (proxied.end().await, direct.end().await)
    });
    let counts = [(Case::Stopped, proxied), (Case::StoppedQueriedDirectly, direct)];
    chaos.story.borrow_mut().alone.extend(counts);
    crowd.remove(&name).await;
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Restarted => "docker restart",
            Self::RecreatedByComposeOne => "recreated, old one stopped first",
            Self::RecreatedByComposeTwo => "recreated, new one created first",
            Self::Stopped => "docker stop, serves on",
            Self::StoppedQueriedDirectly => "docker stop, serves on, asked directly",
        })
    }
}
