//! How many there are of what: for numbers that are asked for often.
//!
//! Pure. Counts what is known anyway, so that 10,000 routes are a matter of a millisecond and HAProxy is
//! not asked; what its checks find it says by itself, to who started it.

use super::status::ServerState;
use crate::{
    haproxy::{
        config::{AdminState, Config},
        name,
        observed::{ObservedServer, ObservedState},
        reload_budget::ReloadBudget,
    },
    model::{
        problem::Problem,
        route::{Endpoint, Readiness, RouteKey, Routes},
    },
    routing::{decide::DecideState, route_table::Eligibility},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use strum::{IntoStaticStr, VariantArray, VariantNames};

#[derive(Debug, Clone)]
pub struct StateCounts {
    pub routes: BTreeMap<RouteState, usize>,
    pub servers: BTreeMap<ServerState, usize>,
    /// By [`crate::model::problem::Reason::kind`].
    pub problems: BTreeMap<&'static str, usize>,
    /// Those that run and take part.
    pub containers: usize,
    /// An operator went back to an earlier generation, and that holds.
    pub rollback_active: bool,
    /// Docker's events are heard now.
    pub docker_connected: bool,
    /// Since the last one.
    pub stream_age: Duration,
    /// HAProxy says what it has.
    pub haproxy_answers: bool,
    pub budget: ReloadBudget,
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
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Of each route the containers and ports that fail their checks.
type FailingServers<'a> = BTreeMap<&'a RouteKey, BTreeSet<(&'a str, &'a str)>>;

/// Routes and servers by their state.
pub fn count_states(
    routes: &Routes,
    decide_state: &DecideState,
    config: &Config,
    observed: Option<&ObservedState>,
) -> (BTreeMap<RouteState, usize>, BTreeMap<ServerState, usize>) {
    let failing = observed.map(|state| find_failing(state, config)).unwrap_or_default();
    let (mut by_route, mut by_server) = (BTreeMap::new(), BTreeMap::new());
    for (key, route) in &routes.0 {
        let fails = failing.get(key);
        let mut best = None;
        for endpoint in &route.endpoints {
            let state = server_state(key, endpoint, decide_state, fails);
            *by_server.entry(state).or_default() += 1;
            best = best.min(Some(state)).or(Some(state));
        }
        let route_state = match best {
            None => RouteState::Held,
            Some(ServerState::Up) => RouteState::Served,
            Some(_) => RouteState::Down,
        };
        *by_route.entry(route_state).or_default() += 1;
    }
    (by_route, by_server)
}

pub fn count_problem_kinds<'a>(
    problems: impl IntoIterator<Item = &'a Problem>,
) -> BTreeMap<&'static str, usize> {
    problems.into_iter().fold(BTreeMap::new(), |mut kinds, problem| {
        *kinds.entry(problem.reason.kind()).or_default() += 1;
        kinds
    })
}

fn find_failing<'a>(observed: &'a ObservedState, config: &'a Config) -> FailingServers<'a> {
    let mut failing = FailingServers::new();
    let fails =
        |(_, server): &(&String, &ObservedServer)| server.admin == AdminState::Ready && !server.up;
    for (backend, servers) in &observed.servers {
        let Some(backend) = config.backends.get(backend) else { continue };
        for (name, _) in servers.iter().filter(fails) {
            failing.entry(&backend.route).or_default().extend(name::parse_container_port(name));
        }
    }
    failing
}

fn server_state(
    key: &RouteKey,
    endpoint: &Endpoint,
    decide_state: &DecideState,
    fails: Option<&BTreeSet<(&str, &str)>>,
) -> ServerState {
    let is_down = || {
        let port = endpoint.port.to_string();
        fails.is_some_and(|pairs| pairs.contains(&(endpoint.container.id(), port.as_str())))
    };
    match endpoint.readiness {
        Readiness::Out
            if decide_state.find_eligibility(key, endpoint) == Some(Eligibility::Backup) =>
        {
            ServerState::Backup
        }
        Readiness::Out => ServerState::Excluded,
        Readiness::Ready if fails.is_some() && is_down() => ServerState::Down,
        Readiness::Ready if endpoint.weight().get() == 0 => ServerState::ZeroWeight,
        Readiness::Ready => ServerState::Up,
    }
}
