//! Assigns routes to backends.
//!
//! Pure. When a worker starts, every route has a backend of its own name, and there is a stock of empty spare backends.
//! While HAProxy runs, a new route takes a spare backend, and an existing route keeps its backend even while it has no
//! container: requests wait there for the next one. Routes whose requests cannot wait share one backend while they have
//! no container.

use super::{
    config::{self, AdminState, BackendShape, ConnectRetry, MapName, Mode, NO_WORD, Probe},
    features::Word,
    name,
    observed::{ObservedServer, ObservedState},
    stream_options,
};
use crate::model::{
    http::{closed::Closed, redirect::Redirect, sticky::StickyCookie},
    route::{Policy, Route, RouteKey, Routes},
    stream::Balance,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub assignments: BTreeMap<RouteKey, String>,
    pub spares: BTreeMap<String, BackendShape>,
}

impl Layout {
    /// Builds the layout for a worker that is not started yet, with `stock` spare backends of each shape.
    pub fn for_new_worker(routes: &Routes, stock: usize) -> Self {
        let mut taken = BTreeSet::new();
        let mut backend = |(key, route): (&RouteKey, &Arc<Route>)| {
            let mut free = || name::backend_names(key).find(|name| taken.insert(name.clone()));
            let is_idle = || {
                route.endpoints.is_empty()
                    && !config::required_shape(key, &route.policy).has_hold_server()
            };
            let backend = match shared_backend(key, route) {
                Some(shared) => Some(shared.to_owned()),
                None if is_idle() => Some(name::NO_SERVER.to_owned()),
                None => free(),
            };
            backend.map(|backend| (key.clone(), backend))
        };
        let routes_here = routes.0.iter().filter(|(key, _)| !key.is_udp());
        let assignments = routes_here.filter_map(&mut backend).collect();
        let mut layout = Self { assignments, spares: BTreeMap::new() };
        layout.add_spares(Mode::Http, stock);
        if routes.0.keys().any(RouteKey::is_tcp) {
            layout.add_spares(Mode::Tcp, stock);
        }
        layout
    }

    /// Adds spare backends of each shape with this mode: `stock`, and of rare shapes a part of it.
    pub fn add_spares(&mut self, mode: Mode, stock: usize) {
        let shapes = name::SPARES.iter().filter(|(shape, _)| shape.mode == mode);
        let spares = shapes.flat_map(|(shape, prefix)| {
            let count = stock.div_ceil(stock_divisor(*shape));
            (1..=count).map(move |number| (name::spare_name(prefix, number), *shape))
        });
        self.spares.extend(spares);
    }

    /// Builds the layout for the running worker. Also returns the routes for which there is no backend; there are none
    /// if backends can be added at run time. Requests of an earlier route may still wait in `draining` backends, so no
    /// other route gets these.
    pub fn for_running_worker(
        routes: &Routes,
        observed: &ObservedState,
        draining: &BTreeSet<String>,
    ) -> (Self, Vec<(RouteKey, BackendShape)>) {
        let mut assignments = BTreeMap::new();
        let mut unplaced = Vec::new();
        // If two routes are in one backend, the second one has to move.
        let mut taken = BTreeSet::new();
        for (key, route) in routes.0.iter().filter(|(key, _)| !key.is_udp()) {
            if let Some(shared) = shared_backend(key, route) {
                assignments.insert(key.clone(), shared.to_owned());
                continue;
            }
            let desired = config::required_shape(key, &route.policy);
            let empty = route.endpoints.is_empty();
            let current = current_backend(key, observed).filter(|(_, shape)| *shape == desired);
            let current = current.filter(|_| !empty || desired.has_hold_server());
            match current.filter(|(backend, _)| taken.insert((*backend).to_owned())) {
                Some((backend, _)) => {
                    assignments.insert(key.clone(), backend.to_owned());
                }
                None if empty => {
                    assignments.insert(key.clone(), name::no_server_of(desired.mode).to_owned());
                }
                None => unplaced.push((key.clone(), desired)),
            }
        }
        if observed.can_add_backends() {
            let (added, unplaced): (Vec<_>, Vec<_>) =
                unplaced.into_iter().partition(|(_, shape)| shape.is_prepared());
            for (key, _) in added {
                let mut names = name::backend_names(&key);
                let is_free =
                    |name: &String| !observed.backends.contains(name) && taken.insert(name.clone());
                if let Some(name) = names.find(is_free) {
                    assignments.insert(key, name);
                }
            }
            return (Self { assignments, spares: BTreeMap::new() }, unplaced);
        }
        let mut spares = find_free_spares(&assignments, observed);
        let mut occupied =
            if unplaced.is_empty() { BTreeSet::new() } else { find_occupied(observed) };
        occupied.extend(draining.iter().map(String::as_str));
        unplaced.retain(|(key, desired)| {
            let Some(backend) = pick_spare(&mut spares, *desired, &occupied, observed) else {
                return true;
            };
            assignments.insert(key.clone(), backend);
            false
        });
        (Self { assignments, spares }, unplaced)
    }
}

/// By which number the stock of spare backends is divided for a shape. Each takes 10 kB of HAProxy's memory.
fn stock_divisor(shape: BackendShape) -> usize {
    match (shape.mode, shape.balance) {
        (Mode::Http, _) if shape.sticky == StickyCookie::Cookie => 4,
        (Mode::Http, _) => 1,
        (Mode::Tcp, Balance::Least) => 2,
        (Mode::Tcp, Balance::Round | Balance::Source) => 10,
    }
}

/// Returns the backend of a route that never has one of its own.
fn shared_backend(key: &RouteKey, route: &Route) -> Option<&'static str> {
    if key.is_tcp() {
        return None;
    }
    let is_closed = route.policy.get::<Closed>() != Closed::default();
    let redirects = route.policy.get::<Redirect>() != Redirect::Off;
    match () {
        () if is_closed => Some(name::CLOSED),
        () if redirects => Some(name::REDIRECTS),
        () => route.redirects(key.listener).then_some(name::TO_HTTPS),
    }
}

/// Returns the backend that serves the route now, and that backend's shape.
fn current_backend<'a>(
    key: &RouteKey,
    observed: &'a ObservedState,
) -> Option<(&'a str, BackendShape)> {
    let value = observed.maps.get(&MapName::of_route(key))?.get(&key.map_key())?;
    let words: Vec<_> = value.split(' ').collect();
    let backend = *words.first().filter(|backend| observed.backends.contains(**backend))?;
    if name::is_shared(backend) {
        return None;
    }
    let checked = observed.maps.get(&MapName::Checks)?.contains_key(backend);
    let probe = if checked { Probe::Http } else { Probe::Tcp };
    let proper = if key.is_tcp() {
        let options = words.get(2).copied().unwrap_or_default();
        let policy = stream_options::parse_options(options, Policy::default());
        BackendShape { idle: policy.get(), ..BackendShape::tcp(probe, policy.get()) }
    } else {
        let is_once = words.get(3) == Some(&"off");
        let connect = if is_once { ConnectRetry::Off } else { ConnectRetry::On };
        let is_sticky = words.get(Word::Sticky.number() - 1).is_some_and(|word| *word != NO_WORD);
        let shape = BackendShape::http(probe, connect);
        if is_sticky { shape.with_cookie() } else { shape }
    };
    Some((backend, name::spare_shape(backend).unwrap_or(proper)))
}

fn find_free_spares(
    assignments: &BTreeMap<RouteKey, String>,
    observed: &ObservedState,
) -> BTreeMap<String, BackendShape> {
    let used: BTreeSet<_> = assignments.values().collect();
    let free = observed.backends.iter().filter(|name| !used.contains(name));
    free.filter_map(|name| Some((name.clone(), name::spare_shape(name)?))).collect()
}

/// Returns the backends that cannot be reassigned yet because a route is only now leaving them: between two commands,
/// requests of one route would reach the containers of the other.
fn find_occupied(observed: &ObservedState) -> BTreeSet<&str> {
    let maps = MapName::ALL.into_iter().filter(|map| map.has_routes());
    let entries = maps.flat_map(|map| observed.map_entries(map));
    let routed = entries.filter_map(|(_, value)| value.split(' ').next());
    let serves = |servers: &BTreeMap<String, ObservedServer>| {
        servers
            .iter()
            .any(|(name, server)| name != name::HOLD_SERVER && server.admin == AdminState::Ready)
    };
    let serving = observed.servers.iter().filter(|(_, servers)| serves(servers));
    routed.chain(serving.map(|(name, _)| name.as_str())).collect()
}

/// Picks a backend without servers of an earlier route that are still being removed, if there is one.
fn pick_spare(
    spares: &mut BTreeMap<String, BackendShape>,
    desired: BackendShape,
    occupied: &BTreeSet<&str>,
    observed: &ObservedState,
) -> Option<String> {
    let fit = || {
        let fit = spares.iter().filter(|(_, shape)| **shape == desired).map(|(name, _)| name);
        fit.filter(|name| !occupied.contains(name.as_str()))
    };
    let has_servers = |name: &String| {
        observed
            .servers
            .get(name)
            .is_some_and(|servers| servers.keys().any(|server| server != name::HOLD_SERVER))
    };
    let empty = fit().find(|name| !has_servers(name));
    let name = empty.or_else(|| fit().next())?.clone();
    spares.remove(&name);
    Some(name)
}
