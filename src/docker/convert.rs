//! Answers of the engine become containers, networks and events. No I/O, and nothing here fails:
//! what an answer leaves out is empty, what it says in a new way is passed over.

use super::{
    details::Details,
    event::{self, About, Cause, Event, What},
    interest::Interest,
    roster::{Description, Report},
};
use crate::{
    container::{
        Attachment, Container, ContainerId, Health, Image, ImageId, NetworkMode, Published, State,
        Stop,
    },
    world::Network,
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

/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// One container of a list; `None` if it has no id, as nothing could be said about it.
pub(super) fn container(said: ContainerSummary) -> Option<Container> {
    let status = said.status.unwrap_or_default();
    let ports = said.ports.unwrap_or_default();
    let mode = said.host_config.and_then(|host| host.network_mode).unwrap_or_default();
    let networks = said.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    Some(Container {
        id: ContainerId::new(said.id?),
        name: name(said.names.unwrap_or_default()),
        image: said.image.unwrap_or_default(),
        // Of a second that is all that is known the end: else one that was made after another in the same
        // second would come before it until it is inspected.
        created: said
            .created
            .unwrap_or_default()
            .saturating_add(1)
            .saturating_mul(SECOND)
            .saturating_sub(1),
        state: state(said.state),
        health: match said.health.and_then(|health| health.status) {
            Some(health) => summary_health(health),
            None => status_health(&status),
        },
        labels: Arc::new(said.labels.unwrap_or_default().into_iter().collect()),
        environment: BTreeMap::new(),
        network_mode: network_mode(&mode),
        networks: Arc::new(
            networks.into_iter().map(|(name, said)| (name, attachment(&said))).collect(),
        ),
        exposed: ports.iter().filter(|port| is_tcp(port)).map(|port| port.private_port).collect(),
        published: published(&ports),
        stop: None,
        leaving: false,
        started: None,
        image_id: said.image_id.filter(|id| !id.is_empty()).map(ImageId::new),
        label_fault: None,
    })
}

/// What of a container's line in a list tells whether it is still the same.
pub(super) fn line(said: ContainerSummary) -> Option<(ContainerId, String)> {
    let state = format!("{:?} {:?}", said.state, status_health(&said.status.unwrap_or_default()));
    let networks = said.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let networks: BTreeMap<_, _> =
        networks.into_iter().map(|(name, said)| (name, said.ip_address)).collect();
    Some((ContainerId::new(said.id?), format!("{state} {:?} {networks:?}", said.names)))
}

/// All that an inspection tells, as the engine's own JSON; `whole` where that is more than was understood.
pub(super) fn description(
    said: &ContainerInspectResponse,
    whole: Option<Value>,
) -> Result<Description> {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    Ok(Description {
        id: ContainerId::new(text(&said.id)),
        name: text(&said.name).trim_start_matches('/').to_owned(),
        // By way of a value, whose keys are in order: the same container is always the same text.
        json: match whole {
            Some(whole) => whole.to_string().into(),
            None => serde_json::to_value(said)?.to_string().into(),
        },
    })
}

/// As the engine takes a time in a question.
pub(super) fn seconds(nanoseconds: i64) -> String {
    format!("{}.{:09}", nanoseconds / SECOND, nanoseconds % SECOND)
}

/// `None` for what is not about a container.
pub(super) fn report(said: EventMessage) -> Option<Report> {
    let typ = said.typ?;
    let event = event(said)?;
    let (id, attributes) = match event.about {
        About::Container { id, attributes, .. } => (id, attributes),
        About::Attachment(id) => (id, BTreeMap::new()),
        About::Network => return None,
    };
    let Cause { action, name, time_nano, .. } = event.cause;
    let is_own = typ == EventMessageTypeEnum::CONTAINER;
    Some(Report { id, name, action, time_nano, attributes, is_own })
}

/// What an inspection tells beyond the list.
pub(super) fn details(said: ContainerInspectResponse, interest: &Interest) -> Details {
    let config = said.config.unwrap_or_default();
    let state = said.state.unwrap_or_default();
    let mode = said.host_config.and_then(|host| host.network_mode);
    let health = state.health.and_then(|health| health.status);
    let pair = |text: String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    Details {
        created: said.created.and_then(|text| nanoseconds(&text)),
        started: state.started_at.and_then(|text| nanoseconds(&text)),
        network_mode: mode.filter(|mode| !mode.is_empty()).map(|mode| network_mode(&mode)),
        environment: interest
            .of_environment(config.env.unwrap_or_default().into_iter().filter_map(pair).collect()),
        stop: Stop {
            signal: config.stop_signal.filter(|signal| !signal.is_empty()),
            timeout: config.stop_timeout,
        },
        exposed: config.exposed_ports.iter().flatten().filter_map(|port| tcp_port(port)).collect(),
        health: match health {
            Some(HealthStatusEnum::STARTING) => Health::Starting,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
            Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::Unchecked,
        },
    }
}

/// What an image brings along.
pub(super) fn image(said: models::ImageInspect) -> Image {
    let config = said.config.unwrap_or_default();
    let pair = |text: String| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    Image {
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        environment: config.env.unwrap_or_default().into_iter().filter_map(pair).collect(),
        exposed: config.exposed_ports.iter().flatten().filter_map(|port| tcp_port(port)).collect(),
    }
}

fn nanoseconds(time: &str) -> Option<i64> {
    let time = humantime::parse_rfc3339(time).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
}

/// Whose network an inspected container uses.
pub(super) fn inspected_network_mode(said: &ContainerInspectResponse) -> NetworkMode {
    let mode = said.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    network_mode(mode.unwrap_or_default())
}

pub(super) fn networks(said: Vec<models::Network>) -> BTreeMap<String, Network> {
    let network = |said: models::Network| {
        let ranges = said.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        let subnets = ranges.iter().filter_map(|range| read(range.subnet.as_deref())).collect();
        Some((said.name?, Network { driver: said.driver.unwrap_or_default(), subnets }))
    };
    said.into_iter().filter_map(network).collect()
}

/// `None` for what concerns neither a container nor a network.
pub(super) fn event(said: EventMessage) -> Option<Event> {
    let (action, actor) = (said.action?, said.actor?);
    let attributes: BTreeMap<_, _> = actor.attributes.unwrap_or_default().into_iter().collect();
    let cause = Cause {
        name: attributes.get("name").cloned().unwrap_or_default(),
        time_nano: said
            .time_nano
            .or(said.time.map(|seconds| seconds.saturating_mul(SECOND)))
            .unwrap_or_default(),
        action: event::in_dockers_words(action),
        heard: None,
    };
    let about = match said.typ? {
        EventMessageTypeEnum::CONTAINER => {
            let what = What::read(&cause.action, &attributes);
            About::Container { id: ContainerId::new(actor.id?), what, attributes }
        }
        EventMessageTypeEnum::NETWORK => match attributes.get("container") {
            Some(id) => About::Attachment(ContainerId::new(id.as_str())),
            // The actor of Podman's is the container.
            None if matches!(cause.action.as_str(), "connect" | "disconnect") => {
                About::Attachment(ContainerId::new(actor.id?))
            }
            None => About::Network,
        },
        _ => return None,
    };
    Some(Event { cause, about })
}

/// A container has one name of its own; links (`/other/alias`) are further ones.
fn name(names: Vec<String>) -> String {
    let mut plain = names.into_iter().map(|name| name.trim_start_matches('/').to_owned());
    plain.find(|name| !name.contains('/')).unwrap_or_default()
}

fn state(said: Option<ContainerSummaryStateEnum>) -> State {
    match said {
        Some(ContainerSummaryStateEnum::CREATED) => State::Created,
        Some(ContainerSummaryStateEnum::RUNNING) => State::Running,
        Some(ContainerSummaryStateEnum::PAUSED) => State::Paused,
        Some(ContainerSummaryStateEnum::RESTARTING) => State::Restarting,
        Some(ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::STOPPING) => {
            State::Removing
        }
        Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::EMPTY) | None => {
            State::Exited
        }
        Some(ContainerSummaryStateEnum::DEAD) => State::Dead,
    }
}

fn summary_health(said: ContainerSummaryHealthStatusEnum) -> Health {
    match said {
        ContainerSummaryHealthStatusEnum::STARTING => Health::Starting,
        ContainerSummaryHealthStatusEnum::HEALTHY => Health::Healthy,
        ContainerSummaryHealthStatusEnum::UNHEALTHY => Health::Unhealthy,
        ContainerSummaryHealthStatusEnum::NONE | ContainerSummaryHealthStatusEnum::EMPTY => {
            Health::Unchecked
        }
    }
}

/// Engines before 29 say it only in words for people: "Up 5 minutes (healthy)".
fn status_health(status: &str) -> Health {
    match status.rsplit_once('(').map(|(_, last)| last) {
        Some("health: starting)") => Health::Starting,
        Some("healthy)") => Health::Healthy,
        Some("unhealthy)") => Health::Unhealthy,
        _ => Health::Unchecked,
    }
}

fn network_mode(said: &str) -> NetworkMode {
    match (said, said.strip_prefix("container:")) {
        ("host", _) => NetworkMode::Host,
        ("none", _) => NetworkMode::None,
        (_, Some(id)) => NetworkMode::Container(ContainerId::new(id)),
        _ => NetworkMode::Own,
    }
}

fn attachment(said: &EndpointSettings) -> Attachment {
    Attachment {
        ipv4: read(said.ip_address.as_deref()),
        ipv6: read(said.global_ipv6_address.as_deref()),
        gateway: read(said.gateway.as_deref()).or_else(|| read(said.ipv6_gateway.as_deref())),
    }
}

fn read<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

fn is_tcp(port: &PortSummary) -> bool {
    port.typ == Some(PortSummaryTypeEnum::TCP)
}

fn published(ports: &[PortSummary]) -> Vec<Published> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let published = |port: &PortSummary| {
        Some(Published {
            container_port: port.private_port,
            host_port: port.public_port.filter(|public| *public != 0)?,
            host_ip: read(port.ip.as_deref()).unwrap_or(everywhere),
        })
    };
    let mut all: Vec<_> = ports.iter().filter(|port| is_tcp(port)).filter_map(published).collect();
    all.sort_by_key(|port| (port.container_port, port.host_port, port.host_ip));
    all.dedup();
    all
}

/// `80/tcp`; a port without a protocol is TCP.
fn tcp_port(text: &str) -> Option<u16> {
    match text.split_once('/') {
        Some((port, "tcp")) => port.parse().ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
