//! Cache of the full description of every container, and every event in order for each container.
//!
//! Pure: a state machine. Events and answers come in, requests and updates come out. An event is sent after its
//! container was inspected again, so that its receiver also gets the state that the event led to.

use super::event::{Event, EventSubject};
use crate::{
    model::container::ContainerId,
    sources::{
        EventCause,
        description::{ContainerMap, Description, mark_exited, merge_networks},
        update::{ContainerEvent, ContainerUpdate},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Answer to the inspection of one container.
#[derive(Debug)]
pub(crate) enum InspectResult {
    Found(Description),
    Gone,
    /// The engine did not answer: the known description is kept.
    Failed,
}

/// Actions that report the end of a container.
const END_ACTIONS: &[&str] = &["die", "stop", "destroy"];
/// Actions that change nothing, and are frequent.
const IDLE_ACTIONS: &[&str] =
    &["exec_create", "exec_start", "exec_die", "exec_detach", "attach", "top"];
/// Limit of inspections at the same time.
const MAX_IN_FLIGHT: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct InspectCache {
    containers: Arc<ContainerMap>,
    /// Fingerprint of each container in the last list.
    fingerprints: BTreeMap<ContainerId, String>,
    /// Events whose container is being inspected, in order.
    waiting_events: BTreeMap<ContainerId, VecDeque<Event>>,
    /// Containers to inspect.
    to_inspect: BTreeSet<ContainerId>,
    /// Inspections in progress; the value is whether an event or a list has made the answer stale.
    in_flight: BTreeMap<ContainerId, bool>,
    /// Last description with an address, of containers that have none now or whose events wait.
    last_addressed: BTreeMap<ContainerId, Arc<Description>>,
    /// Last description of removed containers, while their events wait.
    removed: BTreeMap<ContainerId, Arc<Description>>,
    /// Containers that changed in the map without an event.
    unreported: BTreeSet<ContainerId>,
    /// All containers of a first list have been inspected; no update is sent before that.
    is_complete: bool,
    is_listed: bool,
    updates: Vec<ContainerUpdate>,
    recent: RecentEvents,
}

/// Identity of an event that the engine may repeat: time, container and action.
type EventKey = (i64, ContainerId, String);

/// Recently received events, by the engine's clock, which may be set back.
#[derive(Debug, Default)]
struct RecentEvents {
    /// The time from which the engine is asked to repeat events.
    newest: Option<i64>,
    /// The last events received.
    events: VecDeque<EventKey>,
    /// Events of earlier connections: the engine repeats some of them.
    previous_events: BTreeSet<EventKey>,
    /// Time of the last event before a panic; nothing else is known about it.
    bookmark: Option<i64>,
    /// How far the clock was set back, until it is logged.
    clock_step_back: Option<Duration>,
}

impl RecentEvents {
    /// An engine remembers no more events than this.
    const MAX_EVENTS: usize = 256;
    /// Limit of how far events may arrive out of order, in nanoseconds.
    const MAX_DISORDER_NANOS: i64 = 1_000_000_000;

    fn start_connection(&mut self) -> Option<i64> {
        self.previous_events = self.events.iter().cloned().collect();
        self.newest
    }

    fn is_duplicate(&self, key: &EventKey) -> bool {
        self.bookmark == Some(key.0) || self.previous_events.contains(key)
    }

    fn record_event(&mut self, key: EventKey) {
        let time = key.0;
        let ahead = self.newest.map_or(0, |newest| newest.saturating_sub(time));
        if Self::MAX_DISORDER_NANOS < ahead {
            self.clock_step_back = u64::try_from(ahead).ok().map(Duration::from_nanos);
            self.newest = Some(time);
        }
        self.newest = self.newest.max(Some(time));
        self.events.push_back(key);
        if Self::MAX_EVENTS < self.events.len() {
            self.events.pop_front();
        }
    }
}

fn event_key(id: &ContainerId, cause: &EventCause) -> EventKey {
    (cause.time_nano, id.clone(), cause.action.clone())
}

impl InspectCache {
    /// Starts a connection. Returns the time from which the engine is to repeat its events, so that an outage loses
    /// none that it still remembers.
    pub(crate) fn on_connect(&mut self) -> Option<i64> {
        self.recent.start_connection()
    }

    /// Returns the time of the newest event received.
    pub(crate) fn newest_event_time(&self) -> Option<i64> {
        self.recent.newest
    }

    /// Creates a cache that continues after an event of this time and knows nothing else.
    pub(crate) fn from_bookmark(bookmark: Option<i64>) -> Self {
        let recent = RecentEvents { newest: bookmark, bookmark, ..RecentEvents::default() };
        Self { recent, ..Self::default() }
    }

    /// Returns how far the engine's clock was set back, once.
    pub(crate) fn take_clock_step(&mut self) -> Option<Duration> {
        self.recent.clock_step_back.take()
    }

    /// Queues the inspections in progress again, for the next connection.
    pub(crate) fn on_disconnect(&mut self) {
        self.to_inspect.extend(std::mem::take(&mut self.in_flight).into_keys());
        self.is_listed = false;
    }

    /// Whether a list was read on this connection.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Returns `None` until all containers have been inspected.
    pub(crate) fn containers(&self) -> Option<&ContainerMap> {
        self.is_complete.then_some(&*self.containers)
    }

    /// Whether the event was received before: an engine repeats the last events of the previous connection.
    pub(crate) fn is_duplicate(&self, event: &Event) -> bool {
        event
            .container_id()
            .is_some_and(|id| self.recent.is_duplicate(&event_key(id, &event.cause)))
    }

    /// Handles an event. An event of a network as a whole changes no container.
    pub(crate) fn on_event(&mut self, event: Event) {
        let Some(id) = event.container_id().cloned() else { return };
        let key = event_key(&id, &event.cause);
        if self.recent.is_duplicate(&key) {
            return;
        }
        self.recent.record_event(key);
        let action = event.cause.action.split(':').next().unwrap_or_default();
        let is_idle = IDLE_ACTIONS.contains(&action);
        let must_wait = self.waiting_events.contains_key(&id) || !is_idle || !self.is_complete;
        match event.is_own() {
            true if must_wait => {
                self.waiting_events.entry(id.clone()).or_default().push_back(event);
            }
            true => self.emit_event(event),
            false => {}
        }
        if !is_idle || !self.containers.contains_key(&id) {
            self.enqueue_query(id);
        }
    }

    /// Handles a list of all containers, with the fingerprint of each.
    pub(crate) fn on_list(&mut self, fingerprints: BTreeMap<ContainerId, String>) {
        let is_new = |(id, fingerprint): &(&ContainerId, &String)| {
            !self.containers.contains_key(*id) || self.fingerprints.get(*id) != Some(*fingerprint)
        };
        let new: Vec<_> = fingerprints.iter().filter(is_new).map(|(id, _)| id.clone()).collect();
        // A container that is missing in the list may still exist: the engine is asked.
        let missing: Vec<_> =
            self.containers.keys().filter(|id| !fingerprints.contains_key(*id)).cloned().collect();
        new.into_iter().chain(missing).for_each(|id| self.enqueue_query(id));
        self.fingerprints = fingerprints;
        self.is_listed = true;
        self.finish_sync();
    }

    /// Returns the next container to inspect.
    pub(crate) fn next_query(&mut self) -> Option<ContainerId> {
        if MAX_IN_FLIGHT <= self.in_flight.len() {
            return None;
        }
        let id = self.to_inspect.pop_first()?;
        self.in_flight.insert(id.clone(), false);
        Some(id)
    }

    pub(crate) fn on_response(&mut self, id: &ContainerId, result: InspectResult) {
        let Some(is_stale) = self.in_flight.remove(id) else { return };
        let cached = self.containers.get(id).cloned();
        let changed = match result {
            InspectResult::Found(result) if cached.as_deref() != Some(&result) => {
                Arc::make_mut(&mut self.containers).insert(id.clone(), Arc::new(result));
                true
            }
            InspectResult::Gone if cached.is_some() => {
                Arc::make_mut(&mut self.containers).remove(id);
                true
            }
            _ => false,
        };
        if let Some(cached) = cached.filter(|_| changed) {
            if !self.containers.contains_key(id) {
                self.removed.insert(id.clone(), Arc::clone(&cached));
            }
            if cached.has_address() {
                self.last_addressed.insert(id.clone(), cached);
            }
        }
        if is_stale {
            self.to_inspect.insert(id.clone());
        }
        if changed {
            self.unreported.insert(id.clone());
        }
        if !is_stale && self.is_complete {
            self.flush_events(id);
            self.removed.remove(id);
            // A container that has ended keeps its last address until it is destroyed.
            if self.containers.get(id).is_none_or(|description| description.has_address()) {
                self.last_addressed.remove(id);
            }
        }
        self.finish_sync();
    }

    pub(crate) fn take_updates(&mut self) -> Vec<ContainerUpdate> {
        std::mem::take(&mut self.updates)
    }

    fn enqueue_query(&mut self, id: ContainerId) {
        match self.in_flight.get_mut(&id) {
            Some(is_stale) => *is_stale = true,
            None => drop(self.to_inspect.insert(id)),
        }
    }

    /// Sends the waiting events of this container. Changes of other containers stay unreported: a handler that does not
    /// subscribe to these events must still receive them.
    fn flush_events(&mut self, id: &ContainerId) {
        let Some(events) = self.waiting_events.remove(id) else { return };
        for event in events {
            self.emit_event(event);
        }
        self.unreported.remove(id);
    }

    fn emit_event(&mut self, Event { cause, about }: Event) {
        let EventSubject::Container { id, attributes, .. } = about else { return };
        let EventCause { action, name, time_nano, .. } = cause;
        let gone = || self.removed.get(&id).map(mark_exited);
        let mut description = self.containers.get(&id).cloned().or_else(gone);
        if END_ACTIONS.contains(&action.as_str())
            && let Some(addressed) = self.last_addressed.get(&id)
        {
            description = description.map(|description| merge_networks(&description, addressed));
        }
        let container_event =
            ContainerEvent { id, name, action, time_nano, attributes, description };
        self.updates
            .push(ContainerUpdate::Event(Arc::new(container_event), Arc::clone(&self.containers)));
    }

    /// When no inspection is due or in progress, sends the changes that no event has reported.
    fn finish_sync(&mut self) {
        if !self.is_listed || !self.to_inspect.is_empty() || !self.in_flight.is_empty() {
            return;
        }
        if !self.is_complete || !self.unreported.is_empty() {
            self.updates.push(ContainerUpdate::Changed(Arc::clone(&self.containers)));
            self.unreported.clear();
        }
        if !self.is_complete {
            self.is_complete = true;
            let ids: Vec<_> = self.waiting_events.keys().cloned().collect();
            for id in &ids {
                self.flush_events(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
