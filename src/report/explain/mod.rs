//! Why a request is routed as it is: from the listener over the route to its servers, each with the label that it comes
//! from; the routes that match with lower priority; and the containers that are skipped.
//!
//! Pure. The JSON of `GET /explain`.

mod exclusion_search;
mod features;
mod flow;
mod hint;
mod label_source;
mod outcome;
pub mod request;
mod route_match;
mod selected_route;
mod tls_step;

use super::{StateSnapshot, status::place_text};
use crate::{
    haproxy::stats::Counters, model::route::RouteKey, support::format::format_duration,
    udp::engine::Engine,
};
use outcome::{decide_outcome, listener_step, redirect_location};
use request::{ExplainRequest, RejectionError};
use route_match::{matching_routes, near_misses, not_selected_reason};
use selected_route::SelectedRoute;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, time::Duration};

pub use super::status::ServerState;
pub use tls_step::TlsStep;

/// The status of requests over a connection without the TLS options of their host (RFC 9110, section 15.5.20).
const MISDIRECTED: u16 = 421;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    #[serde(alias = "asked")]
    pub answered_by: AnsweredBy,
    /// The answer of the running docker-balancer, if it has no explanation and Docker was queried in its place.
    #[serde(alias = "daemon_said")]
    pub daemon_error: Option<String>,
    pub method: String,
    /// As the user wrote it.
    pub url: String,
    pub outcome: RequestOutcome,
    /// The status if HAProxy itself answers: that of a redirect, 400, 403, 404, 405, 421 or 503.
    pub status: Option<u16>,
    /// The outcome as a sentence.
    pub why: String,
    pub listener: ListenerStep,
    /// The URL of a redirect.
    #[serde(default)]
    pub location: Option<String>,
    /// Absent for plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsStep>,
    /// Absent, like the route, if no route matches.
    pub host: Option<HostStep>,
    pub route: Option<RouteStep>,
    /// Servers that get requests, and those that would if HAProxy's check did not fail.
    pub servers: Vec<ServerStep>,
    /// What a server receives, and how the request is handled; absent if no server gets it.
    pub becomes: Option<ForwardedRequest>,
    /// Options of the route that no other member shows: of a route of TCP or UDP all, of others those that are set.
    #[serde(default)]
    pub options: Vec<OptionStep>,
    /// The headers that the explained request has, and what the route does with each, if a container gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderStep>,
    /// What carries the datagrams of a route of UDP. Absent for others, and if docker-glue-udp does not answer.
    #[serde(default)]
    pub engine: Option<EngineStep>,
    /// Where the client's flow goes; absent if no client is given, or the engine does not choose by the client.
    #[serde(default)]
    pub flow: Option<FlowStep>,
    /// Other routes that match, the best first; if none matches, routes that nearly do.
    pub lost: Vec<NotSelected>,
    /// Containers that would serve the request but are skipped.
    pub absent: Vec<ExcludedContainer>,
    /// The most similar host that has a route, if this one has none.
    pub did_you_mean: Option<String>,
    /// URLs of the same request on other ports, if it is served there and not here.
    pub elsewhere: Vec<String>,
    /// Further facts.
    pub notes: Vec<String>,
}

/// Source of the explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnsweredBy {
    /// The running docker-balancer.
    Daemon,
    /// Docker, because no docker-balancer explained the request: what one that starts now would do.
    Docker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestOutcome {
    Served,
    /// HAProxy answers a request of a browser about another one (204).
    Answered,
    /// To HTTPS, or by an option of the route.
    Redirected,
    /// 503
    Unavailable,
    /// 404
    NotFound,
    /// 400 or 405, regardless of the routes, or another status of the client's mistakes by an option of the route.
    Refused,
    /// There is no certificate for the host, so the TLS handshake fails.
    TlsRefused,
    /// The TLS connection is forwarded to a container as it is.
    PassedThrough,
    /// No container accepts the connection, so HAProxy closes it.
    Closed,
    /// No container accepts the datagrams.
    Dropped,
    #[serde(alias = "nobody-listens")]
    NotListening,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStep {
    /// `http`, `https`, `tcp` or `udp`.
    #[serde(default = "plain_protocol")]
    pub protocol: String,
    /// The public port.
    pub port: u16,
    /// The port that is bound for it.
    pub bound: u16,
    /// Why the port is not available; completes "its port is …".
    pub taken: Option<String>,
    pub labels: Vec<LabelSource>,
}

/// An earlier docker-balancer explains only plain HTTP.
fn plain_protocol() -> String {
    "http".to_owned()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStep {
    /// As it is looked up: in lower case, without port and trailing dot.
    #[serde(alias = "asked")]
    pub requested: String,
    /// `app.example.com`, `*.example.com`, or `*` for any.
    pub matched: String,
    pub labels: Vec<LabelSource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStep {
    /// `app.example.com:80/api/`; its identity.
    pub route: String,
    /// `/api`; empty for the whole host. An exact path, if [`Self::exact`] is set.
    pub prefix: String,
    /// Whether only this path matches, and none below it.
    #[serde(default)]
    pub exact: bool,
    /// Whether HAProxy does not decrypt its connections. Then the labels are those of tls.
    #[serde(default)]
    pub passes_tls: bool,
    /// Name of its backend in HAProxy.
    pub backend: String,
    pub labels: Vec<LabelSource>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStep {
    pub container: String,
    pub id: String,
    /// The machine that it runs on, if its source has containers of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub address: String,
    pub weight: u16,
    /// Its share of the route's requests, from 0 to 100.
    pub percent: f64,
    pub state: ServerState,
    /// HAProxy's own word for the state, if it reported one.
    pub haproxy: Option<String>,
    /// The label of its weight. Absent for the default weight, and while a rollback is active.
    pub label: Option<LabelSource>,
}

impl ServerStep {
    /// Returns the container, with its machine if that is known.
    pub fn place(&self) -> String {
        place_text(&self.container, self.node.as_deref())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedRequest {
    /// With the query.
    pub path: String,
    pub stripped: bool,
    /// How long the container may take to answer.
    pub timeout_ms: u64,
    /// `safe`, `all` or `off`.
    pub retry: String,
    /// Which of this method's requests are sent again.
    pub again: RetryScope,
    /// How the container is spoken to: `http`, `h2c`, `https` or `h2`.
    #[serde(default = "plain_protocol")]
    pub scheme: String,
    /// How its certificate is verified: `off`, `system`, or the name of a CA. Absent without TLS.
    #[serde(default)]
    pub verify: Option<String>,
    /// `tcp`, `off`, or a path.
    pub check: String,
    /// The labels of strip_prefix, timeout, retry and check that are set; none while a rollback is active.
    pub labels: Vec<LabelSource>,
}

/// Value of an option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionStep {
    pub option: String,
    pub value: String,
    /// Absent for the default, and while a rollback is active.
    pub label: Option<LabelSource>,
}

/// A header of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderStep {
    /// In lower case.
    pub name: String,
    pub value: String,
    /// The value that the container gets; absent if it does not get the header.
    pub becomes: Option<String>,
    /// What happens, in a few words.
    pub text: String,
    /// Absent if no label causes it.
    pub label: Option<LabelSource>,
}

/// What carries datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStep {
    pub engine: Engine,
    /// Whether datagrams arrive at containers from the client's address.
    pub client_address: bool,
}

/// Where a new flow of a client goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStep {
    /// The client.
    pub from: SocketAddr,
    pub goes_to: FlowTarget,
    /// The container's name, short id and address, if all datagrams go to one.
    pub container: Option<String>,
    pub id: Option<String>,
    pub address: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowTarget {
    /// All datagrams of the flow go to one container.
    Container,
    /// Each datagram is distributed by itself, by the weights.
    Spread,
    /// No container accepts new flows: the datagrams are dropped.
    Nowhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryScope {
    Never,
    /// Requests that did not reach a container.
    Unsent,
    /// Also requests during which the container failed.
    Unanswered,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotSelected {
    pub route: String,
    pub why: NotSelectedReason,
    pub text: String,
    pub containers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotSelectedReason {
    ShorterPrefix,
    /// The other route has the exact path.
    Prefix,
    Wildcard,
    AnyHost,
    /// HAProxy does not decrypt the connections of the host.
    PassedThrough,
    /// From here on: the route does not match.
    OtherPath,
    OtherExactPath,
    OtherCase,
    NotOneLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedContainer {
    pub container: String,
    pub id: String,
    pub why: ExclusionReason,
    pub text: String,
    /// The label that causes this, if there is one.
    pub label: Option<LabelSource>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExclusionReason {
    Paused,
    Stopping,
    Stopped,
    OneOff,
    Drained,
    Crashing,
    Starting,
    Unhealthy,
    /// Its label says that others serve first.
    Backup,
    #[serde(alias = "weightless")]
    ZeroWeight,
    NoAddress,
    Conflict,
    Label,
    #[serde(alias = "fenced")]
    NotAllowed,
    PortTaken,
    Refused,
    NotApplied,
    /// The container is newer than the generation of the active rollback.
    RolledBack,
}

/// A label of a container, or a variable of its environment, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSource {
    pub container: String,
    pub id: String,
    pub key: String,
    pub value: String,
    /// Whether it is an environment variable.
    pub environment: bool,
}

/// Explains a request. Equal arguments give equal results. `counters` is `None` if HAProxy does not report them; then
/// servers are shown in the state that their labels and containers give.
pub fn explain(
    request: &ExplainRequest,
    snapshot: &StateSnapshot,
    counters: Option<&Counters>,
) -> Explanation {
    let public = hint::public_port(&request.url, snapshot);
    let public_request =
        public.map(|port| ExplainRequest { url: request.url.with_port(port), ..request.clone() });
    let request = public_request.as_ref().unwrap_or(request);
    let url = &request.url;
    let matches = matching_routes(url, snapshot.routes.0.keys());
    let is_passed = matches.first().is_some_and(|key| key.is_tcp());
    let is_stream = url.listener().is_tcp() || url.listener().is_udp();
    let rejection = request.rejection().filter(|_| !is_passed && !is_stream);
    let winner = matches.first().copied().filter(|_| rejection.is_none());
    let selected = winner.and_then(|key| SelectedRoute::from_key(snapshot, counters, key));
    let (outcome, reason) = decide_outcome(request, snapshot, selected.as_ref());
    let not_selected = match winner {
        Some(winner) => {
            matches[1..].iter().map(|key| (*key, not_selected_reason(winner, key))).collect()
        }
        None if outcome == RequestOutcome::Refused => Vec::new(),
        None => near_misses(url, snapshot.routes.0.keys()),
    };
    let selected = selected.as_ref();
    let answer = selected
        .and_then(|selected| features::feature_answer(request, snapshot, selected))
        .filter(|answer| answer.outcome == outcome && answer.why == reason);
    let mut notes = hint::collect_notes(snapshot, counters.is_some(), selected, public);
    let open = selected.filter(|_| answer.is_none());
    notes.extend(open.and_then(|selected| features::client_note(request, selected)));
    notes.extend(open.and_then(|selected| features::user_note(request, selected)));
    notes.extend(open.and_then(features::auth_note));
    Explanation {
        answered_by: AnsweredBy::Daemon,
        daemon_error: None,
        method: request.method.to_string(),
        url: url.to_string(),
        outcome,
        status: match outcome {
            _ if answer.is_some() => answer.as_ref().map(|answer| answer.status),
            RequestOutcome::Refused => {
                Some(rejection.map_or(MISDIRECTED, RejectionError::http_status))
            }
            outcome => outcome.status(),
        },
        why: reason,
        listener: listener_step(request, snapshot, selected),
        location: match (&answer, selected) {
            (Some(answer), _) => answer.location.clone(),
            (None, Some(route)) if outcome == RequestOutcome::Redirected => {
                Some(redirect_location(request, route))
            }
            _ => None,
        },
        tls: TlsStep::from_request(request, snapshot, selected)
            .filter(|_| !is_passed && outcome != RequestOutcome::NotListening),
        host: selected
            .filter(|_| !is_stream || !url.host().is_empty())
            .map(|route| route.host_step(request)),
        route: selected.map(SelectedRoute::route_step),
        servers: selected
            .filter(|route| !route.redirects() && answer.is_none())
            .map(|route| route.servers.clone())
            .unwrap_or_default(),
        becomes: selected
            .filter(|route| outcome == RequestOutcome::Served && route.is_served() && !is_stream)
            .map(|route| route.forwarded_request(request)),
        options: match selected {
            Some(route) if is_stream => route.option_steps(),
            Some(route) => features::feature_steps(route),
            None => Vec::new(),
        },
        headers: selected
            .filter(|route| outcome == RequestOutcome::Served && route.is_served() && !is_stream)
            .map(|route| features::header_steps(request, route))
            .unwrap_or_default(),
        engine: selected.and_then(|route| flow::engine_step(snapshot, route)),
        flow: selected.and_then(|route| flow::flow_step(request, snapshot, route)),
        lost: not_selected
            .into_iter()
            .map(|(key, reason)| NotSelected::from_route(snapshot, key, reason))
            .collect(),
        absent: exclusion_search::find_excluded(url, snapshot, winner),
        did_you_mean: hint::nearest_host(url, snapshot),
        elsewhere: if winner.is_none() { hint::other_ports(url, snapshot) } else { Vec::new() },
        notes,
    }
}

impl NotSelected {
    fn from_route(snapshot: &StateSnapshot, key: &RouteKey, reason: NotSelectedReason) -> Self {
        let route = snapshot.routes.0.get(key);
        let endpoints = route.map(|route| &route.endpoints[..]).unwrap_or_default();
        let containers =
            endpoints.iter().map(|view| view.container.qualified_name().into_owned()).collect();
        Self { route: key.to_string(), why: reason, text: reason.to_string(), containers }
    }
}

impl RequestOutcome {
    /// Returns the status if HAProxy itself answers.
    fn status(self) -> Option<u16> {
        match self {
            Self::Redirected => Some(308),
            Self::Unavailable => Some(503),
            Self::NotFound => Some(404),
            Self::Served
            | Self::Answered
            | Self::Refused
            | Self::TlsRefused
            | Self::PassedThrough
            | Self::Closed
            | Self::Dropped
            | Self::NotListening => None,
        }
    }
}

impl fmt::Display for NotSelectedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShorterPrefix => "shorter prefix",
            Self::Prefix => "a prefix has lower priority than an exact path",
            Self::Wildcard => "a wildcard has lower priority than an exact host",
            Self::PassedThrough => "connections for the host are passed through before this route",
            Self::AnyHost => "any host has the lowest priority",
            Self::OtherPath => "the path is not under its prefix",
            Self::OtherExactPath => "the path is not its exact path",
            Self::OtherCase => "its path differs in upper and lower case",
            Self::NotOneLabel => "*. matches exactly one label",
        })
    }
}

/// Rounds up to whole seconds, so that a positive time is never shown as 0.
fn format_seconds(time: Duration) -> String {
    let whole = time.as_secs() + u64::from(0 < time.subsec_nanos());
    format_duration(Duration::from_secs(whole))
}
