//! State of an engine, for all consumers that are registered with its source.
//!
//! Pure: events and answers go to the caches that they concern; requests, snapshots and updates come out. One list
//! serves all caches.

use super::{
    cache::{
        CacheQuery, CacheResponse, CacheSnapshot, CacheUpdate, ContainerCache, InspectOutcome,
    },
    event::Event,
    event_state::EventState,
    image_labels::ImageAnswer,
    inspect_cache::InspectResult,
    lenient::{ParseWarning, WarningLog},
    replay::Replay,
};
use crate::{
    model::container::{ContainerId, ImageId},
    sources::{
        filter::ContainerFilter,
        snapshot::SnapshotConfig,
        source::{ConsumerId, Consumers},
        update::ContainerUpdate,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
pub(crate) struct EngineState {
    worlds: BTreeMap<ConsumerId, WorldState>,
    events: Option<EventState>,
    replay: Replay,
    is_connected: bool,
    /// The engine did not answer a ping, and has sent nothing since.
    ping_failed: bool,
    warnings: WarningLog,
}

/// A consumer of snapshots.
#[derive(Debug)]
struct WorldState {
    cache: ContainerCache,
    extra_actions: Vec<String>,
}

/// A request to the engine, with what is needed to read its answer.
#[derive(Debug)]
pub(crate) enum EngineRequest {
    /// All containers: for each of these worlds, and for handlers.
    List {
        worlds: BTreeMap<ConsumerId, CacheSnapshot>,
        fingerprints: bool,
    },
    /// Some containers.
    Part {
        world: ConsumerId,
        ids: BTreeSet<ContainerId>,
        networks: bool,
        cached: CacheSnapshot,
    },
    /// Details of a container that the list leaves out.
    Details {
        world: ConsumerId,
        id: ContainerId,
        filter: ContainerFilter,
    },
    Image {
        world: ConsumerId,
        id: ImageId,
        filter: ContainerFilter,
    },
    /// Full description of a container.
    Description(ContainerId),
}

/// What the engine answered.
#[derive(Debug)]
pub(crate) enum EngineAnswer {
    List(ListAnswer),
    Part {
        world: ConsumerId,
        query: CacheQuery,
        response: CacheResponse,
        warnings: Vec<ParseWarning>,
    },
    Details {
        world: ConsumerId,
        id: ContainerId,
        outcome: InspectOutcome,
    },
    /// An error is the reason why the image could not be inspected.
    Image {
        world: ConsumerId,
        id: ImageId,
        answer: Result<ImageAnswer, String>,
    },
    Description(ContainerId, InspectResult),
}

#[derive(Debug, Default)]
pub(crate) struct ListAnswer {
    pub(crate) worlds: BTreeMap<ConsumerId, CacheResponse>,
    /// `None` if they were not requested.
    pub(crate) fingerprints: Option<BTreeMap<ContainerId, String>>,
    pub(crate) warnings: Vec<ParseWarning>,
}

impl EngineAnswer {
    /// Whether the engine did answer.
    pub(crate) fn is_from_engine(&self) -> bool {
        match self {
            Self::List(_) | Self::Part { .. } => true,
            Self::Details { outcome, .. } => !matches!(outcome, InspectOutcome::Failed),
            Self::Image { answer, .. } => answer.is_ok(),
            Self::Description(_, result) => !matches!(result, InspectResult::Failed),
        }
    }
}

impl EngineState {
    /// Starts to serve new consumers and stops serving removed ones. `bookmark` is the time of the last event of an
    /// earlier run.
    pub(crate) fn set_consumers(
        &mut self,
        consumers: &Consumers,
        bookmark: Option<i64>,
        now: Instant,
    ) {
        self.worlds.retain(|id, _| consumers.snapshots.contains_key(id));
        for (id, consumer) in &consumers.snapshots {
            if !self.worlds.contains_key(id) {
                self.add_world(*id, &consumer.config, now);
            }
        }
        match consumers.events {
            None => self.events = None,
            Some(_) if self.events.is_some() => {}
            Some(_) => self.add_events(bookmark, now),
        }
    }

    pub(crate) fn add_world(&mut self, id: ConsumerId, config: &SnapshotConfig, now: Instant) {
        let SnapshotConfig { filter, relist_interval, extra_actions, heartbeat: _ } = config;
        let mut cache = ContainerCache::new(filter.clone(), *relist_interval, now);
        if self.is_connected {
            cache.on_connect(now);
        }
        self.worlds.insert(id, WorldState { cache, extra_actions: extra_actions.clone() });
    }

    pub(crate) fn add_events(&mut self, bookmark: Option<i64>, now: Instant) {
        let mut events = EventState::from_bookmark(bookmark);
        if self.is_connected {
            events.on_connect(now);
        }
        self.events = Some(events);
    }

    /// Returns the time from which the next connection requests events; `None`: from the time of the connection on.
    pub(crate) fn replay_start(&self) -> Option<i64> {
        self.events.as_ref().and_then(EventState::replay_start)
    }

    /// Whether there are consumers of snapshots, for which it matters which events are old.
    pub(crate) fn has_snapshots(&self) -> bool {
        !self.worlds.is_empty()
    }

    /// Handles a new connection: everything is requested again, and no answers of the previous connection arrive.
    pub(crate) fn on_connect(&mut self, replay: Replay, now: Instant) {
        (self.is_connected, self.ping_failed, self.replay) = (true, false, replay);
        self.caches().for_each(|cache| cache.on_connect(now));
        if let Some(events) = &mut self.events {
            events.on_connect(now);
        }
    }

    /// Handles the loss of the connection. The known containers are kept.
    pub(crate) fn on_disconnect(&mut self) {
        self.is_connected = false;
        self.caches().for_each(ContainerCache::on_disconnect);
        if let Some(events) = &mut self.events {
            events.on_disconnect();
        }
    }

    /// Handles the result of a ping. Anything else that the engine sends counts as an answered ping.
    pub(crate) fn on_ping(&mut self, answered: bool) {
        self.ping_failed = !answered;
        self.caches().for_each(|cache| cache.on_ping(answered));
        if let Some(events) = &mut self.events {
            events.on_ping(answered);
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, now: Instant) {
        let is_repeated = self.events.as_ref().is_some_and(|events| events.is_duplicate(&event));
        let may_be_old = self.replay.may_be_old(&event, now);
        let for_worlds = match (is_repeated, may_be_old) {
            _ if self.worlds.is_empty() => None,
            (true, _) => None,
            (false, true) => event.clone().into_hint(),
            (false, false) => Some(event.clone()),
        };
        for WorldState { cache, extra_actions } in self.worlds.values_mut() {
            if let Some(event) =
                for_worlds.as_ref().filter(|event| event.is_relevant(extra_actions))
            {
                cache.on_event(event.clone(), now);
            }
        }
        if let Some(events) = &mut self.events {
            events.on_event(event, now);
        }
    }

    /// Handles the passing of time.
    pub(crate) fn on_tick(&mut self, now: Instant) {
        self.caches().for_each(|cache| cache.on_tick(now));
        if let Some(events) = &mut self.events {
            events.on_tick(now);
        }
    }

    /// When to call `on_tick` and `next_requests` again if nothing arrives before; `None` if there are no consumers.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let worlds = self.worlds.values().map(|world| world.cache.wake_at());
        worlds.chain(self.events.as_ref().and_then(EventState::wake_at)).min()
    }

    /// Returns all requests that are due.
    pub(crate) fn next_requests(&mut self, now: Instant) -> Vec<EngineRequest> {
        let (mut requests, mut lists) = (Vec::new(), BTreeSet::new());
        for (id, WorldState { cache, .. }) in &mut self.worlds {
            match cache.next_query(now) {
                Some(CacheQuery::All) => drop(lists.insert(*id)),
                Some(CacheQuery::Ids { ids, networks }) => {
                    let cached = cache.to_snapshot();
                    requests.push(EngineRequest::Part { world: *id, ids, networks, cached });
                }
                None => {}
            }
            requests.extend(next_lookups(*id, cache));
        }
        let is_due = self.events.as_ref().is_some_and(|events| events.is_list_due(now));
        if is_due || !lists.is_empty() {
            requests.push(self.begin_list(&lists));
        }
        if let Some(events) = &mut self.events {
            let ids = std::iter::from_fn(|| events.next_query());
            requests.extend(ids.map(EngineRequest::Description));
        }
        requests
    }

    /// Requests one list for the consumers that need one now, and for all others that can use it.
    fn begin_list(&mut self, needing: &BTreeSet<ConsumerId>) -> EngineRequest {
        let joining = |(id, world): (&ConsumerId, &mut WorldState)| {
            let joins = needing.contains(id) || world.cache.join_list();
            joins.then(|| (*id, world.cache.to_snapshot()))
        };
        let worlds = self.worlds.iter_mut().filter_map(joining).collect();
        let fingerprints = self.events.as_mut().is_some_and(EventState::begin_list);
        EngineRequest::List { worlds, fingerprints }
    }

    pub(crate) fn on_answer(&mut self, answer: EngineAnswer, now: Instant) {
        match answer {
            EngineAnswer::List(answer) => self.on_list(answer, now),
            EngineAnswer::Part { world, query, response, warnings } => {
                self.warnings.add(warnings.iter());
                if let Some(cache) = self.cache(world) {
                    cache.on_response(&query, response, now);
                }
            }
            EngineAnswer::Details { world, id, outcome } => {
                if let Some(cache) = self.cache(world) {
                    cache.on_inspection(&id, outcome, now);
                }
            }
            EngineAnswer::Image { world, id, answer } => {
                if let Some(cache) = self.cache(world) {
                    let failed = |why: String| ImageAnswer::Failed(why.into());
                    cache.answer_image(&id, answer.unwrap_or_else(failed));
                }
            }
            EngineAnswer::Description(id, result) => {
                if let Some(events) = &mut self.events {
                    events.on_response(&id, result);
                }
            }
        }
    }

    fn on_list(&mut self, ListAnswer { worlds, fingerprints, warnings }: ListAnswer, now: Instant) {
        self.warnings.add(warnings.iter());
        for (world, response) in worlds {
            if let Some(cache) = self.cache(world) {
                cache.on_response(&CacheQuery::All, response, now);
            }
        }
        if let (Some(events), Some(fingerprints)) = (&mut self.events, fingerprints) {
            events.on_list(fingerprints, now);
        }
    }

    /// Returns the snapshots to publish.
    pub(crate) fn take_snapshots(&mut self) -> Vec<(ConsumerId, CacheUpdate)> {
        let worlds = self.worlds.iter_mut();
        worlds.filter_map(|(id, world)| Some((*id, world.cache.take_update()?))).collect()
    }

    /// Returns the updates to send to handlers, in order.
    pub(crate) fn take_updates(&mut self) -> Vec<ContainerUpdate> {
        self.events.as_mut().map(EventState::take_updates).unwrap_or_default()
    }

    /// Returns the warnings about values that were ignored in answers, each once.
    pub(crate) fn take_warnings(&mut self) -> Vec<ParseWarning> {
        self.warnings.take_unlogged()
    }

    /// Returns how far the engine's clock was set back, once.
    pub(crate) fn take_clock_step(&mut self) -> Option<Duration> {
        self.events.as_mut().and_then(EventState::take_clock_step)
    }

    /// Whether the engine answers, and all consumers have received a list.
    pub(crate) fn is_current(&self) -> bool {
        !self.ping_failed
            && self.worlds.values().all(|world| world.cache.is_current())
            && self.events.as_ref().is_none_or(EventState::is_listed)
    }

    /// Whether the event stream is open but does not report what happens, so that a new connection is needed.
    pub(crate) fn is_stream_stale(&self) -> bool {
        self.worlds.values().any(|world| world.cache.is_stream_stale())
    }

    fn caches(&mut self) -> impl Iterator<Item = &mut ContainerCache> {
        self.worlds.values_mut().map(|world| &mut world.cache)
    }

    /// Returns `None` if the consumer was removed after the request.
    fn cache(&mut self, world: ConsumerId) -> Option<&mut ContainerCache> {
        self.worlds.get_mut(&world).map(|world| &mut world.cache)
    }
}

/// Returns the containers and images to inspect, a few at a time.
fn next_lookups(world: ConsumerId, cache: &mut ContainerCache) -> Vec<EngineRequest> {
    let mut requests = Vec::new();
    while let Some(id) = cache.next_inspection() {
        let filter = cache.filter().clone();
        requests.push(EngineRequest::Details { world, id, filter });
    }
    while let Some(id) = cache.ask_image() {
        let filter = cache.filter().clone();
        requests.push(EngineRequest::Image { world, id, filter });
    }
    requests
}

#[cfg(test)]
mod tests;
