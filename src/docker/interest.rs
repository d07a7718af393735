//! Which containers are worth a call to the engine.
//!
//! Pure.

use crate::{
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
pub struct Interest {
    /// Whether labels (or an environment read like labels) are meant for us.
    pub speaks: fn(&BTreeMap<String, String>) -> bool,
    /// Whether a label is looked at. The others are not kept: most of a large world would be them.
    pub reads: fn(&str) -> bool,
    /// Labels that options name: they are looked at, too.
    pub named: BTreeSet<String>,
    /// Labels, and maybe their values, without which a container is none of our business.
    pub required: Vec<(String, Option<String>)>,
    /// Environments are read like labels: every running container is inspected before it is shown.
    pub environment: bool,
    /// Every container is interesting, stopped ones too.
    pub everything: bool,
    /// How to leave a container the labels that its image does not have. `None`: labels of images count.
    pub own_labels: Option<OwnLabels>,
    /// The container that we run in: its networks decide what is reached.
    pub own: Option<ContainerId>,
}

impl Interest {
    pub(super) fn in_container(&self, container: &Container) -> bool {
        let in_environment = self.environment && (self.speaks)(&container.environment);
        self.in_labels(&container.labels)
            || (in_environment && self.admits(&container.labels))
            || self.own.as_ref() == Some(&container.id)
    }

    /// Lets go of the labels that nobody looks at.
    pub(super) fn slim(&self, container: &mut Container) {
        if !self.compares_image(container) {
            container.image_id = None;
        }
        if !self.in_container(container) && !self.wants_details(container) {
            container.labels = Arc::default();
        } else if !self.everything && !container.labels.keys().all(|label| self.is_read(label)) {
            Arc::make_mut(&mut container.labels).retain(|label, _| self.is_read(label));
        }
    }

    /// An image with what of it is looked at.
    pub(super) fn slim_image(&self, image: Image) -> Image {
        let Image { mut labels, environment, exposed } = image;
        labels.retain(|label, _| self.everything || self.is_read(label));
        let environment = self.of_environment(environment.into_iter().collect());
        Image { labels, environment, exposed }
    }

    fn is_read(&self, label: &str) -> bool {
        (self.reads)(label)
            || self.named.contains(label)
            || self.required.iter().any(|(required, _)| required == label)
    }

    /// Labels of the container's image do not count, and it has labels for us.
    pub(super) fn compares_image(&self, container: &Container) -> bool {
        let in_environment = self.environment && (self.speaks)(&container.environment);
        self.own_labels.is_some() && (in_environment || self.in_labels(&container.labels))
    }

    /// The list tells too little of this container.
    pub(super) fn wants_details(&self, container: &Container) -> bool {
        container.stop.is_none() && (self.environment || self.in_container(container))
    }

    /// An event of this container changes something for us.
    pub(super) fn in_event(
        &self,
        world: &World,
        id: &ContainerId,
        attributes: &BTreeMap<String, String>,
    ) -> bool {
        let unread = |container: &Container| self.environment && container.stop.is_none();
        match world.containers.get(id) {
            Some(known) if unread(known) || self.in_container(known) => true,
            None if self.environment => true,
            _ => self.in_labels(attributes),
        }
    }

    pub(super) fn in_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.everything || ((self.speaks)(labels) && self.admits(labels))
    }

    fn admits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.required.iter().all(|(label, wanted)| match (labels.get(label), wanted) {
            (Some(value), Some(wanted)) => value == wanted,
            (found, _) => found.is_some(),
        })
    }

    /// Those whose network an interesting container uses, at once or by way of others.
    pub(super) fn network_owners(&self, world: &World) -> BTreeSet<ContainerId> {
        let interesting = world.containers.values().filter(|it| self.in_container(it));
        let mut next: Vec<_> = interesting.filter_map(|it| it.network_owner_id()).collect();
        let mut owners = BTreeSet::new();
        while let Some(id) = next.pop() {
            if owners.insert(id.clone()) {
                next.extend(world.containers.get(id).and_then(|it| it.network_owner_id()));
            }
        }
        owners
    }

    /// Of an environment, what is read like a label: the rest is long, and secrets are in it.
    pub(super) fn of_environment(&self, all: Vec<(String, String)>) -> BTreeMap<String, String> {
        let read = |name: &str, value: &str| {
            self.everything || (self.speaks)(&[(name.to_owned(), value.to_owned())].into())
        };
        let all = all.into_iter().filter(|_| self.environment);
        all.filter(|(name, value)| read(name, value)).collect()
    }
}
