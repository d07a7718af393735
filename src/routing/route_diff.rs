//! Differences of two desired states, by route.
//!
//! Pure.

use crate::{
    model::{
        label_option::{LabelOption, OptionPlace},
        route::{Endpoint, Readiness, Route, RouteKey, Routes},
    },
    support::map_diff::diff_maps,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};
use strum::IntoStaticStr;

/// One route that was added, removed or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// The servers, or what HAProxy itself answers.
    Added {
        route: RouteKey,
        servers: Vec<String>,
    },
    Removed {
        route: RouteKey,
    },
    Changed {
        route: RouteKey,
        details: Vec<ChangeDetail>,
    },
}

/// Kind of a [`RouteChange`], without the details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ChangeKind {
    Add,
    Change,
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeDetail {
    /// An endpoint that did not serve before.
    ServerAdded(String),
    /// An endpoint that no longer serves.
    ServerRemoved(String),
    /// Server, option, and the values before and after.
    OptionChanged(String, LabelOption, [String; 2]),
    AddressChanged(String),
    PolicyChanged,
}

/// A route, and its state before and after; `None` where it does not exist.
pub type RouteDifference<'a> = (&'a RouteKey, Option<&'a Arc<Route>>, Option<&'a Arc<Route>>);

/// Returns the changes from `before` to `after`, in the order of the routes; removed routes come last.
pub fn diff_routes(before: &Routes, after: &Routes) -> Vec<RouteChange> {
    describe_differences(diff_maps(&before.0, &after.0))
}

/// Like [`diff_routes`], for routes that are already known to differ.
pub fn describe_differences<'a>(
    differences: impl Iterator<Item = RouteDifference<'a>>,
) -> Vec<RouteChange> {
    let change = |(key, old, new): RouteDifference<'_>| {
        let route = key.clone();
        match (old, new) {
            (_, None) => Some(RouteChange::Removed { route }),
            (None, Some(new)) => {
                let answer = new.own_answer(route.listener);
                let servers = answer.map_or_else(|| ready_server_names(new), |text| vec![text]);
                Some(RouteChange::Added { route, servers })
            }
            (Some(old), Some(new)) => match diff_endpoints(old, new) {
                // Only endpoints that do not serve were added or removed.
                details if details.is_empty() => None,
                details => Some(RouteChange::Changed { route, details }),
            },
        }
    };
    let all = differences.filter_map(change);
    let (removed, mut changes): (Vec<_>, Vec<_>) =
        all.partition(|change| matches!(change, RouteChange::Removed { .. }));
    changes.extend(removed);
    changes
}

fn ready_server_names(route: &Route) -> Vec<String> {
    ready_endpoints(route).into_keys().map(|(name, _)| name.into_owned()).collect()
}

fn ready_endpoints(route: &Route) -> BTreeMap<(Cow<'_, str>, u16), &Endpoint> {
    let ready = route.endpoints.iter().filter(|view| view.readiness == Readiness::Ready);
    ready.map(|view| ((view.container.qualified_name(), view.port), view)).collect()
}

fn diff_endpoints(old: &Route, new: &Route) -> Vec<ChangeDetail> {
    let (before, after) = (ready_endpoints(old), ready_endpoints(new));
    let mut details = Vec::new();
    for (key @ (name, _), endpoint) in &after {
        let name = name.clone().into_owned();
        let Some(old) = before.get(key) else {
            details.push(ChangeDetail::ServerAdded(name));
            continue;
        };
        if old.address != endpoint.address {
            details.push(ChangeDetail::AddressChanged(name.clone()));
        }
        let (before, after) = (&old.options, &endpoint.options);
        for option in LabelOption::of_place(OptionPlace::Server) {
            let values = [before, after].map(|values| values.value(option));
            if values[0] != values[1] {
                let texts = values.map(|value| value.map(|value| value.to_string()));
                let texts = texts.map(Option::unwrap_or_default);
                details.push(ChangeDetail::OptionChanged(name.clone(), option, texts));
            }
        }
    }
    let missing = before.keys().filter(|key| !after.contains_key(*key));
    details.extend(missing.map(|(name, _)| ChangeDetail::ServerRemoved(name.clone().into_owned())));
    if old.policy != new.policy {
        details.push(ChangeDetail::PolicyChanged);
    }
    details
}

impl ChangeKind {
    /// Returns the word for the kind in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the sign in front of a line for people.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }
}

impl RouteChange {
    /// Returns what happened to the route.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match self {
            Self::Added { .. } => ChangeKind::Add,
            Self::Changed { .. } => ChangeKind::Change,
            Self::Removed { .. } => ChangeKind::Remove,
        }
    }

    /// Returns the route that changed.
    #[must_use]
    pub fn route(&self) -> &RouteKey {
        match self {
            Self::Added { route, .. } | Self::Changed { route, .. } | Self::Removed { route } => {
                route
            }
        }
    }

    /// Returns the line for people, without its sign.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Added { route, servers } if servers.is_empty() => {
                format!("{route} → no containers yet")
            }
            Self::Added { route, servers } => format!("{route} → {}", servers.join(", ")),
            Self::Removed { route } => route.to_string(),
            Self::Changed { route, details } => {
                let details: Vec<_> = details.iter().map(ToString::to_string).collect();
                format!("{route}: {}", details.join(", "))
            }
        }
    }
}

impl fmt::Display for RouteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().sign(), self.describe())
    }
}

impl fmt::Display for ChangeDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerAdded(name) => write!(f, "+ {name}"),
            Self::ServerRemoved(name) => write!(f, "- {name}"),
            Self::OptionChanged(name, option, [old, new]) => {
                write!(f, "{name} {option} {old} → {new}")
            }
            Self::AddressChanged(name) => write!(f, "{name} has a new address"),
            Self::PolicyChanged => f.write_str("options changed"),
        }
    }
}
