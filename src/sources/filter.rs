//! Which containers are worth a request to the engine.
//!
//! Pure.

use crate::model::{
    container::{Container, ContainerId, Image},
    source_name::SourceName,
    world::World,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Removes from the first map the labels that the second one, the image's, has with the same value.
pub type OwnLabels = fn(&mut BTreeMap<String, String>, &BTreeMap<String, String>);

/// The world holds every running container, because a container may lend its network to another one or occupy a port.
/// Only interesting containers, and those whose network they use, are followed by their events and inspected.
#[derive(Debug, Clone)]
pub struct ContainerFilter {
    /// The source whose containers are filtered.
    pub source: SourceName,
    /// Whether labels (or an environment that is read like labels) contain docker-glue labels.
    pub has_our_labels: fn(&BTreeMap<String, String>) -> bool,
    /// Whether a label is used. Other labels are dropped: in a large world they would be most of the memory.
    pub is_used_label: fn(&str) -> bool,
    /// Further labels that are used because options name them.
    pub named: BTreeSet<String>,
    /// Labels, with an optional value, that a container must have; containers without them are ignored.
    pub required_labels: Vec<(String, Option<String>)>,
    /// The environment is read like labels, so every running container is inspected before it is published.
    pub reads_environment: bool,
    /// Every container is interesting, including stopped ones.
    pub matches_all: bool,
    /// Removes the labels that come from the image. `None`: labels of images apply as well.
    pub own_labels: Option<OwnLabels>,
    /// The container that this process runs in: its networks decide which addresses can be reached.
    pub own_container: Option<ContainerId>,
}

impl ContainerFilter {
    /// Returns the filter of a reader of everything.
    pub fn all_of(source: SourceName) -> Self {
        Self {
            source,
            has_our_labels: |_| true,
            is_used_label: |_| true,
            named: BTreeSet::new(),
            required_labels: Vec::new(),
            reads_environment: true,
            matches_all: true,
            own_labels: None,
            own_container: None,
        }
    }

    pub(crate) fn matches_container(&self, container: &Container) -> bool {
        let in_environment =
            self.reads_environment && (self.has_our_labels)(&container.environment);
        self.matches_labels(&container.labels)
            || (in_environment && self.has_required_labels(&container.labels))
            || self.own_container.as_ref() == Some(&container.id)
    }

    /// Drops the labels that are not used.
    pub(crate) fn drop_unused_labels(&self, container: &mut Container) {
        if !self.compares_image(container) {
            container.image_id = None;
        }
        if !self.matches_container(container) && !self.needs_details(container) {
            container.labels = Arc::default();
        } else if !self.matches_all && !container.labels.keys().all(|label| self.is_read(label)) {
            Arc::make_mut(&mut container.labels).retain(|label, _| self.is_read(label));
        }
    }

    /// Returns the image with only its used labels and environment.
    pub(crate) fn slim_image(&self, image: Image) -> Image {
        let Image { mut labels, environment, exposed } = image;
        labels.retain(|label, _| self.matches_all || self.is_read(label));
        let environment = self.filter_environment(environment.into_iter().collect());
        Image { labels, environment, exposed }
    }

    fn is_read(&self, label: &str) -> bool {
        (self.is_used_label)(label)
            || self.named.contains(label)
            || self.required_labels.iter().any(|(required, _)| required == label)
    }

    /// Whether labels of the container's image do not apply and the container has docker-glue labels.
    pub(crate) fn compares_image(&self, container: &Container) -> bool {
        let in_environment =
            self.reads_environment && (self.has_our_labels)(&container.environment);
        self.own_labels.is_some() && (in_environment || self.matches_labels(&container.labels))
    }

    /// Whether the list contains too little about this container, so that it must be inspected.
    pub(crate) fn needs_details(&self, container: &Container) -> bool {
        container.stop_config.is_none()
            && (self.reads_environment || self.matches_container(container))
    }

    /// Whether an event of this container is relevant.
    pub(crate) fn matches_event(
        &self,
        world: &World,
        id: &ContainerId,
        attributes: &BTreeMap<String, String>,
    ) -> bool {
        let is_uninspected =
            |container: &Container| self.reads_environment && container.stop_config.is_none();
        match world.containers.get(id) {
            Some(cached) if is_uninspected(cached) || self.matches_container(cached) => true,
            None if self.reads_environment => true,
            _ => self.matches_labels(attributes),
        }
    }

    pub(crate) fn matches_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_all || ((self.has_our_labels)(labels) && self.has_required_labels(labels))
    }

    fn has_required_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.required_labels.iter().all(|(label, value_required)| {
            match (labels.get(label), value_required) {
                (Some(value), Some(value_required)) => value == value_required,
                (found, _) => found.is_some(),
            }
        })
    }

    /// Returns the containers whose network an interesting container uses, directly or through other containers.
    pub(crate) fn find_network_owners(&self, world: &World) -> BTreeSet<ContainerId> {
        let interesting =
            world.containers.values().filter(|container| self.matches_container(container));
        let mut next: Vec<_> =
            interesting.filter_map(|container| container.network_owner_id()).collect();
        let mut owners = BTreeSet::new();
        while let Some(id) = next.pop() {
            if owners.insert(id.clone()) {
                next.extend(
                    world.containers.get(id).and_then(|container| container.network_owner_id()),
                );
            }
        }
        owners
    }

    /// Keeps the variables that are read like labels. The others are long, and may be secrets.
    pub(crate) fn filter_environment(
        &self,
        all: Vec<(String, String)>,
    ) -> BTreeMap<String, String> {
        let read = |name: &str, value: &str| {
            self.matches_all || (self.has_our_labels)(&[(name.to_owned(), value.to_owned())].into())
        };
        let all = all.into_iter().filter(|_| self.reads_environment);
        all.filter(|(name, value)| read(name, value)).collect()
    }
}
