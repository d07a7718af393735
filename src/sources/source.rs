//! Handle of a source of containers of any kind: the registry of its consumers and of what they need.
//!
//! One task follows a source and serves all registered consumers, so a process has one connection to the source however
//! many consumers read it. The task does only what they need. The registrations survive a panic of the task.

use super::{
    clock_skew::ClockSkew,
    snapshot::{Snapshot, SnapshotConfig},
    update::ContainerUpdate,
};
use crate::model::source_name::SourceName;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio::sync::{mpsc, watch};

/// A source of containers. A clone is the same source.
#[derive(Debug, Clone, Default)]
pub struct Source {
    name: SourceName,
    consumers: Arc<watch::Sender<Consumers>>,
    bookmark: Bookmark,
    clock_skew: ClockSkew,
    /// Ids of containers that do not answer, as far as they were not taken.
    hints: Arc<watch::Sender<BTreeSet<String>>>,
}

/// Limit of the hints that are kept: more containers are found by the next list.
const MAX_HINTS: usize = 1000;

impl Source {
    pub fn new(name: SourceName) -> Self {
        Self { name, ..Self::default() }
    }

    pub fn name(&self) -> &SourceName {
        &self.name
    }

    /// Makes the source publish its containers until the registration is dropped.
    pub fn publish_snapshots(
        &self,
        config: SnapshotConfig,
        updates: Arc<watch::Sender<Snapshot>>,
    ) -> Registration {
        updates.send_if_modified(|snapshot| {
            snapshot.source = self.name.clone();
            false
        });
        self.register(|consumers, id| {
            consumers.snapshots.insert(id, SnapshotConsumer { config, updates });
        })
    }

    /// Makes the source send every event until the registration is dropped. A second call replaces the first.
    pub fn send_events(&self, updates: mpsc::Sender<ContainerUpdate>) -> Registration {
        self.register(|consumers, id| consumers.events = Some(EventConsumer { id, updates }))
    }

    fn register(&self, add: impl FnOnce(&mut Consumers, ConsumerId)) -> Registration {
        let mut registered = ConsumerId::default();
        self.consumers.send_modify(|consumers| {
            consumers.last_id += 1;
            registered = consumers.last_id;
            add(consumers, registered);
        });
        Registration { id: registered, consumers: Arc::clone(&self.consumers) }
    }

    /// Returns a receiver of the registered consumers that is notified of each change.
    pub(crate) fn consumers(&self) -> watch::Receiver<Consumers> {
        self.consumers.subscribe()
    }

    /// Returns how far its clock is from that of this machine. It is measured for sources with names.
    pub fn clock_skew(&self) -> &ClockSkew {
        &self.clock_skew
    }

    /// Makes the source look at a container soon, because it does not answer. `id` is its id at the source. Sources
    /// that report each change by themselves ignore this.
    pub fn suspect_container(&self, id: &str) {
        self.hints.send_if_modified(|hints| hints.len() < MAX_HINTS && hints.insert(id.to_owned()));
    }

    /// Returns a receiver that is notified of suspected containers.
    pub(crate) fn hints(&self) -> watch::Receiver<BTreeSet<String>> {
        self.hints.subscribe()
    }

    /// Takes the ids of the suspected containers.
    pub(crate) fn take_hints(&self) -> BTreeSet<String> {
        let mut hints = BTreeSet::new();
        self.hints.send_if_modified(|kept| {
            hints = std::mem::take(kept);
            false
        });
        hints
    }

    pub(crate) fn bookmark(&self) -> &Bookmark {
        &self.bookmark
    }
}

/// Registration of a consumer, which ends when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Registration {
    id: ConsumerId,
    consumers: Arc<watch::Sender<Consumers>>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.consumers.send_modify(|consumers| {
            consumers.snapshots.remove(&self.id);
            consumers.events.take_if(|events| events.id == self.id);
        });
    }
}

/// Never reused.
pub(crate) type ConsumerId = u64;

/// All consumers of a source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumers {
    last_id: ConsumerId,
    pub(crate) snapshots: BTreeMap<ConsumerId, SnapshotConsumer>,
    pub(crate) events: Option<EventConsumer>,
}

#[derive(Debug, Clone)]
pub(crate) struct SnapshotConsumer {
    pub(crate) config: SnapshotConfig,
    pub(crate) updates: Arc<watch::Sender<Snapshot>>,
}

#[derive(Debug, Clone)]
pub(crate) struct EventConsumer {
    id: ConsumerId,
    pub(crate) updates: mpsc::Sender<ContainerUpdate>,
}

impl Consumers {
    pub(crate) fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.events.is_none()
    }

    /// Returns the events that the consumers need.
    pub(crate) fn needed_events(&self) -> EventSelection {
        let extra = self.snapshots.values().flat_map(|consumer| &consumer.config.extra_actions);
        match self.events {
            Some(_) => EventSelection::All,
            None => EventSelection::ForSnapshots { extra: extra.cloned().collect() },
        }
    }
}

/// Events to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventSelection {
    All,
    /// The events that can change a snapshot, and those in `extra`.
    ForSnapshots {
        extra: BTreeSet<String>,
    },
}

impl EventSelection {
    pub(crate) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::ForSnapshots { .. }, Self::All) => false,
            (Self::ForSnapshots { extra }, Self::ForSnapshots { extra: other }) => {
                other.is_subset(extra)
            }
        }
    }
}

/// Time of the last event by the source's clock. It survives a panic of the task that follows the source. A clone
/// shares the value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bookmark(Arc<AtomicI64>);

impl Bookmark {
    pub(crate) fn store_time(&self, time_nano: i64) {
        self.0.store(time_nano, Ordering::Relaxed);
    }

    /// `None` before the first event.
    pub(crate) fn load_time(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{EventSelection, Source};
    use crate::{
        model::source_name::SourceName,
        sources::{ContainerFilter, Snapshot, SnapshotConfig},
    };
    use std::{collections::BTreeSet, sync::Arc};
    use tokio::sync::{mpsc, watch};

    fn snapshot_config(extra: &[&str]) -> SnapshotConfig {
        let filter = ContainerFilter {
            source: SourceName::NONE,
            has_our_labels: |_| true,
            is_used_label: |_| true,
            named: BTreeSet::new(),
            required_labels: Vec::new(),
            reads_environment: false,
            matches_all: false,
            own_labels: None,
            own_container: None,
        };
        let extra_actions = extra.iter().map(|action| (*action).to_owned()).collect();
        SnapshotConfig { extra_actions, ..SnapshotConfig::new(filter) }
    }

    #[test]
    fn selection_covers_what_needs_no_more_events() {
        let some = |extra: &[&str]| EventSelection::ForSnapshots {
            extra: extra.iter().map(|action| (*action).to_owned()).collect(),
        };
        for (selection, needed, expected) in [
            (EventSelection::All, EventSelection::All, true),
            (EventSelection::All, some(&["oom"]), true),
            (some(&["oom"]), EventSelection::All, false),
            (some(&["oom"]), some(&[]), true),
            (some(&["oom"]), some(&["oom"]), true),
            (some(&["oom"]), some(&["top"]), false),
        ] {
            assert_eq!(selection.covers(&needed), expected, "{selection:?} {needed:?}");
        }
    }

    #[test]
    fn dropped_registration_takes_its_need_away() {
        let source = Source::new("engine".parse().unwrap());
        let needed = || source.consumers().borrow().needed_events();
        let none = EventSelection::ForSnapshots { extra: BTreeSet::new() };
        let (updates, snapshot) = watch::channel(Snapshot::default());
        let snapshots = source.publish_snapshots(snapshot_config(&["oom"]), Arc::new(updates));
        assert_eq!(snapshot.borrow().source.as_str(), "engine");
        let events = source.send_events(mpsc::channel(1).0);
        assert_eq!(needed(), EventSelection::All);
        drop(events);
        assert_eq!(needed(), EventSelection::ForSnapshots { extra: ["oom".to_owned()].into() });
        drop(snapshots);
        assert_eq!(needed(), none);
        assert!(source.consumers().borrow().is_empty());
    }

    #[test]
    fn second_registration_for_events_replaces_the_first() {
        let source = Source::default();
        let (first, second) = (mpsc::channel(1).0, mpsc::channel(1).0);
        let before = source.send_events(first);
        let _now = source.send_events(second.clone());
        drop(before);
        let consumers = source.consumers();
        let consumers = consumers.borrow();
        assert!(
            consumers.events.as_ref().is_some_and(|events| events.updates.same_channel(&second))
        );
    }
}
