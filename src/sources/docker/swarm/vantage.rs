//! From where HAProxy reaches the tasks of a Swarm. No manager is asked: the addresses of this process decide.

use super::super::{
    connect::{EngineHost, EngineSettings},
    swarm::query::manager_settings,
    vantage::{AddressKind, find_container_of_process, read_own_addresses},
};
use crate::model::world::Vantage;
use std::{net::IpAddr, path::Path};

/// The bridges that a host with Docker has, and a container never: with them, this process is on its host's network.
const HOST_BRIDGES: [&str; 2] = ["docker_gwbridge", "docker0"];

/// Returns the vantage of HAProxy, which is assumed to run in the same place as this process.
pub fn find_vantage(settings: &EngineSettings, kind: AddressKind) -> Vantage {
    let has_own_network = find_container_of_process().is_some() && !is_on_host_network();
    let reaches_overlays = has_own_network && kind != AddressKind::Published;
    let own_addresses = if reaches_overlays { read_own_addresses() } else { [].into() };
    Vantage::Swarm {
        own_addresses: own_addresses.into_iter().filter(|ip| !ip.is_loopback()).collect(),
        is_manager_here: !has_own_network && manager_settings(settings).iter().any(is_here),
    }
}

fn is_on_host_network() -> bool {
    HOST_BRIDGES.iter().any(|name| Path::new("/sys/class/net").join(name).exists())
}

fn is_here(manager: &EngineSettings) -> bool {
    match manager.host() {
        Ok(EngineHost::Local) => true,
        Ok(EngineHost::Named(name)) => name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        Ok(EngineHost::SshAlias(_)) | Err(_) => false,
    }
}
