//! From what HAProxy has back to the routes that it serves: names and values are read as they were made.
//!
//! Pure. What HAProxy is not given does not come back: that a path without segments was to be taken off, how
//! servers that are not there would be checked, and of a name what is beyond its longest.

use super::{
    config::{Admin, MapName},
    name,
    observed::{Observed, ServerSeen},
};
use crate::{
    label::value::{Check, Retry, Timeout, Weight},
    origin::Origin,
    route::{Endpoint, Policy, Readiness, Route, RouteKey, Routes, Strip},
};
use std::{collections::BTreeMap, sync::Arc};

/// The routes of its map, each with its servers. What is not ours (of a base file) is left alone.
pub fn routes(observed: &Observed) -> Routes {
    let route = |(key, value): (&str, &str)| {
        Some((key.parse::<RouteKey>().ok()?, Arc::new(route(observed, value)?)))
    };
    Routes(observed.map(MapName::Routes).filter_map(route).collect())
}

/// `backend strip timeout retry route`.
fn route(observed: &Observed, value: &str) -> Option<Route> {
    let mut words = value.split(' ');
    let (backend, strip) = (words.next()?, words.next()?);
    let (timeout, retry) = (words.next()?, words.next()?);
    let none = BTreeMap::new();
    let servers = observed.servers.get(backend).filter(|_| backend != name::NOBODY);
    let servers = servers.unwrap_or(&none);
    let policy = Policy {
        strip: if strip == "0" { Strip::Keep } else { Strip::Prefix },
        check: check(observed, backend, servers),
        timeout: format!("{timeout}ms").parse::<Timeout>().ok()?,
        retry: retry.parse::<Retry>().ok()?,
    };
    Some(Route { policy, endpoints: endpoints(servers) })
}

fn check(observed: &Observed, backend: &str, servers: &BTreeMap<String, ServerSeen>) -> Check {
    let path = observed.maps.get(&MapName::Checks).and_then(|map| map.get(backend));
    let mut of_containers = servers.keys().filter(|server| *server != name::HOLD).peekable();
    let unchecked =
        of_containers.peek().is_some() && of_containers.all(|server| name::is_unchecked(server));
    match path.and_then(|path| path.parse().ok()) {
        Some(path) => Check::Http(path),
        None if unchecked => Check::Off,
        None => Check::Tcp,
    }
}

/// One that is watched in another way meanwhile is there twice: the one that serves counts.
fn endpoints(servers: &BTreeMap<String, ServerSeen>) -> Vec<Endpoint> {
    let all = servers.iter().filter_map(|(server, seen)| endpoint(server, seen));
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| (&a.origin, a.port, a.readiness).cmp(&(&b.origin, b.port, b.readiness)));
    all.dedup_by(|a, b| a.origin == b.origin && a.port == b.port);
    all.sort();
    all
}

fn endpoint(server: &str, seen: &ServerSeen) -> Option<Endpoint> {
    let (name, id, port) = name::parts(server)?;
    Some(Endpoint {
        origin: Origin::new(name, id),
        port: port.parse().ok()?,
        address: seen.address,
        weight: seen.weight.to_string().parse::<Weight>().ok()?,
        readiness: match seen.admin {
            Admin::Ready => Readiness::Ready,
            Admin::Drain | Admin::Maintenance => Readiness::Out,
        },
    })
}
