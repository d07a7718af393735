//! Why a request goes where it goes: from the listener to the route to its servers, each with the label
//! that it comes from; who lost against it; and who would take part and does not.
//!
//! Pure. The JSON of `GET /explain`.

mod absent;
mod contest;
mod hint;
pub mod request;
mod source;

use super::{Picture, status};
use crate::{
    haproxy::stat::Counters,
    label::{
        key::Choice,
        value::{HostMatch, Retry},
    },
    problem::About,
    route::{Listener, Match, Protocol, Route, RouteKey, Strip},
};
use contest::{loss, matching, near};
use request::Request;
use serde::{Deserialize, Serialize};
use source::{Asker, sources};
use std::{collections::BTreeSet, fmt, time::Duration};

pub use super::status::ServerState;

/// More are not worth a list.
const MOST_PORTS: usize = 8;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub asked: Asked,
    pub method: String,
    /// As it was written.
    pub url: String,
    pub outcome: Outcome,
    /// What HAProxy answers by itself: 404 or 503.
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
    /// Docker, as none runs: what would be if one did.
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
    /// Where its weight is written; absent where that is the default.
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
    /// Those of strip_prefix, timeout, retry and check that are written.
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
    let url = &request.url;
    let matching = matching(url, picture.routes.0.keys());
    let winner = matching.first().copied();
    let chosen = winner.and_then(|key| Chosen::of(picture, counters, key));
    let (outcome, why) = outcome(request, picture, chosen.as_ref());
    let lost = match winner {
        Some(winner) => matching[1..].iter().map(|it| (*it, loss(winner, it))).collect(),
        None => near(url, picture.routes.0.keys()),
    };
    let chosen = chosen.as_ref();
    Explanation {
        asked: Asked::Daemon,
        method: request.method.to_string(),
        url: url.to_string(),
        outcome,
        status: outcome.status(),
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
        notes: hint::notes(picture, chosen),
    }
}

/// The route that answers.
struct Chosen<'a> {
    key: &'a RouteKey,
    route: &'a Route,
    status: status::RouteStatus,
    servers: Vec<ServerStep>,
    /// Whose labels made it: those who serve, else all who share it.
    askers: Vec<Asker<'a>>,
}

impl<'a> Chosen<'a> {
    fn of(picture: &'a Picture, counters: Option<&Counters>, key: &'a RouteKey) -> Option<Self> {
        let route = picture.routes.0.get(key)?;
        let none = Counters::default();
        let status = status::route(picture, counters.unwrap_or(&none), (key, route));
        let endpoints = route.endpoints.iter();
        let askers = endpoints.filter_map(|it| Asker::of_endpoint(picture, key, it)).collect();
        let mut chosen = Self { key, route, status, servers: Vec::new(), askers };
        chosen.servers = chosen.server_steps();
        let serving: Vec<_> = chosen.servers.iter().map(|it| it.id.clone()).collect();
        if !serving.is_empty() {
            chosen.askers.retain(|it| serving.iter().any(|id| id == it.container.id.short()));
        }
        Some(chosen)
    }

    fn server_steps(&self) -> Vec<ServerStep> {
        let takes_part = |it: &&status::ServerStatus| {
            0 < it.weight && matches!(it.state, ServerState::Up | ServerState::Down)
        };
        let share = |it: &status::ServerStatus| {
            if it.state == ServerState::Up { f64::from(it.weight) } else { 0.0 }
        };
        let servers: Vec<_> = self.status.servers.iter().filter(takes_part).collect();
        let all: f64 = servers.iter().map(|it| share(it)).sum();
        let step = |it: &status::ServerStatus| ServerStep {
            container: it.container.clone(),
            id: it.id.clone(),
            address: it.address.clone(),
            weight: it.weight,
            percent: if 0.0 < all { (1000.0 * share(it) / all).round() / 10.0 } else { 0.0 },
            state: it.state,
            haproxy: it.haproxy.clone(),
            label: self.asker(&it.id).and_then(|asker| asker.choice(Choice::Weight)),
        };
        servers.into_iter().map(step).collect()
    }

    fn asker(&self, id: &str) -> Option<&Asker<'a>> {
        self.askers.iter().find(|it| it.container.id.short() == id)
    }

    fn host(&self, request: &Request) -> HostStep {
        let Match::Http { host, .. } = &self.key.rule;
        HostStep {
            asked: request.url.host().to_owned(),
            matched: host.to_string(),
            labels: sources(&self.askers, Asker::host),
        }
    }

    fn route(&self) -> RouteStep {
        RouteStep {
            route: self.status.route.clone(),
            prefix: self.status.prefix.clone(),
            backend: self.status.backend.clone(),
            labels: sources(&self.askers, Asker::prefix),
        }
    }

    fn becomes(&self, request: &Request) -> Becomes {
        let Match::Http { prefix, .. } = &self.key.rule;
        let (path, query) = (request.url.path(), request.url.query());
        // No segments are nothing to take off.
        let stripped = self.route.policy.strip == Strip::Prefix && prefix.depth() != 0;
        let rest = if stripped { &path[prefix.as_str().len()..] } else { path };
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let written = [Choice::StripPrefix, Choice::Timeout, Choice::Retry, Choice::Check];
        let labels = written.into_iter().filter_map(|it| self.askers.first()?.choice(it));
        Becomes {
            path: format!("{slash}{rest}{query}"),
            stripped,
            timeout_ms: self.status.timeout_ms,
            retry: self.status.retry.clone(),
            again: match self.route.policy.retry {
                Retry::Off => Again::Never,
                Retry::Safe if !request.method.is_safe() => Again::Unsent,
                Retry::Safe | Retry::All => Again::Unanswered,
            },
            check: self.status.check.clone(),
            labels: labels.collect(),
        }
    }

    fn is_served(&self) -> bool {
        self.servers.iter().any(|it| it.state == ServerState::Up)
    }
}

fn outcome(request: &Request, picture: &Picture, chosen: Option<&Chosen<'_>>) -> (Outcome, String) {
    let Some(chosen) = chosen else { return no_route(request, picture) };
    let up = chosen.servers.iter().filter(|it| it.state == ServerState::Up);
    let names: Vec<_> = up.map(|it| it.container.as_str()).collect();
    match (&names[..], &chosen.servers[..], chosen.route.endpoints.len()) {
        ([one], ..) => (Outcome::Served, format!("{one} answers")),
        ([one, other], ..) => (Outcome::Served, format!("{one} and {other} share it")),
        ([one, rest @ ..], ..) => {
            (Outcome::Served, format!("{one} and {} others share it", rest.len()))
        }
        ([], _, 0) => (Outcome::Unavailable, held(picture, chosen.key)),
        ([], [], 1) => (Outcome::Unavailable, "its only container takes no requests".to_owned()),
        ([], [], all) => {
            (Outcome::Unavailable, format!("none of its {all} containers takes requests"))
        }
        ([], [one], _) => {
            (Outcome::Unavailable, format!("HAProxy's check of {} fails", one.container))
        }
        ([], all, _) => {
            (Outcome::Unavailable, format!("HAProxy's checks of all {} servers fail", all.len()))
        }
    }
}

/// Nobody is behind it any more.
fn held(picture: &Picture, key: &RouteKey) -> String {
    let since = picture.memory.held_since(key);
    let end = since.map(|since| since + picture.rules.hold);
    match end.map(|end| end.saturating_duration_since(picture.now)) {
        Some(left) => format!(
            "its last container went away; until another one comes it is 503, for another {}, then as if it had \
             never been",
            seconds(left)
        ),
        None => "its last container went away".to_owned(),
    }
}

fn no_route(request: &Request, picture: &Picture) -> (Outcome, String) {
    let at = asked_listener(request);
    let port = at.port;
    let here = || picture.routes.0.keys().filter(|key| key.listener == at);
    let bound = picture.config.frontends.iter().any(|it| it.listener == at);
    if let Some(why) = taken(picture, at) {
        return (Outcome::NobodyListens, format!("port {port} is not ours: it is {why}"));
    }
    if !bound && here().next().is_none() {
        return (Outcome::NobodyListens, nobody(picture, at));
    }
    let knows = |key: &RouteKey| {
        let Match::Http { host, .. } = &key.rule;
        *host != HostMatch::Any && contest::host_rank(&request.url, host).is_some()
    };
    let (host, path) = (request.url.host(), request.url.path());
    let why = if here().any(knows) {
        format!("{host} is known, but no route of it has the path {path}")
    } else {
        format!("no container asks for {host} on port {port}")
    };
    (Outcome::NotFound, why)
}

fn nobody(picture: &Picture, at: Listener) -> String {
    let ports: BTreeSet<_> = picture.routes.0.keys().map(|key| key.listener.port).collect();
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    match ports.len() {
        0 => "no container asks for any port".to_owned(),
        1..=MOST_PORTS => {
            format!("no container asks for port {}, only for {}", at.port, ports.join(", "))
        }
        _ => format!("no container asks for port {}", at.port),
    }
}

fn asked_listener(request: &Request) -> Listener {
    Listener { protocol: Protocol::Http, port: request.url.port() }
}

fn taken(picture: &Picture, at: Listener) -> Option<String> {
    let about = picture.problems.iter().filter(|it| it.about == About::Listener(at));
    about.map(|it| it.reason.to_string()).next().map(|text| {
        let why = text.strip_prefix("its port is ").unwrap_or(&text);
        why.split(';').next().unwrap_or_default().to_owned()
    })
}

fn listener(request: &Request, picture: &Picture, chosen: Option<&Chosen<'_>>) -> ListenerStep {
    let at = asked_listener(request);
    ListenerStep {
        port: at.port.get(),
        bound: picture.rules.bound(at).get(),
        taken: taken(picture, at),
        labels: chosen.map(|it| sources(&it.askers, Asker::listener)).unwrap_or_default(),
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
            Self::Served | Self::NobodyListens => None,
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
