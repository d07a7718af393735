//! A container as Docker describes it.
//!
//! Pure: plain values, parsed from an answer of the engine and never written back.

pub use crate::support::port_owner::Transport;

use crate::model::{
    container_ref::ContainerRef, label_option::LabelProtocol, source_name::SourceName,
};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Between a container's id and the name of its source. Neither contains it.
pub(super) const SOURCE_SEPARATOR: char = '.';

/// A container's source and its full id there: 64 hexadecimal digits. Containers of two sources may have one id, if their
/// machines are copies. Displays as the short form that `docker ps` shows, with the source if that has a name.
/// Copies share one text, so that a world of 10,000 containers is copied cheaply.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ContainerId(Arc<IdParts>);

/// Ordered by source, then by id.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct IdParts {
    source: SourceName,
    id: Box<str>,
    short: Box<str>,
}

impl ContainerId {
    /// Returns the id of a container of the program's only source.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self::in_source(SourceName::NONE, id)
    }

    pub fn in_source(source: SourceName, id: impl Into<Box<str>>) -> Self {
        let id = id.into();
        let short = id.get(..12).unwrap_or(&id);
        let short = if source.is_none() {
            short.into()
        } else {
            format!("{short}{SOURCE_SEPARATOR}{source}").into()
        };
        Self(Arc::new(IdParts { source, id, short }))
    }

    /// Returns the first id that may have this short form.
    pub fn first_with_short(short: &str) -> Self {
        let with_source = || {
            let (id, source) = short.split_once(SOURCE_SEPARATOR)?;
            Some(Self::in_source(source.parse().ok()?, id))
        };
        with_source().unwrap_or_else(|| Self::new(short))
    }

    pub fn source(&self) -> &SourceName {
        &self.0.source
    }

    /// The id at its source.
    pub fn as_str(&self) -> &str {
        &self.0.id
    }

    /// The first twelve digits; `0123456789ab.node2` if the source has a name.
    pub fn short(&self) -> &str {
        &self.0.short
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        let IdParts { source, id, .. } = &*id.0;
        if source.is_none() { id.to_string() } else { format!("{id}{SOURCE_SEPARATOR}{source}") }
    }
}

impl From<String> for ContainerId {
    fn from(text: String) -> Self {
        Self::first_with_short(&text)
    }
}

impl Ord for ContainerId {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for ContainerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContainerId").field(&String::from(self.clone())).finish()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// An image's id, as the engine writes it: `sha256:` and 64 hexadecimal digits. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageId(Arc<str>);

impl ImageId {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A container as of the last answer about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub id: ContainerId,
    /// Without the slash that the engine puts in front.
    pub name: String,
    pub image: String,
    /// Only with `--image-labels off`.
    pub image_id: Option<ImageId>,
    /// Why all of the container's labels are ignored: they could not be compared with those of the image.
    pub label_fault: Option<Arc<str>>,
    /// Nanoseconds since 1970; until the container is inspected, the last nanosecond of the second in which it was
    /// created. If two containers conflict, the older wins.
    pub created: i64,
    /// Nanoseconds since 1970 by the engine's clock; 0 if the engine does not report it. Read only for containers in a
    /// shared network: one that joined before the owner of the network was restarted is in a network that no longer
    /// exists. `None`: not known yet.
    pub started: Option<i64>,
    pub state: ContainerState,
    pub health: Health,
    /// Shared, like the networks, by all values of the container as long as they stay the same.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Empty unless the environment is needed: reading it takes an inspection of every container.
    pub environment: BTreeMap<String, String>,
    pub network_mode: NetworkMode,
    /// By the network's name.
    pub networks: Arc<BTreeMap<String, NetworkEndpoint>>,
    /// Ports of EXPOSE and of publishing. They are documentation: a container may listen on others.
    pub exposed: ExposedPorts,
    pub published: Vec<PublishedPort>,
    /// What `docker stop` would do; `None` until the container was inspected.
    pub stop_config: Option<StopConfig>,
    /// The container got a stop signal, or its source has announced one, and it has not exited yet.
    pub stopping: bool,
    /// The name of the machine that it runs on, if its source has containers of several machines.
    #[serde(default)]
    pub node: Option<Arc<str>>,
    /// The address of that machine. `None`: that of its source, or it has none that may be used.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// Its machine shows no sign of life to its source. Only HAProxy's checks know whether the container serves.
    #[serde(default)]
    pub is_lost: bool,
}

/// In nanoseconds.
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Whether the creation time is known exactly, and not only to the second.
pub fn is_dated(created: i64) -> bool {
    created.rem_euclid(NANOS_PER_SECOND) != NANOS_PER_SECOND - 1
}

impl Container {
    pub fn to_ref(&self) -> ContainerRef {
        ContainerRef::new(&self.name, self.id.short())
    }

    /// Removes everything that is read as labels, and what the inspection returned, so that the container is inspected
    /// again.
    pub fn hide_labels(&mut self, fault: Option<Arc<str>>) {
        self.labels = Arc::default();
        self.environment.clear();
        self.stop_config = None;
        self.label_fault = fault;
    }

    /// The container whose network this one joined.
    pub fn network_owner_id(&self) -> Option<&ContainerId> {
        match &self.network_mode {
            NetworkMode::Container(owner) => Some(owner),
            NetworkMode::Own | NetworkMode::Host | NetworkMode::None => None,
        }
    }

    /// Whether its labels claim routes: its processes exist, or its source expects them.
    pub fn makes_claims(&self) -> bool {
        self.is_up() || self.state == ContainerState::Expected
    }

    /// Whether its processes exist; they may be paused.
    pub fn is_up(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
    /// No container, but the service of a Swarm that has none at the moment: its routes stay known.
    Expected,
}

/// Result of the container's HEALTHCHECK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// The container has no HEALTHCHECK.
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Networks of its own: a bridge, an overlay, a user's network.
    Own,
    /// The host's network: no address of its own.
    Host,
    None,
    /// Shares the network of another container.
    Container(ContainerId),
}

/// A container's addresses on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEndpoint {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub gateway: Option<IpAddr>,
}

impl NetworkEndpoint {
    pub fn ip(&self) -> Option<IpAddr> {
        self.ipv4.map(IpAddr::V4).or(self.ipv6.map(IpAddr::V6))
    }
}

/// A port of a container.
pub type ContainerPort = (Transport, u16);

/// Ports that a container or an image exposes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposedPorts {
    pub tcp: BTreeSet<u16>,
    pub udp: BTreeSet<u16>,
}

/// A port of the container that the engine publishes on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    pub transport: Transport,
    pub container_port: u16,
    pub host_port: u16,
    /// The host's address; the unspecified address means all addresses.
    pub host_ip: IpAddr,
}

/// How `docker stop` stops the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopConfig {
    /// A number, or a name with or without SIG, as in the image; `None` means SIGTERM.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; `None` means the engine's 10.
    pub timeout: Option<i64>,
}

/// What containers inherit from an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub labels: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    /// Ports of EXPOSE.
    pub exposed: ExposedPorts,
}

impl ExposedPorts {
    pub fn of(&self, transport: Transport) -> &BTreeSet<u16> {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }

    pub fn extend(&mut self, ports: impl IntoIterator<Item = ContainerPort>) {
        for (transport, port) in ports {
            match transport {
                Transport::Tcp => self.tcp.insert(port),
                Transport::Udp => self.udp.insert(port),
            };
        }
    }

    /// Adds the ports of another container or image.
    pub fn merge(&mut self, other: &Self) {
        self.tcp.extend(&other.tcp);
        self.udp.extend(&other.udp);
    }
}

/// TCP ports.
impl<const N: usize> From<[u16; N]> for ExposedPorts {
    fn from(ports: [u16; N]) -> Self {
        Self { tcp: ports.into(), udp: BTreeSet::new() }
    }
}

impl FromIterator<ContainerPort> for ExposedPorts {
    fn from_iter<T: IntoIterator<Item = ContainerPort>>(ports: T) -> Self {
        let mut exposed = Self::default();
        exposed.extend(ports);
        exposed
    }
}

impl From<LabelProtocol> for Transport {
    fn from(protocol: LabelProtocol) -> Self {
        match protocol {
            LabelProtocol::Http | LabelProtocol::Tcp => Self::Tcp,
            LabelProtocol::Udp => Self::Udp,
        }
    }
}

/// Writes the word after a port, as in `53/udp`.
impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
