//! How many there are of what: for numbers that are asked for often.
//!
//! Pure. Counts what is known anyway, so that 10,000 routes are a matter of a millisecond and HAProxy is
//! not asked; what its checks find it says by itself, to who started it.

use super::status::ServerState;
use crate::{
    budget::Budget,
    claim::Standing,
    decide::Memory,
    haproxy::{
        config::{Admin, Config},
        name,
        observed::{Observed, ServerSeen},
    },
    problem::Problem,
    route::{Endpoint, Readiness, RouteKey, Routes},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use strum::{IntoStaticStr, VariantArray, VariantNames};

#[derive(Debug, Clone)]
pub struct Census {
    pub routes: BTreeMap<RouteState, usize>,
    pub servers: BTreeMap<ServerState, usize>,
    /// By [`crate::problem::Reason::kind`].
    pub problems: BTreeMap<&'static str, usize>,
    /// Those that run and take part.
    pub containers: usize,
    /// An operator went back to an earlier generation, and that holds.
    pub rollback_holds: bool,
    /// Docker's events are heard now.
    pub docker_is_there: bool,
    /// Since the last one.
    pub stream_age: Duration,
    /// HAProxy says what it has.
    pub haproxy_answers: bool,
    pub budget: Budget,
    /// When it was counted.
    pub now: Instant,
}

/// What becomes of a route's requests.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray, VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum RouteState {
    /// Some server takes them.
    Served,
    /// No server does.
    Down,
    /// Nobody asks for it any more, so it answers 503 for a while.
    Held,
}

impl RouteState {
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;
    /// All there are of [`Self::word`].
    pub const WORDS: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    pub fn word(self) -> &'static str {
        self.into()
    }
}

/// Of each route the containers and ports that fail their checks.
type Failing<'a> = BTreeMap<&'a RouteKey, BTreeSet<(&'a str, &'a str)>>;

/// Routes and servers by their state.
pub fn count(
    routes: &Routes,
    memory: &Memory,
    config: &Config,
    observed: Option<&Observed>,
) -> (BTreeMap<RouteState, usize>, BTreeMap<ServerState, usize>) {
    let failing = observed.map(|it| failing(it, config)).unwrap_or_default();
    let (mut by_route, mut by_server) = (BTreeMap::new(), BTreeMap::new());
    for (key, route) in &routes.0 {
        let fails = failing.get(key);
        let mut best = None;
        for endpoint in &route.endpoints {
            let state = state(key, endpoint, memory, fails);
            *by_server.entry(state).or_default() += 1;
            best = best.min(Some(state)).or(Some(state));
        }
        let of_route = match best {
            None => RouteState::Held,
            Some(ServerState::Up) => RouteState::Served,
            Some(_) => RouteState::Down,
        };
        *by_route.entry(of_route).or_default() += 1;
    }
    (by_route, by_server)
}

pub fn kinds<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> BTreeMap<&'static str, usize> {
    problems.into_iter().fold(BTreeMap::new(), |mut kinds, problem| {
        *kinds.entry(problem.reason.kind()).or_default() += 1;
        kinds
    })
}

fn failing<'a>(observed: &'a Observed, config: &'a Config) -> Failing<'a> {
    let mut failing = Failing::new();
    let fails = |(_, it): &(&String, &ServerSeen)| it.admin == Admin::Ready && !it.up;
    for (backend, servers) in &observed.servers {
        let Some(backend) = config.backends.get(backend) else { continue };
        for (name, _) in servers.iter().filter(fails) {
            failing.entry(&backend.route).or_default().extend(name::place(name));
        }
    }
    failing
}

fn state(
    key: &RouteKey,
    endpoint: &Endpoint,
    memory: &Memory,
    fails: Option<&BTreeSet<(&str, &str)>>,
) -> ServerState {
    let is_down = || {
        let port = endpoint.port.to_string();
        fails.is_some_and(|it| it.contains(&(endpoint.origin.id(), port.as_str())))
    };
    match endpoint.readiness {
        Readiness::Out if memory.standing(key, endpoint) == Some(Standing::Reserve) => {
            ServerState::Reserve
        }
        Readiness::Out => ServerState::Out,
        Readiness::Ready if fails.is_some() && is_down() => ServerState::Down,
        Readiness::Ready if endpoint.weight.get() == 0 => ServerState::Weightless,
        Readiness::Ready => ServerState::Up,
    }
}
