//! All containers known now, and the networks between them.
//!
//! Pure: a value that is replaced whole; sharing it costs a pointer.

use crate::{
    container::{Container, ContainerId, NetworkMode},
    side_by_side::differences,
};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    pub containers: BTreeMap<ContainerId, Arc<Container>>,
    /// By name. Tells which networks a program on the host reaches.
    pub networks: BTreeMap<String, Network>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// `bridge`, `overlay`, `macvlan`, …
    pub driver: String,
}

/// Where HAProxy stands when it looks at the containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vantage {
    /// On the machine of the engine: bridge networks are reached.
    Host,
    /// In a container: the networks that both share are reached.
    Inside(ContainerId),
    /// Elsewhere (another machine, rootless or desktop engines): only published ports are reached.
    Published(std::net::IpAddr),
}

impl World {
    /// Whether all that is different are containers that are up in neither: created ones, say. Nothing that is served
    /// depends on these.
    pub fn differs_in_idle_ones_only(&self, other: &Self) -> bool {
        let is_idle = |it: Option<&Arc<Container>>| it.is_none_or(|it| !it.is_up());
        let mut differences = differences(&self.containers, &other.containers).peekable();
        self.networks == other.networks
            && differences.peek().is_some()
            && differences.all(|(_, one, other)| is_idle(one) && is_idle(other))
    }

    /// The container whose networks this one uses: itself, but for `network_mode: container:<other>`.
    pub fn network_owner<'a>(&'a self, container: &'a Container) -> Option<&'a Container> {
        match &container.network_mode {
            NetworkMode::Container(other) => self.containers.get(other).map(AsRef::as_ref),
            _ => Some(container),
        }
    }
}
