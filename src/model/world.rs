//! The snapshot of all containers and networks.
//!
//! Pure: a value that is replaced as a whole; sharing it costs a pointer.

use crate::{
    model::{
        container::{Container, ContainerId, NetworkEndpoint},
        source_name::SourceName,
    },
    support::map_diff::diff_maps,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Docker allows `container:<other>` for a container that itself uses `container:`, but no cycle.
pub const MAX_NETWORK_HOPS: usize = 8;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// The networks of each source. Shows which networks a program on the source's host can reach.
    pub networks: BTreeMap<SourceName, Networks>,
    /// The machines of each registry.
    pub nodes: BTreeMap<SourceName, Arc<NodeReport>>,
}

/// What is known of the machines of a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// How many show signs of life.
    pub up: usize,
    /// Those that do not, and since when, in seconds since 1970.
    pub lost: BTreeMap<Arc<str>, u64>,
    /// Whether so many are lost at once that none of them is forgotten.
    pub keeps_lost: bool,
    /// Records that are not used. At most a few; `more_faults` is the number of the others.
    pub faults: Vec<RecordFault>,
    pub more_faults: usize,
}

/// A record of a registry that is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordFault {
    /// The record's key, without the prefix of the registry.
    pub key: String,
    pub why: String,
}

/// Networks of one source by name.
pub type Networks = BTreeMap<String, Network>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// `bridge`, `overlay`, `macvlan`, …; `ingress` for the overlay network of the routing mesh.
    pub driver: String,
    pub subnets: Vec<IpNet>,
}

impl Network {
    /// Whether one of its subnets contains the address.
    pub fn contains_ip(&self, ip: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&ip))
    }
}

/// From where HAProxy reaches the containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Vantage {
    /// HAProxy runs on the engine's machine and can reach bridge networks.
    Host,
    /// HAProxy runs in this container and can reach the networks that both containers share.
    Inside(ContainerId),
    /// HAProxy runs on the engine's machine but cannot reach its networks (rootless or desktop engines), only published
    /// ports.
    Published(IpAddr),
    /// HAProxy runs on another machine and can reach ports that are published on external addresses.
    Remote {
        engine: IpAddr,
        /// Addresses of HAProxy's own machine: connections to these stay on it.
        own_addresses: BTreeSet<IpAddr>,
    },
    /// The containers run on the nodes of a Swarm. HAProxy can reach overlay networks of which its own container has an
    /// address, and ports that are published on the nodes (`mode=host`).
    Swarm {
        /// Addresses of HAProxy's own container. Empty if it runs in none, or in one on its host's network: a program
        /// on a node cannot reach overlay networks, not even addresses of the same node.
        own_addresses: BTreeSet<IpAddr>,
        /// Whether HAProxy runs on the manager's machine and in no container, so that loopback addresses are there.
        is_manager_here: bool,
    },
}

impl World {
    /// Returns the network of this name that a container of the source is on. Podman lists its default network under another name
    /// than its containers use; there the container's address identifies the network.
    pub fn find_network(
        &self,
        source: &SourceName,
        name: &str,
        endpoint: &NetworkEndpoint,
    ) -> Option<&Network> {
        let networks = self.networks.get(source)?;
        let by_address = || {
            let ip = endpoint.ip()?;
            networks.values().find(|network| network.contains_ip(ip))
        };
        networks.get(name).or_else(by_address)
    }

    /// Whether only containers differ that are not up in either world and whose network no other container shares, such
    /// as created ones. Neither routes nor problems depend on these.
    pub fn only_idle_containers_changed(&self, other: &Self) -> bool {
        let is_idle = |container: Option<&Arc<Container>>| {
            container.is_none_or(|container| !container.makes_claims())
        };
        let mut ids = BTreeSet::new();
        for (id, one, other) in diff_maps(&self.containers, &other.containers) {
            if !is_idle(one) || !is_idle(other) {
                return false;
            }
            ids.insert(id);
        }
        let is_shared = || {
            let owners =
                self.containers.values().filter_map(|container| container.network_owner_id());
            owners.into_iter().any(|owner| ids.contains(owner))
        };
        !ids.is_empty()
            && self.networks == other.networks
            && self.nodes == other.nodes
            && !is_shared()
    }

    /// The container whose networks this one uses: itself, unless it has `network_mode: container:<other>`.
    pub fn network_owner<'a>(&'a self, container: &'a Container) -> Option<&'a Container> {
        match container.network_owner_id() {
            Some(other) => self.containers.get(other).map(AsRef::as_ref),
            None => Some(container),
        }
    }
}
