//! What docker-glue's publisher writes into a registry, and docker-balancer reads from it, as JSON.
//!
//! Pure. What is read was written by another machine: it is input. Each value is checked here once.
//!
//! ```text
//! PREFIX/NODE/alive        AliveRecord
//! PREFIX/NODE/served/ID    ServedRecord of one container
//! ```

use crate::{
    model::{
        container::{
            Container, ContainerId, ContainerState, ExposedPorts, Health, NetworkEndpoint,
            NetworkMode, PublishedPort, StopConfig, Transport,
        },
        source_name::SourceName,
    },
    sources::docker::convert::{parse_exposed_port, parse_nanoseconds},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// The version of both records. A reader ignores fields that it does not know, and refuses a later version.
const VERSION: u32 = 1;

/// The greatest size of a record, in bytes. Labels of one container are rarely more than a few kilobytes.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

/// The greatest length of a node's name: that of a host name.
const MAX_NODE_LENGTH: usize = 253;

/// The greatest number of addresses that are read of a node.
const MAX_ADDRESSES: usize = 16;

/// How the records name the states of containers that are up. Others are not published.
const STATES: [(&str, ContainerState); 2] =
    [("running", ContainerState::Running), ("paused", ContainerState::Paused)];

/// How the records, and Docker, name the results of a HEALTHCHECK.
const HEALTHS: [(&str, Health); 4] = [
    ("none", Health::Unchecked),
    ("starting", Health::Starting),
    ("healthy", Health::Healthy),
    ("unhealthy", Health::Unhealthy),
];

/// What follows PREFIX/NODE/ in the key of the record of a node, and before the id in those of its containers.
pub const ALIVE_KEY: &str = "alive";
pub const SERVED_FOLDER: &str = "served/";

/// A sign of life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliveRecord {
    v: u32,
    pub state: NodeState,
    /// Where the ports are that its containers publish on all addresses; the first that a reader may use counts.
    pub addresses: Vec<IpAddr>,
    /// The id of the node's Docker engine.
    #[serde(default)]
    pub engine: String,
    /// The version of docker-glue.
    #[serde(default)]
    pub glue: String,
}

/// What the node's docker-glue says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    Up,
    /// It was stopped and removes its keys: its containers are not to be served any more.
    Left,
}

/// A running container that has labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedRecord {
    v: u32,
    name: String,
    #[serde(default)]
    image: String,
    /// Nanoseconds since 1970.
    created: i64,
    /// Nanoseconds since 1970; 0 if it is not known.
    #[serde(default)]
    started: i64,
    state: String,
    health: String,
    /// Whether it got its stop signal, or has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
    labels: BTreeMap<String, String>,
    /// `own`, `host`, `none`, or `container:ID`.
    mode: String,
    #[serde(default)]
    networks: BTreeMap<String, NetworkRecord>,
    #[serde(default)]
    published: Vec<PublishedRecord>,
    #[serde(default)]
    exposed: Vec<String>,
    #[serde(default)]
    stop: StopRecord,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NetworkRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv6: Option<Ipv6Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PublishedRecord {
    /// The container's port, as `80/tcp`.
    port: String,
    host_port: u16,
    host_ip: IpAddr,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StopRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
}

/// Why a record is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("it has {0} bytes, of which at most {MAX_RECORD_BYTES} are read")]
    TooLarge(usize),
    #[error("it is not a record: {0}")]
    Json(String),
    #[error("it has version {0}; update docker-balancer")]
    Version(u32),
    #[error("its {field} {value:?} has no meaning")]
    Value { field: &'static str, value: String },
}

/// What a key below the prefix of a registry belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    Alive { node: Arc<str> },
    Served { node: Arc<str>, id: ContainerId },
}

impl RecordKey {
    /// Parses what follows the prefix of the registry. `None` for a key of another kind.
    pub fn parse(key: &str, source: &SourceName) -> Option<Self> {
        let (node, rest) = key.split_once('/')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if node.is_empty() || MAX_NODE_LENGTH < node.len() || !node.chars().all(is_plain) {
            return None;
        }
        let node = node.into();
        if rest == ALIVE_KEY {
            return Some(Self::Alive { node });
        }
        let id = parse_id(rest.strip_prefix(SERVED_FOLDER)?, source)?;
        Some(Self::Served { node, id })
    }

    pub fn node(&self) -> &Arc<str> {
        match self {
            Self::Alive { node } | Self::Served { node, .. } => node,
        }
    }
}

/// Writes the key without the prefix of the registry.
impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive { node } => write!(f, "{node}/{ALIVE_KEY}"),
            Self::Served { node, id } => write!(f, "{node}/{SERVED_FOLDER}{}", id.as_str()),
        }
    }
}

impl AliveRecord {
    /// Creates the record of a node that is up.
    pub fn new(addresses: Vec<IpAddr>, engine: String) -> Self {
        let glue = env!("CARGO_PKG_VERSION").to_owned();
        Self { v: VERSION, state: NodeState::Up, addresses, engine, glue }
    }

    /// Returns the record with another state.
    #[must_use]
    pub fn with_state(self, state: NodeState) -> Self {
        Self { state, ..self }
    }

    /// Parses the text of a key.
    ///
    /// # Errors
    /// If it is no such record, or one of a later version.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let mut record: Self = parse_record(text)?;
        record.addresses.truncate(MAX_ADDRESSES);
        Ok(record)
    }

    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl ServedRecord {
    /// Returns the record of a container that got its stop signal, or has ended.
    #[must_use]
    pub fn into_leaving(self) -> Self {
        Self { leaving: true, ..self }
    }

    /// Creates the record of a container from the answer of its inspection, with the labels that `is_published` keeps.
    /// `None` if it does not run.
    pub fn from_inspection(json: &Value, is_published: impl Fn(&str) -> bool) -> Option<Self> {
        let text = |path: &str| json.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let time = |path: &str| parse_nanoseconds(text(path)).filter(|time| 0 < *time);
        let running = json.pointer("/State/Running").and_then(Value::as_bool);
        let paused = json.pointer("/State/Paused").and_then(Value::as_bool);
        let state = match (running, paused) {
            (Some(true), Some(true)) => "paused",
            (Some(true), _) => "running",
            _ => return None,
        };
        let health = text("/State/Health/Status");
        let labels = members(json, "/Config/Labels").filter(|(key, _)| is_published(key));
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.into())));
        let networks = members(json, "/NetworkSettings/Networks");
        let exposed = members(json, "/Config/ExposedPorts").map(|(port, _)| port.clone());
        let mode = text("/HostConfig/NetworkMode");
        Some(Self {
            v: VERSION,
            name: text("/Name").trim_start_matches('/').to_owned(),
            image: text("/Config/Image").to_owned(),
            created: time("/Created").unwrap_or_default(),
            started: time("/State/StartedAt").unwrap_or_default(),
            state: state.to_owned(),
            health: if health.is_empty() { "none" } else { health }.to_owned(),
            leaving: false,
            labels: labels.collect(),
            mode: match mode {
                "host" | "none" => mode,
                _ if mode.starts_with(CONTAINER_MODE) => mode,
                _ => "own",
            }
            .to_owned(),
            networks: networks.map(|(name, value)| (name.clone(), network(value))).collect(),
            published: published(json),
            exposed: exposed.collect(),
            stop: StopRecord {
                signal: Some(text("/Config/StopSignal").to_owned()).filter(|text| !text.is_empty()),
                timeout: json.pointer("/Config/StopTimeout").and_then(Value::as_i64),
            },
        })
    }

    /// Parses the text of a key.
    ///
    /// # Errors
    /// If it is no such record, or one of a later version.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        parse_record(text)
    }

    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// Returns the names of its labels.
    pub fn label_names(&self) -> impl Iterator<Item = &str> {
        self.labels.keys().map(String::as_str)
    }

    /// Returns the id of the container whose network it uses.
    pub fn network_owner(&self) -> Option<&str> {
        self.mode.strip_prefix(CONTAINER_MODE)
    }

    /// Returns the container that the record describes.
    ///
    /// # Errors
    /// If a value has no meaning.
    pub fn into_container(self, id: ContainerId, node: Arc<str>) -> Result<Container, RecordError> {
        let state = find_word("state", &self.state, &STATES)?;
        let health = find_word("health", &self.health, &HEALTHS)?;
        let network_mode = parse_mode(&self.mode, id.source())?;
        if !is_name(&self.name) {
            return Err(RecordError::Value { field: "name", value: cut(&self.name) });
        }
        let endpoint = |network: NetworkRecord| NetworkEndpoint {
            ipv4: network.ipv4,
            ipv6: network.ipv6,
            gateway: None,
        };
        let networks = self.networks.into_iter().map(|(name, one)| (name, endpoint(one)));
        let published = self.published.into_iter().map(PublishedRecord::into_port);
        let mut published = published.collect::<Result<Vec<_>, _>>()?;
        published.sort_by_key(|port| {
            (port.transport, port.container_port, port.host_port, port.host_ip)
        });
        published.dedup();
        let exposed = self.exposed.iter().filter_map(|port| parse_exposed_port(port));
        let mut exposed: ExposedPorts = exposed.collect();
        exposed.extend(published.iter().map(|port| (port.transport, port.container_port)));
        let StopRecord { signal, timeout } = self.stop;
        Ok(Container {
            id,
            name: self.name,
            image: self.image,
            image_id: None,
            label_fault: None,
            created: self.created,
            started: Some(self.started),
            state,
            health,
            labels: Arc::new(self.labels),
            environment: BTreeMap::new(),
            network_mode,
            networks: Arc::new(networks.collect()),
            exposed,
            published,
            stop_config: Some(StopConfig { signal, timeout }),
            stopping: self.leaving,
            node: Some(node),
            host: None,
            is_lost: false,
        })
    }
}

const CONTAINER_MODE: &str = "container:";

impl PublishedRecord {
    fn into_port(self) -> Result<PublishedPort, RecordError> {
        let Some((transport, container_port)) = parse_exposed_port(&self.port) else {
            return Err(RecordError::Value { field: "port", value: cut(&self.port) });
        };
        let Self { host_port, host_ip, .. } = self;
        Ok(PublishedPort { transport, container_port, host_port, host_ip })
    }
}

fn parse_mode(text: &str, source: &SourceName) -> Result<NetworkMode, RecordError> {
    let other = || parse_id(text.strip_prefix(CONTAINER_MODE)?, source);
    Ok(match text {
        "own" => NetworkMode::Own,
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        _ => NetworkMode::Container(
            other().ok_or_else(|| RecordError::Value { field: "mode", value: cut(text) })?,
        ),
    })
}

/// Parses the id of a container: hexadecimal digits, of which there are 64.
fn parse_id(text: &str, source: &SourceName) -> Option<ContainerId> {
    let is_digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
    let is_id = (12..=64).contains(&text.len()) && text.chars().all(is_digit);
    is_id.then(|| ContainerId::in_source(source.clone(), text))
}

/// Whether an engine can have given the text to a container as its name. Templates print names without a test.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !text.is_empty() && text.chars().all(is_plain)
}

fn find_word<T: Copy>(
    field: &'static str,
    word: &str,
    all: &[(&str, T)],
) -> Result<T, RecordError> {
    let found = all.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    found.ok_or_else(|| RecordError::Value { field, value: cut(word) })
}

/// Returns the start of a text, for a message.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn parse_record<T: DeserializeOwned>(text: &[u8]) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    if MAX_RECORD_BYTES < text.len() {
        return Err(RecordError::TooLarge(text.len()));
    }
    let json = |error: serde_json::Error| RecordError::Json(error.to_string());
    let Versioned { v } = serde_json::from_slice(text).map_err(json)?;
    if v != VERSION {
        return Err(RecordError::Version(v));
    }
    serde_json::from_slice(text).map_err(json)
}

/// A record has only texts, numbers and addresses, of which each has a JSON form.
fn to_json(record: &impl Serialize) -> String {
    serde_json::to_string(record).unwrap_or_default()
}

fn members<'a>(json: &'a Value, path: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    json.pointer(path).and_then(Value::as_object).into_iter().flatten()
}

fn network(json: &Value) -> NetworkRecord {
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default();
    NetworkRecord {
        ipv4: text("IPAddress").parse().ok(),
        ipv6: text("GlobalIPv6Address").parse().ok(),
    }
}

fn published(json: &Value) -> Vec<PublishedRecord> {
    let one = |port: &String, binding: &Value| {
        let text = |key: &str| binding.get(key).and_then(Value::as_str).unwrap_or_default();
        Some(PublishedRecord {
            port: port.clone(),
            host_port: text("HostPort").parse().ok().filter(|port| *port != 0)?,
            // Podman leaves it empty.
            host_ip: text("HostIp").parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        })
    };
    let ports = members(json, "/NetworkSettings/Ports");
    let bindings = ports.flat_map(|(port, bindings)| {
        bindings.as_array().into_iter().flatten().filter_map(move |binding| one(port, binding))
    });
    let mut all: Vec<_> = bindings.filter(is_known).collect();
    all.sort();
    all
}

/// Whether the port has one of the protocols that are served.
fn is_known(record: &PublishedRecord) -> bool {
    matches!(parse_exposed_port(&record.port), Some((Transport::Tcp | Transport::Udp, _)))
}

#[cfg(test)]
mod tests;
