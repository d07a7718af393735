//! What is different between two desired states, in words of routes.
//!
//! Pure.

use crate::{
    route::{Endpoint, Readiness, Route, RouteKey, Routes},
    side_by_side::differences,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// One route that came, went, or is served otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Came { route: RouteKey, servers: Vec<String> },
    Went { route: RouteKey },
    Differs { route: RouteKey, details: Vec<Detail> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// An endpoint serves that did not.
    In(String),
    /// An endpoint no longer serves.
    Out(String),
    Weight(String, u16, u16),
    Moved(String),
    Policy,
}

/// A route before and after.
pub type Difference<'a> = (&'a RouteKey, Option<&'a Arc<Route>>, Option<&'a Arc<Route>>);

/// From `before` to `after`, in the order of the routes; those that went come last.
pub fn changes(before: &Routes, after: &Routes) -> Vec<Change> {
    of_differences(differences(&before.0, &after.0))
}

/// The same where it is known already which routes are different, from what to what.
pub fn of_differences<'a>(differences: impl Iterator<Item = Difference<'a>>) -> Vec<Change> {
    let change = |(key, old, new): Difference<'_>| {
        let route = key.clone();
        match (old, new) {
            (_, None) => Some(Change::Went { route }),
            (None, Some(new)) => Some(Change::Came { route, servers: serving(new) }),
            (Some(old), Some(new)) => match details(old, new) {
                // Somebody who served nothing anyway came or went.
                details if details.is_empty() => None,
                details => Some(Change::Differs { route, details }),
            },
        }
    };
    let all = differences.filter_map(change);
    let (went, mut changes): (Vec<_>, Vec<_>) =
        all.partition(|it| matches!(it, Change::Went { .. }));
    changes.extend(went);
    changes
}

fn serving(route: &Route) -> Vec<String> {
    ready(route).into_keys().map(|(name, _)| name.to_owned()).collect()
}

fn ready(route: &Route) -> BTreeMap<(&str, u16), &Endpoint> {
    let ready = route.endpoints.iter().filter(|it| it.readiness == Readiness::Ready);
    ready.map(|it| ((it.origin.name(), it.port), it)).collect()
}

fn details(old: &Route, new: &Route) -> Vec<Detail> {
    let (before, after) = (ready(old), ready(new));
    let mut details = Vec::new();
    for (key @ (name, _), endpoint) in &after {
        let name = (*name).to_owned();
        let Some(old) = before.get(key) else {
            details.push(Detail::In(name));
            continue;
        };
        if old.address != endpoint.address {
            details.push(Detail::Moved(name.clone()));
        }
        if old.weight != endpoint.weight {
            details.push(Detail::Weight(name, old.weight.get(), endpoint.weight.get()));
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    details.extend(gone.map(|(name, _)| Detail::Out((*name).to_owned())));
    if old.policy != new.policy {
        details.push(Detail::Policy);
    }
    details
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Came { route, servers } if servers.is_empty() => {
                write!(f, "+ {route} → nobody yet")
            }
            Self::Came { route, servers } => write!(f, "+ {route} → {}", servers.join(", ")),
            Self::Went { route } => write!(f, "- {route}"),
            Self::Differs { route, details } => {
                let details: Vec<_> = details.iter().map(ToString::to_string).collect();
                write!(f, "~ {route}: {}", details.join(", "))
            }
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(name) => write!(f, "+ {name}"),
            Self::Out(name) => write!(f, "- {name}"),
            Self::Weight(name, old, new) => write!(f, "{name} weight {old} → {new}"),
            Self::Moved(name) => write!(f, "{name} at a new address"),
            Self::Policy => f.write_str("other options"),
        }
    }
}
