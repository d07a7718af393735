//! The grammar that users write: labels of a container → what it asks for, and what was not understood.
//!
//! Pure: never fails. What is not understood is a [`Problem`].

pub mod constraint;
mod host;
pub mod key;
mod own;
mod prefix;
mod read;
mod synonym;
pub mod trace;
pub mod value;

#[cfg(test)]
mod tests;

use crate::{
    container::Container,
    problem::{About, Label, Problem, Reason},
    route::{Policy, RouteKey},
};
use std::{collections::BTreeSet, fmt, num::NonZeroU16};
use value::{HostMatch, Obedience, Weight};

pub use constraint::Constraint;
pub use own::keep_own;
pub use read::{MOST_PROBLEMS, MOST_ROUTES, MOST_SERVERS};

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
    /// Sorted, each once, and no more than [`MOST_PROBLEMS`] but for one that says how many are left out.
    pub problems: Vec<Problem>,
}

/// What an administrator lets containers claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fences {
    /// Empty: every host.
    pub hosts: Vec<HostFence>,
    /// `None`: every port but `reserved`.
    pub ports: Option<BTreeSet<NonZeroU16>>,
    /// Ports that no container gets unless `ports` names them: SSH's, Docker's API's, our own.
    pub reserved: BTreeSet<NonZeroU16>,
    /// Those of `reserved` where this program and its HAProxy listen on this machine.
    pub own: BTreeSet<NonZeroU16>,
    /// Every one must hold, else the container is not ours.
    pub constraints: Vec<Constraint>,
    /// The label that says whose a container's hosts are.
    pub own_hosts_by: Option<String>,
    pub host_network: HostNetwork,
}

/// A host that containers may claim; only those that meet the constraint, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFence {
    pub host: HostMatch,
    pub only: Option<Constraint>,
}

/// Whether containers on the host's network are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostNetwork {
    #[default]
    On,
    Off,
}

/// Whether anything in these names speaks to us at all; the cheap question before [`read`].
pub fn speaks<'a>(keys: impl IntoIterator<Item = &'a str>) -> bool {
    keys.into_iter().any(|key| key.starts_with("glue_"))
}

/// Whose service a container is of.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const SWARM: &str = "com.docker.swarm.service.name";

/// Whether a label of this name means anything to us, whatever the administrator asks for beside.
pub fn is_read(key: &str) -> bool {
    speaks([key]) || [ONE_OFF, PROJECT, SERVICE, SWARM].contains(&key)
}

/// The service that a container is of, where Compose or a Swarm made it.
pub fn service(container: &Container) -> Option<String> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let composes = || Some(format!("{}/{}", label(PROJECT)?, label(SERVICE)?));
    label(SWARM).map(str::to_owned).or_else(composes)
}

/// Whether the container is ours at all. Does not look at its state. One whose labels cannot be compared with its
/// image's is, so that its problem is reported.
pub fn takes_part(container: &Container, fences: &Fences) -> bool {
    if container.label_fault.is_some() {
        return true;
    }
    let keys = container.labels.keys().chain(container.environment.keys());
    speaks(keys.map(String::as_str)) && !is_one_off(container) && fences.admit(container)
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
        let label = Label::new(key, value);
        let about = About::Container(container.origin());
        Some(Problem { about, label: Some(label), reason: Reason::Misspelt { nearest } })
    })
}

/// Variables of the environment that would be labels of ours, where environments are read.
pub fn in_environment(container: &Container) -> impl Iterator<Item = Problem> {
    let ours = container.environment.iter().filter(|(key, _)| speaks([key.as_str()]));
    let unlabelled = ours.filter(|(key, _)| !container.labels.contains_key(*key));
    unlabelled.map(|(key, value)| {
        let label = Label::new(key, value);
        let about = About::Container(container.origin());
        Problem { about, label: Some(label), reason: Reason::InEnvironment }
    })
}

/// Words for another program on a container that has none for us: a hint, for those who ask.
pub fn foreign(container: &Container) -> Option<Problem> {
    let keys = container.labels.keys().chain(container.environment.keys());
    if speaks(keys.map(String::as_str)) {
        return None;
    }
    let synonym::Foreign { key, value, program, instead } = synonym::foreign(container)?;
    let about = About::Container(container.origin());
    let reason = Reason::Foreign { program, instead };
    Some(Problem { about, label: Some(Label::new(&key, &value)), reason })
}

/// Whether a label is for another program that does what we do.
pub fn is_foreign(key: &str) -> bool {
    synonym::peer(key).is_some()
}

/// Whether a value looks as if something in it were missing: where it begins or ends, or between two dots.
pub fn is_cut_short(value: &str) -> bool {
    let cut = |member: &str| {
        let member = member.trim();
        member.is_empty()
            || member.starts_with(['.', '-', ':'])
            || member.ends_with(['.', '-', ':'])
            || ["..", "//", "/-", "-/", ".-", "-."].iter().any(|it| member.contains(it))
            || member == "/"
    };
    value.split(',').any(cut)
}

impl Fences {
    /// Labels that these name, besides those of constraints.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let reservations = self.hosts.iter().filter_map(|fence| fence.only.as_ref());
        let owner = self.own_hosts_by.as_deref();
        reservations.map(|only| only.label.as_str()).chain(owner)
    }

    /// Whether the administrator's constraints hold.
    pub fn admit(&self, container: &Container) -> bool {
        self.constraints.iter().all(|constraint| constraint.holds(container))
    }

    /// Whether the container may answer for all of these hosts. The closest patterns decide; among these a reservation
    /// keeps out who does not meet one.
    pub fn allow_host(&self, host: &HostMatch, container: &Container) -> Result<(), Reason> {
        if self.hosts.is_empty() {
            return Ok(());
        }
        let covering = self.hosts.iter().filter(|fence| fence.host.covers(host));
        let Some(closest) = covering.clone().map(|fence| closeness(&fence.host)).min() else {
            return Err(Reason::HostFenced(host.to_string()));
        };
        let closest = covering.filter(|fence| closeness(&fence.host) == closest);
        let mut reservations = closest.filter_map(|fence| fence.only.as_ref()).peekable();
        let Some(first) = reservations.peek().copied() else { return Ok(()) };
        if reservations.any(|only| only.holds(container)) {
            return Ok(());
        }
        Err(Reason::HostReserved { host: host.to_string(), only: first.to_string() })
    }

    /// Whether a container may have this public port.
    pub fn allow_port(&self, port: NonZeroU16) -> bool {
        match &self.ports {
            Some(ports) => ports.contains(&port),
            None => !self.reserved.contains(&port),
        }
    }
}

/// The closer, the less.
fn closeness(pattern: &HostMatch) -> u8 {
    match pattern {
        HostMatch::Exact(_) => 0,
        HostMatch::Wildcard(_) => 1,
        HostMatch::Any => 2,
    }
}

impl From<HostMatch> for HostFence {
    fn from(host: HostMatch) -> Self {
        Self { host, only: None }
    }
}

/// As it is written on the command line.
impl fmt::Display for HostFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.only.as_ref().map_or(Ok(()), |only| write!(f, " if {only}"))
    }
}

/// Of `docker compose run`: a shell beside the service, with all of the service's labels.
pub fn is_one_off(container: &Container) -> bool {
    let label = container.labels.get(ONE_OFF);
    label.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}
