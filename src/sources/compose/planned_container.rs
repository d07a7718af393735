//! Services of a compose file as the containers that they will become, added to the running ones.
//!
//! Pure. A container that does not run yet has no id and no address. It gets placeholders that no real container can
//! have, so that all decisions are made as for running containers; [`Placeholders`] replaces them in the output.

use super::{Project, Service, ServiceNetwork};
use crate::model::{
    container::{
        Container, ContainerId, ContainerState, Health, Image, NetworkEndpoint, NetworkMode,
        PublishedPort,
    },
    source_name::SourceName,
    world::{Network, World},
};
use regex_lite::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";
const NUMBER_LABEL: &str = "com.docker.compose.container-number";

/// Whether a label is one that compose sets and this module reads.
pub fn is_compose_label(label: &str) -> bool {
    matches!(label, PROJECT_LABEL | SERVICE_LABEL | NUMBER_LABEL)
}

/// A container that does not run yet, and the service that it will belong to.
#[derive(Debug, Clone)]
pub struct PlannedContainer<'a> {
    pub container: Container,
    pub service: &'a Service,
    number: u32,
}

impl PlannedContainer<'_> {
    /// Makes it a container of this source.
    pub fn assign_to(&mut self, source: &SourceName) {
        let of_source =
            |id: &ContainerId| ContainerId::in_source(source.clone(), id.as_str().to_owned());
        self.container.id = of_source(&self.container.id);
        if let NetworkMode::Container(owner) = &mut self.container.network_mode {
            *owner = of_source(owner);
        }
    }
}

/// Returns every container of the project. `images` maps service names to images, as far as they are known.
pub fn plan_containers<'a>(
    project: &'a Project,
    images: &BTreeMap<String, Image>,
) -> Vec<PlannedContainer<'a>> {
    let all = project
        .services
        .iter()
        .flat_map(|service| (1..=service.scale).map(move |number| (service, number)));
    let mut planned: Vec<PlannedContainer<'a>> = all
        .enumerate()
        .map(|(at, (service, number))| PlannedContainer {
            container: plan_container(project, service, number, at, images.get(&service.name)),
            service,
            number,
        })
        .collect();
    inherit_networks(&mut planned);
    planned
}

fn plan_container(
    project: &Project,
    service: &Service,
    number: u32,
    at: usize,
    image: Option<&Image>,
) -> Container {
    let none = Image::default();
    let image = image.unwrap_or(&none);
    let mut labels = image.labels.clone();
    labels.extend(service.labels.clone());
    for (key, value) in [
        (PROJECT_LABEL, &project.name),
        (SERVICE_LABEL, &service.name),
        (NUMBER_LABEL, &number.to_string()),
    ] {
        labels.insert(key.to_owned(), value.clone());
    }
    let mut environment = image.environment.clone();
    environment.extend(service.environment.clone());
    let endpoint =
        NetworkEndpoint { ipv4: Some(placeholder_address(at)), ..NetworkEndpoint::default() };
    let networks = match &service.network {
        ServiceNetwork::Networks(names) => {
            names.iter().map(|name| (name.clone(), endpoint.clone())).collect()
        }
        _ => BTreeMap::new(),
    };
    Container {
        id: placeholder_id(at),
        name: container_name(project, service, number),
        image: service.image.clone().unwrap_or_default(),
        // The youngest of all: the running containers came first.
        created: i64::MAX - 1_000_000 + i64::try_from(at).unwrap_or_default(),
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment,
        network_mode: match &service.network {
            ServiceNetwork::Networks(_) => NetworkMode::Own,
            ServiceNetwork::Host => NetworkMode::Host,
            ServiceNetwork::None => NetworkMode::None,
            ServiceNetwork::Service(other) | ServiceNetwork::Container(other) => {
                NetworkMode::Container(ContainerId::new(other.clone()))
            }
        },
        networks: Arc::new(networks),
        exposed: {
            let mut exposed = image.exposed.clone();
            exposed.merge(&service.exposed);
            exposed
        },
        published: service.published.clone(),
        stop_config: None,
        stopping: false,
        started: None,
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
    }
}

fn container_name(project: &Project, service: &Service, number: u32) -> String {
    match &service.container_name {
        Some(name) => name.clone(),
        None => format!("{}-{}-{number}", project.name, service.name),
    }
}

/// Returns a short id with letters that no real id has.
fn placeholder_id(at: usize) -> ContainerId {
    ContainerId::new(format!("planned{at:05}"))
}

/// Returns an address in 0.0.0.0/8, where no container can be, of a fixed length.
fn placeholder_address(at: usize) -> Ipv4Addr {
    let digit = |power: u32| 100 + u8::try_from(at / 100_usize.pow(power) % 100).unwrap_or(0);
    Ipv4Addr::new(0, digit(2), digit(1), digit(0))
}

/// Resolves `network_mode: service:other` to the first container of that service.
fn inherit_networks(planned: &mut [PlannedContainer<'_>]) {
    let firsts = planned.iter().filter(|container| container.number == 1);
    let firsts: BTreeMap<_, _> = firsts
        .map(|container| (container.service.name.clone(), container.container.id.clone()))
        .collect();
    for container in planned {
        if let ServiceNetwork::Service(other) = &container.service.network
            && let Some(id) = firsts.get(other)
        {
            container.container.network_mode = NetworkMode::Container(id.clone());
        }
    }
}

/// Placeholders for the ids and addresses that are not known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// Placeholder id → container name.
    ids: BTreeMap<String, String>,
    addresses: BTreeMap<String, String>,
}

/// Returns the world after the project is started at a source. Running containers that match the file stay, all others of
/// the project are planned. Containers of other sources stay as they are.
pub fn merge_into_world(
    world: &World,
    project: &Project,
    planned: Vec<PlannedContainer<'_>>,
    source: &SourceName,
) -> (World, Placeholders) {
    let mut after = world.clone();
    let mut placeholders = Placeholders::default();
    let services: BTreeSet<_> =
        project.services.iter().map(|service| service.name.as_str()).collect();
    let is_of_project = |container: &Container| {
        let label = |key: &str| container.labels.get(key).map(String::as_str);
        container.id.source() == source
            && label(PROJECT_LABEL) == Some(&project.name)
            && label(SERVICE_LABEL).is_some_and(|text| services.contains(text))
    };
    let (ours, others): (BTreeMap<_, _>, _) =
        after.containers.into_iter().partition(|(_, container)| is_of_project(container));
    after.containers = others;
    let mut kept = BTreeMap::new();
    for planned_container in planned {
        let running = ours.values().find(|running| is_unchanged(running, &planned_container));
        let container = if let Some(running) = running {
            kept.insert(planned_container.container.id.clone(), running.id.clone());
            Arc::clone(running)
        } else {
            placeholders.add_container(&planned_container.container);
            Arc::new(planned_container.container)
        };
        after.containers.insert(container.id.clone(), container);
    }
    resolve_network_owners(&mut after, &kept, source);
    for (name, driver) in &project.networks {
        let driver = driver.clone().unwrap_or_else(|| "bridge".to_owned());
        let networks = after.networks.entry(source.clone()).or_default();
        networks.entry(name.clone()).or_insert(Network { driver, ..Network::default() });
    }
    (after, placeholders)
}

/// Resolves containers that share a network: that of a container that stays, or of one outside the file, by its name.
fn resolve_network_owners(
    world: &mut World,
    kept: &BTreeMap<ContainerId, ContainerId>,
    source: &SourceName,
) {
    let by_name: BTreeMap<_, _> = world
        .containers
        .values()
        .filter(|container| container.id.source() == source)
        .map(|container| (container.name.clone(), container.id.clone()))
        .collect();
    for container in world.containers.values_mut() {
        let NetworkMode::Container(owner) = &container.network_mode else { continue };
        let owner_id = kept.get(owner).or_else(|| by_name.get(owner.as_str()));
        if let Some(id) = owner_id.cloned() {
            Arc::make_mut(container).network_mode = NetworkMode::Container(id);
        }
    }
}

/// Whether compose would keep the running container, as far as its traffic is concerned.
fn is_unchanged(running: &Container, planned: &PlannedContainer<'_>) -> bool {
    let PlannedContainer { container, service, number } = planned;
    let label = |key: &str| running.labels.get(key).map(String::as_str);
    let ours = |source: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let relevant = source.iter().filter(|(key, _)| key.starts_with("glue_"));
        relevant.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    // The id of a shared network's container is different each time.
    let kind = |mode: &NetworkMode| match mode {
        NetworkMode::Own => 0,
        NetworkMode::Host => 1,
        NetworkMode::None => 2,
        NetworkMode::Container(_) => 3,
    };
    let names = |source: &Container| source.networks.keys().cloned().collect::<BTreeSet<_>>();
    matches!(running.state, ContainerState::Running | ContainerState::Paused)
        && label(SERVICE_LABEL) == Some(&service.name)
        && label(NUMBER_LABEL) == Some(&number.to_string())
        && ours(&running.labels) == ours(&container.labels)
        && (running.environment.is_empty()
            || ours(&running.environment) == ours(&container.environment))
        && kind(&running.network_mode) == kind(&container.network_mode)
        && (container.networks.is_empty() || names(running) == names(container))
        && container.published.iter().all(|port| publishes_port(running, port))
}

fn publishes_port(container: &Container, wanted: &PublishedPort) -> bool {
    let mut published = container.published.iter();
    published.any(|port| (port.transport, port.host_port) == (wanted.transport, wanted.host_port))
}

impl Placeholders {
    fn add_container(&mut self, container: &Container) {
        self.ids.insert(container.id.as_str().to_owned(), container.name.clone());
        for endpoint in container.networks.values() {
            let address = endpoint.ipv4.map(|ip| ip.to_string()).unwrap_or_default();
            self.addresses.insert(address, container.name.clone());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether the id is the placeholder of a container that does not run.
    pub fn is_placeholder_id(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// Whether the container of that name does not run.
    pub fn is_placeholder_name(&self, name: &str) -> bool {
        self.ids.values().any(|text| text == name)
    }

    /// Whether the address is a placeholder.
    pub fn is_placeholder_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains_key(&ip.to_string())
    }

    /// Masks the ids in a sentence: `web (planned00001)` → `web (not running yet)`.
    pub fn mask_sentence(&self, text: &str) -> String {
        self.mask_text(text, "not running yet")
    }

    /// Masks an HAProxy configuration: an address becomes `<web>`, an id `<id>`, and the number derived from the id
    /// `<number>`.
    pub fn mask_config(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let lines = text.split_inclusive('\n').map(|line| {
            let masked = self.mask_text(line, "<id>");
            if masked == line { masked } else { mask_number(&masked) }
        });
        lines.collect()
    }

    fn mask_text(&self, text: &str, id: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let ids = Regex::new(r"planned\d{5}").expect("it is one");
        let addresses = Regex::new(r"\b0\.1\d\d\.1\d\d\.1\d\d\b").expect("it is one");
        let text = ids.replace_all(text, |found: &regex_lite::Captures<'_>| {
            if self.ids.contains_key(&found[0]) { id.to_owned() } else { found[0].to_owned() }
        });
        let text = addresses.replace_all(&text, |found: &regex_lite::Captures<'_>| {
            let name = self.addresses.get(&found[0]);
            name.map_or_else(|| found[0].to_owned(), |name| format!("<{name}>"))
        });
        text.into_owned()
    }
}

fn mask_number(line: &str) -> String {
    let number = Regex::new(r" id \d+ ").expect("it is one");
    number.replace(line, " id <number> ").into_owned()
}
