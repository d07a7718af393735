//! Routes of datagrams: a task tells docker-glue-udp which listeners to serve, and reads back which it serves. It also
//! starts docker-glue-udp if docker-balancer owns it.

use super::udp_process::{UdpProcess, UdpProcessConfig};
use crate::{
    haproxy::{proxy::Shutdown, render::Bind},
    model::route::{Listener, Routes},
    routing::{decide::Rules, udp_listener::udp_listener},
    udp::{
        answer::{UdpAnswer, UdpReport},
        client::{PlaneClient, PlaneError},
        command::UdpCommand,
        plan::{UdpListeners, plan_udp_commands},
    },
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// How long to wait before a plane that does not answer is asked again, and before refused listeners are set again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the plane's listeners and counters are read. Something else may have changed the listeners.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// How long a single pass waits until docker-glue-udp answers.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Who runs docker-glue-udp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpOwner {
    /// A service, or the operator. The socket is its control socket.
    Other { socket: PathBuf },
    /// docker-balancer starts it when a route of datagrams needs it.
    Balancer(UdpProcessConfig),
}

impl UdpOwner {
    fn socket(&self) -> &Path {
        match self {
            Self::Other { socket } => socket,
            Self::Balancer(config) => &config.socket,
        }
    }
}

/// What is known about the listeners that docker-glue-udp should serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UdpPlaneState {
    /// Why nothing is known. Completes "the port is not served: …".
    pub failure: Option<String>,
    /// Listeners that the plane refused, and why.
    pub refused: BTreeMap<SocketAddr, String>,
}

/// Makes docker-glue-udp serve listeners until it is dropped. The listeners are served after that, too.
#[derive(Debug)]
pub struct UdpPlane {
    desired: watch::Sender<DesiredListeners>,
    /// The number of the desired listeners that were sent last.
    sent: watch::Receiver<u64>,
    state: watch::Receiver<UdpPlaneState>,
    /// Counters change all the time, so they are not part of the state.
    report: watch::Receiver<Option<Arc<UdpReport>>>,
    /// Ends the task. Without it, docker-glue-udp is left running.
    ending: oneshot::Sender<Shutdown>,
    task: JoinSet<()>,
    /// docker-glue-udp's control socket.
    socket: PathBuf,
}

/// Listeners with their number, which each change increases. 0 until they are known.
#[derive(Debug, Default)]
struct DesiredListeners {
    number: u64,
    listeners: Arc<UdpListeners>,
}

/// What the task reports.
#[derive(Debug)]
struct PlaneReports {
    sent: watch::Sender<u64>,
    state: watch::Sender<UdpPlaneState>,
    report: watch::Sender<Option<Arc<UdpReport>>>,
}

impl UdpPlane {
    /// Nothing is sent, and docker-glue-udp is not started, before the first listeners are set.
    pub fn start(owner: UdpOwner) -> Self {
        let (desired, listeners) = watch::channel(DesiredListeners::default());
        let (sent_sender, sent) = watch::channel(0);
        let (state_sender, state) = watch::channel(UdpPlaneState::default());
        let (report_sender, report) = watch::channel(None);
        let reports =
            PlaneReports { sent: sent_sender, state: state_sender, report: report_sender };
        let (ending, ended) = oneshot::channel();
        let mut task = JoinSet::new();
        let socket = owner.socket().to_owned();
        task.spawn(run(owner, listeners, reports, ended));
        Self { desired, sent, state, report, ending, task, socket }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sets the listeners to serve.
    pub fn set_listeners(&self, listeners: UdpListeners) {
        self.desired.send_if_modified(|current| {
            let is_changed = current.number == 0 || *current.listeners != listeners;
            if is_changed {
                current.number += 1;
                current.listeners = Arc::new(listeners);
            }
            is_changed
        });
    }

    /// Waits until docker-glue-udp serves the listeners or refuses some.
    ///
    /// # Errors
    /// What is not served, and why.
    pub async fn settle(&mut self) -> Result<(), String> {
        let number = self.desired.borrow().number;
        let (sent, state) = (&mut self.sent, &mut self.state);
        let settled = async {
            let _ = sent.wait_for(|sent| number <= *sent).await;
            let _ = state.wait_for(|state| state.failure.is_none()).await;
        };
        let _ = timeout(SETTLE_TIMEOUT, settled).await;
        let UdpPlaneState { failure, refused } = &*self.state.borrow();
        let refused = refused.iter().map(|(bind, why)| format!("{bind} is not served: {why}"));
        let reasons: Vec<_> = failure.iter().cloned().chain(refused).collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }

    /// Ends the task, and docker-glue-udp if docker-balancer owns it.
    pub async fn finish(mut self, end: Shutdown) {
        // An error means that the task has panicked.
        let _ = self.ending.send(end);
        let _ = self.task.join_next().await;
    }

    /// Waits until the state is another one.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns what docker-glue-udp reported last, at most some seconds ago. `None` if it does not answer.
    pub fn report(&self) -> Option<Arc<UdpReport>> {
        self.report.borrow().clone()
    }

    /// Returns why a listener is not served. Completes "its port is …".
    pub fn unserved_reason(&self, binds: &[SocketAddr]) -> Option<String> {
        let state = self.state.borrow();
        let refused = binds.iter().find_map(|bind| state.refused.get(bind));
        state.failure.as_ref().or(refused).map(|why| format!("not served: {why}"))
    }
}

/// Returns the listeners of all routes of datagrams.
pub fn udp_listeners(routes: &Routes, rules: &Rules, binds: &[Bind]) -> UdpListeners {
    let routes = routes.0.iter().filter(|(key, _)| key.is_udp());
    let listeners = routes.flat_map(|(key, route)| {
        let addresses = bound_addresses(key.listener, rules, binds);
        addresses.into_iter().map(|bind| (bind, udp_listener(bind, route)))
    });
    listeners.collect()
}

/// Returns the addresses at which a listener is served.
pub fn bound_addresses(listener: Listener, rules: &Rules, binds: &[Bind]) -> Vec<SocketAddr> {
    let port: NonZeroU16 = rules.bound_port(listener);
    let address = |bind: &Bind| match bind {
        // It receives datagrams to addresses of both families.
        Bind::Everywhere => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        Bind::At(address) => *address,
    };
    binds.iter().map(|bind| SocketAddr::new(address(bind), port.get())).collect()
}

async fn run(
    owner: UdpOwner,
    desired: watch::Receiver<DesiredListeners>,
    reports: PlaneReports,
    ended: oneshot::Receiver<Shutdown>,
) {
    let (socket, mut process) = match owner {
        UdpOwner::Other { socket } => (socket, None),
        UdpOwner::Balancer(config) => (config.socket.clone(), Some(UdpProcess::new(config))),
    };
    let end = tokio::select! {
        () = follow(&socket, process.as_mut(), desired, reports) => return,
        end = ended => end,
    };
    if let (Ok(Shutdown::Stop), Some(mut process)) = (end, process) {
        process.stop().await;
    }
}

async fn follow(
    socket: &Path,
    mut process: Option<&mut UdpProcess>,
    mut desired: watch::Receiver<DesiredListeners>,
    PlaneReports { sent, state, report }: PlaneReports,
) {
    if desired.changed().await.is_err() {
        return;
    }
    // The last answer, while it is known to be what the plane serves.
    let mut known = None;
    loop {
        let (number, listeners) = {
            let desired = desired.borrow_and_update();
            (desired.number, Arc::clone(&desired.listeners))
        };
        let applied =
            apply_or_start(socket, process.as_deref_mut(), &listeners, known.take()).await;
        report.send_replace(applied.as_ref().ok().map(|applied| Arc::clone(&applied.report)));
        let found = match applied {
            Ok(applied) => {
                known = applied.is_current.then_some(applied.report);
                UdpPlaneState { failure: None, refused: applied.refused }
            }
            // Without routes of datagrams nobody misses the plane.
            Err(error) => UdpPlaneState {
                failure: (!listeners.is_empty()).then_some(error),
                ..UdpPlaneState::default()
            },
        };
        let is_complete = found == UdpPlaneState::default();
        state.send_if_modified(|current| std::mem::replace(current, found.clone()) != found);
        sent.send_replace(number);
        let pause = if is_complete { REPORT_INTERVAL } else { RETRY_INTERVAL };
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { return },
            _ = exit_of(&mut process) => {}
            // The counters of all listeners are read, too.
            () = sleep_until(Instant::now() + pause) => known = None,
        }
    }
}

/// Makes docker-glue-udp serve the listeners, and starts it before if it is `process`, does not run, and has some to serve.
async fn apply_or_start(
    socket: &Path,
    process: Option<&mut UdpProcess>,
    listeners: &UdpListeners,
    known: Option<Arc<UdpReport>>,
) -> Result<AppliedListeners, String> {
    let applied = apply(socket, listeners, known).await;
    let Some(process) = process else { return applied.map_err(|error| error.to_string()) };
    match applied {
        Ok(applied) if applied.report.plane.engine == process.engine() => return Ok(applied),
        // Left running by an earlier docker-balancer with another engine.
        Ok(_) => process.stop().await,
        Err(PlaneError::Unreachable { .. }) if !listeners.is_empty() => {}
        Err(error) => return Err(error.to_string()),
    }
    process.start().await?;
    apply(socket, listeners, None).await.map_err(|error| error.to_string())
}

/// Waits until a docker-glue-udp that was started here exits.
async fn exit_of(process: &mut Option<&mut UdpProcess>) -> String {
    match process {
        Some(process) => process.wait_for_exit().await,
        None => std::future::pending().await,
    }
}

/// The state of the plane after the listeners were set.
#[derive(Debug)]
struct AppliedListeners {
    /// Listeners that it refused, and why.
    refused: BTreeMap<SocketAddr, String>,
    report: Arc<UdpReport>,
    /// Whether the report has the plane's listeners. Otherwise something else has changed them meanwhile.
    is_current: bool,
}

/// Makes the plane serve the listeners. `known` is the last report: it saves reading all listeners if the plane has made
/// no changes since.
async fn apply(
    socket: &Path,
    desired: &UdpListeners,
    known: Option<Arc<UdpReport>>,
) -> Result<AppliedListeners, PlaneError> {
    let mut client = PlaneClient::connect(socket).await?;
    let mut report = read_report(&mut client, known).await?;
    let observed = report.listeners.values().map(|report| &report.listener);
    let commands = plan_udp_commands(observed, desired);
    let mut refused = BTreeMap::new();
    let mut changes = 0;
    for answer in client.execute(&commands).await? {
        changes += usize::from(answer.is_ok());
        match answer {
            Ok(UdpAnswer::Listener(listener)) => {
                report.listeners.insert(listener.listener.bind, Arc::from(listener));
            }
            Ok(UdpAnswer::Deleted(bind)) => {
                report.listeners.remove(&bind);
            }
            Ok(UdpAnswer::Plane(_) | UdpAnswer::Flows(_) | UdpAnswer::Error(_)) => {}
            Err(error) => {
                if let UdpCommand::Set(listener) = error.command {
                    refused.insert(listener.bind, error.reason);
                }
            }
        }
    }
    let after =
        if commands.is_empty() { report.plane.clone() } else { client.read_totals().await? };
    let is_current = report.plane.is_followed_by(&after, changes);
    report.plane = after;
    Ok(AppliedListeners { refused, report: Arc::new(report), is_current })
}

/// Reads what the plane serves. Listeners that are known not to have changed have the counters of before.
async fn read_report(
    client: &mut PlaneClient,
    known: Option<Arc<UdpReport>>,
) -> Result<UdpReport, PlaneError> {
    if let Some(known) = known {
        let plane = client.read_totals().await?;
        if known.plane.is_followed_by(&plane, 0) {
            return Ok(UdpReport { plane, listeners: known.listeners.clone() });
        }
    }
    let (plane, listeners) = client.read_all().await?;
    let listeners =
        listeners.into_iter().map(|report| (report.listener.bind, Arc::new(report))).collect();
    Ok(UdpReport { plane, listeners })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::{
        config::UdpListener,
        engine::Engine,
        server::{PlaneSettings, serve},
    };
    use futures_util::FutureExt as _;
    use std::{future::pending, net::Ipv4Addr};

    /// Returns listeners at two free ports.
    fn two_listeners() -> [UdpListener; 2] {
        let bind = || std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        [bind(), bind()].map(|socket| UdpListener::new(socket.local_addr().unwrap()))
    }

    async fn served(socket: &Path) -> Vec<SocketAddr> {
        let mut client = PlaneClient::connect(socket).await.unwrap();
        let (_, listeners) = client.read_all().await.unwrap();
        listeners.iter().map(|report| report.listener.bind).collect()
    }

    /// Not all listeners are read at each change, but then something else has changed none.
    #[tokio::test]
    async fn listener_that_another_client_deleted_is_set_again_at_the_next_change() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let settings = PlaneSettings {
            engine: Engine::User,
            socket: socket.clone(),
            state_dir: folder.path().to_owned(),
            threads: Some(1),
            sessions: 64,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(settings, pending().boxed()));
        let mut plane = UdpPlane::start(UdpOwner::Other { socket: socket.clone() });
        let [first, second] = two_listeners();
        let mut listeners = UdpListeners::from([(first.bind, first.clone())]);
        plane.set_listeners(listeners.clone());
        plane.settle().await.unwrap();
        assert_eq!(served(&socket).await, [first.bind]);

        let mut client = PlaneClient::connect(&socket).await.unwrap();
        client.execute(&[UdpCommand::Delete(first.bind)]).await.unwrap();
        listeners.insert(second.bind, second);
        plane.set_listeners(listeners.clone());
        plane.settle().await.unwrap();
        let expected: Vec<_> = listeners.keys().copied().collect();
        assert_eq!(served(&socket).await, expected);
        let report = plane.report().unwrap();
        assert_eq!(report.listeners.keys().copied().collect::<Vec<_>>(), expected);

        // The commands of a change are made from what was read before.
        listeners.remove(&first.bind);
        plane.set_listeners(listeners.clone());
        plane.settle().await.unwrap();
        assert_eq!(served(&socket).await, listeners.keys().copied().collect::<Vec<_>>());
    }
}
