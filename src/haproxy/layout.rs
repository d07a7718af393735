//! Which backend serves which route.
//!
//! Pure. At a start every route has a backend of its own name, and there is a stock of empty ones.
//! While HAProxy runs a new route takes one of those, and an old one stays where it is, also while it has no container:
//! requests wait there for the next one. Routes whose requests cannot wait share one backend while they have none.

use super::{
    config::{self, Admin, Connect, MapName, Probe, Shape},
    name,
    observed::{Observed, ServerSeen},
};
use crate::route::{Route, RouteKey, Routes};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    pub places: BTreeMap<RouteKey, String>,
    pub spares: BTreeMap<String, Shape>,
}

impl Layout {
    /// For a worker that is yet to be started; `stock` spare backends of each shape.
    pub fn fresh(routes: &Routes, stock: usize) -> Self {
        let mut taken = BTreeSet::new();
        let mut place = |(key, route): (&RouteKey, &Arc<Route>)| {
            let idle = route.endpoints.is_empty() && !config::shape(&route.policy).holds();
            let mut free = || name::backends(key).find(|name| taken.insert(name.clone()));
            let place = if idle { Some(name::NOBODY.to_owned()) } else { free() };
            place.map(|place| (key.clone(), place))
        };
        let spare = |probe| {
            let shape = Shape { probe, connect: Connect::Retried };
            (1..=stock).map(move |number| (name::spare(probe, number), shape))
        };
        Self {
            places: routes.0.iter().filter_map(&mut place).collect(),
            spares: spare(Probe::Tcp).chain(spare(Probe::Http)).collect(),
        }
    }

    /// For the worker that runs. Also says which routes found no place: where
    /// backends can be added they are, and every one does. Requests of an earlier route may still wait in `resting` backends:
    /// no other route is given these.
    pub fn within(
        routes: &Routes,
        observed: &Observed,
        resting: &BTreeSet<String>,
    ) -> (Self, Vec<(RouteKey, Shape)>) {
        let mut places = BTreeMap::new();
        let mut homeless = Vec::new();
        // Of two routes in one backend one has to go elsewhere.
        let mut taken = BTreeSet::new();
        for (key, route) in &routes.0 {
            let wanted = config::shape(&route.policy);
            let empty = route.endpoints.is_empty();
            let current = current(key, observed).filter(|(_, shape)| *shape == wanted);
            let current = current.filter(|_| !empty || wanted.holds());
            match current.filter(|(place, _)| taken.insert((*place).to_owned())) {
                Some((place, _)) => {
                    places.insert(key.clone(), place.to_owned());
                }
                None if empty => {
                    places.insert(key.clone(), name::NOBODY.to_owned());
                }
                None => homeless.push((key.clone(), wanted)),
            }
        }
        if observed.adds_backends() {
            for (key, _) in homeless {
                let mut names = name::backends(&key);
                let is_free =
                    |name: &String| !observed.backends.contains(name) && taken.insert(name.clone());
                if let Some(name) = names.find(is_free) {
                    places.insert(key, name);
                }
            }
            return (Self { places, spares: BTreeMap::new() }, Vec::new());
        }
        let mut spares = free_spares(&places, observed);
        let mut left = if homeless.is_empty() { BTreeSet::new() } else { left_just_now(observed) };
        left.extend(resting.iter().map(String::as_str));
        homeless.retain(|(key, wanted)| {
            let Some(place) = take(&mut spares, *wanted, &left, observed) else { return true };
            places.insert(key.clone(), place);
            false
        });
        (Self { places, spares }, homeless)
    }
}

/// Where the route is now, and of what shape that is.
fn current<'a>(key: &RouteKey, observed: &'a Observed) -> Option<(&'a str, Shape)> {
    let value = observed.maps.get(&MapName::Routes)?.get(&key.to_string())?;
    let mut words = value.split(' ');
    let place = words.next().filter(|place| observed.backends.contains(*place))?;
    if place == name::NOBODY {
        return None;
    }
    let once = words.nth(2) == Some("off");
    let checked = observed.maps.get(&MapName::Checks)?.contains_key(place);
    let proper = Shape {
        probe: if checked { Probe::Http } else { Probe::Tcp },
        connect: if once { Connect::Once } else { Connect::Retried },
    };
    Some((place, name::spare_shape(place).unwrap_or(proper)))
}

fn free_spares(
    places: &BTreeMap<RouteKey, String>,
    observed: &Observed,
) -> BTreeMap<String, Shape> {
    let used: BTreeSet<_> = places.values().collect();
    let free = observed.backends.iter().filter(|name| !used.contains(name));
    free.filter_map(|name| Some((name.clone(), name::spare_shape(name)?))).collect()
}

/// Which backends cannot be had yet as a route leaves them just now: between two commands requests of
/// one route would reach the containers of the other.
fn left_just_now(observed: &Observed) -> BTreeSet<&str> {
    let routed = observed.map(MapName::Routes).filter_map(|(_, value)| value.split(' ').next());
    let serves = |servers: &BTreeMap<String, ServerSeen>| {
        servers.iter().any(|(name, server)| name != name::HOLD && server.admin == Admin::Ready)
    };
    let serving = observed.servers.iter().filter(|(_, servers)| serves(servers));
    routed.chain(serving.map(|(name, _)| name.as_str())).collect()
}

/// One where no server of an earlier route is on its way out, if there is.
fn take(
    spares: &mut BTreeMap<String, Shape>,
    wanted: Shape,
    left: &BTreeSet<&str>,
    observed: &Observed,
) -> Option<String> {
    let fit = || {
        let fit = spares.iter().filter(|(_, shape)| **shape == wanted).map(|(name, _)| name);
        fit.filter(|name| !left.contains(name.as_str()))
    };
    let has_servers = |name: &String| {
        observed.servers.get(name).is_some_and(|it| it.keys().any(|server| server != name::HOLD))
    };
    let empty = fit().find(|name| !has_servers(name));
    let name = empty.or_else(|| fit().next())?.clone();
    spares.remove(&name);
    Some(name)
}
