//! Every container with all that Docker says of it, and every event, in each container's order.
//!
//! Pure: a state machine. What was heard and answered goes in, what is to be asked and told comes out.
//! An event is told when the container it is about was asked for anew, so that whoever hears it also
//! knows what it has led to.

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

/// Answers to one question about one container.
#[derive(Debug)]
pub(crate) enum InspectResult {
    Found(Description),
    Gone,
    /// The engine did not answer: what was known stays.
    Failed,
}

/// Actions that tell of an end.
const END_ACTIONS: &[&str] = &["die", "stop", "destroy"];
/// Actions after which nothing is different: they arrive all day.
const IDLE_ACTIONS: &[&str] =
    &["exec_create", "exec_start", "exec_die", "exec_detach", "attach", "top"];
/// Questions at a time.
const MAX_IN_FLIGHT: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct InspectCache {
    containers: Arc<ContainerMap>,
    /// What the last list said of each.
    fingerprints: BTreeMap<ContainerId, String>,
    /// Events whose container is being asked for, in order.
    waiting_events: BTreeMap<ContainerId, VecDeque<Event>>,
    /// To be asked for.
    to_inspect: BTreeSet<ContainerId>,
    /// Asked for: whether something was heard of it since.
    in_flight: BTreeMap<ContainerId, bool>,
    /// Of those that have no address now, or whose events wait: the last that had one.
    last_addressed: BTreeMap<ContainerId, Arc<Description>>,
    /// The last that was known of those that are gone, while events of theirs wait.
    removed: BTreeMap<ContainerId, Arc<Description>>,
    /// Those that are others in the roster, and no event has told it.
    unreported: BTreeSet<ContainerId>,
    /// A first list has been gone through; until then nothing is told.
    is_complete: bool,
    is_listed: bool,
    updates: Vec<ContainerUpdate>,
    recent: RecentEvents,
}

/// An event as the engine repeats it: when, whose, and what.
type EventKey = (i64, ContainerId, String);

/// Which events were heard, by the engine's clock, which may be set back.
#[derive(Debug, Default)]
struct RecentEvents {
    /// The time from which on the engine is asked to repeat events.
    newest: Option<i64>,
    /// The events that were heard last.
    events: VecDeque<EventKey>,
    /// Those of the connections before this one: the engine repeats some of them.
    previous_events: BTreeSet<EventKey>,
    /// The time of the last event before a panic, of which no more is known.
    bookmark: Option<i64>,
    /// How far the clock was set back, until it is said.
    clock_step_back: Option<Duration>,
}

impl RecentEvents {
    /// An engine remembers no more events than that.
    const MAX_EVENTS: usize = 256;
    /// Events of one moment may come in another order, in nanoseconds.
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
    /// From when on the engine is to tell its events again: an outage loses none that it remembers.
    pub(crate) fn on_connect(&mut self) -> Option<i64> {
        self.recent.start_connection()
    }

    /// The time of the newest event that was heard.
    pub(crate) fn newest_event_time(&self) -> Option<i64> {
        self.recent.newest
    }

    /// One that goes on behind an event of this time; of all else nothing is known.
    pub(crate) fn from_bookmark(bookmark: Option<i64>) -> Self {
        let recent = RecentEvents { newest: bookmark, bookmark, ..RecentEvents::default() };
        Self { recent, ..Self::default() }
    }

    /// How far the engine's clock was set back, once.
    pub(crate) fn take_clock_step(&mut self) -> Option<Duration> {
        self.recent.clock_step_back.take()
    }

    /// Questions that were under way are asked again when the engine is back.
    pub(crate) fn on_disconnect(&mut self) {
        self.to_inspect.extend(std::mem::take(&mut self.in_flight).into_keys());
        self.is_listed = false;
    }

    /// A list was read on this connection.
    pub(crate) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// `None` until all is known.
    pub(crate) fn containers(&self) -> Option<&ContainerMap> {
        self.is_complete.then_some(&*self.containers)
    }

    /// Whether it was heard before: an engine repeats what it said at the end of the last connection.
    pub(crate) fn is_duplicate(&self, event: &Event) -> bool {
        event
            .container_id()
            .is_some_and(|id| self.recent.is_duplicate(&event_key(id, &event.cause)))
    }

    /// An event of a network as a whole changes no container.
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

    /// All containers there are, with what of each shows whether it is another.
    pub(crate) fn on_list(&mut self, fingerprints: BTreeMap<ContainerId, String>) {
        let is_new = |(id, fingerprint): &(&ContainerId, &String)| {
            !self.containers.contains_key(*id) || self.fingerprints.get(*id) != Some(*fingerprint)
        };
        let new: Vec<_> = fingerprints.iter().filter(is_new).map(|(id, _)| id.clone()).collect();
        // A list that leaves one out is not believed: the engine is asked for it.
        let missing: Vec<_> =
            self.containers.keys().filter(|id| !fingerprints.contains_key(*id)).cloned().collect();
        new.into_iter().chain(missing).for_each(|id| self.enqueue_query(id));
        self.fingerprints = fingerprints;
        self.is_listed = true;
        self.finish_sync();
    }

    /// Whom to ask for now.
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
            // One that has ended had its address once: until it is destroyed, that is known.
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

    /// Who does not want these events hears of other containers' changes all the same, so only this one's
    /// is told with them.
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

    /// When nothing is left to be asked, what no event has told is told.
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
