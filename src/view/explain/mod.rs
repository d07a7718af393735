//! Why a request goes where it goes: from the listener to the route to its servers, each with the label
//! that it comes from; who lost against it; and who would take part and does not.
//!
//! Pure. The JSON of `GET /explain`.

mod absent;
mod chosen;
mod contest;
mod hint;
mod outcome;
pub mod request;
mod source;

use super::Picture;
use crate::{haproxy::stat::Counters, route::RouteKey};
use chosen::Chosen;
use contest::{loss, matching, near};
use outcome::{listener, outcome};
use request::{Refusal, Request};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

pub use super::status::ServerState;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub asked: Asked,
    /// What the docker-balancer that runs said instead, where Docker was asked although one does.
    pub daemon_said: Option<String>,
    pub method: String,
    /// As it was written.
    pub url: String,
    pub outcome: Outcome,
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
    pub becomes: Option<Becomes>,
    /// Routes that match too, the best first; where none answers those that come near.
    pub lost: Vec<Lost>,
    /// Who would take part and does not.
    pub absent: Vec<Absent>,
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
pub enum Asked {
    /// The docker-balancer that runs.
    Daemon,
    /// Docker, as none could say it: what one would do that began now.
    Docker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Served,
    /// 503
    Unavailable,
    /// 404
    NotFound,
    /// 400 or 405: whatever the routes are.
    Refused,
    NobodyListens,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStep {
    /// The public port.
    pub port: u16,
    /// The port that is bound for it.
    pub bound: u16,
    /// Why it is not there: its port is … .
    pub taken: Option<String>,
    pub labels: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStep {
    /// As it is looked up: in lower case, without port and trailing dot.
    pub asked: String,
    /// `app.example.com`, `*.example.com`, or `*` for any.
    pub matched: String,
    pub labels: Vec<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStep {
    /// `app.example.com:80/api/`; its identity.
    pub route: String,
    /// `/api`; empty for the whole host.
    pub prefix: String,
    /// HAProxy's name for it.
    pub backend: String,
    pub labels: Vec<Source>,
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
    pub label: Option<Source>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Becomes {
    /// With the query.
    pub path: String,
    pub stripped: bool,
    /// How long the container may take to answer.
    pub timeout_ms: u64,
    /// `safe`, `all` or `off`.
    pub retry: String,
    /// Which of this method's requests are sent again.
    pub again: Again,
    /// `tcp`, `off`, or a path.
    pub check: String,
    /// Those of strip_prefix, timeout, retry and check that are written; none of a generation that is held.
    pub labels: Vec<Source>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Again {
    Never,
    /// Those that did not reach a container.
    Unsent,
    /// Also those that a container died over.
    Unanswered,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    pub route: String,
    pub why: Loss,
    pub text: String,
    pub containers: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    ShorterPrefix,
    Wildcard,
    AnyHost,
    /// It does not match: nor do these.
    OtherPath,
    OtherCase,
    NotOneLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    pub container: String,
    pub id: String,
    pub why: Absence,
    pub text: String,
    /// The label that is to blame, where one is.
    pub label: Option<Source>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    Paused,
    Stopping,
    Stopped,
    OneOff,
    Drained,
    Crashing,
    Starting,
    Unhealthy,
    Weightless,
    NoAddress,
    Conflict,
    Label,
    Fenced,
    PortTaken,
    Refused,
    NotApplied,
    /// It came after the generation that is held.
    RolledBack,
}

/// A label of a container, or a variable of its environment, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub container: String,
    pub id: String,
    pub key: String,
    pub value: String,
    /// It is a variable of the environment.
    pub environment: bool,
}

/// The same request and picture give the same explanation. Without `counters` where HAProxy does not
/// say them; then servers are in the state that their labels and containers ask for.
pub fn explain(request: &Request, picture: &Picture, counters: Option<&Counters>) -> Explanation {
    let public = hint::public_port(&request.url, picture);
    let meant = public.map(|port| Request { url: request.url.on(port), ..request.clone() });
    let request = meant.as_ref().unwrap_or(request);
    let url = &request.url;
    let matching = matching(url, picture.routes.0.keys());
    let refusal = request.refusal();
    let winner = matching.first().copied().filter(|_| refusal.is_none());
    let chosen = winner.and_then(|key| Chosen::of(picture, counters, key));
    let (outcome, why) = outcome(request, picture, chosen.as_ref());
    let lost = match winner {
        Some(winner) => matching[1..].iter().map(|it| (*it, loss(winner, it))).collect(),
        None if outcome == Outcome::Refused => Vec::new(),
        None => near(url, picture.routes.0.keys()),
    };
    let chosen = chosen.as_ref();
    Explanation {
        asked: Asked::Daemon,
        daemon_said: None,
        method: request.method.to_string(),
        url: url.to_string(),
        outcome,
        status: match outcome {
            Outcome::Refused => refusal.map(Refusal::status),
            outcome => outcome.status(),
        },
        why,
        listener: listener(request, picture, chosen),
        host: chosen.map(|it| it.host(request)),
        route: chosen.map(Chosen::route),
        servers: chosen.map(|it| it.servers.clone()).unwrap_or_default(),
        becomes: chosen.filter(|it| it.is_served()).map(|it| it.becomes(request)),
        lost: lost.into_iter().map(|(key, why)| Lost::of(picture, key, why)).collect(),
        absent: absent::absent(url, picture, winner),
        did_you_mean: hint::nearest(url, picture),
        elsewhere: if winner.is_none() { hint::elsewhere(url, picture) } else { Vec::new() },
        notes: hint::notes(picture, counters.is_some(), chosen, public),
    }
}

impl Lost {
    fn of(picture: &Picture, key: &RouteKey, why: Loss) -> Self {
        let route = picture.routes.0.get(key);
        let endpoints = route.map(|it| &it.endpoints[..]).unwrap_or_default();
        let containers = endpoints.iter().map(|it| it.origin.name().to_owned()).collect();
        Self { route: key.to_string(), why, text: why.to_string(), containers }
    }
}

impl Outcome {
    /// What HAProxy answers by itself.
    fn status(self) -> Option<u16> {
        match self {
            Self::Unavailable => Some(503),
            Self::NotFound => Some(404),
            Self::Served | Self::Refused | Self::NobodyListens => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShorterPrefix => "its prefix is shorter",
            Self::Wildcard => "a wildcard counts less than the host itself",
            Self::AnyHost => "any host comes last",
            Self::OtherPath => "the path is not under its prefix",
            Self::OtherCase => "its prefix has other capitals, and they count",
            Self::NotOneLabel => "its *. stands for exactly one label",
        })
    }
}

/// Whole ones; a time that is not over is never 0.
fn seconds(time: Duration) -> impl fmt::Display {
    let whole = time.as_secs() + u64::from(0 < time.subsec_nanos());
    humantime::format_duration(Duration::from_secs(whole))
}
