//! Cache of the containers of an engine for one consumer of snapshots: what is known, what to request, what to publish.
//!
//! Pure: events and answers come in, queries and worlds go out. An event says where to look, not what is true; the
//! exceptions are in `on_container_event`.

use super::{
    event::{Event, EventAction, EventSubject},
    image_labels::{ImageAnswer, ImageCache},
    inspect::{InspectDetails, apply_details, carry_over_details},
    pending::{ExpiredEvents, PendingEvents},
};
use crate::{
    model::{
        container::{Container, ContainerId, ImageId, NetworkEndpoint},
        world::{Network, World},
    },
    sources::{EventCause, filter::ContainerFilter},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// The engine does not report when it has started to send events, and an answer that lacks many containers may come
/// from an engine that has just started. Therefore a list is requested again after this delay.
const CONFIRM_DELAY: Duration = Duration::from_secs(1);
/// With more ids than this, the whole list is requested.
const MAX_QUERY_IDS: usize = 100;
const MAX_INSPECTIONS: usize = 16;

/// A query to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheQuery {
    All,
    Ids { ids: BTreeSet<ContainerId>, networks: bool },
}

#[derive(Debug)]
pub(crate) struct CacheResponse {
    pub(crate) containers: Vec<Arc<Container>>,
    /// `None` if they were not requested.
    pub(crate) networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug)]
pub(crate) struct ContainerCache {
    filter: ContainerFilter,
    relist_interval: Duration,
    world: Arc<World>,
    /// `None` before the first answer.
    published: Option<Arc<World>>,
    connection: Connection,
    /// The engine did not answer a ping, and has sent nothing since.
    ping_failed: bool,
    dirty: BTreeSet<ContainerId>,
    networks_are_dirty: bool,
    pending: PendingEvents,
    /// Containers whose network an interesting container uses: their events are followed, and they are cached, like
    /// those of interesting containers.
    network_owners: BTreeSet<ContainerId>,
    images: ImageCache,
    to_inspect: BTreeSet<ContainerId>,
    inspecting: BTreeSet<ContainerId>,
    /// When the next full list is due.
    next_list_at: Instant,
    in_flight: bool,
    trust: ListTrust,
    publish_need: PublishNeed,
    /// The causes of the next query, of the one in progress, and of what is to be published.
    next_cause: Option<EventCause>,
    in_flight_cause: Option<EventCause>,
    publish_cause: Option<EventCause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Disconnected,
    /// Connected; the first list is pending.
    Listing,
    Current,
}

/// What the last full list shows about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListTrust {
    Trusted,
    /// It lacked running containers for which no event reported an end: the next list decides.
    Suspect,
    /// It showed changes that no event reported: a new connection is needed.
    StreamStale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PublishNeed {
    None,
    /// Something was touched: publish the world if it differs.
    IfChanged,
    /// Publish even an unchanged world.
    Always,
}

/// A world to publish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CacheUpdate {
    pub(crate) world: Arc<World>,
    pub(crate) cause: Option<EventCause>,
    pub(crate) connected: bool,
}

impl ContainerCache {
    pub(crate) fn new(filter: ContainerFilter, relist_interval: Duration, now: Instant) -> Self {
        Self {
            filter,
            relist_interval,
            world: Arc::default(),
            published: None,
            connection: Connection::Disconnected,
            ping_failed: false,
            dirty: BTreeSet::new(),
            networks_are_dirty: false,
            pending: PendingEvents::default(),
            network_owners: BTreeSet::new(),
            images: ImageCache::default(),
            to_inspect: BTreeSet::new(),
            inspecting: BTreeSet::new(),
            next_list_at: now,
            in_flight: false,
            trust: ListTrust::Trusted,
            publish_need: PublishNeed::None,
            next_cause: None,
            in_flight_cause: None,
            publish_cause: None,
        }
    }

    /// Handles a new connection: everything is requested again, and no answers of the previous connection arrive.
    pub(crate) fn on_connect(&mut self, now: Instant) {
        self.connection = Connection::Listing;
        self.next_list_at = now;
        self.in_flight = false;
        self.ping_failed = false;
        self.trust = ListTrust::Trusted;
        self.to_inspect.append(&mut self.inspecting);
        self.images.connect();
        self.pending.on_connect(now);
        (self.next_cause, self.in_flight_cause) = (None, None);
    }

    /// Handles the loss of the connection. The known containers are kept.
    pub(crate) fn on_disconnect(&mut self) {
        if self.connection == Connection::Current {
            self.publish_need = PublishNeed::Always;
        }
        self.connection = Connection::Disconnected;
    }

    /// Handles the result of a ping; anything else that the engine sends counts as an answered ping. Requests in
    /// progress may still be answered.
    pub(crate) fn on_ping(&mut self, answered: bool) {
        if self.ping_failed == answered {
            self.ping_failed = !answered;
            self.publish_need = PublishNeed::Always;
        }
    }

    pub(crate) fn filter(&self) -> &ContainerFilter {
        &self.filter
    }

    pub(crate) fn is_current(&self) -> bool {
        self.connection == Connection::Current && !self.ping_failed
    }

    /// Whether the event stream is open but does not report what happens, so that a new connection is needed.
    pub(crate) fn is_stream_stale(&self) -> bool {
        self.trust == ListTrust::StreamStale
    }

    /// Returns what is needed to read a long list: unchanged containers then take no further memory.
    pub(crate) fn to_snapshot(&self) -> CacheSnapshot {
        let (filter, world) = (self.filter.clone(), Arc::clone(&self.world));
        CacheSnapshot { filter, world, network_owners: self.network_owners.clone() }
    }

    pub(crate) fn on_event(&mut self, event: Event, now: Instant) {
        let Event { mut cause, about } = event;
        cause.received_at = Some(now);
        match about {
            EventSubject::Network => self.networks_are_dirty = true,
            EventSubject::Attachment(id) if self.is_tracked(&id, &BTreeMap::new()) => {
                if self.needs_network_update(&id) {
                    self.mark_dirty(id, cause, now);
                }
            }
            EventSubject::Container { id, what, attributes }
                if self.is_tracked(&id, &attributes) =>
            {
                self.on_container_event(id, what, cause, now);
            }
            // HAProxy may use the port of the dead container now. This needs no query.
            EventSubject::Container { id, what: EventAction::Die, .. }
                if self.has_published_ports(&id) =>
            {
                self.mark_dead(&id, cause, now);
            }
            EventSubject::Attachment(_) | EventSubject::Container { .. } => {}
        }
    }

    fn is_tracked(&self, id: &ContainerId, attributes: &BTreeMap<String, String>) -> bool {
        self.dirty.contains(id)
            || self.network_owners.contains(id)
            || self.filter.matches_event(&self.world, id, attributes)
    }

    /// Whether a change of networks matters. For a container that does not run its start is sufficient, because it
    /// follows the changes of its networks.
    fn needs_network_update(&self, id: &ContainerId) -> bool {
        self.world.containers.get(id).is_some_and(|cached| cached.is_up())
            || self.pending.is_start_pending(id)
    }

    fn on_container_event(
        &mut self,
        id: ContainerId,
        what: EventAction,
        cause: EventCause,
        now: Instant,
    ) {
        match what {
            EventAction::Kill(signal) => {
                let cached =
                    self.world.containers.get(&id).and_then(|cached| cached.stop_config.as_ref());
                if self.pending.on_signal(&id, cached, signal, now) {
                    self.publish_cause = Some(cause);
                    self.apply_pending(&id);
                }
                return;
            }
            EventAction::Extra => {
                (self.publish_cause, self.publish_need) = (Some(cause), PublishNeed::Always);
                return;
            }
            EventAction::Die => self.mark_dead(&id, cause.clone(), now),
            EventAction::Start => {
                self.pending.on_start(&id, cause.time_nano);
                self.apply_pending(&id);
            }
            EventAction::Other => {}
        }
        self.mark_dirty(id, cause, now);
    }

    fn mark_dead(&mut self, id: &ContainerId, cause: EventCause, now: Instant) {
        self.pending.on_die(id, now);
        self.publish_cause = Some(cause);
        self.apply_pending(id);
    }

    fn has_published_ports(&self, id: &ContainerId) -> bool {
        self.world.containers.get(id).is_some_and(|cached| !cached.published.is_empty())
    }

    fn mark_dirty(&mut self, id: ContainerId, cause: EventCause, now: Instant) {
        self.pending.expect_state(id.clone(), cause.clone(), now);
        self.next_cause = Some(cause.merge_cause(self.next_cause.as_ref()));
        self.dirty.insert(id);
    }

    /// Applies the events to a known container.
    fn apply_pending(&mut self, id: &ContainerId) {
        let Some(cached) = self.world.containers.get(id) else { return };
        let mut updated = Container::clone(cached);
        self.pending.apply_to(&mut updated);
        self.put_container(updated);
    }

    fn put_container(&mut self, container: Container) {
        let world = Arc::make_mut(&mut self.world);
        world.containers.insert(container.id.clone(), Arc::new(container));
        self.mark_changed();
    }

    fn mark_changed(&mut self) {
        self.publish_need = self.publish_need.max(PublishNeed::IfChanged);
    }

    /// Handles the passing of time.
    pub(crate) fn on_tick(&mut self, now: Instant) {
        let ExpiredEvents { still_running: stayed, to_recheck: mut ask, cause } =
            self.pending.take_expired(now);
        for id in stayed {
            self.apply_pending(&id);
        }
        self.dirty.append(&mut ask);
        self.next_cause = self.next_cause.take().or(cause);
    }

    /// When to call `on_tick` and `next_query` again if nothing arrives before.
    pub(crate) fn wake_at(&self) -> Instant {
        let due = if self.in_flight {
            self.next_list_at + self.relist_interval
        } else {
            self.next_list_at
        };
        self.pending.wake_at().map_or(due, |soonest| soonest.min(due))
    }

    /// Returns the next query if none is in progress.
    pub(crate) fn next_query(&mut self, now: Instant) -> Option<CacheQuery> {
        let completed = self.next_list_at <= now || MAX_QUERY_IDS < self.dirty.len();
        let idle = self.dirty.is_empty() && !completed;
        if self.in_flight || idle {
            return None;
        }
        let (ids, networks) = self.begin_query();
        Some(if completed { CacheQuery::All } else { CacheQuery::Ids { ids, networks } })
    }

    /// Whether to use a full list that is requested now for others, as if it were due here. Not if the next list
    /// decides about the previous one, which needs time.
    pub(crate) fn join_list(&mut self) -> bool {
        let joins = !self.in_flight
            && self.connection == Connection::Current
            && self.trust == ListTrust::Trusted;
        if joins {
            self.begin_query();
        }
        joins
    }

    fn begin_query(&mut self) -> (BTreeSet<ContainerId>, bool) {
        self.in_flight = true;
        self.in_flight_cause = self.next_cause.take();
        (std::mem::take(&mut self.dirty), std::mem::take(&mut self.networks_are_dirty))
    }

    pub(crate) fn on_response(&mut self, query: &CacheQuery, answer: CacheResponse, now: Instant) {
        self.in_flight = false;
        self.publish_cause = self.in_flight_cause.take();
        match query {
            CacheQuery::All => self.on_full_list(answer, now),
            CacheQuery::Ids { ids, .. } => self.on_partial_list(ids, answer, now),
        }
    }

    fn on_full_list(&mut self, answer: CacheResponse, now: Instant) {
        let first = self.connection == Connection::Listing;
        let is_suspect =
            self.trust != ListTrust::Suspect && self.is_suspiciously_short(&answer.containers);
        self.trust = if is_suspect { ListTrust::Suspect } else { ListTrust::Trusted };
        self.next_list_at =
            now + if first || is_suspect { CONFIRM_DELAY } else { self.relist_interval };
        if is_suspect {
            return;
        }
        self.confirm_pending(&self.pending.pending_ids(), &answer.containers);
        let unsettled = self.images.unsettled();
        let kept = answer.containers.into_iter().map(|fresh| self.merge_container(fresh)).collect();
        let networks = answer.networks.unwrap_or_default();
        if !first && self.publish_cause.is_none() && self.has_missed_events(&kept, &unsettled) {
            self.trust = ListTrust::StreamStale;
        }
        // The list may already show what an event reported while the list was requested. The query for the event then
        // finds no change, so the list's change gets the event's name.
        self.publish_cause = self.publish_cause.take().or_else(|| self.next_cause.clone());
        let networks = BTreeMap::from([(self.filter.source.clone(), networks)]);
        self.world = Arc::new(World { containers: kept, networks, nodes: BTreeMap::new() });
        let idle = self.world.containers.values().filter(|container| !container.is_up());
        let idle = idle.map(|container| container.id.clone()).collect();
        self.update_network_owners(idle, (!first).then_some(now));
        let world = &self.world.containers;
        self.pending.clear_stops(|id| !world.get(id).is_some_and(|cached| cached.is_up()));
        self.to_inspect.retain(|id| world.contains_key(id));
        self.images.end_list(|id| world.contains_key(id));
        self.mark_changed();
        if first {
            (self.connection, self.publish_need) = (Connection::Current, PublishNeed::Always);
        }
    }

    /// Whether at least two running containers, or all of them, are missing although no event reported a death.
    fn is_suspiciously_short(&self, containers: &[Arc<Container>]) -> bool {
        let received: BTreeSet<_> = containers.iter().map(|container| &container.id).collect();
        let up = self.world.containers.values().filter(|cached| cached.is_up());
        let gone = up.filter(|cached| !received.contains(&cached.id)).count();
        2 <= gone || (1 <= gone && containers.is_empty())
    }

    /// Whether an interesting container changed and no event of it has arrived even now.
    fn has_missed_events(
        &self,
        fresh: &BTreeMap<ContainerId, Arc<Container>>,
        unsettled: &BTreeSet<ContainerId>,
    ) -> bool {
        let is_missed = |(id, fresh): (&ContainerId, &Arc<Container>)| {
            let cached = self.world.containers.get(id);
            cached.is_none_or(|cached| !Arc::ptr_eq(cached, fresh))
                && (cached.is_some() || fresh.is_up())
                && !self.dirty.contains(id)
                && !unsettled.contains(id)
                && self.filter.matches_container(fresh)
        };
        fresh.iter().any(is_missed)
    }

    /// Handles a list of the containers in `ids`. `answer` may also contain the containers whose network they use.
    fn on_partial_list(
        &mut self,
        ids: &BTreeSet<ContainerId>,
        answer: CacheResponse,
        now: Instant,
    ) {
        self.confirm_pending(ids, &answer.containers);
        let fresh: BTreeMap<_, _> =
            answer.containers.into_iter().map(|fresh| self.merge_container(fresh)).collect();
        let shares = |container: &Arc<Container>| container.network_owner_id().is_some();
        let is_shared = !self.network_owners.is_empty() || fresh.values().any(shares);
        let mut updated: BTreeSet<_> = fresh.keys().cloned().collect();
        let world = Arc::make_mut(&mut self.world);
        for id in ids.iter().filter(|id| !fresh.contains_key(id)) {
            world.containers.remove(id);
            self.images.forget(id);
        }
        world.containers.extend(fresh);
        if let Some(networks) = answer.networks {
            world.networks.insert(self.filter.source.clone(), networks);
        }
        if is_shared {
            updated.extend(self.network_owners.iter().cloned());
            self.update_network_owners(updated, Some(now));
        } else {
            self.drop_idle_containers(updated);
        }
        self.mark_changed();
    }

    /// Updates the containers whose networks are used. With `now`, new ones among them are requested again, because
    /// their events were ignored so far. Of the containers in `idle`, those that are not needed are dropped.
    fn update_network_owners(&mut self, idle: BTreeSet<ContainerId>, now: Option<Instant>) {
        let owners = self.filter.find_network_owners(&self.world);
        let before = std::mem::replace(&mut self.network_owners, owners);
        for id in &self.network_owners {
            let cached = self.world.containers.get(id);
            if cached.is_some_and(|container| container.is_up() && container.started.is_none())
                && !self.inspecting.contains(id)
            {
                self.to_inspect.insert(id.clone());
            }
            if let Some(now) = now.filter(|_| !before.contains(id)) {
                self.pending.track_from_now(id, self.publish_cause.as_ref(), now);
                if cached.is_none() {
                    self.dirty.insert(id.clone());
                }
            }
        }
        self.drop_idle_containers(idle);
    }

    /// Drops containers that do not run, unless they are needed.
    fn drop_idle_containers(&mut self, ids: BTreeSet<ContainerId>) {
        let is_kept = |container: &Container| {
            container.is_up()
                || self.network_owners.contains(&container.id)
                || self.filter.matches_container(container)
        };
        let cached = &self.world.containers;
        let idle = ids
            .into_iter()
            .filter(|id| cached.get(id).is_some_and(|container| !is_kept(container)));
        let idle: Vec<_> = idle.collect();
        if !idle.is_empty() {
            let world = Arc::make_mut(&mut self.world);
            for id in &idle {
                world.containers.remove(id);
            }
        }
    }

    /// Confirms pending events by an answer, except for containers with a new event since the request.
    fn confirm_pending(&mut self, ids: &BTreeSet<ContainerId>, received: &[Arc<Container>]) {
        let received = received.iter().filter(|container| ids.contains(&container.id));
        let received: BTreeMap<_, _> =
            received.map(|container| (&container.id, container.as_ref())).collect();
        for id in ids.difference(&self.dirty) {
            self.pending.on_response(id, received.get(id).copied());
        }
    }

    /// Merges a container from a list with what is known; returns the cached `Arc` if nothing changed.
    fn merge_container(&mut self, fresh: Arc<Container>) -> (ContainerId, Arc<Container>) {
        let cached = self.world.containers.get(&fresh.id).map(Arc::clone);
        let started = self.pending.take_start(&fresh.id);
        if cached.as_ref().is_some_and(|cached| Arc::ptr_eq(cached, &fresh))
            && fresh.stop_config.is_some()
            && started.is_none()
            && !self.needs_start_time(&fresh)
        {
            self.images.use_image_of(&fresh);
            return (fresh.id.clone(), fresh);
        }
        let mut fresh = Arc::unwrap_or_clone(fresh);
        if let Some(cached) = &cached {
            carry_over_details(&mut fresh, cached);
        }
        self.keep_own_labels(&mut fresh);
        self.pending.apply_to(&mut fresh);
        if fresh.is_up() && cached.as_ref().is_some_and(|cached| !cached.is_up()) {
            fresh.started = None;
        }
        if fresh.stop_config.is_some() {
            fresh.started = fresh.started.max(started);
        }
        let needs_inspection = self.filter.needs_details(&fresh) || self.needs_start_time(&fresh);
        if needs_inspection && fresh.is_up() && !self.inspecting.contains(&fresh.id) {
            self.to_inspect.insert(fresh.id.clone());
        }
        self.filter.drop_unused_labels(&mut fresh);
        let same = cached.filter(|cached| **cached == fresh);
        (fresh.id.clone(), same.unwrap_or_else(|| Arc::new(fresh)))
    }

    /// Removes the labels of the image, if labels of images do not apply.
    fn keep_own_labels(&mut self, container: &mut Container) {
        let Some(keep_own) = self.filter.own_labels else { return };
        if self.filter.compares_image(container) {
            self.images.keep_own(container, keep_own, self.publish_cause.as_ref());
        } else {
            container.label_fault = self.images.fault(&container.id);
        }
    }

    /// Returns the next image to inspect.
    pub(crate) fn ask_image(&mut self) -> Option<ImageId> {
        self.images.ask()
    }

    /// Handles the inspection of an image. Containers that waited for it are requested again: they may have changed
    /// since.
    pub(crate) fn answer_image(&mut self, id: &ImageId, answer: ImageAnswer) {
        let (mut containers, cause) = self.images.answer(id, answer);
        self.dirty.append(&mut containers);
        self.next_cause = cause
            .map(|cause| cause.merge_cause(self.next_cause.as_ref()))
            .or(self.next_cause.take());
    }

    /// Whether the start time of the container matters and is not known.
    fn needs_start_time(&self, container: &Container) -> bool {
        container.started.is_none()
            && container.network_owner_id().is_some()
            && self.filter.matches_container(container)
    }

    /// Returns the next container to inspect, a few at a time.
    pub(crate) fn next_inspection(&mut self) -> Option<ContainerId> {
        if MAX_INSPECTIONS <= self.inspecting.len() {
            return None;
        }
        let id = self.to_inspect.pop_first()?;
        self.inspecting.insert(id.clone());
        Some(id)
    }

    pub(crate) fn on_inspection(
        &mut self,
        id: &ContainerId,
        received: InspectOutcome,
        now: Instant,
    ) {
        self.inspecting.remove(id);
        match (received, self.world.containers.get(id)) {
            (InspectOutcome::Found(details), Some(cached)) => {
                let (mut completed, mode) = (Container::clone(cached), cached.network_mode.clone());
                apply_details(&mut completed, details);
                self.keep_own_labels(&mut completed);
                self.filter.drop_unused_labels(&mut completed);
                let completed = Arc::new(completed);
                let shares = completed.network_owner_id().is_some();
                let mode_changed = completed.network_mode != mode;
                Arc::make_mut(&mut self.world).containers.insert(id.clone(), completed);
                if shares && (self.filter.reads_environment || mode_changed) {
                    self.update_network_owners(BTreeSet::new(), Some(now));
                }
            }
            (InspectOutcome::Gone, Some(_)) => drop(self.dirty.insert(id.clone())),
            // It is inspected again after the next list; until then the container is published without details.
            (InspectOutcome::Failed, _) | (_, None) => {}
        }
        // The last of several inspections publishes all results, unless containers are hidden until they are inspected.
        let is_last = self.inspecting.is_empty() && self.to_inspect.is_empty();
        if is_last || self.filter.reads_environment {
            self.mark_changed();
        }
    }

    /// Returns what to publish now, if anything: a changed world, or a changed connection.
    pub(crate) fn take_update(&mut self) -> Option<CacheUpdate> {
        let news = std::mem::replace(&mut self.publish_need, PublishNeed::None);
        let cause = self.publish_cause.take();
        let differs = news != PublishNeed::None && self.refresh_published();
        let world = Arc::clone(self.published.as_ref()?);
        let shown = CacheUpdate { world, cause, connected: self.is_current() };
        (differs || news == PublishNeed::Always).then_some(shown)
    }

    fn refresh_published(&mut self) -> bool {
        let Some(visible) = self.published_view() else { return false };
        let differs = self.published.as_ref() != Some(&visible);
        if differs {
            self.published = Some(visible);
        }
        differs
    }

    /// Returns the world without the containers that must be inspected before they are published; `None` as long as the
    /// first world is not complete.
    fn published_view(&self) -> Option<Arc<World>> {
        let uninspected = || self.inspecting.union(&self.to_inspect);
        match (&self.published, self.connection) {
            (None, Connection::Disconnected | Connection::Listing) => None,
            (None, _) if self.images.is_waited_for() => None,
            (None, _) if self.filter.reads_environment && uninspected().next().is_some() => None,
            (Some(shown), _) if self.filter.reads_environment => {
                let hidden = uninspected().filter(|id| !shown.containers.contains_key(id));
                let mut visible = Arc::clone(&self.world);
                for id in hidden {
                    Arc::make_mut(&mut visible).containers.remove(id);
                }
                Some(visible)
            }
            _ => Some(Arc::clone(&self.world)),
        }
    }
}

/// What was known when a query was sent.
#[derive(Debug, Clone)]
pub(crate) struct CacheSnapshot {
    filter: ContainerFilter,
    world: Arc<World>,
    network_owners: BTreeSet<ContainerId>,
}

impl CacheSnapshot {
    /// Returns further containers to request: those whose network these use, and whose events were ignored so far.
    pub(crate) fn find_new_network_owners(&self, received: &[Container]) -> BTreeSet<ContainerId> {
        let is_cached = |id: &ContainerId| {
            let cached = self.world.containers.get(id);
            self.network_owners.contains(id)
                || cached.is_some_and(|container| self.filter.matches_container(container))
                || received.iter().any(|container| container.id == *id)
        };
        let owners = received.iter().filter_map(Container::network_owner_id);
        owners.filter(|id| !is_cached(id)).cloned().collect()
    }

    /// Whether a container is on a network that is not known.
    pub(crate) fn misses_network(&self, received: &[Arc<Container>]) -> bool {
        let is_cached = |(name, endpoint): (&String, &NetworkEndpoint)| {
            let network = || self.world.find_network(&self.filter.source, name, endpoint);
            endpoint.ip().is_none() || network().is_some()
        };
        received.iter().any(|container| !container.networks.iter().all(is_cached))
    }

    /// Returns the cached container if the received one is the same.
    pub(crate) fn reuse_unchanged(&self, mut received: Container) -> Arc<Container> {
        let Some(cached) = self.world.containers.get(&received.id) else {
            return self.drop_unused_labels(received);
        };
        carry_over_details(&mut received, cached);
        received.stopping = cached.stopping;
        let received = self.drop_unused_labels(received);
        if received == *cached { Arc::clone(cached) } else { received }
    }

    fn drop_unused_labels(&self, mut received: Container) -> Arc<Container> {
        self.filter.drop_unused_labels(&mut received);
        Arc::new(received)
    }
}

/// Result of an inspection.
#[derive(Debug)]
pub(crate) enum InspectOutcome {
    Found(InspectDetails),
    Gone,
    Failed,
}

#[cfg(test)]
mod tests;
