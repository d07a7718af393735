//! Descriptions of containers of which a source sends no answer of Docker's own: tasks of a Swarm, and records of a
//! registry.
//!
//! Pure. A description has what is known in the form of `docker inspect`, and three values that Docker does not have:
//! `Node`, the machine with its name and address, `leaving`, as docker-glue publishes it, and `lost`.

use super::description::{ContainerMap, Description};
use crate::model::{
    container::{Container, ContainerState, Health, NetworkEndpoint, NetworkMode, PublishedPort},
    world::World,
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// Returns the description of a container.
pub(super) fn describe_container(container: &Container) -> Arc<Description> {
    let (id, name) = (container.id.clone(), container.name.clone());
    let json = inspection(container).to_string().into();
    Arc::new(Description { id, name, json })
}

/// Returns the descriptions of all containers. A service without tasks is none.
pub fn describe_world(world: &World) -> ContainerMap {
    let containers = world.containers.values().filter(|one| is_container(one));
    containers.map(|one| (one.id.clone(), describe_container(one))).collect()
}

/// Whether it is a container, and not the service of a Swarm that has none.
pub(super) fn is_container(container: &Container) -> bool {
    container.state != ContainerState::Expected
}

fn inspection(container: &Container) -> Value {
    let stop = container.stop_config.as_ref();
    let exposed = all_ports(container).into_keys().map(|port| (port, json!({})));
    let environment = container.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let networks = container.networks.iter().map(|(name, one)| (name.clone(), network(one)));
    let mut inspection = json!({
        "Id": container.id.as_str(),
        "Name": format!("/{}", container.name),
        "Created": format_time(container.created),
        "Config": {
            "Image": container.image,
            "Labels": *container.labels,
            "Env": environment.collect::<Vec<_>>(),
            "ExposedPorts": exposed.collect::<Map<_, _>>(),
            "StopSignal": stop.and_then(|stop| stop.signal.as_deref()),
            "StopTimeout": stop.and_then(|stop| stop.timeout),
        },
        "State": state(container),
        "HostConfig": { "NetworkMode": network_mode(&container.network_mode) },
        "NetworkSettings": {
            "Networks": networks.collect::<Map<_, _>>(),
            "Ports": all_ports(container).into_iter().collect::<Map<_, _>>(),
        },
    });
    if let Some(node) = &container.node {
        let ip = node_address(container).map(|ip| ip.to_string()).unwrap_or_default();
        inspection["Node"] = json!({ "Name": **node, "IP": ip });
    }
    for (key, is_set) in [("leaving", container.stopping), ("lost", container.is_lost)] {
        if is_set {
            inspection[key] = true.into();
        }
    }
    inspection
}

fn state(container: &Container) -> Value {
    let status = match container.state {
        ContainerState::Created | ContainerState::Expected => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited => "exited",
        ContainerState::Dead => "dead",
    };
    let paused = container.state == ContainerState::Paused;
    let mut state = json!({ "Status": status, "Running": container.is_up(), "Paused": paused });
    if let Some(started) = container.started.filter(|started| 0 < *started) {
        state["StartedAt"] = format_time(started).into();
    }
    let health = match container.health {
        Health::Unchecked => return state,
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    };
    state["Health"] = json!({ "Status": health });
    state
}

fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Own => "default".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Container(owner) => format!("container:{}", owner.as_str()),
    }
}

fn network(endpoint: &NetworkEndpoint) -> Value {
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    json!({
        "IPAddress": text(endpoint.ipv4.map(IpAddr::V4)),
        "GlobalIPv6Address": text(endpoint.ipv6.map(IpAddr::V6)),
        "Gateway": text(endpoint.gateway),
    })
}

/// Returns the exposed and published ports as `80/tcp`, with the addresses at which they are published.
fn all_ports(container: &Container) -> BTreeMap<String, Value> {
    let exposed = &container.exposed;
    let tcp = exposed.tcp.iter().map(|port| format!("{port}/tcp"));
    let udp = exposed.udp.iter().map(|port| format!("{port}/udp"));
    let mut ports: BTreeMap<_, _> = tcp.chain(udp).map(|port| (port, Value::Null)).collect();
    for PublishedPort { transport, container_port, host_port, host_ip } in &container.published {
        let binding = json!({ "HostIp": host_ip.to_string(), "HostPort": host_port.to_string() });
        let bindings = ports.entry(format!("{container_port}/{transport}")).or_default();
        match bindings.as_array_mut() {
            Some(bindings) => bindings.push(binding),
            None => *bindings = json!([binding]),
        }
    }
    ports
}

/// Returns the address of the container's machine. A Swarm's tasks have it as that of their ports.
fn node_address(container: &Container) -> Option<IpAddr> {
    let published = || container.published.iter().map(|port| port.host_ip);
    let host = || container.networks.get("host").and_then(NetworkEndpoint::ip);
    let known = || published().find(|ip| !ip.is_unspecified() && !ip.is_loopback()).or_else(host);
    container.host.or_else(known)
}

fn format_time(nanoseconds: i64) -> String {
    let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default());
    humantime::format_rfc3339_nanos(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::describe_container;
    use crate::{model::container::ContainerId, sources::registry::ServedRecord};
    use serde_json::{Value, json};

    /// What a publisher writes of a container.
    fn record() -> Value {
        json!({
            "v": 1, "name": "web", "image": "nginx:1", "created": 1_700_000_000_123_456_789_i64,
            "started": 1_700_000_001_000_000_000_i64, "state": "running", "health": "healthy",
            "leaving": true, "labels": { "a": "b" }, "mode": "own",
            "networks": { "front": { "ipv4": "10.1.0.2", "ipv6": "fd00::2" } },
            "published": [
                { "port": "80/tcp", "host_port": 8080, "host_ip": "0.0.0.0" },
                { "port": "80/tcp", "host_port": 8080, "host_ip": "::" },
                { "port": "53/udp", "host_port": 53, "host_ip": "10.0.0.2" },
            ],
            "exposed": ["443/tcp", "53/udp", "80/tcp"],
            "stop": { "signal": "SIGQUIT", "timeout": 20 },
        })
    }

    #[test]
    fn description_says_what_the_record_said() {
        let node = || "node2".into();
        let id = ContainerId::in_source("fleet".parse().unwrap(), "c0ffee".repeat(10));
        for (key, value) in [
            ("mode", json!("host")),
            ("mode", json!("none")),
            ("mode", json!(format!("container:{}", "d".repeat(64)))),
            ("state", json!("paused")),
            ("health", json!("none")),
            ("health", json!("starting")),
            ("networks", json!({})),
            ("published", json!([])),
        ] {
            let mut record = record();
            record[key] = value;
            let record = ServedRecord::parse(record.to_string().as_bytes()).unwrap();
            let container = record.into_container(id.clone(), node()).unwrap();
            let description = describe_container(&container);
            assert_eq!((&description.id, description.name.as_str()), (&id, "web"));
            let json: Value = serde_json::from_str(&description.json).unwrap();
            assert_eq!(json["leaving"], json!(true));
            assert_eq!(json["Node"]["Name"], json!("node2"));
            let again = ServedRecord::from_inspection(&json, |_| true).unwrap().into_leaving();
            assert_eq!(again.into_container(id.clone(), node()).unwrap(), container);
        }
    }

    #[test]
    fn machine_has_the_address_at_which_its_ports_are_reached() {
        let id = ContainerId::new("0".repeat(64));
        for (published, host_network, host, expected) in [
            ("0.0.0.0", None, None, ""),
            ("0.0.0.0", None, Some("10.0.0.9"), "10.0.0.9"),
            ("10.0.0.3", None, None, "10.0.0.3"),
            ("127.0.0.1", Some("10.0.0.4"), None, "10.0.0.4"),
        ] {
            let mut record = record();
            record["published"] = json!([
                { "port": "80/tcp", "host_port": 8080, "host_ip": published },
            ]);
            if let Some(ip) = host_network {
                record["networks"] = json!({ "host": { "ipv4": ip } });
            }
            let record = ServedRecord::parse(record.to_string().as_bytes()).unwrap();
            let mut container = record.into_container(id.clone(), "node2".into()).unwrap();
            container.host = host.map(|host: &str| host.parse().unwrap());
            let json = &describe_container(&container).json;
            let json: Value = serde_json::from_str(json).unwrap();
            assert_eq!(json["Node"]["IP"], json!(expected), "{published}");
        }
    }
}
