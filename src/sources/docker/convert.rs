//! Converts answers of the engine to containers, networks and events. No I/O, and no errors: a missing value is empty,
//! an unknown value is ignored.

use super::{
    event::{self, Event, EventAction, EventSubject},
    inspect::InspectDetails,
};
use crate::{
    model::{
        container::{
            Container, ContainerId, ContainerState, Health, Image, ImageId, NetworkEndpoint,
            NetworkMode, PublishedPort, StopConfig, Transport,
        },
        source_name::SourceName,
        world::Network,
    },
    sources::{EventCause, description::Description, filter::ContainerFilter},
};
use anyhow::Result;
use bollard::models::{
    self, ContainerInspectResponse, ContainerSummary, ContainerSummaryHealthStatusEnum,
    ContainerSummaryStateEnum, EndpointSettings, EventMessage, EventMessageTypeEnum,
    HealthStatusEnum, PortSummary, PortSummaryTypeEnum,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::Arc,
};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Converts one container of a list; `None` if it has no id, because it could not be referred to.
pub(crate) fn parse_container(
    response: ContainerSummary,
    source: &SourceName,
) -> Option<Container> {
    let status = response.status.unwrap_or_default();
    let ports = response.ports.unwrap_or_default();
    let mode = response.host_config.and_then(|host| host.network_mode).unwrap_or_default();
    let networks =
        response.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    Some(Container {
        id: ContainerId::in_source(source.clone(), response.id?),
        name: pick_name(response.names.unwrap_or_default()),
        image: response.image.unwrap_or_default(),
        // The list has only the second, so the last nanosecond of it is used. Otherwise this container would count as
        // older than one created earlier in the same second and inspected already.
        created: response
            .created
            .unwrap_or_default()
            .saturating_add(1)
            .saturating_mul(NANOS_PER_SECOND)
            .saturating_sub(1),
        state: parse_state(response.state),
        health: match response.health.and_then(|health| health.status) {
            Some(health) => parse_summary_health(health),
            None => parse_status_health(&status),
        },
        labels: Arc::new(response.labels.unwrap_or_default().into_iter().collect()),
        environment: BTreeMap::new(),
        network_mode: parse_network_mode(&mode, source),
        networks: Arc::new(
            networks
                .into_iter()
                .map(|(name, response)| (name, parse_endpoint(&response)))
                .collect(),
        ),
        exposed: ports
            .iter()
            .filter_map(|port| Some((parse_transport(port)?, port.private_port)))
            .collect(),
        published: parse_published_ports(&ports),
        stop_config: None,
        stopping: false,
        started: None,
        image_id: response.image_id.filter(|id| !id.is_empty()).map(ImageId::new),
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
    })
}

/// Returns a text of the fields that show whether a listed container has changed.
pub(crate) fn parse_fingerprint(
    response: &ContainerSummary,
    source: &SourceName,
) -> Option<(ContainerId, String)> {
    let health = parse_status_health(response.status.as_deref().unwrap_or_default());
    let networks = response.network_settings.as_ref().and_then(|all| all.networks.as_ref());
    let addresses =
        networks.into_iter().flatten().map(|(name, network)| (name, &network.ip_address));
    let addresses: BTreeMap<_, _> = addresses.collect();
    let fingerprint = format!("{:?} {health:?} {:?} {addresses:?}", response.state, response.names);
    Some((ContainerId::in_source(source.clone(), response.id.as_deref()?), fingerprint))
}

/// Returns everything that an inspection reports, as the engine's JSON; `whole` is the full JSON if it has more than
/// was parsed.
pub(crate) fn build_description(
    response: &ContainerInspectResponse,
    whole: Option<Value>,
    source: &SourceName,
) -> Result<Description> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(Description {
        id: ContainerId::in_source(source.clone(), text(&response.id)),
        name: text(&response.name).trim_start_matches('/').to_owned(),
        // Converted through a `Value`, which sorts the keys: the same container always gives the same text.
        json: match whole {
            Some(whole) => whole.to_string().into(),
            None => serde_json::to_value(response)?.to_string().into(),
        },
    })
}

/// Formats a time as the engine expects it in a query.
pub(crate) fn format_seconds(nanoseconds: i64) -> String {
    format!("{}.{:09}", nanoseconds / NANOS_PER_SECOND, nanoseconds % NANOS_PER_SECOND)
}

/// Returns what an inspection reports beyond the list.
pub(crate) fn parse_details(
    response: ContainerInspectResponse,
    filter: &ContainerFilter,
    source: &SourceName,
) -> InspectDetails {
    let config = response.config.unwrap_or_default();
    let state = response.state.unwrap_or_default();
    let mode = response.host_config.and_then(|host| host.network_mode);
    let health = state.health.and_then(|health| health.status);
    let pair = |text: String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    InspectDetails {
        created: response.created.and_then(|text| parse_nanoseconds(&text)),
        started: state.started_at.and_then(|text| parse_nanoseconds(&text)),
        network_mode: mode
            .filter(|mode| !mode.is_empty())
            .map(|mode| parse_network_mode(&mode, source)),
        environment: filter.filter_environment(
            config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
        ),
        stop: StopConfig {
            signal: config.stop_signal.filter(|signal| !signal.is_empty()),
            timeout: config.stop_timeout,
        },
        exposed: config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(|port| parse_exposed_port(port))
            .collect(),
        health: match health {
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
            Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::Unchecked,
        },
    }
}

/// Returns the labels, environment and exposed ports of an image.
pub(crate) fn parse_image(response: models::ImageInspect) -> Image {
    let config = response.config.unwrap_or_default();
    let pair = |text: String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    Image {
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        environment: config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
        exposed: config
            .exposed_ports
            .iter()
            .flatten()
            .filter_map(|port| parse_exposed_port(port))
            .collect(),
    }
}

/// Parses a time with an offset, `2026-01-02T03:04:05.678+02:00`, to nanoseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if text.ends_with('Z') {
        return parse_nanoseconds(text);
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+02:00".len())?)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes =
        60 * i64::from(hours.parse::<u8>().ok()?) + i64::from(minutes.parse::<u8>().ok()?);
    let behind = minutes * 60 * NANOS_PER_SECOND;
    let local = parse_nanoseconds(&format!("{local}Z"))?;
    match offset.as_bytes().first() {
        Some(b'+') => local.checked_sub(behind),
        Some(b'-') => local.checked_add(behind),
        _ => None,
    }
}

pub(crate) fn parse_nanoseconds(time: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
}

/// Returns whose network an inspected container uses.
pub(crate) fn inspected_network_mode(
    response: &ContainerInspectResponse,
    source: &SourceName,
) -> NetworkMode {
    let mode = response.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    parse_network_mode(mode.unwrap_or_default(), source)
}

pub(crate) fn parse_networks(response: Vec<models::Network>) -> BTreeMap<String, Network> {
    let network = |response: models::Network| {
        let ranges = response.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let subnets =
            ranges.iter().filter_map(|range| parse_optional(range.subnet.as_deref())).collect();
        Some((response.name?, Network { driver: response.driver.unwrap_or_default(), subnets }))
    };
    response.into_iter().filter_map(network).collect()
}

/// Returns `None` for events of other objects than containers and networks.
pub(crate) fn parse_event(response: EventMessage, source: &SourceName) -> Option<Event> {
    let (action, actor) = (response.action?, response.actor?);
    let attributes: BTreeMap<_, _> = actor.attributes.unwrap_or_default().into_iter().collect();
    let cause = EventCause {
        name: attributes.get("name").cloned().unwrap_or_default(),
        time_nano: response
            .time_nano
            .or(response.time.map(|seconds| seconds.saturating_mul(NANOS_PER_SECOND)))
            .unwrap_or_default(),
        action: event::to_docker_action(action),
        received_at: None,
    };
    let container_id = |id: String| ContainerId::in_source(source.clone(), id);
    let about = match response.typ? {
        EventMessageTypeEnum::CONTAINER => {
            let what = EventAction::from_action(&cause.action, &attributes);
            EventSubject::Container { id: container_id(actor.id?), what, attributes }
        }
        EventMessageTypeEnum::NETWORK => match attributes.get("container") {
            Some(id) => EventSubject::Attachment(container_id(id.clone())),
            // In Podman's events the actor is the container.
            None if matches!(cause.action.as_str(), "connect" | "disconnect") => {
                EventSubject::Attachment(container_id(actor.id?))
            }
            None => EventSubject::Network,
        },
        _ => return None,
    };
    Some(Event { cause, about })
}

/// Returns the container's own name; the others are links (`/other/alias`).
fn pick_name(names: Vec<String>) -> String {
    let mut plain = names.into_iter().map(|name| name.trim_start_matches('/').to_owned());
    plain.find(|name| !name.contains('/')).unwrap_or_default()
}

fn parse_state(response: Option<ContainerSummaryStateEnum>) -> ContainerState {
    match response {
        Some(ContainerSummaryStateEnum::CREATED) => ContainerState::Created,
        Some(ContainerSummaryStateEnum::RUNNING) => ContainerState::Running,
        Some(ContainerSummaryStateEnum::PAUSED) => ContainerState::Paused,
        Some(ContainerSummaryStateEnum::RESTARTING) => ContainerState::Restarting,
        Some(ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::STOPPING) => {
            ContainerState::Removing
        }
        Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::EMPTY) | None => {
            ContainerState::Exited
        }
        Some(ContainerSummaryStateEnum::DEAD) => ContainerState::Dead,
    }
}

fn parse_summary_health(response: ContainerSummaryHealthStatusEnum) -> Health {
    match response {
        ContainerSummaryHealthStatusEnum::STARTING => Health::Starting,
        ContainerSummaryHealthStatusEnum::HEALTHY => Health::Healthy,
        ContainerSummaryHealthStatusEnum::UNHEALTHY => Health::Unhealthy,
        ContainerSummaryHealthStatusEnum::NONE | ContainerSummaryHealthStatusEnum::EMPTY => {
            Health::Unchecked
        }
    }
}

/// Engines before 29 report health only in a text for people: "Up 5 minutes (healthy)".
fn parse_status_health(status: &str) -> Health {
    match status.rsplit_once('(').map(|(_, last)| last) {
        Some("health: starting)") => Health::Starting,
        Some("healthy)") => Health::Healthy,
        Some("unhealthy)") => Health::Unhealthy,
        _ => Health::Unchecked,
    }
}

fn parse_network_mode(response: &str, source: &SourceName) -> NetworkMode {
    match (response, response.strip_prefix("container:")) {
        ("host", _) => NetworkMode::Host,
        ("none", _) => NetworkMode::None,
        (_, Some(id)) => NetworkMode::Container(ContainerId::in_source(source.clone(), id)),
        _ => NetworkMode::Own,
    }
}

fn parse_endpoint(response: &EndpointSettings) -> NetworkEndpoint {
    NetworkEndpoint {
        ipv4: parse_optional(response.ip_address.as_deref()),
        ipv6: parse_optional(response.global_ipv6_address.as_deref()),
        gateway: parse_optional(response.gateway.as_deref())
            .or_else(|| parse_optional(response.ipv6_gateway.as_deref())),
    }
}

pub(super) fn parse_optional<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

/// Returns `None` for other protocols than TCP and UDP.
fn parse_transport(port: &PortSummary) -> Option<Transport> {
    match port.typ {
        Some(PortSummaryTypeEnum::TCP) => Some(Transport::Tcp),
        Some(PortSummaryTypeEnum::UDP) => Some(Transport::Udp),
        _ => None,
    }
}

fn parse_published_ports(ports: &[PortSummary]) -> Vec<PublishedPort> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let published = |port: &PortSummary| {
        Some(PublishedPort {
            transport: parse_transport(port)?,
            container_port: port.private_port,
            host_port: port.public_port.filter(|public| *public != 0)?,
            host_ip: parse_optional(port.ip.as_deref()).unwrap_or(everywhere),
        })
    };
    let mut all: Vec<_> = ports.iter().filter_map(published).collect();
    all.sort_by_key(|port| (port.transport, port.container_port, port.host_port, port.host_ip));
    all.dedup();
    all
}

/// Parses `80/tcp`; a port without a protocol is TCP.
pub(crate) fn parse_exposed_port(text: &str) -> Option<(Transport, u16)> {
    match text.split_once('/') {
        Some((port, "tcp")) => Some((Transport::Tcp, port.parse().ok()?)),
        Some((port, "udp")) => Some((Transport::Udp, port.parse().ok()?)),
        Some(_) => None,
        None => Some((Transport::Tcp, text.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests;
