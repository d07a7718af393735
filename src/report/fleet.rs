//! The balancers of a fleet: the JSON of `GET /fleet`.
//!
//! Pure. Times are seconds since 1970.

use crate::fleet::{BalancerRecord, FleetState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The fleet as this balancer knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStatus {
    /// The name of this balancer.
    pub name: String,
    pub at: u64,
    /// Since when etcd does not answer; absent while it answers. The balancers are those that were known last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<u64>,
    /// Those that are alive, by name.
    pub balancers: Vec<FleetMemberStatus>,
    /// Containers to which no balancer sends new requests, by id.
    pub drains: Vec<FleetDrainStatus>,
    /// Balancers whose records cannot be read, by name.
    pub ignored: Vec<IgnoredBalancer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMemberStatus {
    pub name: String,
    /// The version of docker-balancer.
    pub version: String,
    /// A hash of the routes, which is equal on balancers that serve the same.
    pub served: String,
    /// When `served` changed last.
    pub since: u64,
    /// Whether it has served other routes than most balancers for some seconds.
    pub differs: bool,
    /// The number of its last change, in its own history.
    pub generation: u64,
    pub rollback: bool,
    /// Without hints.
    pub problems: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetDrainStatus {
    /// The short id of the container, with the source if that has a name.
    pub id: String,
    /// The balancer whose operator requested it.
    pub by: String,
    pub since: u64,
    /// What is still open on each balancer that has reported it: requests, connections and flows.
    pub open: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredBalancer {
    pub name: String,
    pub why: String,
}

/// What of a fleet is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetCounts {
    /// Those that are alive, with this one.
    pub balancers: usize,
    /// Whether any has served other routes than most for some seconds.
    pub differs: bool,
}

impl FleetStatus {
    /// `at` is the time now.
    pub fn from_state(state: &FleetState, at: u64) -> Self {
        let member = |(name, member): (_, &crate::fleet::FleetMember)| {
            let BalancerRecord { version, served, generation, rollback, problems, since, .. } =
                &member.record;
            FleetMemberStatus {
                name: ToString::to_string(name),
                version: version.clone(),
                served: served.to_string(),
                since: *since,
                differs: member.differs,
                generation: *generation,
                rollback: *rollback,
                problems: *problems,
            }
        };
        let members = || state.members.iter();
        let drains = state.drains.iter().map(|(id, record)| FleetDrainStatus {
            id: id.to_string(),
            by: record.by.to_string(),
            since: record.since,
            open: members()
                .filter_map(|(name, member)| {
                    Some((name.to_string(), *member.record.drains.get(id)?))
                })
                .collect(),
        });
        let ignored = state
            .ignored
            .iter()
            .map(|(name, why)| IgnoredBalancer { name: name.to_string(), why: why.clone() });
        Self {
            name: state.own.to_string(),
            at,
            silent_since: state.silent_since,
            balancers: members().map(member).collect(),
            drains: drains.collect(),
            ignored: ignored.collect(),
        }
    }
}

impl FleetCounts {
    pub fn from_state(state: &FleetState) -> Self {
        Self {
            balancers: state.members.len(),
            differs: state.members.values().any(|member| member.differs),
        }
    }
}
