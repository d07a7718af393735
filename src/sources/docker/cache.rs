//! What is known, what has to be asked, and what is worth showing.
//!
//! Pure: events and answers come in, questions and worlds go out. An event says where to look,
//! never what is true, with the exceptions that `heard` makes.

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

/// Nothing tells when the engine began to listen for our events, and an answer that lacks much may
/// come from an engine that is only just up: so long after a list it is asked for again.
const CONFIRM_DELAY: Duration = Duration::from_secs(1);
/// More ids than this are not named: the whole list is asked for.
const MAX_QUERY_IDS: usize = 100;
const MAX_INSPECTIONS: usize = 16;

/// A question for the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheQuery {
    All,
    Ids { ids: BTreeSet<ContainerId>, networks: bool },
}

#[derive(Debug)]
pub(crate) struct CacheResponse {
    pub(crate) containers: Vec<Arc<Container>>,
    /// `None` if they were not asked for.
    pub(crate) networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug)]
pub(crate) struct ContainerCache {
    filter: ContainerFilter,
    relist_interval: Duration,
    world: Arc<World>,
    /// `None` until there was a first answer.
    published: Option<Arc<World>>,
    connection: Connection,
    /// The engine answered no ping, and nothing since.
    ping_failed: bool,
    dirty: BTreeSet<ContainerId>,
    networks_are_dirty: bool,
    pending: PendingEvents,
    /// Whose network an interesting container uses: they are followed, and known, as that one is.
    network_owners: BTreeSet<ContainerId>,
    images: ImageCache,
    to_inspect: BTreeSet<ContainerId>,
    inspecting: BTreeSet<ContainerId>,
    /// When the whole list is due.
    next_list_at: Instant,
    in_flight: bool,
    trust: ListTrust,
    publish_need: PublishNeed,
    /// The causes of the next question, of the one on its way, and of what is to be shown.
    next_cause: Option<EventCause>,
    in_flight_cause: Option<EventCause>,
    publish_cause: Option<EventCause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Disconnected,
    /// Connected, the first list is awaited.
    Listing,
    Current,
}

/// What the last whole list makes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListTrust {
    Trusted,
    /// It lacked containers whose end nobody told of: the next list decides.
    Suspect,
    /// It told of changes that no event told of: connect anew.
    StreamStale,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PublishNeed {
    None,
    /// Something was touched: show it if it differs.
    IfChanged,
    /// Show even the same world.
    Always,
}

/// Something to publish.
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

    /// A new connection: everything is asked anew, nothing that was on its way arrives.
    pub(crate) fn on_connect(&mut self, now: Instant) {
        self.connection = Connection::Listing;
        self.next_list_at = now;
        self.in_flight = false;
        self.ping_failed = false;
        self.trust = ListTrust::Trusted;
        self.to_inspect.append(&mut self.inspecting);
        self.images.connect();
        (self.next_cause, self.in_flight_cause) = (None, None);
    }

    /// The connection is lost. What is known stays as it is.
    pub(crate) fn on_disconnect(&mut self) {
        if self.connection == Connection::Current {
            self.publish_need = PublishNeed::Always;
        }
        self.connection = Connection::Disconnected;
    }

    /// The engine answered a ping, or said something else, or did not answer. What was asked may be answered yet.
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

    /// The stream of events is open, but does not tell what happens: connect anew.
    pub(crate) fn is_stream_stale(&self) -> bool {
        self.trust == ListTrust::StreamStale
    }

    /// For reading a long list: what it repeats takes no memory of its own.
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
            // Whose it was, the port may be ours now; nobody need be asked for that.
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

    /// Of one that does not run its start tells enough, which comes after its networks.
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

    /// Brings a known container in line with what was heard of it.
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

    /// Time went by.
    pub(crate) fn on_tick(&mut self, now: Instant) {
        let ExpiredEvents { still_running: stayed, to_recheck: mut ask, cause } =
            self.pending.take_expired(now);
        for id in stayed {
            self.apply_pending(&id);
        }
        self.dirty.append(&mut ask);
        self.next_cause = self.next_cause.take().or(cause);
    }

    /// When to `tick` and `ask` again, if nothing is heard before.
    pub(crate) fn wake_at(&self) -> Instant {
        let due = if self.in_flight {
            self.next_list_at + self.relist_interval
        } else {
            self.next_list_at
        };
        self.pending.wake_at().map_or(due, |soonest| soonest.min(due))
    }

    /// The next question, when none is on its way.
    pub(crate) fn next_query(&mut self, now: Instant) -> Option<CacheQuery> {
        let completed = self.next_list_at <= now || MAX_QUERY_IDS < self.dirty.len();
        let idle = self.dirty.is_empty() && !completed;
        if self.in_flight || idle {
            return None;
        }
        let (ids, networks) = self.begin_query();
        Some(if completed { CacheQuery::All } else { CacheQuery::Ids { ids, networks } })
    }

    /// Whether a whole list that is asked for now for others is to be answered here too, as if it had been due. Not where
    /// the next list decides about the one before, which takes time.
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
        self.world = Arc::new(World { containers: kept, networks });
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

    /// Two containers, or all there were, are gone, and no event said that they died.
    fn is_suspiciously_short(&self, containers: &[Arc<Container>]) -> bool {
        let received: BTreeSet<_> = containers.iter().map(|container| &container.id).collect();
        let up = self.world.containers.values().filter(|cached| cached.is_up());
        let gone = up.filter(|cached| !received.contains(&cached.id)).count();
        2 <= gone || (1 <= gone && containers.is_empty())
    }

    /// An interesting container changed, and not even now an event of it arrived.
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

    /// `answer` may tell of more than was asked for: of those whose network it is.
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
            world.networks = networks;
        }
        if is_shared {
            updated.extend(self.network_owners.iter().cloned());
            self.update_network_owners(updated, Some(now));
        } else {
            self.drop_idle_containers(updated);
        }
        self.mark_changed();
    }

    /// Those whose networks are used may be others now. With a time, whoever is new among them is asked for again:
    /// nobody listened to its events. Of the rest, the idle ones are forgotten.
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

    /// Of containers that do not run only those are kept that mean something.
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

    /// What was told of those of which nothing was heard since they were asked for.
    fn confirm_pending(&mut self, ids: &BTreeSet<ContainerId>, received: &[Arc<Container>]) {
        let received = received.iter().filter(|container| ids.contains(&container.id));
        let received: BTreeMap<_, _> =
            received.map(|container| (&container.id, container.as_ref())).collect();
        for id in ids.difference(&self.dirty) {
            self.pending.on_response(id, received.get(id).copied());
        }
    }

    /// What is known of a container now, the very same as before where it did not change.
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

    /// Where labels of images do not count.
    fn keep_own_labels(&mut self, container: &mut Container) {
        let Some(keep_own) = self.filter.own_labels else { return };
        if self.filter.compares_image(container) {
            self.images.keep_own(container, keep_own, self.publish_cause.as_ref());
        } else {
            container.label_fault = self.images.fault(&container.id);
        }
    }

    /// The next image to ask for.
    pub(crate) fn ask_image(&mut self) -> Option<ImageId> {
        self.images.ask()
    }

    /// Containers that wait for the image are asked for again: much may have happened to them meanwhile.
    pub(crate) fn answer_image(&mut self, id: &ImageId, answer: ImageAnswer) {
        let (mut containers, cause) = self.images.answer(id, answer);
        self.dirty.append(&mut containers);
        self.next_cause = cause
            .map(|cause| cause.merge_cause(self.next_cause.as_ref()))
            .or(self.next_cause.take());
    }

    /// It matters when it started, and that is not known.
    fn needs_start_time(&self, container: &Container) -> bool {
        container.started.is_none()
            && container.network_owner_id().is_some()
            && self.filter.matches_container(container)
    }

    /// The next container to inspect, a few at a time.
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
            // Inspected again after the next list; the container is shown without until then.
            (InspectOutcome::Failed, _) | (_, None) => {}
        }
        // Of many inspections the last one shows them all, unless something waits to be shown.
        let is_last = self.inspecting.is_empty() && self.to_inspect.is_empty();
        if is_last || self.filter.reads_environment {
            self.mark_changed();
        }
    }

    /// What to publish now, if anything: a world that differs, or a connection that does.
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

    /// The world without the containers that have to be inspected before they are shown; `None` as
    /// long as the first world is not complete.
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

/// What was known when a question was asked.
#[derive(Debug, Clone)]
pub(crate) struct CacheSnapshot {
    filter: ContainerFilter,
    world: Arc<World>,
    network_owners: BTreeSet<ContainerId>,
}

impl CacheSnapshot {
    /// Whom to ask for, too: those whose network these use, and whose events nobody listened to.
    pub(crate) fn find_new_network_owners(&self, received: &[Container]) -> BTreeSet<ContainerId> {
        let is_known = |id: &ContainerId| {
            let cached = self.world.containers.get(id);
            self.network_owners.contains(id)
                || cached.is_some_and(|container| self.filter.matches_container(container))
                || received.iter().any(|container| container.id == *id)
        };
        let owners = received.iter().filter_map(Container::network_owner_id);
        owners.filter(|id| !is_known(id)).cloned().collect()
    }

    /// One of them is on a network that was not listed.
    pub(crate) fn misses_network(&self, received: &[Arc<Container>]) -> bool {
        let is_known = |(name, endpoint): (&String, &NetworkEndpoint)| {
            endpoint.ip().is_none() || self.world.find_network(name, endpoint).is_some()
        };
        received.iter().any(|container| !container.networks.iter().all(is_known))
    }

    /// The container as it is known, if it is told just so again.
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

/// What came of an inspection.
#[derive(Debug)]
pub(crate) enum InspectOutcome {
    Found(InspectDetails),
    Gone,
    Failed,
}

#[cfg(test)]
mod tests;
