//! Parses the labels of a container into requests for routes, and problems.
//!
//! Pure. Parsing never fails: an invalid label is a [`Problem`].

pub mod constraint;
pub mod key;
mod own;
mod parse;
mod synonym;
pub mod trace;

#[cfg(test)]
mod tests;

use crate::model::{
    container::{Container, ContainerState},
    http::users::NoUserCheck,
    label_option::{LabelProtocol, OptionValues},
    option_value::{HealthPolicy, HostMatch, Weight},
    policy_book::PolicyBook,
    problem::{LabelText, Problem, ProblemSubject, Reason},
    route::{Policy, RouteKey},
    tls::TlsMode,
};
use std::{collections::BTreeSet, fmt, num::NonZeroU16, sync::Arc};

pub use crate::model::label_text::has_our_labels;
pub use constraint::Constraint;
pub use own::keep_own;
pub use parse::{MAX_PROBLEMS, MAX_RANGE_PORTS, MAX_ROUTES, MAX_SERVERS};

/// `docker compose run` sets it to `True`.
const ONE_OFF_LABEL: &str = "com.docker.compose.oneoff";

/// Request of one port of the container for one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRequest {
    pub key: RouteKey,
    pub policy: Policy,
    /// Options of the host on an HTTPS listener.
    pub terms: OptionValues,
    /// The container's port.
    pub port: u16,
    /// Options of the container's server in the route.
    pub options: OptionValues,
    pub health_policy: HealthPolicy,
}

impl RouteRequest {
    /// Returns the container's share of the route's requests.
    pub fn weight(&self) -> Weight {
        self.options.get()
    }
}

/// Parsed labels of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedLabels {
    /// Sorted by route, then by port. A port has at most one request for a route.
    pub requests: Vec<RouteRequest>,
    /// `glue_network`.
    pub network: Option<String>,
    /// Sorted, without duplicates. At most [`MAX_PROBLEMS`], and one with the number of those that are left out.
    pub problems: Vec<Problem>,
}

/// Limits that an administrator sets for the labels of containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelLimits {
    /// If empty, every host is allowed.
    pub allowed_hosts: Vec<AllowedHost>,
    /// `None` allows every port except the reserved ones.
    pub allowed_ports: Option<AllowedPorts>,
    /// Ports that no container gets unless `allowed_ports` contains them: those of SSH, of Docker's API, and of
    /// docker-balancer itself.
    pub reserved_ports: BTreeSet<NonZeroU16>,
    /// The same for UDP: those of DHCP, of the time, and of Docker Swarm.
    pub reserved_udp_ports: BTreeSet<NonZeroU16>,
    /// The part of `reserved_ports` on which this program and its HAProxy listen on this machine.
    pub own_ports: BTreeSet<NonZeroU16>,
    /// A container that does not match all of them is ignored.
    pub constraints: Vec<Constraint>,
    /// Name of the label whose value is the owner of the container's hosts.
    pub own_hosts_by: Option<String>,
    pub host_network: HostNetwork,
    /// For ports whose labels do not set it.
    pub tls: TlsMode,
    pub policies: Arc<PolicyBook>,
    /// Why routes with users cannot be served, if so.
    pub no_user_check: Option<NoUserCheck>,
}

/// Public ports that containers may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedPorts {
    /// Of each protocol.
    pub any: BTreeSet<NonZeroU16>,
    /// Of one protocol.
    pub named: BTreeSet<(LabelProtocol, NonZeroU16)>,
}

/// A host that containers may claim. With a constraint it is reserved for containers that match.
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

/// Labels that identify a container's service.
/// The label that names the network on which HAProxy reaches a container.
pub(crate) const NETWORK_LABEL: &str = "glue_network";

const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const SWARM_SERVICE_LABEL: &str = "com.docker.swarm.service.name";
/// Tells an engine's container of a task from that of a manager.
const SWARM_TASK_LABEL: &str = "com.docker.swarm.task.id";

/// Whether a label of this name is read, regardless of the labels that the administrator's settings name.
pub fn is_relevant_label(key: &str) -> bool {
    has_our_labels([key])
        || [ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL, SWARM_SERVICE_LABEL, SWARM_TASK_LABEL]
            .contains(&key)
}

/// Returns the container's service, if Compose or a Swarm created the container.
pub fn service_name(container: &Container) -> Option<String> {
    let label = |key: &str| container.labels.get(key).map(String::as_str);
    let compose_service = || Some(format!("{}/{}", label(PROJECT_LABEL)?, label(SERVICE_LABEL)?));
    label(SWARM_SERVICE_LABEL).map(str::to_owned).or_else(compose_service)
}

/// Whether a manager of a Swarm lists the container, not the engine that runs it.
fn is_listed_by_manager(container: &Container) -> bool {
    let task = container.labels.get(SWARM_TASK_LABEL).map(String::as_str);
    container.state == ContainerState::Expected || task == Some(container.id.as_str())
}

/// Whether the container's labels are parsed. Does not consider its state. A container whose labels cannot be compared
/// with those of its image participates, so that the problem is reported.
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

/// Iterates over hints about labels that do not start with `glue_` and may be misspelled. Only shown on request,
/// because such labels may belong to another program.
pub fn near_misses(container: &Container) -> impl Iterator<Item = Problem> {
    container.labels.iter().filter_map(|(key, value)| {
        let nearest = key::suggest_label(key)?;
        let reason = Reason::Misspelled { nearest };
        let label = LabelText::of_problem(key, value, &reason);
        let subject = ProblemSubject::Container(container.to_ref());
        Some(Problem { subject, label: Some(label), reason })
    })
}

/// Iterates over hints about environment variables whose names start with `glue_`.
pub fn environment_hints(container: &Container) -> impl Iterator<Item = Problem> {
    let ours = container.environment.iter().filter(|(key, _)| has_our_labels([key.as_str()]));
    let unlabelled = ours.filter(|(key, _)| !container.labels.contains_key(*key));
    unlabelled.map(|(key, value)| {
        let label = LabelText::new(key, value);
        let subject = ProblemSubject::Container(container.to_ref());
        Problem { subject, label: Some(label), reason: Reason::EnvironmentVariable }
    })
}

/// Returns a hint about labels for another program, if the container has none that start with `glue_`. Only shown on
/// request.
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

/// Whether a label is for another program of the same purpose.
pub fn is_foreign_label(key: &str) -> bool {
    synonym::foreign_program(key).is_some()
}

impl LabelLimits {
    /// Iterates over the labels that the limits name, except those of `constraints`.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let reservations =
            self.allowed_hosts.iter().filter_map(|allowed| allowed.constraint.as_ref());
        let owner = self.own_hosts_by.as_deref();
        reservations.map(|constraint| constraint.label.as_str()).chain(owner)
    }

    /// Whether the container matches all constraints of the administrator.
    pub fn matches_constraints(&self, container: &Container) -> bool {
        self.constraints.iter().all(|constraint| constraint.matches_container(container))
    }

    /// Checks whether the container may claim all hosts that `host` matches. The most specific patterns decide; if any
    /// of them has a constraint, the container must match at least one.
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

    /// Whether containers may use this public port of the protocol.
    pub fn is_port_allowed(&self, protocol: LabelProtocol, port: NonZeroU16) -> bool {
        match &self.allowed_ports {
            Some(ports) => ports.any.contains(&port) || ports.named.contains(&(protocol, port)),
            None => !self.reserved_of(protocol).contains(&port),
        }
    }

    /// Whether the administrator named the public port with its protocol.
    pub fn is_port_named(&self, protocol: LabelProtocol, port: NonZeroU16) -> bool {
        let ports = self.allowed_ports.as_ref();
        ports.is_some_and(|ports| ports.named.contains(&(protocol, port)))
    }

    /// Returns the ports of the protocol that no container gets unless it is allowed.
    pub fn reserved_of(&self, protocol: LabelProtocol) -> &BTreeSet<NonZeroU16> {
        match protocol {
            LabelProtocol::Http | LabelProtocol::Tcp => &self.reserved_ports,
            LabelProtocol::Udp => &self.reserved_udp_ports,
        }
    }
}

impl From<BTreeSet<NonZeroU16>> for AllowedPorts {
    fn from(any: BTreeSet<NonZeroU16>) -> Self {
        Self { any, named: BTreeSet::new() }
    }
}

/// Lower is more specific.
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

/// Writes it as on the command line.
impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.constraint.as_ref().map_or(Ok(()), |constraint| write!(f, " if {constraint}"))
    }
}

/// Whether the container was created by `docker compose run`. It has all labels of its service, but does not serve.
pub fn is_one_off(container: &Container) -> bool {
    let label = container.labels.get(ONE_OFF_LABEL);
    label.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}
