//! State of listeners, routes, servers and problems: the JSON of `GET /status`, which the commands, the dashboard and
//! other programs read.
//!
//! Pure. Times are milliseconds since 1970. Counts are HAProxy's own, since its worker started.

use super::{
    AppliedPass, ApplyMethod, StateSnapshot,
    certificates::{CertificateStatus, SharedOrders},
    exclusion::Exclusion,
    source_status::SourceReport,
    udp_status::{DatagramCounts, ListenerIndex, UdpStatus},
};
use crate::{
    haproxy::{
        config::Backend,
        name,
        stats::{Counters, StatsRow},
    },
    model::{
        label_option::{self, LabelProtocol, OptionValues, ProtocolPolicy},
        option_value::{PathRule, Weight},
        problem::{Problem, ProblemSubject, Reason, Severity},
        route::{Endpoint, Listener, Readiness, Route, RouteKey},
    },
    routing::{
        rollback::Rollback,
        route_diff::{ChangeKind, RouteChange},
        route_table::{Claim, Eligibility},
    },
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use strum::{IntoStaticStr, VariantArray, VariantNames};

/// The whole status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub at_ms: u64,
    /// When the program started.
    pub since_ms: u64,
    pub docker: DockerStatus,
    /// Those of `--source`; absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceReport>,
    pub haproxy: HaproxyStatus,
    /// Absent if docker-glue-udp does not answer.
    #[serde(default)]
    pub udp: Option<UdpStatus>,
    pub last: Option<LastApply>,
    /// Why the desired state is not applied, if it is not.
    pub trouble: Option<String>,
    /// The active rollback, if there is one.
    pub rollback: Option<RollbackStatus>,
    /// Who orders certificates, if several balancers share the store.
    #[serde(default)]
    pub orders: Option<SharedOrders>,
    pub listeners: Vec<ListenerStatus>,
    /// Sorted by listener, host and prefix.
    pub routes: Vec<RouteStatus>,
    pub problems: Vec<ProblemStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerStatus {
    pub connected: bool,
    /// Milliseconds since the last message from Docker: an event, or an answer.
    #[serde(default)]
    pub age_ms: u64,
    /// Number of containers that run and participate; absent until Docker has answered.
    pub containers: Option<usize>,
}

/// The answer to `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthz {
    pub ready: bool,
    /// Why docker-balancer is not ready.
    pub reasons: Vec<String>,
    /// Milliseconds since the last message from Docker.
    pub docker_age_ms: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaproxyStatus {
    pub version: String,
    /// The master's pid, if HAProxy is managed.
    pub pid: Option<u32>,
    /// Whether docker-balancer manages HAProxy, and not a service.
    pub managed: bool,
    /// Whether HAProxy's state and counts could be read.
    pub answers: bool,
    pub old_workers: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastApply {
    pub at_ms: u64,
    /// The event that caused the pass, with its container: `start web`.
    pub cause: String,
    pub how: HowStatus,
    /// Why HAProxy was reloaded, if it was.
    pub why: Option<String>,
    /// Number of commands over the runtime API.
    pub commands: usize,
    /// Microseconds.
    pub took_us: u64,
    /// The texts of [`Self::changed`], for people.
    pub changes: Vec<String>,
    /// Absent in the answer of an earlier docker-balancer.
    #[serde(default)]
    pub changed: Vec<ChangeStatus>,
}

/// A route that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStatus {
    pub change: ChangeKind,
    /// `app.example.com:80/api/`.
    pub route: String,
    /// For people, without the sign: `app.example.com:80/api/ → web`.
    pub text: String,
}

/// The active rollback. It applies whatever containers start, until an operator releases it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackStatus {
    pub generation: u64,
    pub since_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HowStatus {
    Runtime,
    Start,
    Reload,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `http`, `https`, `tcp` or `udp`.
    pub protocol: String,
    /// The public port.
    pub port: u16,
    /// The port that HAProxy binds for it.
    pub bound: u16,
    /// Why the port is not available; completes "its port is …". An earlier docker-balancer sends the whole sentence.
    pub taken: Option<String>,
    pub routes: usize,
    /// Absent of UDP if docker-glue-udp does not count, or does not answer.
    #[serde(flatten)]
    pub load: Option<Load>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// `app.example.com:80/api/`; its identity.
    pub route: String,
    /// `http`, `https`, `tcp` or `udp`.
    #[serde(default = "plain_protocol")]
    pub protocol: String,
    /// The port of its listener.
    pub port: u16,
    /// `app.example.com`, `*.example.com`, or `*` for any.
    pub host: String,
    /// `/api`; empty for the whole host. An exact path, if [`Self::exact`] is set.
    pub prefix: String,
    /// Whether only this path matches, and none below it.
    #[serde(default)]
    pub exact: bool,
    /// Options on which the route's containers agree.
    #[serde(flatten)]
    pub policy: ProtocolPolicy,
    /// Options of the host on an HTTPS listener.
    #[serde(flatten, with = "label_option::json::terms")]
    pub terms: OptionValues,
    /// That of the host on an HTTPS listener; absent on a plain one.
    #[serde(default)]
    pub certificate: Option<CertificateStatus>,
    /// Whether no container requests the route any more, so that it answers 503 until its hold time is over.
    #[serde(rename = "held")]
    pub on_hold: bool,
    /// HAProxy's name of the route's backend.
    pub backend: String,
    pub servers: Vec<ServerStatus>,
    /// Datagrams of a route of UDP. Absent for others, and if docker-glue-udp does not serve it or does not count.
    #[serde(default)]
    pub datagrams: Option<DatagramCounts>,
    /// Absent as that of [`ListenerStatus`].
    #[serde(flatten)]
    pub load: Option<Load>,
}

/// An earlier docker-balancer has only routes of requests.
fn plain_protocol() -> String {
    "http".to_owned()
}

impl RouteStatus {
    /// Returns what clients get while no server serves the route: a status, or a word.
    pub fn refusal(&self) -> &'static str {
        match self.policy.protocol {
            LabelProtocol::Http => "503",
            LabelProtocol::Tcp => "closed",
            LabelProtocol::Udp => "dropped",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub container: String,
    pub id: String,
    /// The machine that it runs on, if its source has containers of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The container's port.
    pub port: u16,
    pub address: String,
    /// Options of the server.
    #[serde(flatten, with = "label_option::json::server")]
    pub options: OptionValues,
    pub state: ServerState,
    /// Why the server is excluded or only a backup, if it is.
    pub why: Option<Exclusion>,
    /// HAProxy's own word for the state, if it reported one: `UP`, `DOWN 1/2`, `MAINT`, …
    pub haproxy: Option<String>,
    /// Absent as that of [`ListenerStatus`].
    #[serde(flatten)]
    pub load: Option<Load>,
}

/// What happens to new requests to the server.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ServerState {
    /// The server gets its share.
    Up,
    /// HAProxy's check fails.
    Down,
    /// The server's weight is 0.
    #[serde(alias = "weightless")]
    ZeroWeight,
    /// The container's HEALTHCHECK has not passed, or it is a backup, and other containers are ready.
    #[serde(alias = "reserve")]
    Backup,
    /// Excluded for another reason, see [`Exclusion`].
    #[serde(alias = "out")]
    Excluded,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Requests in flight, open connections of TCP, or flows of UDP.
    pub sessions: u64,
    /// Of UDP, datagrams of clients.
    pub requests: u64,
    /// Requests in the last second.
    pub rate: u64,
    /// Failed connections, and responses that were cut off or invalid. Of UDP, refused and lost datagrams.
    pub errors: u64,
    /// Responses with a status of 500 to 599.
    pub server_errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemStatus {
    /// The kind, as in metrics and the journal; empty in the answer of an earlier docker-balancer.
    #[serde(default)]
    pub kind: String,
    pub hint: bool,
    /// The container's name and short id; both absent if the problem is about a listener or an option.
    pub container: Option<String>,
    pub id: Option<String>,
    /// `http :80`.
    pub listener: Option<String>,
    /// `--constraint`.
    #[serde(default)]
    pub option: Option<String>,
    pub label: Option<String>,
    pub value: Option<String>,
    pub reason: String,
    /// The whole problem as a sentence.
    pub text: String,
}

/// Docker's list is queried every 30 s. If there was no message for this long, Docker's events are not followed.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);

pub fn is_silent(age: Duration) -> bool {
    SILENCE_LIMIT < age
}

impl DockerStatus {
    /// Whether Docker is connected, but silent for too long.
    pub fn is_silent(&self) -> bool {
        self.connected && is_silent(Duration::from_millis(self.age_ms))
    }
}

impl Healthz {
    /// Ready means that Docker is followed, HAProxy answers, and the desired state is applied.
    pub fn from_status(status: &Status) -> Self {
        let DockerStatus { connected, age_ms, containers } = status.docker;
        let docker = match containers {
            None => Some("Docker has not answered yet".to_owned()),
            _ if !connected => Some("not connected to Docker".to_owned()),
            _ if status.docker.is_silent() => {
                Some(format!("Docker has not answered for {}s", age_ms / 1000))
            }
            _ => None,
        };
        let haproxy = (!status.haproxy.answers).then(|| "HAProxy does not answer".to_owned());
        let apply_error =
            status.trouble.as_ref().map(|why| format!("the last change was not applied: {why}"));
        let reasons: Vec<_> = [docker, haproxy, apply_error].into_iter().flatten().collect();
        Self { ready: reasons.is_empty(), reasons, docker_age_ms: age_ms }
    }
}

impl ServerState {
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;
    /// All values of [`Self::as_str`].
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Status {
    /// `counters` is `None` if HAProxy does not report them.
    pub fn from_snapshot(snapshot: &StateSnapshot, counters: Option<&Counters>) -> Self {
        let live = LiveCounts::new(snapshot, counters);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at_ms: snapshot.at_ms,
            since_ms: snapshot.started_ms,
            docker: DockerStatus {
                connected: snapshot.docker_connected,
                age_ms: u64::try_from(snapshot.docker_age.as_millis()).unwrap_or(u64::MAX),
                containers: snapshot
                    .world
                    .as_ref()
                    .map(|_| snapshot.decide_state.container_count()),
            },
            sources: snapshot.sources.clone(),
            haproxy: HaproxyStatus {
                version: snapshot.haproxy.version.to_string(),
                pid: snapshot.haproxy.pid,
                managed: snapshot.haproxy.managed,
                answers: snapshot.haproxy.answers && counters.is_some(),
                old_workers: live.haproxy.map_or(0, |counters| counters.old_workers),
            },
            udp: snapshot.udp.as_deref().map(UdpStatus::from_report),
            last: snapshot.last_applied.as_ref().map(LastApply::from),
            trouble: snapshot.last_error.clone(),
            rollback: snapshot.decide_state.rollback.as_ref().map(RollbackStatus::from),
            orders: SharedOrders::of_orders(snapshot.orders.as_deref()),
            listeners: listener_statuses(snapshot, &live),
            routes: snapshot
                .routes
                .0
                .iter()
                .map(|pair| route_status(snapshot, &live, pair))
                .collect(),
            problems: snapshot.problems.iter().map(ProblemStatus::from).collect(),
        }
    }
}

/// Counts of HAProxy and of docker-glue-udp at the moment of a snapshot.
#[derive(Debug)]
pub(crate) struct LiveCounts<'a> {
    /// `None` if HAProxy does not report them.
    haproxy: Option<&'a Counters>,
    udp: ListenerIndex<'a>,
}

impl<'a> LiveCounts<'a> {
    pub(crate) fn new(snapshot: &'a StateSnapshot, haproxy: Option<&'a Counters>) -> Self {
        Self { haproxy, udp: ListenerIndex::from_snapshot(snapshot) }
    }
}

fn listener_statuses(snapshot: &StateSnapshot, live: &LiveCounts<'_>) -> Vec<ListenerStatus> {
    let mut served: BTreeMap<Listener, usize> = BTreeMap::new();
    for key in snapshot.routes.0.keys() {
        *served.entry(key.listener).or_default() += 1;
    }
    let mut conflicts = BTreeMap::new();
    for problem in snapshot.problems.iter() {
        if let (ProblemSubject::Listener(listener), Reason::PortTaken { why }) =
            (&problem.subject, &problem.reason)
        {
            let listener = *listener;
            served.entry(listener).or_default();
            conflicts.insert(listener, why.clone());
        }
    }
    let frontends = &snapshot.config.frontends;
    let frontend_of = |listener| frontends.iter().find(|frontend| frontend.listener == listener);
    let status = |(listener, routes): (Listener, usize)| ListenerStatus {
        protocol: listener.protocol.to_string(),
        port: listener.port.get(),
        bound: snapshot.rules.bound_port(listener).get(),
        taken: conflicts.get(&listener).cloned(),
        routes,
        load: if listener.is_udp() {
            live.udp.listener_load(listener)
        } else {
            let frontend = frontend_of(listener).zip(live.haproxy);
            let count = frontend.and_then(|(frontend, all)| all.frontends.get(&frontend.name));
            Some(Load::from_count(count))
        },
    };
    served.into_iter().map(status).collect()
}

pub(crate) fn route_status(
    snapshot: &StateSnapshot,
    live: &LiveCounts<'_>,
    (key, route): (&RouteKey, &Arc<Route>),
) -> RouteStatus {
    let backend_name = snapshot.config.maps.backend_of(key).unwrap_or(name::NO_SERVER);
    let backend = snapshot.config.backends.get(backend_name).map(AsRef::as_ref);
    let on_hold = route.endpoints.is_empty();
    RouteStatus {
        route: key.to_string(),
        protocol: key.listener.protocol.to_string(),
        port: key.listener.port.get(),
        host: key.host().to_string(),
        prefix: key.path().map(PathRule::to_string).unwrap_or_default(),
        exact: key.path().is_some_and(PathRule::is_exact),
        policy: ProtocolPolicy {
            protocol: key.listener.protocol.label_protocol(),
            values: route.policy.clone(),
        },
        terms: route.terms.clone(),
        certificate: CertificateStatus::of_route(snapshot, key, route),
        on_hold,
        backend: backend_name.to_owned(),
        servers: route
            .endpoints
            .iter()
            .map(|endpoint| server_status(snapshot, live, key, endpoint, (backend_name, backend)))
            .collect(),
        datagrams: live.udp.listener_datagrams(key.listener),
        load: if key.is_udp() {
            live.udp.listener_load(key.listener)
        } else {
            // A held route without servers may share its backend, whose counts are then not the route's.
            let count = live.haproxy.and_then(|counts| counts.backends.get(backend_name));
            Some(Load::from_count(count.filter(|_| !on_hold)))
        },
    }
}

fn server_status(
    snapshot: &StateSnapshot,
    live: &LiveCounts<'_>,
    key: &RouteKey,
    endpoint: &Endpoint,
    (backend_name, backend): (&str, Option<&Backend>),
) -> ServerStatus {
    let port = endpoint.port.to_string();
    let is_same = |server: &str| {
        name::parse_container_port(server) == Some((endpoint.container.id(), port.as_str()))
    };
    let frontend_of =
        backend.and_then(|backend| backend.servers.iter().find(|server| is_same(&server.name)));
    let count = frontend_of
        .zip(live.haproxy)
        .and_then(|(server, counts)| counts.server(backend_name, &server.name));
    let claim = snapshot.decide_state.find_claim(key, endpoint);
    let why = |claim| {
        Exclusion::from_claim(
            claim,
            snapshot.world.as_deref(),
            &snapshot.decide_state,
            snapshot.now,
        )
    };
    ServerStatus {
        container: endpoint.container.qualified_name().into_owned(),
        id: endpoint.container.id().to_owned(),
        node: claim.and_then(|claim| find_node(claim, snapshot)),
        port: endpoint.port,
        address: endpoint.address.to_string(),
        options: endpoint.options.clone(),
        state: server_state(endpoint, claim.map(|claim| claim.eligibility), count),
        why: claim.filter(|_| endpoint.readiness == Readiness::Out).map(why),
        haproxy: count.map(|count| count.status.clone()),
        load: if key.is_udp() {
            live.udp.endpoint_load(key.listener, endpoint)
        } else {
            Some(Load::from_count(count))
        },
    }
}

fn find_node(claim: &Claim, snapshot: &StateSnapshot) -> Option<String> {
    let container = snapshot.world.as_ref()?.containers.get(&claim.seniority.1)?;
    container.node.as_deref().map(str::to_owned)
}

fn server_state(
    endpoint: &Endpoint,
    eligibility: Option<Eligibility>,
    count: Option<&StatsRow>,
) -> ServerState {
    let down = count.is_some_and(|count| count.status.starts_with("DOWN"));
    match endpoint.readiness {
        Readiness::Out => match eligibility {
            Some(Eligibility::Backup | Eligibility::Doubtful) => ServerState::Backup,
            _ => ServerState::Excluded,
        },
        Readiness::Ready if down => ServerState::Down,
        Readiness::Ready if endpoint.weight().get() == 0 => ServerState::ZeroWeight,
        Readiness::Ready => ServerState::Up,
    }
}

/// Returns the cause of [`ListenerStatus::taken`], also of the sentence that an earlier docker-balancer sends.
pub(crate) fn port_conflict_cause(taken: &str) -> &str {
    let cause = taken.strip_prefix("its port is ").unwrap_or(taken);
    cause.split("; it is tried again").next().unwrap_or(cause)
}

impl ServerStatus {
    /// Returns the container, with its machine if that is known.
    pub fn place(&self) -> String {
        place_text(&self.container, self.node.as_deref())
    }

    /// Returns the server's share of the route's requests.
    pub fn weight(&self) -> u16 {
        self.options.get::<Weight>().get()
    }
}

impl Load {
    fn from_count(count: Option<&StatsRow>) -> Self {
        let Some(count) = count else { return Self::default() };
        let StatsRow { sessions, requests, rate, errors, server_errors, .. } = *count;
        Self { sessions, requests, rate, errors, server_errors }
    }
}

impl ApplyMethod {
    /// Returns the kind, why HAProxy was reloaded, and how many commands it got.
    pub fn to_parts(&self) -> (HowStatus, Option<String>, usize) {
        match self {
            Self::Runtime { commands } => (HowStatus::Runtime, None, *commands),
            Self::Started => (HowStatus::Start, None, 0),
            Self::Reloaded { why } => (HowStatus::Reload, Some(why.clone()), 0),
        }
    }
}

impl From<&Rollback> for RollbackStatus {
    fn from(rollback: &Rollback) -> Self {
        Self { generation: rollback.generation, since_ms: rollback.since_ms }
    }
}

impl From<&AppliedPass> for LastApply {
    fn from(applied: &AppliedPass) -> Self {
        let (how, why, commands) = applied.how.to_parts();
        Self {
            at_ms: applied.at_ms,
            cause: applied.cause.clone(),
            how,
            why,
            commands,
            took_us: u64::try_from(applied.duration.as_micros()).unwrap_or(u64::MAX),
            changes: applied.changes.iter().map(ToString::to_string).collect(),
            changed: applied.changes.clone(),
        }
    }
}

impl From<&RouteChange> for ChangeStatus {
    fn from(change: &RouteChange) -> Self {
        Self { change: change.kind(), route: change.route().to_string(), text: change.describe() }
    }
}

impl fmt::Display for ChangeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.change.sign(), self.text)
    }
}

impl From<&Problem> for ProblemStatus {
    fn from(problem: &Problem) -> Self {
        let (mut container, mut id, mut listener, mut option) = (None, None, None, None);
        match &problem.subject {
            ProblemSubject::Container(subject) => {
                (container, id) =
                    (Some(subject.qualified_name().into_owned()), Some(subject.id().to_owned()));
            }
            ProblemSubject::Listener(subject) => listener = Some(subject.to_string()),
            ProblemSubject::Option(name) => option = Some((*name).to_owned()),
        }
        Self {
            kind: problem.reason.kind().to_owned(),
            hint: problem.reason.severity() == Severity::Hint,
            container,
            id,
            listener,
            option,
            label: problem.label.as_ref().map(|label| label.key.clone()),
            value: problem.label.as_ref().map(|label| label.value.clone()),
            reason: problem.reason.to_string(),
            text: problem.to_string(),
        }
    }
}

/// Returns `web.1 on node2`, or only the name of the container.
pub(crate) fn place_text(container: &str, node: Option<&str>) -> String {
    node.map_or_else(|| container.to_owned(), |node| format!("{container} on {node}"))
}
