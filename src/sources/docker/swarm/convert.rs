//! Converts a task of a service to a container.
//!
//! Pure.

use super::{
    super::convert::{parse_optional, parse_time},
    object::{Attachment, ContainerSpec, Node, Port, Service, Task},
};
use crate::model::{
    container::{
        Container, ContainerId, ContainerState, ExposedPorts, Health, NetworkEndpoint, NetworkMode,
        PublishedPort, StopConfig, Transport,
    },
    source_name::SourceName,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// The name under which the network of a node's host is attached.
const HOST_NETWORK: &str = "host";
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Returns the container of a task. Its labels are those of the container's specification, overlaid by those of the
/// service, which change without a restart. Image labels are not known to a manager.
pub(super) fn convert_task(
    task: &Task,
    service: &Service,
    node: Option<&Node>,
    ports: &[Port],
    source: &SourceName,
) -> Container {
    let spec = task.spec.container_spec.as_ref();
    let node_ip = node.and_then(node_ip);
    let node_name = node.map(|node| node.description.hostname.as_str());
    let attachments = task.networks_attachments.as_deref().unwrap_or_default();
    let on_host = attachments.iter().any(|one| one.network.spec.name == HOST_NETWORK);
    Container {
        name: match task.slot.filter(|slot| *slot != 0) {
            Some(slot) => format!("{}.{slot}", service.spec.name),
            None => format!("{}.{}", service.spec.name, node_name.unwrap_or(&task.node_id)),
        },
        state: match task {
            task if task.is_running() => ContainerState::Running,
            task if task.has_ended() => ContainerState::Exited,
            _ => ContainerState::Created,
        },
        stopping: task.is_running() && !task.is_desired(),
        node: node_name.map(Into::into),
        networks: Arc::new(if on_host {
            [(HOST_NETWORK.to_owned(), endpoint(node_ip))].into()
        } else {
            attachments.iter().map(attached_endpoint).collect()
        }),
        network_mode: if on_host { NetworkMode::Host } else { NetworkMode::Own },
        published: published_ports(ports, node_ip),
        ..base_container(
            ContainerId::in_source(source.clone(), task.id.as_str()),
            (service, spec, &task.created_at),
            task_labels(task, service, spec),
        )
    }
}

/// Returns the container that stands for a service that has none: it keeps the service's routes known.
pub(super) fn convert_idle_service(service: &Service, source: &SourceName) -> Container {
    let spec = service.spec.task_template.container_spec.as_ref();
    let mut labels = joined_labels(service, spec);
    labels.extend(service_labels(service));
    Container {
        name: service.spec.name.clone(),
        ..base_container(
            ContainerId::in_source(source.clone(), service.id.as_str()),
            (service, spec, &service.created_at),
            labels,
        )
    }
}

fn base_container(
    id: ContainerId,
    (service, spec, created_at): (&Service, Option<&ContainerSpec>, &str),
    labels: BTreeMap<String, String>,
) -> Container {
    let image = spec.map(|spec| spec.image.as_str()).unwrap_or_default();
    let pair = |text: &String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    let environment = spec.and_then(|spec| spec.env.as_deref()).unwrap_or_default();
    Container {
        id,
        name: service.spec.name.clone(),
        // Without the digest that the manager adds.
        image: image.split('@').next().unwrap_or_default().to_owned(),
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
        created: parse_time(created_at).unwrap_or_default(),
        started: None,
        state: ContainerState::Expected,
        // A task runs only once its HEALTHCHECK has passed, and an unhealthy one is replaced.
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment: environment.iter().filter_map(pair).collect(),
        network_mode: NetworkMode::Own,
        networks: Arc::default(),
        exposed: ExposedPorts::default(),
        published: Vec::new(),
        stop_config: Some(StopConfig {
            signal: spec.and_then(|spec| spec.stop_signal.clone()),
            timeout: spec
                .and_then(|spec| spec.stop_grace_period)
                .map(|period| period / NANOS_PER_SECOND),
        }),
        stopping: false,
    }
}

/// Returns the labels of the container, overlaid by those of the service.
fn joined_labels(service: &Service, spec: Option<&ContainerSpec>) -> BTreeMap<String, String> {
    let mut labels = spec.and_then(|spec| spec.labels.clone()).unwrap_or_default();
    labels.extend(service.spec.labels.clone().unwrap_or_default());
    labels
}

/// The engine adds these to a task's container, where nothing else can set them.
fn service_labels(service: &Service) -> impl Iterator<Item = (String, String)> + use<> {
    [("id", service.id.clone()), ("name", service.spec.name.clone())]
        .map(|(key, value)| (format!("com.docker.swarm.service.{key}"), value))
        .into_iter()
}

fn task_labels(
    task: &Task,
    service: &Service,
    spec: Option<&ContainerSpec>,
) -> BTreeMap<String, String> {
    let mut labels = joined_labels(service, spec);
    labels.extend(service_labels(service));
    labels.insert("com.docker.swarm.task.id".to_owned(), task.id.clone());
    labels.insert("com.docker.swarm.node.id".to_owned(), task.node_id.clone());
    labels
}

fn endpoint(ip: Option<IpAddr>) -> NetworkEndpoint {
    let mut endpoint = NetworkEndpoint::default();
    match ip {
        Some(IpAddr::V4(ip)) => endpoint.ipv4 = Some(ip),
        Some(IpAddr::V6(ip)) => endpoint.ipv6 = Some(ip),
        None => {}
    }
    endpoint
}

fn attached_endpoint(attachment: &Attachment) -> (String, NetworkEndpoint) {
    let addresses = attachment.addresses.iter().flatten();
    let ips = addresses.filter_map(|text| text.split('/').next()?.parse::<IpAddr>().ok());
    let mut endpoint = NetworkEndpoint::default();
    for ip in ips {
        match ip {
            IpAddr::V4(ip) => endpoint.ipv4 = endpoint.ipv4.or(Some(ip)),
            IpAddr::V6(ip) => endpoint.ipv6 = endpoint.ipv6.or(Some(ip)),
        }
    }
    (attachment.network.spec.name.clone(), endpoint)
}

/// Returns the address of a node. That of a manager may be missing from its own status (moby#35437).
pub(super) fn node_ip(node: &Node) -> Option<IpAddr> {
    let own = parse_optional::<IpAddr>(Some(&node.status.addr)).filter(|ip| !ip.is_unspecified());
    let manager = node.manager_status.as_ref().map(|status| status.addr.as_str());
    own.or_else(|| parse_optional::<SocketAddr>(manager).map(|addr| addr.ip()))
        .filter(|ip| !ip.is_unspecified())
}

/// Returns the ports of the node that lead to this one task.
fn published_ports(ports: &[Port], node_ip: Option<IpAddr>) -> Vec<PublishedPort> {
    let Some(host_ip) = node_ip else { return Vec::new() };
    let convert = |port: &Port| {
        let transport = match port.protocol.as_str() {
            "tcp" | "" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return None,
        };
        let (container_port, host_port) = (port.target, port.published);
        (host_port != 0).then_some(PublishedPort { transport, container_port, host_port, host_ip })
    };
    let mut all: Vec<_> = ports.iter().filter_map(convert).collect();
    // A manager lists each port twice, for IPv4 and IPv6.
    all.sort_by_key(|port| (port.transport, port.container_port, port.host_port));
    all.dedup();
    all
}

/// Returns the ports that the task publishes on its node, as its status has them. `None`: the status has none, as after
/// its node was cut off for a while.
pub(super) fn reported_ports(task: &Task) -> Option<&[Port]> {
    let ports = task.status.port_status.as_ref()?.ports.as_deref()?;
    (!ports.is_empty()).then_some(ports)
}

/// Returns the ports with a fixed number that tasks of the service publish on their nodes.
pub(super) fn fixed_ports(service: &Service) -> Vec<Port> {
    let ports = service.spec.endpoint_spec.iter().filter_map(|spec| spec.ports.as_ref()).flatten();
    let is_fixed = |port: &&Port| port.publish_mode == "host" && port.published != 0;
    ports.filter(is_fixed).cloned().collect()
}

#[cfg(test)]
mod tests;
