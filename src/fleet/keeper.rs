//! Which balancers are alive, and which of them serve something else.
//!
//! Pure: reads keys and changes of etcd, the time is an argument.
//!
//! Balancers get each change at slightly different times, so their hashes differ for moments all the time. What counts is
//! a difference that lasts: a balancer was not in the largest group of equal hashes for five seconds, and its hash, or
//! that of the group, has not changed for as long. Without the second condition, balancers that follow a thousand changes
//! one after the other would differ, although each only is a moment ahead.

use super::{
    record::{BalancerName, BalancerRecord, DrainId, DrainRecord},
    served::ServedHash,
    state::{FleetMember, FleetState},
};
use crate::support::etcd::{KeyEvent, KeyValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long a difference lasts until it is reported.
const LASTING: Duration = Duration::from_secs(5);

/// For how long after its last write a balancer with the name of this one counts. Both write again every 5 s while they
/// know of each other.
const RIVAL_MEMORY: Duration = Duration::from_secs(15);

/// How many balancers are read. A fleet has a few.
const MAX_MEMBERS: usize = 256;

const BALANCERS: &str = "balancers/";
const DRAINS: &str = "drains/";

/// What is known of the fleet.
#[derive(Debug)]
pub struct FleetKeeper {
    own: BalancerName,
    /// With a slash at the end.
    prefix: String,
    members: BTreeMap<BalancerName, Member>,
    ignored: BTreeMap<BalancerName, String>,
    drains: BTreeMap<DrainId, DrainRecord>,
    /// The keys of a list that is being read.
    listed: BTreeSet<FleetKey>,
    /// When another balancer wrote the key of this one.
    rival_at: Option<Instant>,
    /// When the own record is to be written although it has not changed.
    rewrite_at: Option<Instant>,
}

/// A balancer that is alive.
#[derive(Debug)]
struct Member {
    record: BalancerRecord,
    /// When its hash was first seen.
    changed_at: Instant,
    /// Since when its hash is not that of the largest group.
    apart_since: Option<Instant>,
}

/// The largest group of balancers with one hash.
#[derive(Debug, Clone, Copy)]
struct Group {
    served: ServedHash,
    changed_at: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum FleetKey {
    Balancer(BalancerName),
    Drain(DrainId),
}

impl FleetKeeper {
    /// `prefix` ends with a slash.
    pub fn new(own: BalancerName, prefix: &str) -> Self {
        Self {
            own,
            prefix: prefix.to_owned(),
            members: BTreeMap::new(),
            ignored: BTreeMap::new(),
            drains: BTreeMap::new(),
            listed: BTreeSet::new(),
            rival_at: None,
            rewrite_at: None,
        }
    }

    /// Returns the prefixes of the keys of balancers and of drains.
    pub fn prefixes(&self) -> [String; 2] {
        [BALANCERS, DRAINS].map(|folder| format!("{}{folder}", self.prefix))
    }

    /// Returns the key of this balancer.
    pub fn own_key(&self) -> String {
        format!("{}{BALANCERS}{}", self.prefix, self.own)
    }

    pub fn drain_key(&self, id: &DrainId) -> String {
        format!("{}{DRAINS}{id}", self.prefix)
    }

    /// Sets what this balancer serves.
    pub fn set_own(&mut self, record: BalancerRecord, now: Instant) {
        self.insert_member(self.own.clone(), record, now);
        self.update_groups(now);
    }

    /// Sets a drain that was written, before etcd reports it.
    pub fn set_drain(&mut self, id: &DrainId, record: Option<DrainRecord>) {
        match record {
            Some(record) => drop(self.drains.insert(id.clone(), record)),
            None => drop(self.drains.remove(id)),
        }
    }

    pub(crate) fn begin_list(&mut self) {
        self.listed.clear();
    }

    pub(crate) fn on_listed(&mut self, kv: &KeyValue, now: Instant) {
        let Some(key) = self.parse_key(&kv.key) else { return };
        let is_own = matches!(&key, FleetKey::Balancer(name) if *name == self.own);
        if !is_own {
            self.read_value(&key, &kv.value, now);
        }
        self.listed.insert(key);
    }

    /// Ends a list of all keys: those that it did not have are gone.
    pub(crate) fn end_list(&mut self, now: Instant) {
        let Self { own, members, ignored, drains, listed, .. } = self;
        let is_listed = |name: &BalancerName| listed.contains(&FleetKey::Balancer(name.clone()));
        members.retain(|name, _| name == own || is_listed(name));
        ignored.retain(|name, _| is_listed(name));
        drains.retain(|id, _| listed.contains(&FleetKey::Drain(id.clone())));
        if !is_listed(own) {
            self.rewrite_at = Some(now);
        }
        self.update_groups(now);
    }

    /// Handles changes. `lease` is that of this balancer.
    pub(crate) fn on_events(&mut self, events: &[KeyEvent], lease: i64, now: Instant) {
        for event in events {
            self.on_event(event, lease, now);
        }
        self.update_groups(now);
    }

    fn on_event(&mut self, event: &KeyEvent, lease: i64, now: Instant) {
        let (key, kv) = match event {
            KeyEvent::Put(kv) => (&kv.key, Some(kv)),
            KeyEvent::Delete { key, .. } => (key, None),
        };
        let Some(key) = self.parse_key(key) else { return };
        match (key, kv) {
            (FleetKey::Balancer(name), kv) if name == self.own => match kv {
                Some(kv) if kv.lease == lease => {}
                Some(_) => {
                    self.rival_at = Some(now);
                    self.rewrite_at = Some(now + LASTING);
                }
                None => self.rewrite_at = Some(now),
            },
            (key, Some(kv)) => self.read_value(&key, &kv.value, now),
            (FleetKey::Balancer(name), None) => {
                self.members.remove(&name);
                self.ignored.remove(&name);
            }
            (FleetKey::Drain(id), None) => drop(self.drains.remove(&id)),
        }
    }

    fn parse_key(&self, key: &[u8]) -> Option<FleetKey> {
        let key = std::str::from_utf8(key).ok()?.strip_prefix(self.prefix.as_str())?;
        match key.strip_prefix(BALANCERS) {
            Some(name) => name.parse().ok().map(FleetKey::Balancer),
            None => key.strip_prefix(DRAINS)?.parse().ok().map(FleetKey::Drain),
        }
    }

    fn read_value(&mut self, key: &FleetKey, value: &[u8], now: Instant) {
        match key {
            FleetKey::Balancer(name) => match BalancerRecord::parse(value) {
                Ok(record) => {
                    self.ignored.remove(name);
                    self.insert_member(name.clone(), record, now);
                }
                Err(error) => {
                    self.members.remove(name);
                    if self.ignored.len() < MAX_MEMBERS {
                        self.ignored.insert(name.clone(), error.to_string());
                    }
                }
            },
            FleetKey::Drain(id) => match DrainRecord::parse(value) {
                Ok(record) => drop(self.drains.insert(id.clone(), record)),
                // A drain that cannot be read is none.
                Err(_) => drop(self.drains.remove(id)),
            },
        }
    }

    fn insert_member(&mut self, name: BalancerName, record: BalancerRecord, now: Instant) {
        let is_full = MAX_MEMBERS <= self.members.len() && !self.members.contains_key(&name);
        if is_full && name != self.own {
            return;
        }
        let before = self.members.get(&name);
        let is_same = before.is_some_and(|before| before.record.served == record.served);
        let changed_at = before.filter(|_| is_same).map_or(now, |before| before.changed_at);
        let apart_since = before.and_then(|before| before.apart_since);
        self.members.insert(name, Member { record, changed_at, apart_since });
    }

    /// Returns the largest group; of equal ones, that of the first balancer.
    fn largest_group(&self) -> Option<Group> {
        let mut groups: BTreeMap<ServedHash, (usize, Instant)> = BTreeMap::new();
        for member in self.members.values() {
            let group = groups.entry(member.record.served).or_insert((0, member.changed_at));
            *group = (group.0 + 1, group.1.max(member.changed_at));
        }
        let most = groups.values().map(|(count, _)| *count).max()?;
        let is_largest = |member: &&Member| groups[&member.record.served].0 == most;
        let served = self.members.values().find(is_largest)?.record.served;
        Some(Group { served, changed_at: groups[&served].1 })
    }

    fn update_groups(&mut self, now: Instant) {
        let Some(largest) = self.largest_group() else { return };
        for member in self.members.values_mut() {
            if member.record.served == largest.served {
                member.apart_since = None;
            } else {
                member.apart_since.get_or_insert(now);
            }
        }
    }

    /// Returns when something changes without an event.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let largest = self.largest_group();
        let members = self.members.values();
        let told = members.filter_map(|member| member.differs_at(largest?));
        let rival = self.rival_at.map(|at| at + RIVAL_MEMORY);
        told.chain(rival).filter(|at| now < *at).chain(self.rewrite_at).min()
    }

    /// Returns whether the own record is to be written although it has not changed.
    pub fn take_rewrite(&mut self, now: Instant) -> bool {
        self.rewrite_at.take_if(|at| *at <= now).is_some()
    }

    /// Returns what is known. Nothing differs while etcd is silent: what the others serve is not known then.
    pub fn state(&self, silent_since: Option<u64>, now: Instant) -> FleetState {
        let largest = self.largest_group();
        let differs = |member: &Member| {
            let at = largest.and_then(|largest| member.differs_at(largest));
            silent_since.is_none() && at.is_some_and(|at| at <= now)
        };
        let state = |(name, member): (&BalancerName, &Member)| {
            let differs = differs(member);
            (name.clone(), FleetMember { record: member.record.clone(), differs })
        };
        FleetState {
            own: self.own.clone(),
            members: self.members.iter().map(state).collect(),
            ignored: self.ignored.clone(),
            drains: self.drains.clone(),
            silent_since,
            has_rival: self.rival_at.is_some_and(|at| now < at + RIVAL_MEMORY),
            is_initial: false,
        }
    }
}

impl Member {
    /// Returns when its difference lasts, if neither hash changes until then.
    fn differs_at(&self, largest: Group) -> Option<Instant> {
        let still = self.changed_at.min(largest.changed_at);
        self.apart_since.map(|since| since.max(still) + LASTING)
    }
}

#[cfg(test)]
mod tests;
