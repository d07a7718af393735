//! Services as the containers that they will be, on top of those that run.
//!
//! Pure. Nobody knows the id or the address of a container that does not run. It is given ones that no
//! container can have, so that everything is decided as it will be; [`Masks`] takes them out of what is shown.

use super::{Mode, Project, Service};
use crate::{
    container::{Attachment, Container, ContainerId, Health, Image, NetworkMode, State},
    world::{Network, World},
};
use regex_lite::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";

/// Labels that compose gives, and that this reads.
pub fn is_composes(label: &str) -> bool {
    matches!(label, PROJECT | SERVICE | NUMBER)
}

/// A container that does not run, and the service that it will be of.
#[derive(Debug, Clone)]
pub struct Planned<'a> {
    pub container: Container,
    pub service: &'a Service,
    number: u32,
}

/// Every container of the project. `images` by the service's name, where they are known.
pub fn containers<'a>(project: &'a Project, images: &BTreeMap<String, Image>) -> Vec<Planned<'a>> {
    let all = project
        .services
        .iter()
        .flat_map(|service| (1..=service.scale).map(move |number| (service, number)));
    let mut planned: Vec<Planned<'a>> = all
        .enumerate()
        .map(|(at, (service, number))| Planned {
            container: container(project, service, number, at, images.get(&service.name)),
            service,
            number,
        })
        .collect();
    lend_networks(&mut planned);
    planned
}

fn container(
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
    for (key, value) in
        [(PROJECT, &project.name), (SERVICE, &service.name), (NUMBER, &number.to_string())]
    {
        labels.insert(key.to_owned(), value.clone());
    }
    let mut environment = image.environment.clone();
    environment.extend(service.environment.clone());
    let place = Attachment { ipv4: Some(nowhere(at)), ..Attachment::default() };
    let networks = match &service.mode {
        Mode::Networks(names) => names.iter().map(|name| (name.clone(), place.clone())).collect(),
        _ => BTreeMap::new(),
    };
    Container {
        id: nobody(at),
        name: name(project, service, number),
        image: service.image.clone().unwrap_or_default(),
        // The youngest of all: whoever runs came first.
        created: i64::MAX - 1_000_000 + i64::try_from(at).unwrap_or_default(),
        state: State::Running,
        health: Health::Unchecked,
        labels: Arc::new(labels),
        environment,
        network_mode: match &service.mode {
            Mode::Networks(_) => NetworkMode::Own,
            Mode::Host => NetworkMode::Host,
            Mode::None => NetworkMode::None,
            Mode::Service(other) | Mode::Container(other) => {
                NetworkMode::Container(ContainerId::new(other.clone()))
            }
        },
        networks: Arc::new(networks),
        exposed: &image.exposed | &service.exposed,
        published: service.published.clone(),
        stop: None,
        leaving: false,
        started: None,
        image_id: None,
        label_fault: None,
    }
}

fn name(project: &Project, service: &Service, number: u32) -> String {
    match &service.container_name {
        Some(name) => name.clone(),
        None => format!("{}-{}-{number}", project.name, service.name),
    }
}

/// A short id with letters that no id has.
fn nobody(at: usize) -> ContainerId {
    ContainerId::new(format!("planned{at:05}"))
}

/// In 0.0.0.0/8, where no container is, and always of the same length.
fn nowhere(at: usize) -> Ipv4Addr {
    let digit = |power: u32| 100 + u8::try_from(at / 100_usize.pow(power) % 100).unwrap_or(0);
    Ipv4Addr::new(0, digit(2), digit(1), digit(0))
}

/// `network_mode: service:other` is the other's first container.
fn lend_networks(planned: &mut [Planned<'_>]) {
    let firsts = planned.iter().filter(|it| it.number == 1);
    let firsts: BTreeMap<_, _> =
        firsts.map(|it| (it.service.name.clone(), it.container.id.clone())).collect();
    for it in planned {
        if let Mode::Service(other) = &it.service.mode
            && let Some(id) = firsts.get(other)
        {
            it.container.network_mode = NetworkMode::Container(id.clone());
        }
    }
}

/// What is put in the place of what nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Masks {
    /// By what stands for the id and for the address: the container's name.
    ids: BTreeMap<String, String>,
    addresses: BTreeMap<String, String>,
}

/// The world once the project runs: what of it runs as the file says stays, all else of it is planned.
pub fn onto(world: &World, project: &Project, planned: Vec<Planned<'_>>) -> (World, Masks) {
    let mut after = world.clone();
    let mut masks = Masks::default();
    let services: BTreeSet<_> = project.services.iter().map(|it| it.name.as_str()).collect();
    let is_of_it = |container: &Container| {
        let label = |key: &str| container.labels.get(key).map(String::as_str);
        label(PROJECT) == Some(&project.name)
            && label(SERVICE).is_some_and(|it| services.contains(it))
    };
    let (ours, others): (BTreeMap<_, _>, _) =
        after.containers.into_iter().partition(|(_, container)| is_of_it(container));
    after.containers = others;
    let mut kept = BTreeMap::new();
    for it in planned {
        let runs = ours.values().find(|runs| is_the_same(runs, &it));
        let container = if let Some(runs) = runs {
            kept.insert(it.container.id.clone(), runs.id.clone());
            Arc::clone(runs)
        } else {
            masks.add(&it.container);
            Arc::new(it.container)
        };
        after.containers.insert(container.id.clone(), container);
    }
    settle_owners(&mut after, &kept);
    for (name, driver) in &project.networks {
        let driver = driver.clone().unwrap_or_else(|| "bridge".to_owned());
        after.networks.entry(name.clone()).or_insert(Network { driver, ..Network::default() });
    }
    (after, masks)
}

/// Who shares the network of a container that stays, or of one outside of the file by its name.
fn settle_owners(world: &mut World, kept: &BTreeMap<ContainerId, ContainerId>) {
    let by_name: BTreeMap<_, _> =
        world.containers.values().map(|it| (it.name.clone(), it.id.clone())).collect();
    for container in world.containers.values_mut() {
        let NetworkMode::Container(owner) = &container.network_mode else { continue };
        let better = kept.get(owner).or_else(|| by_name.get(owner.as_str()));
        if let Some(id) = better.cloned() {
            Arc::make_mut(container).network_mode = NetworkMode::Container(id);
        }
    }
}

/// Whether compose would leave it as it is, as far as its traffic goes.
fn is_the_same(runs: &Container, planned: &Planned<'_>) -> bool {
    let Planned { container, service, number } = planned;
    let label = |key: &str| runs.labels.get(key).map(String::as_str);
    let ours = |of: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let read = of.iter().filter(|(key, _)| key.starts_with("glue_"));
        read.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    // A shared network is that of another id each time.
    let kind = |it: &NetworkMode| match it {
        NetworkMode::Own => 0,
        NetworkMode::Host => 1,
        NetworkMode::None => 2,
        NetworkMode::Container(_) => 3,
    };
    let names = |of: &Container| of.networks.keys().cloned().collect::<BTreeSet<_>>();
    matches!(runs.state, State::Running | State::Paused)
        && label(SERVICE) == Some(&service.name)
        && label(NUMBER) == Some(&number.to_string())
        && ours(&runs.labels) == ours(&container.labels)
        && (runs.environment.is_empty() || ours(&runs.environment) == ours(&container.environment))
        && kind(&runs.network_mode) == kind(&container.network_mode)
        && (container.networks.is_empty() || names(runs) == names(container))
        && container.published.iter().all(|port| publishes(runs, port.host_port))
}

fn publishes(container: &Container, host_port: u16) -> bool {
    container.published.iter().any(|it| it.host_port == host_port)
}

impl Masks {
    fn add(&mut self, container: &Container) {
        self.ids.insert(container.id.as_str().to_owned(), container.name.clone());
        for place in container.networks.values() {
            let address = place.ipv4.map(|ip| ip.to_string()).unwrap_or_default();
            self.addresses.insert(address, container.name.clone());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether that is the short id of one that does not run.
    pub fn hides(&self, id: &str) -> bool {
        self.ids.contains_key(id)
    }

    /// Whether a container of that name does not run.
    pub fn names(&self, name: &str) -> bool {
        self.ids.values().any(|it| it == name)
    }

    /// Whether that stands for an address that nobody knows.
    pub fn hides_address(&self, ip: IpAddr) -> bool {
        self.addresses.contains_key(&ip.to_string())
    }

    /// Of a sentence: `web (planned00001)` → `web (not running yet)`.
    pub fn in_words(&self, text: &str) -> String {
        self.hide(text, "not running yet")
    }

    /// Of what HAProxy is given: the address is `<web>`, the id `<id>`, and the number that is made of it `<number>`.
    pub fn in_text(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let lines = text.split_inclusive('\n').map(|line| {
            let hidden = self.hide(line, "<id>");
            if hidden == line { hidden } else { numberless(&hidden) }
        });
        lines.collect()
    }

    fn hide(&self, text: &str, id: &str) -> String {
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

fn numberless(line: &str) -> String {
    let number = Regex::new(r" id \d+ ").expect("it is one");
    number.replace(line, " id <number> ").into_owned()
}
