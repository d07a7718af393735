//! Recovers the routes that HAProxy serves from its state, by parsing its names and values.
//!
//! Pure. What HAProxy does not store cannot be recovered: whether a path without segments was to be stripped, how
//! servers would be checked if there were any, and the part of a name beyond its maximum length.

use super::{
    config::{AdminState, MapName},
    name,
    observed::{ObservedServer, ObservedState},
};
use crate::model::{
    container_ref::ContainerRef,
    option_value::{CheckMethod, Retry, Timeout},
    route::{Endpoint, Policy, Readiness, Route, RouteKey, Routes, Strip},
};
use std::{collections::BTreeMap, sync::Arc};

/// Returns the routes of HAProxy's map, each with its servers. Backends that docker-balancer does not manage (of a base
/// file) are ignored.
pub fn recover_routes(observed: &ObservedState) -> Routes {
    let route = |(key, value): (&str, &str)| {
        Some((key.parse::<RouteKey>().ok()?, Arc::new(recover_route(observed, value)?)))
    };
    Routes(observed.map_entries(MapName::Routes).filter_map(route).collect())
}

/// Parses `backend strip timeout retry route`.
fn recover_route(observed: &ObservedState, value: &str) -> Option<Route> {
    let mut words = value.split(' ');
    let (backend, strip) = (words.next()?, words.next()?);
    let (timeout, retry) = (words.next()?, words.next()?);
    let none = BTreeMap::new();
    let servers = observed.servers.get(backend).filter(|_| !name::is_no_server(backend));
    let servers = servers.unwrap_or(&none);
    let policy = Policy::default()
        .with(if strip == "0" { Strip::Keep } else { Strip::Prefix })
        .with(recover_check(observed, backend, servers))
        .with(format!("{timeout}ms").parse::<Timeout>().ok()?)
        .with(retry.parse::<Retry>().ok()?);
    Some(Route { policy, endpoints: recover_endpoints(servers) })
}

fn recover_check(
    observed: &ObservedState,
    backend: &str,
    servers: &BTreeMap<String, ObservedServer>,
) -> CheckMethod {
    let path = observed.maps.get(&MapName::Checks).and_then(|map| map.get(backend));
    let mut of_containers = servers.keys().filter(|server| *server != name::HOLD_SERVER).peekable();
    let unchecked =
        of_containers.peek().is_some() && of_containers.all(|server| name::is_unchecked(server));
    match path.and_then(|path| path.parse().ok()) {
        Some(path) => CheckMethod::Http(path),
        None if unchecked => CheckMethod::Off,
        None => CheckMethod::Tcp,
    }
}

/// If the check mode has changed, the endpoint occurs twice: the one that serves is used.
fn recover_endpoints(servers: &BTreeMap<String, ObservedServer>) -> Vec<Endpoint> {
    let all = servers.iter().filter_map(|(server, state)| recover_endpoint(server, state));
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| {
        (&a.container, a.port, a.readiness).cmp(&(&b.container, b.port, b.readiness))
    });
    all.dedup_by(|a, b| a.container == b.container && a.port == b.port);
    all.sort();
    all
}

fn recover_endpoint(server: &str, state: &ObservedServer) -> Option<Endpoint> {
    let (name, id, port) = name::parse_server(server)?;
    Some(Endpoint {
        container: ContainerRef::new(name, id),
        port: port.parse().ok()?,
        address: state.address,
        options: state.settings.to_options()?,
        readiness: match state.admin {
            AdminState::Ready => Readiness::Ready,
            AdminState::Drain | AdminState::Maintenance => Readiness::Out,
        },
    })
}
