//! Services of compose files and running containers as input.
//!
//! Pure. Labels of a container are literal, so their dollars are doubled.

use super::{ImagePorts, LabelPlace, ServiceInput, text};
use crate::{
    model::container::{Container, PublishedPort, Transport},
    sources::compose::Service,
};
use std::collections::BTreeMap;

impl ServiceInput {
    /// Returns a service of a project that was read with [`crate::sources::compose::VariableMode::Keep`].
    pub fn from_service(service: &Service, input: usize) -> Self {
        let place =
            if service.has_deploy_labels { LabelPlace::Deploy } else { LabelPlace::Service };
        Self {
            input,
            name: service.name.clone(),
            image: service.image.clone().unwrap_or_default(),
            labels: service.labels.clone(),
            environment: service.environment.clone(),
            command: service.command.clone(),
            exposed: service.exposed.tcp.iter().copied().collect(),
            image_ports: ImagePorts::Unknown,
            published: published_tcp(&service.published),
            place,
        }
    }

    /// Returns a container, with the name of its service.
    pub fn from_container(container: &Container, name: &str, input: usize) -> Self {
        let written = |(key, value): (&String, &String)| (key.clone(), text::escape_dollars(value));
        Self {
            input,
            name: name.to_owned(),
            image: container.image.clone(),
            labels: container.labels.iter().map(written).collect(),
            environment: container.environment.iter().map(written).collect(),
            command: Vec::new(),
            exposed: container.exposed.tcp.iter().copied().collect(),
            image_ports: ImagePorts::Known,
            published: published_tcp(&container.published),
            place: LabelPlace::Service,
        }
    }
}

fn published_tcp(published: &[PublishedPort]) -> BTreeMap<u16, u16> {
    let tcp = published.iter().filter(|port| port.transport == Transport::Tcp);
    tcp.map(|port| (port.container_port, port.host_port)).collect()
}
