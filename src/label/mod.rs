//! The grammar that users write: labels of a container → what it asks for, and what was not understood.
//!
//! Pure: never fails. What is not understood is a [`Problem`].

mod host;
pub mod key;
mod prefix;
mod read;
pub mod trace;
pub mod value;

#[cfg(test)]
mod tests;

use crate::{
    container::Container,
    problem::{About, Label, Problem, Reason},
    route::{Policy, RouteKey},
};
use std::{collections::BTreeSet, num::NonZeroU16};
use value::{HostMatch, Obedience, Weight};

pub use read::MOST_ROUTES;

/// `docker compose run` gives it the value `True`.
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// One route that one port of the container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub key: RouteKey,
    pub policy: Policy,
    /// The container's port.
    pub port: u16,
    pub weight: Weight,
    pub obedience: Obedience,
}

/// What a container's labels say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// By route, then by port; no two of one port for one route.
    pub asks: Vec<Ask>,
    /// `glue_network`.
    pub network: Option<String>,
    /// Sorted, each once.
    pub problems: Vec<Problem>,
}

/// What an administrator lets containers claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fences {
    /// Empty: every host.
    pub hosts: Vec<HostMatch>,
    /// `None`: every port but `reserved`.
    pub ports: Option<BTreeSet<NonZeroU16>>,
    /// Ports that no container gets unless `ports` names them: SSH's, Docker's API's, our own.
    pub reserved: BTreeSet<NonZeroU16>,
    /// Every one must hold, else the container is not ours.
    pub constraints: Vec<Constraint>,
}

/// `label` or `label=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    pub label: String,
    pub value: Option<String>,
}

/// Whether anything in these names speaks to us at all; the cheap question before [`read`].
pub fn speaks<'a>(keys: impl IntoIterator<Item = &'a str>) -> bool {
    keys.into_iter().any(|key| key.starts_with("glue_"))
}

/// Whether a label of this name means anything to us, whatever the administrator asks for beside.
pub fn is_read(key: &str) -> bool {
    speaks([key]) || key == ONE_OFF
}

/// Whether the container is ours at all. Does not look at its state.
pub fn takes_part(container: &Container, fences: &Fences) -> bool {
    let keys = container.labels.keys().chain(container.environment.keys());
    speaks(keys.map(String::as_str))
        && !is_one_off(container)
        && fences.constraints.iter().all(|constraint| constraint.holds(container))
}

/// What the container asks for. Does not look at its state or its addresses, nor whether it
/// [takes part](takes_part).
pub fn read(container: &Container, fences: &Fences) -> Reading {
    read::Reader::new(container, fences).read()
}

/// Labels that are not ours and may have been meant to be: hints, and only for those who ask, as such
/// labels are nobody's business else.
pub fn misspelt(container: &Container) -> impl Iterator<Item = Problem> {
    container.labels.iter().filter_map(|(key, value)| {
        let nearest = key::misspelt(key)?;
        let label = Label { key: key.clone(), value: value.clone() };
        let about = About::Container(container.origin());
        Some(Problem { about, label: Some(label), reason: Reason::Misspelt { nearest } })
    })
}

impl Fences {
    /// Whether a container may answer for all of these hosts.
    pub fn allow_host(&self, host: &HostMatch) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.covers(host))
    }

    /// Whether a container may have this public port.
    pub fn allow_port(&self, port: NonZeroU16) -> bool {
        match &self.ports {
            Some(ports) => ports.contains(&port),
            None => !self.reserved.contains(&port),
        }
    }
}

impl Constraint {
    pub fn holds(&self, container: &Container) -> bool {
        match (container.labels.get(&self.label), &self.value) {
            (Some(is), Some(wanted)) => is == wanted,
            (is, _) => is.is_some(),
        }
    }
}

/// Of `docker compose run`: a shell beside the service, with all of the service's labels.
pub fn is_one_off(container: &Container) -> bool {
    let label = container.labels.get(ONE_OFF);
    label.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}
