//! What is known of the nodes of a registry and of their containers.
//!
//! Pure: keys, times and the end of a list are arguments.
//!
//! ```text
//!              alive: up                    alive is gone                 `forget` is over
//!  Joining ───────────────▶ Up ◀──────────────────────────▶ Lost ───────────────────────────▶ (removed)
//!                            │ alive: left        alive: up             unless too many are lost
//!                            ▼
//!                           Left: its containers are served no more
//! ```
//!
//! A node is lost if its sign of life is gone without a word: its machine has failed, or it cannot reach etcd, or etcd was
//! rebuilt empty. Its containers are kept from memory, because HAProxy's checks know better who is alive. A key that is
//! deleted while its node is up is a container that is gone.

use super::record::{AliveRecord, NodeState, RecordError, RecordKey, ServedRecord};
use crate::{
    model::{
        container::{Container, ContainerId},
        source_name::SourceName,
        world::{NodeReport, RecordFault, World},
    },
    routing::address::is_remote_address,
    sources::EventCause,
    support::etcd::{KeyEvent, KeyValue, StoreState},
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// How many faulty records are named; of the others, only the number is reported.
const MAX_FAULTS: usize = 8;

/// What a keeper works with.
#[derive(Debug, Clone)]
pub(crate) struct KeeperSettings {
    pub(crate) source: SourceName,
    /// With a slash at the end: `/docker-glue/`.
    pub(crate) prefix: String,
    /// How long the containers of a lost node are kept; `None` is forever.
    pub(crate) forget: Option<Duration>,
    /// Networks of the addresses that nodes may name; all if there is none.
    pub(crate) allowed_addresses: Vec<IpNet>,
    /// Addresses of this machine, which no node may name.
    pub(crate) own_addresses: BTreeSet<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct Keeper {
    settings: KeeperSettings,
    nodes: BTreeMap<Arc<str>, Node>,
    /// The nodes that have a container, sorted. Several have it only if their machines are copies.
    holders: BTreeMap<ContainerId, Vec<Arc<str>>>,
    /// The containers that several nodes have.
    doubles: BTreeSet<ContainerId>,
    /// Records that are not used, by key.
    faults: BTreeMap<String, RecordError>,
    /// The state of etcd that is known; `None` before the first complete list.
    position: Option<StoreState>,
    /// Counts the lists.
    list: u64,
    /// Nodes with changes since the last comparison began.
    touched: BTreeSet<Arc<str>>,
    /// Containers that may differ from the last changes that were taken.
    changed: BTreeSet<ContainerId>,
    /// The report that was taken last.
    report: Option<Arc<NodeReport>>,
    cause: Option<EventCause>,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeeperChanges {
    /// `None`: the container is not served any more.
    pub(crate) containers: Vec<(ContainerId, Option<Arc<Container>>)>,
    pub(crate) report: Arc<NodeReport>,
    pub(crate) cause: Option<EventCause>,
}

/// The time of a change, by a clock that only counts and by that of people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    /// In seconds since 1970.
    pub(crate) unix_time: u64,
}

#[derive(Debug)]
struct Node {
    alive: Option<Alive>,
    presence: Presence,
    containers: BTreeMap<ContainerId, Entry>,
}

#[derive(Debug)]
struct Alive {
    record: AliveRecord,
    revision: i64,
    list: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It has shown no sign of life yet.
    Joining,
    Up,
    Left,
    Lost {
        since: Instant,
        /// In seconds since 1970.
        unix_time: u64,
    },
}

#[derive(Debug)]
struct Entry {
    container: Arc<Container>,
    /// The revision of its last change; `None` if etcd does not have it.
    revision: Option<i64>,
    /// The last list that had it.
    list: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self { alive: None, presence: Presence::Joining, containers: BTreeMap::new() }
    }
}

impl Keeper {
    /// Creates a keeper that knows the containers of an earlier run. Their nodes are lost until etcd has them.
    pub(crate) fn new(settings: KeeperSettings, stored: Option<&World>, now: Moment) -> Self {
        let mut keeper = Self {
            settings,
            nodes: BTreeMap::new(),
            holders: BTreeMap::new(),
            doubles: BTreeSet::new(),
            faults: BTreeMap::new(),
            position: None,
            list: 0,
            touched: BTreeSet::new(),
            changed: BTreeSet::new(),
            report: None,
            cause: None,
        };
        for container in stored.into_iter().flat_map(|world| world.containers.values()) {
            let Some(node) = &container.node else { continue };
            let since = Presence::Lost { since: now.instant, unix_time: now.unix_time };
            let entry = Node { presence: since, ..Node::default() };
            let entry = keeper.nodes.entry(Arc::clone(node)).or_insert(entry);
            let container = Arc::new(Container { is_lost: false, ..Container::clone(container) });
            let id = container.id.clone();
            entry.containers.insert(id.clone(), Entry { container, revision: None, list: 0 });
            keeper.hold(id, &Arc::clone(node));
        }
        keeper
    }

    /// Returns the revision after which changes have to be read; `None` if all keys have to be read, because this state
    /// of etcd is not a later one of what is known.
    pub(crate) fn resume_after(&self, state: StoreState) -> Option<i64> {
        let is_later = |known: &StoreState| {
            known.cluster_id == state.cluster_id && known.revision <= state.revision
        };
        self.position.filter(is_later).map(|known| known.revision)
    }

    /// Begins a list of all keys of a cluster.
    pub(crate) fn begin_list(&mut self, cluster_id: u64) {
        self.list += 1;
        if self.position.is_none_or(|known| known.cluster_id == cluster_id) {
            return;
        }
        // Another cluster counts revisions of its own.
        self.position = None;
        for node in self.nodes.values_mut() {
            node.alive.iter_mut().for_each(|alive| alive.revision = 0);
            node.containers.values_mut().for_each(|entry| entry.revision = None);
        }
    }

    /// Takes a key of the list.
    pub(crate) fn on_listed(&mut self, kv: &KeyValue) {
        self.put(kv);
    }

    /// Ends a list. What it did not have is not in etcd.
    pub(crate) fn end_list(&mut self, state: StoreState, now: Moment) {
        let list = self.list;
        for node in self.nodes.values_mut() {
            node.alive.take_if(|alive| alive.list != list);
            let gone = node.containers.values_mut().filter(|entry| entry.list != list);
            gone.for_each(|entry| entry.revision = None);
        }
        self.position = Some(state);
        self.touched.clear();
        let nodes: Vec<_> = self.nodes.keys().cloned().collect();
        for node in &nodes {
            self.settle(node, now);
        }
        self.cause = None;
    }

    /// Takes the changes of one message of a watch, which has all of a revision.
    pub(crate) fn on_events(&mut self, state: StoreState, events: &[KeyEvent], now: Moment) {
        let mut nodes = BTreeSet::new();
        for event in events {
            let node = match event {
                KeyEvent::Put(kv) => self.put(kv),
                KeyEvent::Delete { key, revision } => self.delete(key, *revision),
            };
            nodes.extend(node);
        }
        for node in &nodes {
            self.settle(node, now);
        }
        if let Some(cause) = self.cause.as_mut().filter(|_| !nodes.is_empty()) {
            cause.received_at.get_or_insert(now.instant);
        }
        self.touched.extend(nodes);
        if let Some(position) = &mut self.position {
            position.revision = position.revision.max(state.revision);
        }
    }

    /// Begins a comparison with the keys of etcd.
    pub(crate) fn begin_comparison(&mut self) {
        self.touched.clear();
    }

    /// Whether etcd has other keys than those that its watch reported. Nodes that have changed since the comparison began
    /// are not compared.
    pub(crate) fn differs_from(&self, listed: &BTreeMap<Vec<u8>, i64>) -> bool {
        let keys = listed.iter().filter_map(|(key, revision)| {
            let key = self.parse_key(key)?;
            (!self.touched.contains(key.node())).then_some((key, *revision))
        });
        let mut count = 0;
        for (key, revision) in keys {
            if self.revision_of(&key) != Some(revision) && !self.is_faulty(&key) {
                return true;
            }
            count += usize::from(!self.is_faulty(&key));
        }
        let untouched = self.nodes.iter().filter(|(node, _)| !self.touched.contains(*node));
        let known = untouched.map(|(_, node)| {
            let entries = node.containers.values().filter(|entry| entry.revision.is_some());
            entries.count() + usize::from(node.alive.is_some())
        });
        known.sum::<usize>() != count
    }

    /// Removes the nodes that have been lost for too long, unless many are lost.
    pub(crate) fn forget_lost(&mut self, now: Instant) {
        let Some(forget) = self.settings.forget.filter(|_| !self.holds_lost()) else { return };
        let is_over = |node: &Node| match node.presence {
            Presence::Lost { since, .. } => since + forget <= now,
            Presence::Joining | Presence::Up | Presence::Left => false,
        };
        let over = self.nodes.iter().filter(|(_, node)| is_over(node));
        let over: Vec<_> = over.map(|(name, _)| Arc::clone(name)).collect();
        for name in over {
            self.set_cause("forget", &name);
            let Some(mut node) = self.nodes.remove(&name) else { continue };
            let gone = std::mem::take(&mut node.containers);
            for id in gone.keys() {
                self.release(id, &name);
            }
        }
    }

    /// Returns when [`Self::forget_lost`] has something to do.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let forget = self.settings.forget.filter(|_| !self.holds_lost())?;
        self.nodes.values().filter_map(|node| Some(node.lost_since()? + forget)).min()
    }

    /// Returns what changed since the last call; `None` if nothing did, or no list was complete yet.
    pub(crate) fn take_changes(&mut self) -> Option<KeeperChanges> {
        self.position?;
        let report = self.report();
        let is_reported = self.report.as_deref() == Some(&report);
        if self.changed.is_empty() && is_reported {
            return None;
        }
        let report = match self.report.take().filter(|_| is_reported) {
            Some(report) => report,
            None => Arc::new(report),
        };
        self.report = Some(Arc::clone(&report));
        let changed = std::mem::take(&mut self.changed).into_iter();
        let containers = changed.map(|id| (id.clone(), self.served(&id))).collect();
        Some(KeeperChanges { containers, report, cause: self.cause.take() })
    }

    /// Returns the report of the last changes that were taken; `None` if there were none yet.
    pub(crate) fn last_report(&self) -> Option<Arc<NodeReport>> {
        self.report.clone()
    }

    /// Returns all containers that are to be served, for a reader that has none yet.
    pub(crate) fn all_served(&self) -> BTreeMap<ContainerId, Arc<Container>> {
        let ids = self.holders.keys();
        ids.filter_map(|id| Some((id.clone(), self.served(id)?))).collect()
    }

    /// Returns the container as it is to be served.
    fn served(&self, id: &ContainerId) -> Option<Arc<Container>> {
        let node = self.nodes.get(self.holders.get(id)?.first()?)?;
        let container = &node.containers.get(id)?.container;
        match node.presence {
            Presence::Joining | Presence::Left => None,
            Presence::Up => Some(Arc::clone(container)),
            Presence::Lost { .. } => {
                let container = Container { is_lost: true, ..Container::clone(container) };
                Some(Arc::new(container))
            }
        }
    }

    fn report(&self) -> NodeReport {
        let lost = self.nodes.iter().filter_map(|(name, node)| match node.presence {
            Presence::Lost { unix_time, .. } => Some((Arc::clone(name), unix_time)),
            Presence::Joining | Presence::Up | Presence::Left => None,
        });
        let doubles = self.doubles.iter().filter_map(|id| Some((id, self.holders.get(id)?)));
        let doubles = doubles.map(|(id, nodes)| RecordFault {
            key: format!("{}/served/{}", nodes[1], id.as_str()),
            why: format!("{} has a container of the same id, which is served", nodes[0]),
        });
        let faults = self
            .faults
            .iter()
            .map(|(key, error)| RecordFault { key: key.clone(), why: error.to_string() });
        let mut faults: Vec<_> = faults.chain(doubles).collect();
        let more_faults = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        let up = self.nodes.values().filter(|node| node.presence == Presence::Up).count();
        NodeReport { up, lost: lost.collect(), keeps_lost: self.holds_lost(), faults, more_faults }
    }

    /// Whether so many nodes are lost at once that etcd or the network is to blame: at least two, and more than a third
    /// of all.
    fn holds_lost(&self) -> bool {
        let lost = self.nodes.values().filter(|node| node.lost_since().is_some()).count();
        let up = self.nodes.values().filter(|node| node.presence == Presence::Up).count();
        2 <= lost && up + lost < 3 * lost
    }

    /// Takes over the text of a key. Returns the node that it belongs to.
    fn put(&mut self, kv: &KeyValue) -> Option<Arc<str>> {
        let key = self.parse_key(&kv.key)?;
        let list = self.list;
        match self.revision_of(&key) {
            Some(revision) if kv.mod_revision < revision => return None,
            Some(revision) if kv.mod_revision == revision => {
                self.mark_listed(&key);
                return None;
            }
            _ => {}
        }
        let name = self.key_name(&kv.key);
        let read = match &key {
            RecordKey::Alive { node } => AliveRecord::parse(&kv.value).map(|record| {
                let entry = self.nodes.entry(Arc::clone(node)).or_default();
                entry.alive = Some(Alive { record, revision: kv.mod_revision, list });
            }),
            RecordKey::Served { node, id } => {
                let container = ServedRecord::parse(&kv.value)
                    .and_then(|record| record.into_container(id.clone(), Arc::clone(node)));
                container.map(|container| self.put_container(node, container, kv.mod_revision))
            }
        };
        match read {
            Ok(()) => drop(self.faults.remove(&name)),
            Err(error) => {
                // What it said before is not true any more.
                self.remove_key(&key);
                self.faults.insert(name, error);
            }
        }
        Some(Arc::clone(key.node()))
    }

    fn put_container(&mut self, node: &Arc<str>, container: Container, revision: i64) {
        let id = container.id.clone();
        let entry = self.nodes.entry(Arc::clone(node)).or_default();
        let before = entry.containers.get(&id).map(|entry| &entry.container);
        let action = match before {
            None => "start",
            Some(before) if container.stopping && !before.stopping => "kill",
            Some(_) => "update",
        };
        let name = container.name.clone();
        let container = Arc::new(container);
        let new = Entry { container, revision: Some(revision), list: self.list };
        entry.containers.insert(id.clone(), new);
        self.set_cause(action, &name);
        self.hold(id, node);
    }

    /// Takes over that a key was deleted. Returns the node that it belonged to.
    fn delete(&mut self, key: &[u8], revision: i64) -> Option<Arc<str>> {
        let parsed = self.parse_key(key)?;
        let name = self.key_name(key);
        self.faults.remove(&name);
        if self.revision_of(&parsed).is_none_or(|known| revision < known) {
            return None;
        }
        self.remove_key(&parsed);
        Some(Arc::clone(parsed.node()))
    }

    fn remove_key(&mut self, key: &RecordKey) {
        let Some(node) = self.nodes.get_mut(key.node()) else { return };
        match key {
            RecordKey::Alive { .. } => node.alive = None,
            RecordKey::Served { id, .. } => {
                if let Some(entry) = node.containers.get_mut(id) {
                    entry.revision = None;
                }
            }
        }
    }

    /// Decides whether a node is up, and what of it is served, after its keys have changed.
    fn settle(&mut self, name: &Arc<str>, now: Moment) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let before = node.presence;
        node.presence = match (node.alive.as_ref().map(|alive| alive.record.state), before) {
            (Some(NodeState::Up), _) => Presence::Up,
            (Some(NodeState::Left), _) => Presence::Left,
            (None, Presence::Up) => Presence::Lost { since: now.instant, unix_time: now.unix_time },
            (None, presence) => presence,
        };
        let host = node.alive.as_ref().map(|alive| self.settings.choose_host(&alive.record));
        let mut gone = Vec::new();
        for (id, entry) in &mut node.containers {
            if let Some(host) = host
                && entry.container.host != host
            {
                Arc::make_mut(&mut entry.container).host = host;
                self.changed.insert(id.clone());
            }
            if entry.revision.is_none() && !matches!(node.presence, Presence::Lost { .. }) {
                gone.push((id.clone(), entry.container.name.clone()));
            }
        }
        for (id, _) in &gone {
            node.containers.remove(id);
        }
        let is_empty = node.containers.is_empty() && node.alive.is_none();
        let (presence, is_lost) = (node.presence, node.lost_since().is_some());
        if presence != before {
            self.changed.extend(node.containers.keys().cloned());
        }
        if is_empty && !is_lost {
            self.nodes.remove(name);
        }
        for (id, container) in &gone {
            self.set_cause("die", container);
            self.release(id, name);
        }
        match (before, presence) {
            (Presence::Up, Presence::Lost { .. }) => self.set_cause("lost", name),
            (Presence::Lost { .. }, Presence::Up) => self.set_cause("found", name),
            _ => {}
        }
    }

    /// Notes that a node has a container.
    fn hold(&mut self, id: ContainerId, node: &Arc<str>) {
        let nodes = self.holders.entry(id.clone()).or_default();
        if let Err(place) = nodes.binary_search(node) {
            nodes.insert(place, Arc::clone(node));
            if 1 < nodes.len() {
                self.doubles.insert(id.clone());
            }
        }
        self.changed.insert(id);
    }

    /// Notes that a node does not have a container any more.
    fn release(&mut self, id: &ContainerId, node: &Arc<str>) {
        if let Some(nodes) = self.holders.get_mut(id) {
            nodes.retain(|one| one != node);
            if nodes.len() < 2 {
                self.doubles.remove(id);
            }
            if nodes.is_empty() {
                self.holders.remove(id);
            }
        }
        self.changed.insert(id.clone());
    }

    /// The first change of several is what the log names.
    fn set_cause(&mut self, action: &str, name: &str) {
        self.cause.get_or_insert_with(|| EventCause {
            action: action.to_owned(),
            name: name.to_owned(),
            time_nano: 0,
            received_at: None,
        });
    }

    fn parse_key(&self, key: &[u8]) -> Option<RecordKey> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(self.settings.prefix.as_str())?;
        RecordKey::parse(key, &self.settings.source)
    }

    /// Returns the key without the prefix of the registry.
    fn key_name(&self, key: &[u8]) -> String {
        let key = String::from_utf8_lossy(key);
        key.strip_prefix(self.settings.prefix.as_str()).unwrap_or(&key).to_owned()
    }

    fn is_faulty(&self, key: &RecordKey) -> bool {
        !self.faults.is_empty() && self.faults.contains_key(&key.to_string())
    }

    fn revision_of(&self, key: &RecordKey) -> Option<i64> {
        let node = self.nodes.get(key.node())?;
        match key {
            RecordKey::Alive { .. } => node.alive.as_ref().map(|alive| alive.revision),
            RecordKey::Served { id, .. } => node.containers.get(id)?.revision,
        }
    }

    fn mark_listed(&mut self, key: &RecordKey) {
        let list = self.list;
        let Some(node) = self.nodes.get_mut(key.node()) else { return };
        match key {
            RecordKey::Alive { .. } => node.alive.iter_mut().for_each(|alive| alive.list = list),
            RecordKey::Served { id, .. } => {
                node.containers.get_mut(id).into_iter().for_each(|entry| entry.list = list);
            }
        }
    }
}

impl Node {
    fn lost_since(&self) -> Option<Instant> {
        match self.presence {
            Presence::Lost { since, .. } => Some(since),
            Presence::Joining | Presence::Up | Presence::Left => None,
        }
    }
}

impl KeeperSettings {
    /// Returns the first address of a node that may be used.
    fn choose_host(&self, record: &AliveRecord) -> Option<IpAddr> {
        let is_allowed = |ip: &IpAddr| {
            is_remote_address(*ip, &self.own_addresses)
                && (self.allowed_addresses.is_empty()
                    || self.allowed_addresses.iter().any(|network| network.contains(ip)))
        };
        record.addresses.iter().map(IpAddr::to_canonical).find(is_allowed)
    }
}

#[cfg(test)]
mod tests;
