//! What is known, what has to be asked, and what is worth showing.
//!
//! Pure: events and answers come in, questions and worlds go out. An event says where to look,
//! never what is true, with the exceptions that `heard` makes.

use super::{
    details::{Details, carry_over, complete},
    event::{About, Cause, Event, What},
    heard::{Heard, Late},
    image_labels::{ImageAnswer, ImageCache},
    interest::Interest,
    lenient::{Oddities, Oddity},
};
use crate::{
    container::{Attachment, Container, ContainerId, ImageId},
    world::{Network, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// Nothing tells when the engine began to listen for our events, and an answer that lacks much may
/// come from an engine that is only just up: so long after a list it is asked for again.
const SETTLE: Duration = Duration::from_secs(1);
/// More ids than this are not named: the whole list is asked for.
const MOST_IDS: usize = 100;
const MOST_INSPECTIONS: usize = 16;

/// A question for the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    All,
    Some { ids: BTreeSet<ContainerId>, networks: bool },
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) containers: Vec<Arc<Container>>,
    /// `None` if they were not asked for.
    pub(super) networks: Option<BTreeMap<String, Network>>,
    pub(super) odd: Vec<Oddity>,
}

#[derive(Debug)]
pub(super) struct Known {
    interest: Interest,
    relist: Duration,
    world: Arc<World>,
    /// `None` until there was a first answer.
    shown: Option<Arc<World>>,
    connection: Connection,
    /// The engine answered no ping, and nothing since.
    hung: bool,
    dirty: BTreeSet<ContainerId>,
    networks_are_dirty: bool,
    heard: Heard,
    /// Whose network an interesting container uses: they are followed, and known, as that one is.
    network_owners: BTreeSet<ContainerId>,
    odd: Oddities,
    images: ImageCache,
    to_inspect: BTreeSet<ContainerId>,
    inspecting: BTreeSet<ContainerId>,
    /// When the whole list is due.
    due: Instant,
    in_flight: bool,
    trust: Trust,
    news: News,
    /// The causes of the next question, of the one on its way, and of what is to be shown.
    asking: Option<Cause>,
    asked: Option<Cause>,
    cause: Option<Cause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Away,
    /// Connected, the first list is awaited.
    Asking,
    Current,
}

/// What the last whole list makes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Full,
    /// It lacked containers whose end nobody told of: the next list decides.
    Doubt,
    /// It told of changes that no event told of: connect anew.
    Deaf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    None,
    /// Something was touched: show it if it differs.
    Perhaps,
    /// Show even the same world.
    Surely,
}

/// Something to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) world: Arc<World>,
    pub(super) cause: Option<Cause>,
    pub(super) connected: bool,
}

impl Known {
    pub(super) fn new(interest: Interest, relist: Duration, now: Instant) -> Self {
        Self {
            interest,
            relist,
            world: Arc::default(),
            shown: None,
            connection: Connection::Away,
            hung: false,
            dirty: BTreeSet::new(),
            networks_are_dirty: false,
            heard: Heard::default(),
            network_owners: BTreeSet::new(),
            odd: Oddities::default(),
            images: ImageCache::default(),
            to_inspect: BTreeSet::new(),
            inspecting: BTreeSet::new(),
            due: now,
            in_flight: false,
            trust: Trust::Full,
            news: News::None,
            asking: None,
            asked: None,
            cause: None,
        }
    }

    /// A new connection: everything is asked anew, nothing that was on its way arrives.
    pub(super) fn connected(&mut self, now: Instant) {
        self.connection = Connection::Asking;
        self.due = now;
        self.in_flight = false;
        self.hung = false;
        self.trust = Trust::Full;
        self.to_inspect.append(&mut self.inspecting);
        self.images.connect();
        (self.asking, self.asked) = (None, None);
    }

    /// The connection is lost. What is known stays as it is.
    pub(super) fn away(&mut self) {
        if self.connection == Connection::Current {
            self.news = News::Surely;
        }
        self.connection = Connection::Away;
    }

    /// The engine answered a ping, or said something else, or did not answer. What was asked may be answered yet.
    pub(super) fn pinged(&mut self, is_there: bool) {
        if self.hung == is_there {
            self.hung = !is_there;
            self.news = News::Surely;
        }
    }

    pub(super) fn is_current(&self) -> bool {
        self.connection == Connection::Current && !self.hung
    }

    /// The stream of events is open, but does not tell what happens: connect anew.
    pub(super) fn is_deaf(&self) -> bool {
        self.trust == Trust::Deaf
    }

    /// For reading a long list: what it repeats takes no memory of its own.
    pub(super) fn remember(&self) -> Memory {
        let (interest, world) = (self.interest.clone(), Arc::clone(&self.world));
        Memory { interest, world, network_owners: self.network_owners.clone() }
    }

    pub(super) fn hear(&mut self, event: Event, now: Instant) {
        let Event { mut cause, about } = event;
        cause.heard = Some(now);
        match about {
            About::Network => self.networks_are_dirty = true,
            About::Attachment(id) if self.is_followed(&id, &BTreeMap::new()) => {
                if self.has_networks(&id) {
                    self.look_at(id, cause, now);
                }
            }
            About::Container { id, what, attributes } if self.is_followed(&id, &attributes) => {
                self.hear_of(id, what, cause, now);
            }
            // Whose it was, the port may be ours now; nobody need be asked for that.
            About::Container { id, what: What::Die, .. } if self.publishes(&id) => {
                self.bury(&id, cause, now);
            }
            About::Attachment(_) | About::Container { .. } => {}
        }
    }

    fn is_followed(&self, id: &ContainerId, attributes: &BTreeMap<String, String>) -> bool {
        self.dirty.contains(id)
            || self.network_owners.contains(id)
            || self.interest.in_event(&self.world, id, attributes)
    }

    /// Of one that does not run its start tells enough, which comes after its networks.
    fn has_networks(&self, id: &ContainerId) -> bool {
        self.world.containers.get(id).is_some_and(|known| known.is_up())
            || self.heard.awaits_start(id)
    }

    fn hear_of(&mut self, id: ContainerId, what: What, cause: Cause, now: Instant) {
        match what {
            What::Kill(signal) => {
                let known = self.world.containers.get(&id).and_then(|known| known.stop.as_ref());
                if self.heard.signal(&id, known, signal, now) {
                    self.cause = Some(cause);
                    self.touch(&id);
                }
                return;
            }
            What::Extra => {
                (self.cause, self.news) = (Some(cause), News::Surely);
                return;
            }
            What::Die => self.bury(&id, cause.clone(), now),
            What::Start => {
                self.heard.start(&id, cause.time_nano);
                self.touch(&id);
            }
            What::Other => {}
        }
        self.look_at(id, cause, now);
    }

    fn bury(&mut self, id: &ContainerId, cause: Cause, now: Instant) {
        self.heard.death(id, now);
        self.cause = Some(cause);
        self.touch(id);
    }

    fn publishes(&self, id: &ContainerId) -> bool {
        self.world.containers.get(id).is_some_and(|known| !known.published.is_empty())
    }

    fn look_at(&mut self, id: ContainerId, cause: Cause, now: Instant) {
        self.heard.event(id.clone(), cause.clone(), now);
        self.asking = Some(cause.and(self.asking.as_ref()));
        self.dirty.insert(id);
    }

    /// Brings a known container in line with what was heard of it.
    fn touch(&mut self, id: &ContainerId) {
        let Some(known) = self.world.containers.get(id) else { return };
        let mut touched = Container::clone(known);
        self.heard.overlay(&mut touched);
        self.put(touched);
    }

    fn put(&mut self, container: Container) {
        let world = Arc::make_mut(&mut self.world);
        world.containers.insert(container.id.clone(), Arc::new(container));
        self.note();
    }

    fn note(&mut self) {
        self.news = self.news.max(News::Perhaps);
    }

    /// Time went by.
    pub(super) fn tick(&mut self, now: Instant) {
        let Late { stayed, mut ask, cause } = self.heard.late(now);
        for id in stayed {
            self.touch(&id);
        }
        self.dirty.append(&mut ask);
        self.asking = self.asking.take().or(cause);
    }

    /// When to `tick` and `ask` again, if nothing is heard before.
    pub(super) fn wake_at(&self) -> Instant {
        let due = if self.in_flight { self.due + self.relist } else { self.due };
        self.heard.wake_at().map_or(due, |soonest| soonest.min(due))
    }

    /// The next question, when none is on its way.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Ask> {
        let whole = self.due <= now || MOST_IDS < self.dirty.len();
        let idle = self.dirty.is_empty() && !whole;
        if self.in_flight || idle {
            return None;
        }
        self.in_flight = true;
        self.asked = self.asking.take();
        let ids = std::mem::take(&mut self.dirty);
        let networks = std::mem::take(&mut self.networks_are_dirty);
        Some(if whole { Ask::All } else { Ask::Some { ids, networks } })
    }

    pub(super) fn answered(&mut self, ask: &Ask, answer: Answer, now: Instant) {
        self.in_flight = false;
        self.cause = self.asked.take();
        self.odd.add(answer.odd.iter());
        match ask {
            Ask::All => self.listed(answer, now),
            Ask::Some { ids, .. } => self.told(ids, answer, now),
        }
    }

    fn listed(&mut self, answer: Answer, now: Instant) {
        let first = self.connection == Connection::Asking;
        let doubtful = self.trust != Trust::Doubt && self.lacks_too_much(&answer.containers);
        self.trust = if doubtful { Trust::Doubt } else { Trust::Full };
        self.due = now + if first || doubtful { SETTLE } else { self.relist };
        if doubtful {
            return;
        }
        self.compare(&self.heard.awaited(), &answer.containers);
        let unsettled = self.images.unsettled();
        let kept = answer.containers.into_iter().map(|fresh| self.merged(fresh)).collect();
        let networks = answer.networks.unwrap_or_default();
        if !first && self.cause.is_none() && self.tells_of_the_unheard(&kept, &unsettled) {
            self.trust = Trust::Deaf;
        }
        self.world = Arc::new(World { containers: kept, networks });
        let idle = self.world.containers.values().filter(|it| !it.is_up());
        let idle = idle.map(|it| it.id.clone()).collect();
        self.follow_network_owners(idle, (!first).then_some(now));
        let world = &self.world.containers;
        self.heard.forget_stops(|id| !world.get(id).is_some_and(|known| known.is_up()));
        self.to_inspect.retain(|id| world.contains_key(id));
        self.images.end_list(|id| world.contains_key(id));
        self.note();
        if first {
            (self.connection, self.news) = (Connection::Current, News::Surely);
        }
    }

    /// Two containers, or all there were, are gone, and no event said that they died.
    fn lacks_too_much(&self, containers: &[Arc<Container>]) -> bool {
        let told: BTreeSet<_> = containers.iter().map(|container| &container.id).collect();
        let up = self.world.containers.values().filter(|known| known.is_up());
        let gone = up.filter(|known| !told.contains(&known.id)).count();
        2 <= gone || (1 <= gone && containers.is_empty())
    }

    /// An interesting container changed, and not even now an event of it arrived.
    fn tells_of_the_unheard(
        &self,
        fresh: &BTreeMap<ContainerId, Arc<Container>>,
        unsettled: &BTreeSet<ContainerId>,
    ) -> bool {
        let unheard = |(id, fresh): (&ContainerId, &Arc<Container>)| {
            let known = self.world.containers.get(id);
            known.is_none_or(|known| !Arc::ptr_eq(known, fresh))
                && (known.is_some() || fresh.is_up())
                && !self.dirty.contains(id)
                && !unsettled.contains(id)
                && self.interest.in_container(fresh)
        };
        fresh.iter().any(unheard)
    }

    /// `answer` may tell of more than was asked for: of those whose network it is.
    fn told(&mut self, ids: &BTreeSet<ContainerId>, answer: Answer, now: Instant) {
        self.compare(ids, &answer.containers);
        let fresh: BTreeMap<_, _> =
            answer.containers.into_iter().map(|fresh| self.merged(fresh)).collect();
        let shares = |it: &Arc<Container>| it.network_owner_id().is_some();
        let is_shared = !self.network_owners.is_empty() || fresh.values().any(shares);
        let mut touched: BTreeSet<_> = fresh.keys().cloned().collect();
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
            touched.extend(self.network_owners.iter().cloned());
            self.follow_network_owners(touched, Some(now));
        } else {
            self.forget_idle(touched);
        }
        self.note();
    }

    /// Those whose networks are used may be others now. With a time, whoever is new among them is asked for again:
    /// nobody listened to its events. Of the rest, the idle ones are forgotten.
    fn follow_network_owners(&mut self, idle: BTreeSet<ContainerId>, now: Option<Instant>) {
        let owners = self.interest.network_owners(&self.world);
        let before = std::mem::replace(&mut self.network_owners, owners);
        for id in &self.network_owners {
            let known = self.world.containers.get(id);
            if known.is_some_and(|it| it.is_up() && it.started.is_none())
                && !self.inspecting.contains(id)
            {
                self.to_inspect.insert(id.clone());
            }
            if let Some(now) = now.filter(|_| !before.contains(id)) {
                self.heard.follow(id, self.cause.as_ref(), now);
                if known.is_none() {
                    self.dirty.insert(id.clone());
                }
            }
        }
        self.forget_idle(idle);
    }

    /// Of containers that do not run only those are kept that mean something.
    fn forget_idle(&mut self, ids: BTreeSet<ContainerId>) {
        let is_kept = |it: &Container| {
            it.is_up() || self.network_owners.contains(&it.id) || self.interest.in_container(it)
        };
        let known = &self.world.containers;
        let idle = ids.into_iter().filter(|id| known.get(id).is_some_and(|it| !is_kept(it)));
        let idle: Vec<_> = idle.collect();
        if !idle.is_empty() {
            let world = Arc::make_mut(&mut self.world);
            for id in &idle {
                world.containers.remove(id);
            }
        }
    }

    /// What was told of those of which nothing was heard since they were asked for.
    fn compare(&mut self, ids: &BTreeSet<ContainerId>, told: &[Arc<Container>]) {
        let told = told.iter().filter(|it| ids.contains(&it.id));
        let told: BTreeMap<_, _> = told.map(|it| (&it.id, it.as_ref())).collect();
        for id in ids.difference(&self.dirty) {
            self.heard.answer(id, told.get(id).copied());
        }
    }

    /// What is known of a container now, the very same as before where it did not change.
    fn merged(&mut self, fresh: Arc<Container>) -> (ContainerId, Arc<Container>) {
        let known = self.world.containers.get(&fresh.id).map(Arc::clone);
        let started = self.heard.take_start(&fresh.id);
        if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &fresh))
            && fresh.stop.is_some()
            && started.is_none()
            && !self.wants_start(&fresh)
        {
            self.images.use_image_of(&fresh);
            return (fresh.id.clone(), fresh);
        }
        let mut fresh = Arc::unwrap_or_clone(fresh);
        if let Some(known) = &known {
            carry_over(&mut fresh, known);
        }
        self.keep_own_labels(&mut fresh);
        self.heard.overlay(&mut fresh);
        if fresh.is_up() && known.as_ref().is_some_and(|known| !known.is_up()) {
            fresh.started = None;
        }
        if fresh.stop.is_some() {
            fresh.started = fresh.started.max(started);
        }
        let wanted = self.interest.wants_details(&fresh) || self.wants_start(&fresh);
        if wanted && fresh.is_up() && !self.inspecting.contains(&fresh.id) {
            self.to_inspect.insert(fresh.id.clone());
        }
        self.interest.slim(&mut fresh);
        let same = known.filter(|known| **known == fresh);
        (fresh.id.clone(), same.unwrap_or_else(|| Arc::new(fresh)))
    }

    /// Where labels of images do not count.
    fn keep_own_labels(&mut self, container: &mut Container) {
        let Some(keep_own) = self.interest.own_labels else { return };
        if self.interest.compares_image(container) {
            self.images.keep_own(container, keep_own, self.cause.as_ref());
        } else {
            container.label_fault = self.images.fault(&container.id);
        }
    }

    /// The next image to ask for.
    pub(super) fn ask_image(&mut self) -> Option<ImageId> {
        self.images.ask()
    }

    /// Containers that wait for the image are asked for again: much may have happened to them meanwhile.
    pub(super) fn answer_image(&mut self, id: &ImageId, answer: ImageAnswer) {
        let (mut containers, cause) = self.images.answer(id, answer);
        self.dirty.append(&mut containers);
        self.asking = cause.map(|it| it.and(self.asking.as_ref())).or(self.asking.take());
    }

    /// It matters when it started, and that is not known.
    fn wants_start(&self, container: &Container) -> bool {
        container.started.is_none()
            && container.network_owner_id().is_some()
            && self.interest.in_container(container)
    }

    /// What was left out of answers, each once.
    pub(super) fn take_odd(&mut self) -> Vec<Oddity> {
        self.odd.take()
    }

    /// The next container to inspect, a few at a time.
    pub(super) fn inspect(&mut self) -> Option<ContainerId> {
        if MOST_INSPECTIONS <= self.inspecting.len() {
            return None;
        }
        let id = self.to_inspect.pop_first()?;
        self.inspecting.insert(id.clone());
        Some(id)
    }

    pub(super) fn inspected(&mut self, id: &ContainerId, told: Inspection, now: Instant) {
        self.inspecting.remove(id);
        match (told, self.world.containers.get(id)) {
            (Inspection::Told(details), Some(known)) => {
                let (mut whole, mode) = (Container::clone(known), known.network_mode.clone());
                complete(&mut whole, details);
                self.keep_own_labels(&mut whole);
                self.interest.slim(&mut whole);
                let whole = Arc::new(whole);
                let shares = whole.network_owner_id().is_some();
                let is_news = whole.network_mode != mode;
                Arc::make_mut(&mut self.world).containers.insert(id.clone(), whole);
                if shares && (self.interest.environment || is_news) {
                    self.follow_network_owners(BTreeSet::new(), Some(now));
                }
            }
            (Inspection::Gone, Some(_)) => drop(self.dirty.insert(id.clone())),
            // Inspected again after the next list; the container is shown without until then.
            (Inspection::Failed, _) | (_, None) => {}
        }
        // Of many inspections the last one shows them all, unless something waits to be shown.
        let is_last = self.inspecting.is_empty() && self.to_inspect.is_empty();
        if is_last || self.interest.environment {
            self.note();
        }
    }

    /// What to publish now, if anything: a world that differs, or a connection that does.
    pub(super) fn show(&mut self) -> Option<Shown> {
        let news = std::mem::replace(&mut self.news, News::None);
        let cause = self.cause.take();
        let differs = news != News::None && self.renew();
        let world = Arc::clone(self.shown.as_ref()?);
        let shown = Shown { world, cause, connected: self.is_current() };
        (differs || news == News::Surely).then_some(shown)
    }

    fn renew(&mut self) -> bool {
        let Some(visible) = self.visible() else { return false };
        let differs = self.shown.as_ref() != Some(&visible);
        if differs {
            self.shown = Some(visible);
        }
        differs
    }

    /// The world without the containers that have to be inspected before they are shown; `None` as
    /// long as the first world is not complete.
    fn visible(&self) -> Option<Arc<World>> {
        let awaited = || self.inspecting.union(&self.to_inspect);
        match (&self.shown, self.connection) {
            (None, Connection::Away | Connection::Asking) => None,
            (None, _) if self.images.is_waited_for() => None,
            (None, _) if self.interest.environment && awaited().next().is_some() => None,
            (Some(shown), _) if self.interest.environment => {
                let hidden = awaited().filter(|id| !shown.containers.contains_key(id));
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
pub(super) struct Memory {
    interest: Interest,
    world: Arc<World>,
    network_owners: BTreeSet<ContainerId>,
}

impl Memory {
    /// Whom to ask for, too: those whose network these use, and whose events nobody listened to.
    pub(super) fn new_network_owners(&self, told: &[Container]) -> BTreeSet<ContainerId> {
        let is_known = |id: &ContainerId| {
            let known = self.world.containers.get(id);
            self.network_owners.contains(id)
                || known.is_some_and(|it| self.interest.in_container(it))
                || told.iter().any(|it| it.id == *id)
        };
        let owners = told.iter().filter_map(Container::network_owner_id);
        owners.filter(|id| !is_known(id)).cloned().collect()
    }

    /// One of them is on a network that was not listed.
    pub(super) fn lacks_network(&self, told: &[Arc<Container>]) -> bool {
        let is_known = |(name, place): (&String, &Attachment)| {
            place.ip().is_none() || self.world.network(name, place).is_some()
        };
        told.iter().any(|it| !it.networks.iter().all(is_known))
    }

    /// The container as it is known, if it is told just so again.
    pub(super) fn recognize(&self, mut told: Container) -> Arc<Container> {
        let Some(known) = self.world.containers.get(&told.id) else { return self.slim(told) };
        carry_over(&mut told, known);
        told.leaving = known.leaving;
        let told = self.slim(told);
        if told == *known { Arc::clone(known) } else { told }
    }

    fn slim(&self, mut told: Container) -> Arc<Container> {
        self.interest.slim(&mut told);
        Arc::new(told)
    }
}

/// What came of an inspection.
#[derive(Debug)]
pub(super) enum Inspection {
    Told(Details),
    Gone,
    Failed,
}

#[cfg(test)]
mod tests;
