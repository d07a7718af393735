//! What templates can say of a container, out of its inspection.
//!
//! Pure. Of an inspection only what templates mostly ask for is kept, and made once for each description:
//! a roster of 10,000 of which one is new costs one.

use super::value::{Dict, List, Of, Raw};
use crate::{
    container::ContainerId,
    docker::{Description, Roster},
};
use minijinja::Value;
use serde::{Deserialize, Deserializer};
use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr, sync::Arc};

#[derive(Debug)]
struct Seen {
    of: Arc<Description>,
    value: Value,
}

/// All that there are, as templates see them.
#[derive(Debug, Default)]
pub(super) struct Gallery(BTreeMap<ContainerId, Seen>);

impl Gallery {
    /// Makes anew what is new.
    pub(super) fn follow(&mut self, roster: &Roster) {
        self.0.retain(|id, _| roster.contains_key(id));
        for (id, said) in roster {
            if self.0.get(id).is_none_or(|seen| !Arc::ptr_eq(&seen.of, said)) {
                self.0.insert(id.clone(), Seen::new(said));
            }
        }
    }

    /// The youngest first, as Docker lists them.
    pub(super) fn containers(&self) -> Vec<Value> {
        let created = |it: &Value| {
            let dict = it.downcast_object_ref::<Dict>();
            dict.and_then(|it| it.word("created")).unwrap_or_default().to_owned()
        };
        let mut all: Vec<_> = self.0.values().map(|seen| seen.value.clone()).collect();
        all.sort_by_cached_key(|it| Reverse(created(it)));
        all
    }
}

impl Seen {
    fn new(of: &Arc<Description>) -> Self {
        // The engine's own words, written by us: what cannot be read is not there.
        let said: Inspection = serde_json::from_str(&of.json).unwrap_or_default();
        Self { of: Arc::clone(of), value: said.value(of) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Inspection {
    #[serde(deserialize_with = "or_default")]
    created: String,
    #[serde(deserialize_with = "or_default")]
    config: Config,
    #[serde(deserialize_with = "or_default")]
    state: State,
    #[serde(deserialize_with = "or_default")]
    network_settings: NetworkSettings,
    #[serde(deserialize_with = "or_default")]
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    mounts: Vec<Mount>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(deserialize_with = "or_default")]
    hostname: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    running: bool,
    #[serde(deserialize_with = "or_default")]
    health: Health,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    #[serde(deserialize_with = "or_default")]
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<Endpoint>>,
    #[serde(deserialize_with = "or_default")]
    ports: BTreeMap<String, Option<Vec<Binding>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "NetworkID", deserialize_with = "or_default")]
    id: String,
    #[serde(rename = "IPAddress", deserialize_with = "or_default")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_default")]
    ip6_address: String,
    #[serde(deserialize_with = "or_default")]
    gateway: String,
    #[serde(deserialize_with = "or_default")]
    aliases: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    #[serde(deserialize_with = "or_default")]
    host_ip: String,
    #[serde(deserialize_with = "or_default")]
    host_port: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    #[serde(rename = "Type", deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    source: String,
    #[serde(deserialize_with = "or_default")]
    destination: String,
    #[serde(deserialize_with = "or_default")]
    driver: String,
    #[serde(rename = "RW", deserialize_with = "or_default")]
    rw: bool,
}

/// The engine says `null` where it has nothing to say.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A port, and `tcp` or `udp`.
fn port(text: &str) -> Option<(u16, &str)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol))
}

pub(super) fn ports(all: &[(u16, &str)]) -> Value {
    let of = |protocol: &str| {
        let ports = all.iter().filter(|(_, it)| *it == protocol);
        List::value(Of::Anything, ports.map(|(port, _)| Value::from(*port)).collect())
    };
    Dict::record([("tcp", of("tcp")), ("udp", of("udp"))], Raw::Nothing)
}

/// `NAME=VALUE`, in the engine's order.
pub(super) fn environment(lines: Vec<String>) -> Value {
    let pair = |line: String| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (line, String::new()),
    };
    Dict::words(lines.into_iter().map(pair))
}

pub(super) fn short(id: &str, length: usize) -> Value {
    Value::from(id.get(..length).unwrap_or(id))
}

impl Inspection {
    fn value(self, of: &Arc<Description>) -> Value {
        let Self { created, config, state, network_settings, host_config, mounts } = self;
        let addresses = addresses(&network_settings, &config);
        let first =
            network_settings.networks.values().flatten().find(|it| !it.ip_address.is_empty());
        let (ip, gateway) = first.map_or(("", ""), |it| (&it.ip_address, &it.gateway));
        let (ip, gateway) = (Value::from(ip), Value::from(gateway));
        let exposed: Vec<_> = config.exposed_ports.keys().filter_map(|it| port(it)).collect();
        let ports = ports(&exposed);
        let networks = network_settings.networks.into_iter();
        let networks = networks.map(|(name, it)| network(&name, it.unwrap_or_default())).collect();
        let health = match state.health.status.as_str() {
            "" | "none" => "unknown",
            status => status,
        };
        let fields = [
            ("id", Value::from(of.id.as_str())),
            ("short_id", short(of.id.as_str(), 12)),
            ("name", Value::from(of.name.as_str())),
            ("image", Value::from(config.image)),
            ("status", Value::from(state.status)),
            ("health", Value::from(health)),
            ("labels", Dict::words(config.labels)),
            ("env", environment(config.env)),
            ("networks", List::value(Of::Networks, networks)),
            ("ports", ports),
            ("running", Value::from(state.running)),
            ("created", Value::from(created)),
            ("hostname", Value::from(config.hostname)),
            ("network_mode", Value::from(host_config.network_mode)),
            ("addresses", List::value(Of::Anything, addresses)),
            ("ip", ip),
            ("gateway", gateway),
            ("mounts", List::value(Of::Anything, mounts.into_iter().map(mount).collect())),
        ];
        Dict::record(fields, Raw::Text(Arc::clone(of)))
    }
}

fn network(name: &str, it: Endpoint) -> Value {
    let aliases = it.aliases.into_iter().map(Value::from).collect();
    let fields = [
        ("id", Value::from(it.id)),
        ("name", Value::from(name)),
        ("ip_address", Value::from(it.ip_address.as_str())),
        ("ip6_address", Value::from(it.ip6_address.as_str())),
        // docker-gen's names of both.
        ("ip", Value::from(it.ip_address)),
        ("ip6", Value::from(it.ip6_address)),
        ("gateway", Value::from(it.gateway)),
        ("aliases", List::value(Of::Anything, aliases)),
    ];
    Dict::record(fields, Raw::Nothing)
}

fn mount(it: Mount) -> Value {
    let fields = [
        ("type", Value::from(it.kind)),
        ("name", Value::from(it.name)),
        ("source", Value::from(it.source)),
        ("destination", Value::from(it.destination)),
        ("driver", Value::from(it.driver)),
        ("rw", Value::from(it.rw)),
    ];
    Dict::record(fields, Raw::Nothing)
}

/// docker-gen's: a port of the container, and where it is on the host, if it is; sorted.
fn addresses(settings: &NetworkSettings, config: &Config) -> Vec<Value> {
    let first = settings.networks.values().flatten().find(|it| !it.ip_address.is_empty());
    let (ip, ip6) = first.map_or(("", ""), |it| (&it.ip_address, &it.ip6_address));
    let mut all = Vec::new();
    for (text, bindings) in &settings.ports {
        let Some((port, protocol)) = port(text) else { continue };
        let bindings = bindings.as_deref().unwrap_or_default();
        for it in bindings {
            let host_ip =
                it.host_ip.parse::<IpAddr>().map_or_else(|_| String::new(), |it| it.to_string());
            all.push((port, protocol, it.host_port.clone(), host_ip));
        }
        if bindings.is_empty() {
            all.push((port, protocol, String::new(), String::new()));
        }
    }
    if settings.ports.is_empty() {
        let exposed = config.exposed_ports.keys().filter_map(|it| port(it));
        all.extend(exposed.map(|(port, it)| (port, it, String::new(), String::new())));
    }
    all.sort();
    let address = |(port, protocol, host_port, host_ip): (u16, &str, String, String)| {
        let fields = [
            ("ip", Value::from(ip)),
            ("ip6", Value::from(ip6)),
            ("port", Value::from(port)),
            ("proto", Value::from(protocol)),
            ("host_port", host_port.parse::<u16>().ok().map_or(Value::from(()), Value::from)),
            ("host_ip", Value::from(host_ip)),
        ];
        Dict::record(fields, Raw::Nothing)
    };
    all.into_iter().map(address).collect()
}
