//! The grammar that users write: labels of a container → what it asks for, and what was not understood.
//!
//! Pure: never fails. What is not understood is a [`Problem`].

pub mod constraint;
pub mod key;
mod own;
mod parse;
mod synonym;
pub mod trace;

#[cfg(test)]
mod tests;

use crate::model::{
    container::Container,
    label_option::OptionValues,
    option_value::{HealthPolicy, HostMatch, Weight},
    problem::{LabelText, Problem, ProblemSubject, Reason},
    route::{Policy, RouteKey},
};
use std::{collections::BTreeSet, fmt, num::NonZeroU16};

pub use crate::model::label_text::has_our_labels;
pub use constraint::Constraint;
pub use own::keep_own;
pub use parse::{MAX_PROBLEMS, MAX_ROUTES, MAX_SERVERS};

/// `docker compose run` gives it the value `True`.
const ONE_OFF_LABEL: &str = "com.docker.compose.oneoff";

/// One route that one port of the container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRequest {
    pub key: RouteKey,
    pub policy: Policy,
    /// The container's port.
    pub port: u16,
    /// What belongs to the container's server in the route.
    pub options: OptionValues,
    pub health_policy: HealthPolicy,
}

impl RouteRequest {
    /// The container's share of the route's requests.
    pub fn weight(&self) -> Weight {
        self.options.get()
    }
}

/// What a container's labels say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedLabels {
    /// By route, then by port; no two of one port for one route.
    pub requests: Vec<RouteRequest>,
    /// `glue_network`.
    pub network: Option<String>,
    /// Sorted, each once, and no more than [`MAX_PROBLEMS`] but for one that says how many are left out.
    pub problems: Vec<Problem>,
}

/// What an administrator lets containers claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelLimits {
    /// Empty: every host.
    pub allowed_hosts: Vec<AllowedHost>,
    /// `None`: every port but `reserved`.
    pub allowed_ports: Option<BTreeSet<NonZeroU16>>,
    /// Ports that no container gets unless `ports` names them: SSH's, Docker's API's, our own.
    pub reserved_ports: BTreeSet<NonZeroU16>,
    /// Those of `reserved` where this program and its HAProxy listen on this machine.
    pub own_ports: BTreeSet<NonZeroU16>,
    /// Every one must hold, else the container is not ours.
    pub constraints: Vec<Constraint>,
    /// The label that says whose a container's hosts are.
    pub own_hosts_by: Option<String>,
    pub host_network: HostNetwork,
}

/// A host that containers may claim; only those that meet the constraint, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    pub host: HostMatch,
    pub constraint: Option<Constraint>,
}

/// Whether containers on the host's network are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostNetwork {
    #[default]
    On,
    Off,
}

/// Whose service a container is of.
const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const SWARM_SERVICE_LABEL: &str = "com.docker.swarm.service.name";

/// Whether a label of this name means anything to us, whatever the administrator asks for beside.
pub fn is_relevant_label(key: &str) -> bool {
    has_our_labels([key])
        || [ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, SWARM_SERVICE_LABEL].contains(&key)
}

/// The service that a container is of, where Compose or a Swarm made it.
pub fn service_name(container: &Container) -> Option<String> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let compose_service = || Some(format!("{}/{}", label(PROJECT_LABEL)?, label(SERVICE_LABEL)?));
    label(SWARM_SERVICE_LABEL).map(str::to_owned).or_else(compose_service)
}

/// Whether the container is ours at all. Does not look at its state. One whose labels cannot be compared with its
/// image's is, so that its problem is reported.
pub fn participates(container: &Container, limits: &LabelLimits) -> bool {
    if container.label_fault.is_some() {
        return true;
    }
    let keys = container.labels.keys().chain(container.environment.keys());
    has_our_labels(keys.map(String::as_str))
        && !is_one_off(container)
        && limits.matches_constraints(container)
}

/// Parses the container's labels. Does not consider its state or its addresses, nor whether it [`participates`].
pub fn parse_labels(container: &Container, limits: &LabelLimits) -> ParsedLabels {
    parse::LabelParser::new(container, limits).parse()
}

/// Labels that are not ours and may have been meant to be: hints, and only for those who ask, as such
/// labels are nobody's business else.
pub fn near_misses(container: &Container) -> impl Iterator<Item = Problem> {
    container.labels.iter().filter_map(|(key, value)| {
        let nearest = key::suggest_label(key)?;
        let label = LabelText::new(key, value);
        let subject = ProblemSubject::Container(container.to_ref());
        Some(Problem { subject, label: Some(label), reason: Reason::Misspelled { nearest } })
    })
}

/// Variables of the environment that would be labels of ours, where environments are read.
pub fn environment_hints(container: &Container) -> impl Iterator<Item = Problem> {
    let ours = container.environment.iter().filter(|(key, _)| has_our_labels([key.as_str()]));
    let unlabelled = ours.filter(|(key, _)| !container.labels.contains_key(*key));
    unlabelled.map(|(key, value)| {
        let label = LabelText::new(key, value);
        let subject = ProblemSubject::Container(container.to_ref());
        Problem { subject, label: Some(label), reason: Reason::EnvironmentVariable }
    })
}

/// Words for another program on a container that has none for us: a hint, for those who ask.
pub fn foreign_hint(container: &Container) -> Option<Problem> {
    let keys = container.labels.keys().chain(container.environment.keys());
    if has_our_labels(keys.map(String::as_str)) {
        return None;
    }
    let synonym::ForeignLabel { key, value, program, instead } =
        synonym::find_foreign_label(container)?;
    let subject = ProblemSubject::Container(container.to_ref());
    let reason = Reason::ForeignLabel { program, instead };
    Some(Problem { subject, label: Some(LabelText::new(&key, &value)), reason })
}

/// Whether a label is for another program that does what we do.
pub fn is_foreign_label(key: &str) -> bool {
    synonym::foreign_program(key).is_some()
}

impl LabelLimits {
    /// Labels that these name, besides those of constraints.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let reservations =
            self.allowed_hosts.iter().filter_map(|allowed| allowed.constraint.as_ref());
        let owner = self.own_hosts_by.as_deref();
        reservations.map(|constraint| constraint.label.as_str()).chain(owner)
    }

    /// Whether the administrator's constraints hold.
    pub fn matches_constraints(&self, container: &Container) -> bool {
        self.constraints.iter().all(|constraint| constraint.matches_container(container))
    }

    /// Whether the container may answer for all of these hosts. The closest patterns decide; among these a reservation
    /// keeps out who does not meet one.
    pub fn check_host(&self, host: &HostMatch, container: &Container) -> Result<(), Reason> {
        if self.allowed_hosts.is_empty() {
            return Ok(());
        }
        let covering = self.allowed_hosts.iter().filter(|allowed| allowed.host.covers(host));
        let Some(closest) = covering.clone().map(|allowed| specificity(&allowed.host)).min() else {
            return Err(Reason::HostNotAllowed(host.to_string()));
        };
        let closest = covering.filter(|allowed| specificity(&allowed.host) == closest);
        let mut reservations = closest.filter_map(|allowed| allowed.constraint.as_ref()).peekable();
        let Some(first) = reservations.peek().copied() else { return Ok(()) };
        if reservations.any(|constraint| constraint.matches_container(container)) {
            return Ok(());
        }
        Err(Reason::HostReserved { host: host.to_string(), only: first.to_string() })
    }

    /// Whether a container may have this public port.
    pub fn is_port_allowed(&self, port: NonZeroU16) -> bool {
        match &self.allowed_ports {
            Some(ports) => ports.contains(&port),
            None => !self.reserved_ports.contains(&port),
        }
    }
}

/// The closer, the less.
fn specificity(pattern: &HostMatch) -> u8 {
    match pattern {
        HostMatch::Exact(_) => 0,
        HostMatch::Wildcard(_) => 1,
        HostMatch::Any => 2,
    }
}

impl From<HostMatch> for AllowedHost {
    fn from(host: HostMatch) -> Self {
        Self { host, constraint: None }
    }
}

/// As it is written on the command line.
impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.constraint.as_ref().map_or(Ok(()), |constraint| write!(f, " if {constraint}"))
    }
}

/// Of `docker compose run`: a shell beside the service, with all of the service's labels.
pub fn is_one_off(container: &Container) -> bool {
    let label = container.labels.get(ONE_OFF_LABEL);
    label.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}
