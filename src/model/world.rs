//! All containers known now, and the networks between them.
//!
//! Pure: a value that is replaced whole; sharing it costs a pointer.

use crate::{
    model::container::{Container, ContainerId, NetworkEndpoint},
    support::map_diff::diff_maps,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// Docker lets `container:<other>` name a container that does the same; not in a circle, though.
pub const MAX_NETWORK_HOPS: usize = 8;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// By name. Tells which networks a program on the host reaches.
    pub networks: BTreeMap<String, Network>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// `bridge`, `overlay`, `macvlan`, …
    pub driver: String,
    pub subnets: Vec<IpNet>,
}

impl Network {
    fn contains_ip(&self, ip: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&ip))
    }
}

/// Where HAProxy stands when it looks at the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vantage {
    /// On the machine of the engine: bridge networks are reached.
    Host,
    /// In a container: the networks that both share are reached.
    Inside(ContainerId),
    /// On the machine of the engine, where networks are not reached (rootless or desktop engines): only published ports are.
    Published(IpAddr),
    /// On another machine: ports that are published to others are reached.
    Remote {
        engine: IpAddr,
        /// Of the machine that HAProxy is on: whoever has these is here.
        own_addresses: BTreeSet<IpAddr>,
    },
}

impl World {
    /// The network of this name that a container is on. Podman lists its default one by another name than its containers
    /// have for it: there the address tells which one is meant.
    pub fn find_network(&self, name: &str, endpoint: &NetworkEndpoint) -> Option<&Network> {
        let by_address = || {
            let ip = endpoint.ip()?;
            self.networks.values().find(|network| network.contains_ip(ip))
        };
        self.networks.get(name).or_else(by_address)
    }

    /// Whether all that is different are containers that are up in neither, and whose network nobody shares: created
    /// ones, say. Nothing that is served, or said, depends on these.
    pub fn only_idle_containers_changed(&self, other: &Self) -> bool {
        let is_idle = |container: Option<&Arc<Container>>| {
            container.is_none_or(|container| !container.is_up())
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
        !ids.is_empty() && self.networks == other.networks && !is_shared()
    }

    /// The container whose networks this one uses: itself, but for `network_mode: container:<other>`.
    pub fn network_owner<'a>(&'a self, container: &'a Container) -> Option<&'a Container> {
        match container.network_owner_id() {
            Some(other) => self.containers.get(other).map(AsRef::as_ref),
            None => Some(container),
        }
    }
}
