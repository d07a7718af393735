//! Containers as templates see them, made from their inspection.
//!
//! Pure. Only the fields that templates commonly use are kept, and each description is converted once: if one of
//! 10,000 containers is new, only that one is converted.

use super::value::{Dict, ListKind, RawObject, ValueList};
use crate::{
    model::{container::ContainerId, source_name::SourceName},
    sources::{ContainerMap, Description},
};
use minijinja::Value;
use serde::{Deserialize, Deserializer};
use std::{cmp::Reverse, collections::BTreeMap, net::IpAddr, sync::Arc};

#[derive(Debug)]
struct CachedView {
    source: Arc<Description>,
    value: Value,
}

/// All containers as templates see them.
#[derive(Debug, Default)]
pub(crate) struct ContainerViews(BTreeMap<ContainerId, CachedView>);

impl ContainerViews {
    /// Converts the containers that are new or changed.
    pub(crate) fn update_views(
        &mut self,
        roster: &ContainerMap,
        hosts: &BTreeMap<SourceName, String>,
    ) {
        self.0.retain(|id, _| roster.contains_key(id));
        for (id, inspected) in roster {
            if self.0.get(id).is_none_or(|view| !Arc::ptr_eq(&view.source, inspected)) {
                let host = hosts.get(id.source()).map_or("", String::as_str);
                self.0.insert(id.clone(), CachedView::from_description(inspected, host));
            }
        }
    }

    /// Returns the containers, the newest first, as Docker lists them.
    pub(crate) fn containers(&self) -> Vec<Value> {
        let created = |value: &Value| {
            let dict = value.downcast_object_ref::<Dict>();
            dict.and_then(|dict| dict.text("created")).unwrap_or_default().to_owned()
        };
        let mut all: Vec<_> = self.0.values().map(|view| view.value.clone()).collect();
        all.sort_by_cached_key(|value| Reverse(created(value)));
        all
    }
}

impl CachedView {
    fn from_description(of: &Arc<Description>, host: &str) -> Self {
        // The text comes from the engine and was serialized by this program. What cannot be parsed is treated as
        // absent.
        let inspected: InspectView = serde_json::from_str(&of.json).unwrap_or_default();
        Self { source: Arc::clone(of), value: inspected.into_value(of, host) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct InspectView {
    #[serde(deserialize_with = "or_default")]
    created: String,
    #[serde(deserialize_with = "or_default")]
    config: ContainerConfig,
    #[serde(deserialize_with = "or_default")]
    state: StateView,
    #[serde(deserialize_with = "or_default")]
    network_settings: NetworkSettings,
    #[serde(deserialize_with = "or_default")]
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    mounts: Vec<Mount>,
    #[serde(deserialize_with = "or_default")]
    node: NodeView,
    #[serde(rename = "leaving", deserialize_with = "or_default")]
    leaving: bool,
    #[serde(rename = "lost", deserialize_with = "or_default")]
    lost: bool,
}

/// The machine of a container, if its source has containers of several.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NodeView {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(rename = "IP", deserialize_with = "or_default")]
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerConfig {
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
struct StateView {
    #[serde(deserialize_with = "or_default")]
    status: String,
    #[serde(deserialize_with = "or_default")]
    running: bool,
    #[serde(deserialize_with = "or_default")]
    health: HealthView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthView {
    #[serde(deserialize_with = "or_default")]
    status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Option<EndpointView>>,
    #[serde(deserialize_with = "or_default")]
    ports: BTreeMap<String, Option<Vec<PortBinding>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EndpointView {
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
struct PortBinding {
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

/// The engine may send `null` instead of an empty value.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Parses a port and a protocol, such as `80/tcp` or `53/udp`.
fn parse_port(text: &str) -> Option<(u16, &str)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((port.parse().ok()?, protocol))
}

pub(crate) fn ports_by_protocol(all: &[(u16, &str)]) -> Value {
    let of = |protocol: &str| {
        let ports = all.iter().filter(|(_, text)| *text == protocol);
        ValueList::from_items(
            ListKind::Anything,
            ports.map(|(port, _)| Value::from(*port)).collect(),
        )
    };
    Dict::from_fields([("tcp", of("tcp")), ("udp", of("udp"))], RawObject::Nothing)
}

/// Makes a dict from `NAME=VALUE` lines, in the engine's order.
pub(crate) fn env_dict(lines: Vec<String>) -> Value {
    let pair = |line: String| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (line, String::new()),
    };
    Dict::from_pairs(lines.into_iter().map(pair))
}

pub(crate) fn short_id(id: &str, length: usize) -> Value {
    Value::from(id.get(..length).unwrap_or(id))
}

impl InspectView {
    fn into_value(self, of: &Arc<Description>, host: &str) -> Value {
        let Self { created, config, state, network_settings, host_config, mounts, node, .. } = self;
        let addresses = address_values(&network_settings, &config);
        let first =
            network_settings.networks.values().flatten().find(|view| !view.ip_address.is_empty());
        let (ip, gateway) = first.map_or(("", ""), |view| (&view.ip_address, &view.gateway));
        let (ip, gateway) = (Value::from(ip), Value::from(gateway));
        let exposed: Vec<_> =
            config.exposed_ports.keys().filter_map(|text| parse_port(text)).collect();
        let ports = ports_by_protocol(&exposed);
        let networks = network_settings.networks.into_iter();
        let networks =
            networks.map(|(name, view)| network_value(&name, view.unwrap_or_default())).collect();
        let health = match state.health.status.as_str() {
            "" | "none" => "unknown",
            status => status,
        };
        let fields = [
            ("id", Value::from(of.id.as_str())),
            ("short_id", short_id(of.id.as_str(), 12)),
            ("name", Value::from(of.name.as_str())),
            ("source", Value::from(of.id.source().as_str())),
            ("node", Value::from(or(&node.name, of.id.source().as_str()))),
            ("host", Value::from(or(&node.ip, host))),
            ("leaving", Value::from(self.leaving)),
            ("lost", Value::from(self.lost)),
            ("image", Value::from(config.image)),
            ("status", Value::from(state.status)),
            ("health", Value::from(health)),
            ("labels", Dict::from_pairs(config.labels)),
            ("env", env_dict(config.env)),
            ("networks", ValueList::from_items(ListKind::Networks, networks)),
            ("ports", ports),
            ("running", Value::from(state.running)),
            ("created", Value::from(created)),
            ("hostname", Value::from(config.hostname)),
            ("network_mode", Value::from(host_config.network_mode)),
            ("addresses", ValueList::from_items(ListKind::Anything, addresses)),
            ("ip", ip),
            ("gateway", gateway),
            (
                "mounts",
                ValueList::from_items(
                    ListKind::Anything,
                    mounts.into_iter().map(mount_value).collect(),
                ),
            ),
        ];
        Dict::from_fields(fields, RawObject::Text(Arc::clone(of)))
    }
}

/// An engine has the containers of one machine, and does not name it.
fn or<'a>(known: &'a str, of_source: &'a str) -> &'a str {
    if known.is_empty() { of_source } else { known }
}

fn network_value(name: &str, view: EndpointView) -> Value {
    let aliases = view.aliases.into_iter().map(Value::from).collect();
    let fields = [
        ("id", Value::from(view.id)),
        ("name", Value::from(name)),
        ("ip_address", Value::from(view.ip_address.as_str())),
        ("ip6_address", Value::from(view.ip6_address.as_str())),
        // The names that docker-gen has for these two.
        ("ip", Value::from(view.ip_address)),
        ("ip6", Value::from(view.ip6_address)),
        ("gateway", Value::from(view.gateway)),
        ("aliases", ValueList::from_items(ListKind::Anything, aliases)),
    ];
    Dict::from_fields(fields, RawObject::Nothing)
}

fn mount_value(mount: Mount) -> Value {
    let fields = [
        ("type", Value::from(mount.kind)),
        ("name", Value::from(mount.name)),
        ("source", Value::from(mount.source)),
        ("destination", Value::from(mount.destination)),
        ("driver", Value::from(mount.driver)),
        ("rw", Value::from(mount.rw)),
    ];
    Dict::from_fields(fields, RawObject::Nothing)
}

/// Returns docker-gen's `Addresses`: each port of the container and where it is published on the host, if it is;
/// sorted.
fn address_values(settings: &NetworkSettings, config: &ContainerConfig) -> Vec<Value> {
    let first = settings.networks.values().flatten().find(|view| !view.ip_address.is_empty());
    let (ip, ip6) = first.map_or(("", ""), |view| (&view.ip_address, &view.ip6_address));
    let mut all = Vec::new();
    for (text, bindings) in &settings.ports {
        let Some((port, protocol)) = parse_port(text) else { continue };
        let bindings = bindings.as_deref().unwrap_or_default();
        for binding in bindings {
            let host_ip = binding
                .host_ip
                .parse::<IpAddr>()
                .map_or_else(|_| String::new(), |addr| addr.to_string());
            all.push((port, protocol, binding.host_port.clone(), host_ip));
        }
        if bindings.is_empty() {
            all.push((port, protocol, String::new(), String::new()));
        }
    }
    if settings.ports.is_empty() {
        let exposed = config.exposed_ports.keys().filter_map(|text| parse_port(text));
        all.extend(exposed.map(|(port, text)| (port, text, String::new(), String::new())));
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
        Dict::from_fields(fields, RawObject::Nothing)
    };
    all.into_iter().map(address).collect()
}
