//! What docker-glue-udp serves: listeners, each with its endpoints and the rules for its flows.
//!
//! Pure. A flow is the datagrams of one client address and port to one listener, and the answers to them.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The greatest number of endpoints of a listener.
pub const MAX_ENDPOINTS: usize = 1024;
/// The greatest length of an identifier or a name, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;
/// The greatest weight of an endpoint.
pub const MAX_WEIGHT: u16 = 256;
/// The weight of an endpoint whose weight is not set.
pub const DEFAULT_WEIGHT: u16 = 100;
/// How long a flow may be silent before it is forgotten, if that is not set. The kernel's connection tracking keeps
/// answered flows for the same time.
pub const DEFAULT_IDLE: Duration = Duration::from_mins(2);
/// The limits of that time.
pub const IDLE_RANGE: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_hours(168));

/// An address and port at which clients send datagrams, and what happens to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpListener {
    /// `[::]` means all addresses, including those of IPv4. If `0.0.0.0` has a listener of the same port, that one
    /// serves the addresses of IPv4.
    pub bind: SocketAddr,
    /// At most [`MAX_ENDPOINTS`], each with an identifier of its own. Datagrams to a listener without endpoints are
    /// dropped.
    #[serde(default)]
    pub endpoints: Vec<UdpEndpoint>,
    #[serde(default)]
    pub sticky: Sticky,
    /// A flow is forgotten after a silence of this length, in [`IDLE_RANGE`]; in JSON, in milliseconds.
    #[serde(default = "default_idle", rename = "idle_ms", with = "millis")]
    pub idle: Duration,
    /// A flow ends after this number of answers to each of its datagrams. With 0 no answer is expected, and none is
    /// forwarded. `None`: a flow ends by [`idle`](Self::idle) only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies: Option<u32>,
    #[serde(default)]
    pub proxy: ProxyHeader,
}

/// A container's port that receives datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpEndpoint {
    /// Unique in the listener, 1 to [`MAX_TEXT_BYTES`] bytes without control characters. The choice of an endpoint for
    /// a flow depends on it and the weight alone: with the same identifiers, a flow keeps its endpoint on every
    /// machine and after every restart.
    pub id: String,
    /// The name that an operator reads, at most [`MAX_TEXT_BYTES`] bytes.
    #[serde(default)]
    pub name: String,
    /// Not a wildcard or multicast address; the port is not 0.
    pub address: SocketAddr,
    /// The share of new flows, 0 to [`MAX_WEIGHT`]. With 0 an endpoint keeps its flows and gets no new ones.
    #[serde(default = "default_weight")]
    pub weight: u16,
    /// Whether new flows are sent here.
    #[serde(default)]
    pub flows: NewFlows,
}

/// Whether an endpoint gets new flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewFlows {
    #[default]
    Accept,
    /// The endpoint drains: it keeps the flows that it has.
    Drain,
}

/// What datagrams have in common that go to the same endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// The client's address and port.
    #[default]
    Flow,
    /// The client's address.
    Source,
    /// Nothing: each datagram is distributed by itself.
    None,
}

/// What precedes the payload of each datagram to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyHeader {
    #[default]
    Off,
    /// A header of the PROXY protocol, version 2, with the client's address.
    V2,
}

/// Why a listener cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UdpListenerError {
    #[error("the listener's port must not be 0")]
    Port,
    #[error("the listener's address {0} must not be a multicast address")]
    Bind(IpAddr),
    #[error("a listener has at most {MAX_ENDPOINTS} endpoints, this one has {0}")]
    EndpointCount(usize),
    #[error(
        "an endpoint's identifier and name have at most {MAX_TEXT_BYTES} bytes without control characters, and the \
         identifier is not empty"
    )]
    EndpointText,
    #[error("two endpoints have the identifier {0:?}")]
    DuplicateEndpoint(String),
    #[error("endpoint {id:?}: datagrams cannot be sent to {address}")]
    EndpointAddress { id: String, address: SocketAddr },
    #[error("endpoint {id:?}: the weight {weight} is greater than {MAX_WEIGHT}")]
    Weight { id: String, weight: u16 },
    #[error("idle_ms must be {} to {}", IDLE_RANGE.0.as_millis(), IDLE_RANGE.1.as_millis())]
    Idle,
}

impl UdpListener {
    /// A listener without endpoints, with the defaults of all rules.
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            endpoints: Vec::new(),
            sticky: Sticky::default(),
            idle: DEFAULT_IDLE,
            replies: None,
            proxy: ProxyHeader::default(),
        }
    }

    /// Checks the limits of all fields.
    ///
    /// # Errors
    /// The first limit that is exceeded.
    pub fn check(&self) -> Result<(), UdpListenerError> {
        if self.bind.port() == 0 {
            return Err(UdpListenerError::Port);
        }
        if self.bind.ip().is_multicast() {
            return Err(UdpListenerError::Bind(self.bind.ip()));
        }
        if self.endpoints.len() > MAX_ENDPOINTS {
            return Err(UdpListenerError::EndpointCount(self.endpoints.len()));
        }
        if self.idle < IDLE_RANGE.0 || IDLE_RANGE.1 < self.idle {
            return Err(UdpListenerError::Idle);
        }
        let mut ids = BTreeSet::new();
        for endpoint in &self.endpoints {
            endpoint.check()?;
            if !ids.insert(&endpoint.id) {
                return Err(UdpListenerError::DuplicateEndpoint(endpoint.id.clone()));
            }
        }
        Ok(())
    }

    /// Whether clients expect no answers.
    pub fn is_one_way(&self) -> bool {
        self.replies == Some(0)
    }
}

impl UdpEndpoint {
    fn check(&self) -> Result<(), UdpListenerError> {
        if self.id.is_empty() || !is_legal_text(&self.id) || !is_legal_text(&self.name) {
            return Err(UdpListenerError::EndpointText);
        }
        let ip = self.address.ip();
        if self.address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            let (id, address) = (self.id.clone(), self.address);
            return Err(UdpListenerError::EndpointAddress { id, address });
        }
        if self.weight > MAX_WEIGHT {
            return Err(UdpListenerError::Weight { id: self.id.clone(), weight: self.weight });
        }
        Ok(())
    }

    /// Whether the endpoint gets new flows.
    pub fn accepts_flows(&self) -> bool {
        self.flows == NewFlows::Accept && self.weight > 0
    }
}

/// Whether the text may be an identifier, the start of one, or a name: at most [`MAX_TEXT_BYTES`] bytes without control
/// characters.
pub(super) fn is_legal_text(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
}

fn default_idle() -> Duration {
    DEFAULT_IDLE
}

fn default_weight() -> u16 {
    DEFAULT_WEIGHT
}

/// A duration as a whole number of milliseconds.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(from)?))
    }
}
