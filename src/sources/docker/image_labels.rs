//! Cache of images, and of the containers that wait for one. With `--image-labels off`, a label that the container has
//! from its image does not apply.
//!
//! Pure: returns which images to inspect, takes the answers.

use crate::{
    model::container::{Container, ContainerId, Image, ImageId},
    sources::{EventCause, filter::OwnLabels},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Limit of images that are inspected at the same time.
const MOST_QUESTIONS: usize = 8;
/// Limit of cached images that no container uses. They are kept because a container is removed before its successor is
/// created.
const MOST_SPARE: usize = 256;

/// Docker's answer about an image, reduced to what is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageAnswer {
    Found(Arc<Image>),
    /// Why the labels are not known.
    Failed(Arc<str>),
}

/// Images, and the containers that wait for them. Bounded by the number of containers plus [`MOST_SPARE`].
#[derive(Debug, Default)]
pub(crate) struct ImageCache {
    answers: BTreeMap<ImageId, ImageAnswer>,
    to_ask: BTreeSet<ImageId>,
    asking: BTreeSet<ImageId>,
    /// Containers whose image is not known yet.
    waiting: BTreeMap<ContainerId, ImageId>,
    /// Containers whose image could not be inspected.
    failed: BTreeMap<ContainerId, ImageId>,
    /// The events that caused the pending inspections.
    causes: BTreeMap<ImageId, EventCause>,
    /// Images of the containers of the list that is being read.
    used: BTreeSet<ImageId>,
}

impl ImageCache {
    /// Keeps only the container's own labels; none while its image is not known, or if it could not be inspected.
    pub(crate) fn keep_own(
        &mut self,
        container: &mut Container,
        keep_own: OwnLabels,
        cause: Option<&EventCause>,
    ) {
        let id = container.id.clone();
        let Some(image) = container.image_id.clone() else {
            container.hide_labels(Some("Docker does not report the container's image".into()));
            return;
        };
        self.used.insert(image.clone());
        match self.answers.get(&image) {
            Some(ImageAnswer::Found(found)) => {
                let found = Arc::clone(found);
                self.forget(&id);
                keep_own(Arc::make_mut(&mut container.labels), &found.labels);
                keep_own(&mut container.environment, &found.environment);
            }
            Some(ImageAnswer::Failed(why)) => {
                container.hide_labels(Some(Arc::clone(why)));
                self.waiting.remove(&id);
                self.failed.insert(id, image);
            }
            None => {
                container.hide_labels(None);
                if let Some(cause) = cause {
                    self.causes.entry(image.clone()).or_insert_with(|| cause.clone());
                }
                if !self.asking.contains(&image) {
                    self.to_ask.insert(image.clone());
                }
                self.waiting.insert(id, image);
            }
        }
    }

    /// Returns why none of the container's labels apply, if the inspection of its image failed.
    pub(crate) fn fault(&self, id: &ContainerId) -> Option<Arc<str>> {
        match self.answers.get(self.failed.get(id)?)? {
            ImageAnswer::Failed(why) => Some(Arc::clone(why)),
            ImageAnswer::Found(_) => None,
        }
    }

    /// Returns the next image to inspect, a few at a time.
    pub(crate) fn ask(&mut self) -> Option<ImageId> {
        if MOST_QUESTIONS <= self.asking.len() {
            return None;
        }
        let id = self.to_ask.pop_first()?;
        self.asking.insert(id.clone());
        Some(id)
    }

    /// Returns the containers to read again, and the event that caused it.
    pub(crate) fn answer(
        &mut self,
        id: &ImageId,
        answer: ImageAnswer,
    ) -> (BTreeSet<ContainerId>, Option<EventCause>) {
        self.asking.remove(id);
        let cause = self.causes.remove(id);
        if self.answers.get(id) == Some(&answer) {
            return (BTreeSet::new(), None);
        }
        self.answers.insert(id.clone(), answer);
        let all = self.waiting.iter().chain(&self.failed);
        let containers =
            all.filter(|(_, image)| *image == id).map(|(container, _)| container.clone());
        (containers.collect(), cause)
    }

    /// Handles a new connection: answers to pending requests do not arrive.
    pub(crate) fn connect(&mut self) {
        self.to_ask.append(&mut self.asking);
    }

    /// Marks the image of an unchanged container of the list as used.
    pub(crate) fn use_image_of(&mut self, container: &Container) {
        self.used.extend(container.image_id.clone());
    }

    /// Handles the end of a list. Images that could not be inspected are requested again. If there are many images that
    /// no container uses, they are dropped.
    pub(crate) fn end_list(&mut self, exists: impl Fn(&ContainerId) -> bool) {
        self.waiting.retain(|id, _| exists(id));
        self.failed.retain(|id, _| exists(id));
        let again = self.failed.values().filter(|image| !self.asking.contains(*image));
        self.to_ask.extend(again.cloned());
        let used = std::mem::take(&mut self.used);
        if used.len() + MOST_SPARE < self.answers.len() {
            self.answers.retain(|id, _| used.contains(id));
        }
        self.causes.retain(|id, _| used.contains(id));
    }

    pub(crate) fn forget(&mut self, id: &ContainerId) {
        self.waiting.remove(id);
        self.failed.remove(id);
    }

    /// Returns the containers whose labels may still change without an event.
    pub(crate) fn unsettled(&self) -> BTreeSet<ContainerId> {
        self.waiting.keys().chain(self.failed.keys()).cloned().collect()
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }
}
