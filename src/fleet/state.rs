//! What is known of the fleet at one moment, for the controller and for reports.
//!
//! Pure.

use super::record::{BalancerName, BalancerRecord, DrainId, DrainRecord};
use std::collections::BTreeMap;

/// The fleet as etcd has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetState {
    /// This balancer.
    pub own: BalancerName,
    /// All balancers that are alive, with this one. While etcd is silent, as known last.
    pub members: BTreeMap<BalancerName, FleetMember>,
    /// Balancers whose records are ignored, and why.
    pub ignored: BTreeMap<BalancerName, String>,
    pub drains: BTreeMap<DrainId, DrainRecord>,
    /// Since when etcd does not answer, in seconds since 1970. `None` while it answers.
    pub silent_since: Option<u64>,
    /// Whether another balancer uses the name of this one.
    pub has_rival: bool,
    /// Whether this is from before etcd has answered or failed.
    pub is_initial: bool,
}

/// A balancer that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetMember {
    pub record: BalancerRecord,
    /// Whether it has served something else than most balancers for some seconds.
    pub differs: bool,
}

/// What another balancer still serves of a container that is drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherDrain {
    pub balancer: BalancerName,
    /// Requests, connections and flows; `None` if it has not reported them.
    pub open: Option<u64>,
}

/// What is to be done to a drain in etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainIntent {
    Write(DrainRecord),
    Remove,
}

/// Changes of drains that etcd does not have yet.
pub type DrainIntents = BTreeMap<DrainId, DrainIntent>;

impl FleetState {
    pub fn new(own: BalancerName) -> Self {
        Self {
            own,
            members: BTreeMap::new(),
            ignored: BTreeMap::new(),
            drains: BTreeMap::new(),
            silent_since: None,
            has_rival: false,
            is_initial: true,
        }
    }

    /// Returns the drains as they will be when etcd has all changes.
    pub fn drains_with(&self, intents: &DrainIntents) -> BTreeMap<DrainId, DrainRecord> {
        let mut drains = self.drains.clone();
        for (id, intent) in intents {
            match intent {
                DrainIntent::Write(record) => drop(drains.insert(id.clone(), record.clone())),
                DrainIntent::Remove => drop(drains.remove(id)),
            }
        }
        drains
    }

    /// Returns the other balancers that still serve something of the container, or have not said that they do not. None
    /// if the drain has ended.
    pub fn others_with(&self, id: &DrainId) -> Vec<OtherDrain> {
        if !self.drains.contains_key(id) {
            return Vec::new();
        }
        let others = self.members.iter().filter(|(name, _)| **name != self.own);
        let left = others.map(|(name, member)| OtherDrain {
            balancer: name.clone(),
            open: member.record.drains.get(id).copied(),
        });
        left.filter(|other| other.open != Some(0)).collect()
    }

    /// Whether this balancer removes a drain whose container is gone: the one that wrote it does, or else the first that
    /// is alive.
    pub fn is_responsible_for(&self, drain: &DrainRecord) -> bool {
        let is_alive = self.members.contains_key(&drain.by);
        let remover = if is_alive { Some(&drain.by) } else { self.members.keys().next() };
        remover == Some(&self.own)
    }

    /// Returns the balancers that serve the same as most, and those that do not.
    pub fn split_by_difference(&self) -> (Vec<&BalancerName>, Vec<&BalancerName>) {
        let (apart, same): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|(_, member)| member.differs);
        let names =
            |all: Vec<(_, _)>| all.into_iter().map(|(name, _): (_, &FleetMember)| name).collect();
        (names(same), names(apart))
    }
}
