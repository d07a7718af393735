//! A container as Docker describes it.
//!
//! Pure: plain values, parsed from an answer of the engine and never written back.

use crate::model::container_ref::ContainerRef;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// A container's full id: 64 hexadecimal digits. Displays as the short form that `docker ps` shows.
/// Copies share one text, so that a world of 10,000 containers is copied cheaply.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerId(Arc<str>);

impl ContainerId {
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into().into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
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

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// An image's id, as the engine writes it: `sha256:` and 64 hexadecimal digits. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// TCP ports of EXPOSE and of publishing. They are documentation: a container may listen on others.
    pub exposed: BTreeSet<u16>,
    pub published: Vec<PublishedPort>,
    /// What `docker stop` would do; `None` until the container was inspected.
    pub stop_config: Option<StopConfig>,
    /// The container got a stop signal and has not exited yet.
    pub stopping: bool,
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

    /// Whether its processes exist; they may be paused.
    pub fn is_up(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

/// Result of the container's HEALTHCHECK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The container has no HEALTHCHECK.
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// A TCP port of the container that the engine publishes on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    pub container_port: u16,
    pub host_port: u16,
    /// The host's address; the unspecified address means all addresses.
    pub host_ip: IpAddr,
}

/// How `docker stop` stops the container.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// TCP ports of EXPOSE.
    pub exposed: BTreeSet<u16>,
}
