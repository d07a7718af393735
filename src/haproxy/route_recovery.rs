//! Recovers the routes that HAProxy serves from its state, by parsing its names and values.
//!
//! Pure. What HAProxy does not store cannot be recovered: whether a path without segments was to be stripped, how
//! servers would be checked if there were any, and the part of a name beyond its maximum length.

use super::{
    config::{AdminState, MapName},
    features, name,
    observed::{ObservedServer, ObservedState},
    server_transport, stream_options,
};
use crate::model::{
    container_ref::ContainerRef,
    label_option::OptionValues,
    option_value::{CheckMethod, Retry, Timeout},
    route::{
        Endpoint, Listener, Match, Policy, Protocol, Readiness, Route, RouteKey, Routes, Strip,
    },
    tls::{TlsBind, TlsMode},
};
use std::{collections::BTreeMap, sync::Arc};

/// Listeners of the same host and prefix: the key's rule → its keys with their backends.
type Siblings<'a> = BTreeMap<Match, Vec<(Listener, &'a str)>>;

/// Returns the routes of HAProxy's map, each with its servers. Backends that docker-balancer does not manage (of a base
/// file) are ignored.
pub fn recover_routes(observed: &ObservedState) -> Routes {
    let entries: Vec<_> = route_entries(observed).collect();
    let mut siblings = Siblings::new();
    if !observed.tls.lists.is_empty() {
        for (key, value) in &entries {
            let backend = value.split(' ').next().unwrap_or_default();
            siblings.entry(key.rule.clone()).or_default().push((key.listener, backend));
        }
    }
    let route = |(key, value): (RouteKey, &str)| {
        let siblings = siblings.get(&key.rule).map_or(&[][..], Vec::as_slice);
        let route = if key.is_tcp() {
            recover_tcp_route(observed, &key, value, siblings)?
        } else {
            recover_route(observed, value, siblings)?
        };
        Some((key, Arc::new(route)))
    };
    Routes(entries.into_iter().filter_map(route).collect())
}

/// Returns the keys of the routes in HAProxy's maps.
pub fn recover_keys(observed: &ObservedState) -> impl Iterator<Item = RouteKey> {
    route_entries(observed).map(|(key, _)| key)
}

/// Returns the entries of the maps that lead to backends.
fn route_entries(observed: &ObservedState) -> impl Iterator<Item = (RouteKey, &str)> {
    let maps = MapName::ALL.into_iter().filter(|map| map.has_routes());
    let entries = maps.flat_map(|map| observed.map_entries(map));
    let entries = entries.filter(|(_, value)| !name::is_decrypting(value));
    let is_tcp = move |port| {
        let listener = Listener { protocol: Protocol::Tcp, port };
        observed.frontends.contains_key(&name::frontend_name(listener))
    };
    let protocol_of = move |port| match port {
        _ if observed.tls.is_https(port) => Protocol::Https,
        _ if is_tcp(port) => Protocol::Tcp,
        _ => Protocol::Http,
    };
    entries
        .filter_map(move |(key, value)| Some((RouteKey::parse_map_key(key, protocol_of)?, value)))
}

/// Parses `backend strip timeout retry route detail guard transport` and the words of features.
fn recover_route(
    observed: &ObservedState,
    value: &str,
    siblings: &[(Listener, &str)],
) -> Option<Route> {
    let mut words = value.split(' ');
    let (backend, strip) = (words.next()?, words.next()?);
    let (timeout, retry) = (words.next()?, words.next()?);
    let none = BTreeMap::new();
    let servers = observed.servers.get(backend).filter(|_| !name::is_shared(backend));
    let servers = servers.unwrap_or(&none);
    let policy = Policy::default()
        .with(if strip == "0" { Strip::Keep } else { Strip::Prefix })
        .with(recover_check(observed, backend, servers))
        .with(format!("{timeout}ms").parse::<Timeout>().ok()?)
        .with(retry.parse::<Retry>().ok()?)
        .with(recover_mode(siblings))
        .with(recover_tls_bind(siblings));
    let policy = match words.nth(3) {
        Some(transport) => server_transport::parse_options(transport, policy),
        None => policy,
    };
    let policy = features::recover_options(observed, &words.collect::<Vec<_>>(), policy);
    let endpoints = recover_endpoints(servers);
    Some(Route { endpoints, ..Route::new(policy, OptionValues::default()) })
}

/// Parses `backend route options`.
fn recover_tcp_route(
    observed: &ObservedState,
    key: &RouteKey,
    value: &str,
    siblings: &[(Listener, &str)],
) -> Option<Route> {
    let mut words = value.split(' ');
    let backend = words.next()?;
    let servers = observed.servers.get(backend).filter(|_| !name::is_shared(backend));
    let none = BTreeMap::new();
    let servers = servers.unwrap_or(&none);
    let mut policy = Policy::default().with(recover_check(observed, backend, servers));
    if key.is_passed() {
        policy = policy.with(TlsMode::Pass).with(recover_tls_bind(siblings));
    } else if let Some(options) = words.nth(1) {
        policy = stream_options::parse_options(options, policy);
    }
    Some(Route {
        endpoints: recover_endpoints(servers),
        ..Route::new(policy, OptionValues::default())
    })
}

/// Recovers whether the route is served over HTTPS.
fn recover_mode(siblings: &[(Listener, &str)]) -> TlsMode {
    let is_redirect = |backend: &str| matches!(backend, name::TO_HTTPS | name::NO_CERTIFICATE);
    let (https, plain): (Vec<_>, Vec<_>) =
        siblings.iter().partition(|(listener, _)| listener.is_https());
    match (https.is_empty(), plain.is_empty()) {
        (true, _) => TlsMode::Off,
        (false, true) => TlsMode::Only,
        (false, false) if plain.iter().all(|(_, backend)| is_redirect(backend)) => TlsMode::On,
        (false, false) => TlsMode::Both,
    }
}

fn recover_tls_bind(siblings: &[(Listener, &str)]) -> TlsBind {
    let https = siblings.iter().filter(|(listener, _)| listener.is_https());
    TlsBind::new(https.map(|(listener, _)| listener.port).collect()).unwrap_or_default()
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
        options: state.settings.to_options()?.with(name::parse_check_interval(server)),
        readiness: match state.admin {
            AdminState::Ready => Readiness::Ready,
            AdminState::Drain | AdminState::Maintenance => Readiness::Out,
        },
    })
}
