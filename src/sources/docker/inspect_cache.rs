//! Every container with all that Docker says of it, and every event, in each container's order.
//!
//! Pure: a state machine. What was heard and answered goes in, what is to be asked and told comes out.
//! An event is told when the container it is about was asked for anew, so that whoever hears it also
//! knows what it has led to.

use crate::model::container::ContainerId;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// All that the engine says of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub id: ContainerId,
    /// Without the slash that the engine puts before it.
    pub name: String,
    /// As `docker inspect` has it.
    pub json: Box<str>,
}

pub type ContainerMap = BTreeMap<ContainerId, Arc<Description>>;

/// Something that Docker said about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineEvent {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    /// With its suffix: `health_status: healthy`.
    pub(crate) action: String,
    /// Nanoseconds since 1970, by the engine's clock.
    pub(crate) time_nano: i64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The container's own event, as against a network's.
    pub(crate) is_own: bool,
}

/// An event of a container, and what is known of it after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    pub id: ContainerId,
    pub name: String,
    /// With its suffix: `health_status: healthy`.
    pub action: String,
    /// Nanoseconds since 1970, by the engine's clock.
    pub time_nano: i64,
    /// Its labels, and some words of the engine's own among them.
    pub attributes: BTreeMap<String, String>,
    /// The last that was known where the container is gone; `None` if it never was. Of an end (`die`, `stop`,
    /// `destroy`) with the networks and ports that it had until then.
    pub description: Option<Arc<Description>>,
}

/// The one, with the networks and ports of the other.
pub fn merge_networks(description: &Arc<Description>, other: &Description) -> Arc<Description> {
    let networks = |json: &str| {
        let json = serde_json::from_str::<Value>(json).ok()?;
        json.get(NETWORKS_KEY).cloned()
    };
    let (Ok(mut json), Some(networks)) =
        (serde_json::from_str::<Map<String, Value>>(&description.json), networks(&other.json))
    else {
        return Arc::clone(description);
    };
    json.insert(NETWORKS_KEY.to_owned(), networks);
    let json = Value::Object(json).to_string().into();
    Arc::new(Description { json, ..Description::clone(description) })
}

/// One that is gone does not run, whatever was known of it last.
pub fn mark_exited(description: &Arc<Description>) -> Arc<Description> {
    let mut json: Value = serde_json::from_str(&description.json).unwrap_or_default();
    let Some(state) = json.get_mut("State").and_then(Value::as_object_mut) else {
        return Arc::clone(description);
    };
    if state.get("Running") == Some(&Value::Bool(false)) {
        return Arc::clone(description);
    }
    let parsed = [("Running", false.into()), ("Pid", 0.into()), ("Status", "exited".into())];
    state.extend(parsed.map(|(key, value): (_, Value)| (key.to_owned(), value)));
    Arc::new(Description { json: json.to_string().into(), ..Description::clone(description) })
}

/// What is told, in order.
#[derive(Debug, Clone)]
pub enum ContainerUpdate {
    /// The roster is another one, and no event said so: a first list, or one after an outage.
    Changed(Arc<ContainerMap>),
    /// The roster is the one after it.
    Event(Arc<ContainerEvent>, Arc<ContainerMap>),
    /// These got their stop signal or have ended, and the engine was not asked for them since.
    Stopping(Arc<BTreeSet<ContainerId>>),
}

/// Answers to one question about one container.
#[derive(Debug)]
pub(crate) enum InspectResult {
    Found(Description),
    Gone,
    /// The engine did not answer: what was known stays.
    Failed,
}

/// Where a description has a container's addresses.
const NETWORKS_KEY: &str = "NetworkSettings";
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
    waiting_events: BTreeMap<ContainerId, VecDeque<EngineEvent>>,
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

    fn is_duplicate(&self, event: &EngineEvent) -> bool {
        self.bookmark == Some(event.time_nano) || self.previous_events.contains(&event.key())
    }

    fn record_event(&mut self, event: &EngineEvent) {
        let time = event.time_nano;
        let ahead = self.newest.map_or(0, |newest| newest.saturating_sub(time));
        if Self::MAX_DISORDER_NANOS < ahead {
            self.clock_step_back = u64::try_from(ahead).ok().map(Duration::from_nanos);
            self.newest = Some(time);
        }
        self.newest = self.newest.max(Some(time));
        self.events.push_back(event.key());
        if Self::MAX_EVENTS < self.events.len() {
            self.events.pop_front();
        }
    }
}

impl EngineEvent {
    fn key(&self) -> EventKey {
        (self.time_nano, self.id.clone(), self.action.clone())
    }
}

impl Description {
    fn has_address(&self) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct InspectJson {
            network_settings: NetworksJson,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct NetworksJson {
            networks: BTreeMap<String, EndpointJson>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct EndpointJson {
            #[serde(rename = "IPAddress")]
            ipv4: String,
            #[serde(rename = "GlobalIPv6Address")]
            ipv6: String,
        }
        let parsed: InspectJson = serde_json::from_str(&self.json).unwrap_or_default();
        let mut endpoints = parsed.network_settings.networks.values();
        endpoints.any(|endpoint| !endpoint.ipv4.is_empty() || !endpoint.ipv6.is_empty())
    }
}

impl InspectCache {
    /// From when on the engine is to tell its events again: an outage loses none that it remembers.
    pub(crate) fn on_connect(&mut self) -> Option<i64> {
        self.recent.start_connection()
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

    /// `None` until all is known.
    pub(crate) fn containers(&self) -> Option<&ContainerMap> {
        self.is_complete.then_some(&*self.containers)
    }

    /// Whether it was heard before: an engine repeats what it said at the end of the last connection.
    pub(crate) fn is_duplicate(&self, event: &EngineEvent) -> bool {
        self.recent.is_duplicate(event)
    }

    pub(crate) fn on_event(&mut self, event: EngineEvent) {
        if self.is_duplicate(&event) {
            return;
        }
        self.recent.record_event(&event);
        let id = event.id.clone();
        let action = event.action.split(':').next().unwrap_or_default();
        let is_idle = IDLE_ACTIONS.contains(&action);
        let must_wait = self.waiting_events.contains_key(&id) || !is_idle || !self.is_complete;
        match event.is_own {
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

    fn emit_event(&mut self, event: EngineEvent) {
        let EngineEvent { id, name, action, time_nano, attributes, .. } = event;
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
