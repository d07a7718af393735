//! Why a request goes where it goes: from the listener to the route to its servers, each with the label
//! that it comes from; who lost against it; and who would take part and does not.
//!
//! Pure. The JSON of `GET /explain`.

mod exclusion_search;
mod hint;
mod label_source;
mod outcome;
pub mod request;
mod route_match;
mod selected_route;

use super::StateSnapshot;
use crate::{haproxy::stats::Counters, model::route::RouteKey, support::format::format_duration};
use outcome::{decide_outcome, listener_step};
use request::{ExplainRequest, RejectionError};
use route_match::{matching_routes, near_misses, not_selected_reason};
use selected_route::SelectedRoute;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

pub use super::status::ServerState;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub asked: AnsweredBy,
    /// What the docker-balancer that runs said instead, where Docker was asked although one does.
    pub daemon_said: Option<String>,
    pub method: String,
    /// As it was written.
    pub url: String,
    pub outcome: RequestOutcome,
    /// What HAProxy answers by itself: 400, 404, 405 or 503.
    pub status: Option<u16>,
    /// The outcome in a sentence.
    pub why: String,
    pub listener: ListenerStep,
    /// Absent, like the route, where no route answers.
    pub host: Option<HostStep>,
    pub route: Option<RouteStep>,
    /// Those that get requests, and those that would if HAProxy's check of them did not fail.
    pub servers: Vec<ServerStep>,
    /// What a server gets to see, and how it is treated, where one does.
    pub becomes: Option<ForwardedRequest>,
    /// Routes that match too, the best first; where none answers those that come near.
    pub lost: Vec<NotSelected>,
    /// Who would take part and does not.
    pub absent: Vec<ExcludedContainer>,
    /// The nearest host that there is, where nobody asks for this one.
    pub did_you_mean: Option<String>,
    /// The same request on other ports, where it is served there and not here.
    pub elsewhere: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// Who knew it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnsweredBy {
    /// The docker-balancer that runs.
    Daemon,
    /// Docker, as none could say it: what one would do that began now.
    Docker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestOutcome {
    Served,
    /// 503
    Unavailable,
    /// 404
    NotFound,
    /// 400 or 405: whatever the routes are.
    Refused,
    #[serde(alias = "nobody-listens")]
    NotListening,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStep {
    /// The public port.
    pub port: u16,
    /// The port that is bound for it.
    pub bound: u16,
    /// Why it is not there: its port is … .
    pub taken: Option<String>,
    pub labels: Vec<LabelSource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStep {
    /// As it is looked up: in lower case, without port and trailing dot.
    pub asked: String,
    /// `app.example.com`, `*.example.com`, or `*` for any.
    pub matched: String,
    pub labels: Vec<LabelSource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStep {
    /// `app.example.com:80/api/`; its identity.
    pub route: String,
    /// `/api`; empty for the whole host.
    pub prefix: String,
    /// HAProxy's name for it.
    pub backend: String,
    pub labels: Vec<LabelSource>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStep {
    pub container: String,
    pub id: String,
    pub address: String,
    pub weight: u16,
    /// Its share of the route's requests, 0 to 100.
    pub percent: f64,
    pub state: ServerState,
    /// HAProxy's own word, where it said one.
    pub haproxy: Option<String>,
    /// Where its weight is written; absent where that is the default, or of a generation that is held.
    pub label: Option<LabelSource>,
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
    /// `tcp`, `off`, or a path.
    pub check: String,
    /// Those of strip_prefix, timeout, retry and check that are written; none of a generation that is held.
    pub labels: Vec<LabelSource>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryScope {
    Never,
    /// Those that did not reach a container.
    Unsent,
    /// Also those that a container died over.
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
    Wildcard,
    AnyHost,
    /// It does not match: nor do these.
    OtherPath,
    OtherCase,
    NotOneLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedContainer {
    pub container: String,
    pub id: String,
    pub why: ExclusionReason,
    pub text: String,
    /// The label that is to blame, where one is.
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
    /// It came after the generation that is held.
    RolledBack,
}

/// A label of a container, or a variable of its environment, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSource {
    pub container: String,
    pub id: String,
    pub key: String,
    pub value: String,
    /// It is a variable of the environment.
    pub environment: bool,
}

/// The same request and picture give the same explanation. Without `counters` where HAProxy does not
/// say them; then servers are in the state that their labels and containers ask for.
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
    let rejection = request.rejection();
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
    Explanation {
        asked: AnsweredBy::Daemon,
        daemon_said: None,
        method: request.method.to_string(),
        url: url.to_string(),
        outcome,
        status: match outcome {
            RequestOutcome::Refused => rejection.map(RejectionError::http_status),
            outcome => outcome.status(),
        },
        why: reason,
        listener: listener_step(request, snapshot, selected),
        host: selected.map(|route| route.host_step(request)),
        route: selected.map(SelectedRoute::route_step),
        servers: selected.map(|route| route.servers.clone()).unwrap_or_default(),
        becomes: selected
            .filter(|route| route.is_served())
            .map(|route| route.forwarded_request(request)),
        lost: not_selected
            .into_iter()
            .map(|(key, reason)| NotSelected::from_route(snapshot, key, reason))
            .collect(),
        absent: exclusion_search::find_excluded(url, snapshot, winner),
        did_you_mean: hint::nearest_host(url, snapshot),
        elsewhere: if winner.is_none() { hint::other_ports(url, snapshot) } else { Vec::new() },
        notes: hint::collect_notes(snapshot, counters.is_some(), selected, public),
    }
}

impl NotSelected {
    fn from_route(snapshot: &StateSnapshot, key: &RouteKey, reason: NotSelectedReason) -> Self {
        let route = snapshot.routes.0.get(key);
        let endpoints = route.map(|route| &route.endpoints[..]).unwrap_or_default();
        let containers = endpoints.iter().map(|view| view.container.name().to_owned()).collect();
        Self { route: key.to_string(), why: reason, text: reason.to_string(), containers }
    }
}

impl RequestOutcome {
    /// What HAProxy answers by itself.
    fn status(self) -> Option<u16> {
        match self {
            Self::Unavailable => Some(503),
            Self::NotFound => Some(404),
            Self::Served | Self::Refused | Self::NotListening => None,
        }
    }
}

impl fmt::Display for NotSelectedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShorterPrefix => "shorter prefix",
            Self::Wildcard => "a wildcard has lower priority than an exact host",
            Self::AnyHost => "any host has the lowest priority",
            Self::OtherPath => "the path is not under its prefix",
            Self::OtherCase => "its prefix differs in upper and lower case",
            Self::NotOneLabel => "*. matches exactly one label",
        })
    }
}

/// Whole ones; a time that is not over is never 0.
fn format_seconds(time: Duration) -> String {
    let whole = time.as_secs() + u64::from(0 < time.subsec_nanos());
    format_duration(Duration::from_secs(whole))
}
