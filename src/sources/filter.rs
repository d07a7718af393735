//! Which containers are worth a call to the engine.
//!
//! Pure.

use crate::model::{
    container::{Container, ContainerId, Image},
    world::World,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Removes from the first what the second, the image's, says as well.
pub type OwnLabels = fn(&mut BTreeMap<String, String>, &BTreeMap<String, String>);

/// The world holds every running container, as some lend others their network or hold a port. Only
/// the interesting ones, and those whose network they use, are followed by their events and inspected.
#[derive(Debug, Clone)]
pub struct ContainerFilter {
    /// Whether labels (or an environment read like labels) are meant for us.
    pub has_our_labels: fn(&BTreeMap<String, String>) -> bool,
    /// Whether a label is looked at. The others are not kept: most of a large world would be them.
    pub is_used_label: fn(&str) -> bool,
    /// Labels that options name: they are looked at, too.
    pub named: BTreeSet<String>,
    /// Labels, and maybe their values, without which a container is none of our business.
    pub required_labels: Vec<(String, Option<String>)>,
    /// Environments are read like labels: every running container is inspected before it is shown.
    pub reads_environment: bool,
    /// Every container is interesting, stopped ones too.
    pub matches_all: bool,
    /// How to leave a container the labels that its image does not have. `None`: labels of images count.
    pub own_labels: Option<OwnLabels>,
    /// The container that we run in: its networks decide what is reached.
    pub own_container: Option<ContainerId>,
}

impl ContainerFilter {
    pub(crate) fn matches_container(&self, container: &Container) -> bool {
        let in_environment =
            self.reads_environment && (self.has_our_labels)(&container.environment);
        self.matches_labels(&container.labels)
            || (in_environment && self.has_required_labels(&container.labels))
            || self.own_container.as_ref() == Some(&container.id)
    }

    /// Lets go of the labels that nobody looks at.
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

    /// An image with what of it is looked at.
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

    /// Labels of the container's image do not count, and it has labels for us.
    pub(crate) fn compares_image(&self, container: &Container) -> bool {
        let in_environment =
            self.reads_environment && (self.has_our_labels)(&container.environment);
        self.own_labels.is_some() && (in_environment || self.matches_labels(&container.labels))
    }

    /// The list tells too little of this container.
    pub(crate) fn needs_details(&self, container: &Container) -> bool {
        container.stop_config.is_none()
            && (self.reads_environment || self.matches_container(container))
    }

    /// An event of this container changes something for us.
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

    /// Those whose network an interesting container uses, at once or by way of others.
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

    /// Of an environment, what is read like a label: the rest is long, and secrets are in it.
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
