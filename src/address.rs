//! Which address a container is reached on: the container, the world, and from where HAProxy looks.
//!
//! Pure. Never random: of several the first by name, and IPv4 where a network has both.

#[cfg(test)]
mod tests;

use crate::{
    container::{Attachment, Container, NetworkMode, Published},
    problem::Reason,
    world::{MOST_HOPS, Network, Vantage, World},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// `wanted` is the container's `glue_network`, `preferred` the setting `--network`.
///
/// A container on the host's network has no other, so `preferred` is not asked of it.
pub fn address(
    container: &Container,
    port: u16,
    wanted: Option<&str>,
    preferred: Option<&str>,
    world: &World,
    vantage: &Vantage,
) -> Result<SocketAddr, Reason> {
    let owner = live_owner(container, world)?;
    let ip = match (wanted, preferred, &owner.network_mode, vantage) {
        (Some(network), ..) if !is_the_hosts(owner, network) => on(owner, network),
        (_, _, NetworkMode::Host, vantage) => beside_host(world, vantage),
        (_, Some(network), ..) => on(owner, network),
        (_, _, NetworkMode::None, _) => Err(no_address("give it a network; it has none")),
        (_, _, _, Vantage::Host) => on_a_bridge(owner, world),
        (_, _, _, Vantage::Inside(own)) => match world.containers.get(own) {
            None => Err(unknown_self()),
            Some(own) => beside(owner, own, world),
        },
        (_, _, _, Vantage::Published(ip)) => {
            return published(owner, port, *ip, |_| true);
        }
        (_, _, _, Vantage::Elsewhere { engine, own }) => {
            return published(owner, port, *engine, |it| is_reached(it, own));
        }
    };
    ip.map(|ip| SocketAddr::new(ip, port))
}

/// What the addresses depend on beside the containers themselves, and those whose network they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    networks: BTreeMap<String, Network>,
    vantage: Vantage,
    /// The container that HAProxy is in, and the one whose network that uses.
    own: Vec<Arc<Container>>,
}

impl Ground {
    pub fn new(world: &World, vantage: &Vantage) -> Self {
        let own = match vantage {
            Vantage::Inside(own) => world.containers.get(own),
            Vantage::Host | Vantage::Published(_) | Vantage::Elsewhere { .. } => None,
        };
        let owner = own.and_then(|own| world.containers.get(&owner(own, world)?.id));
        Self {
            networks: world.networks.clone(),
            vantage: vantage.clone(),
            own: own.into_iter().chain(owner).cloned().collect(),
        }
    }
}

/// Whose network it uses, if that is still there: it goes with its owner, and who had joined it does not get the
/// next one, while the engine gives the address away.
fn live_owner<'a>(container: &'a Container, world: &'a World) -> Result<&'a Container, Reason> {
    let Some(owner) = owner(container, world) else {
        return Err(no_address(
            "the container whose network it shares is gone; create that one, then this one again",
        ));
    };
    let is_shared = owner.id != container.id;
    let of = owner.origin();
    if is_shared && !owner.is_up() {
        return Err(no_address(format!(
            "start container {of}, whose network it shares, and then restart this one"
        )));
    }
    let joined = container.started.filter(|time| *time != 0);
    if is_shared && joined.is_some_and(|joined| owner.started.is_some_and(|it| joined < it)) {
        return Err(no_address(format!(
            "restart it: container {of}, whose network it shares, has started after it"
        )));
    }
    Ok(owner)
}

/// Whose network it uses in the end.
fn owner<'a>(container: &'a Container, world: &'a World) -> Option<&'a Container> {
    let mut owner = container;
    for _ in 0..MOST_HOPS {
        if !matches!(owner.network_mode, NetworkMode::Container(_)) {
            return Some(owner);
        }
        owner = world.network_owner(owner)?;
    }
    None
}

fn is_the_hosts(owner: &Container, network: &str) -> bool {
    owner.network_mode == NetworkMode::Host && network == "host"
}

/// On the network that someone named.
fn on(owner: &Container, network: &str) -> Result<IpAddr, Reason> {
    let Some(attachment) = owner.networks.get(network) else {
        let on = owner.networks.keys().cloned().collect();
        return Err(Reason::NotOnNetwork { network: network.to_owned(), on });
    };
    attachment.ip().ok_or_else(|| {
        no_address(format!("it has no address on network {network:?}; name or join another"))
    })
}

/// Seen from the host.
fn on_a_bridge(owner: &Container, world: &World) -> Result<IpAddr, Reason> {
    let ip = first(owner, |name, place| is_bridge(name, place, world));
    ip.ok_or_else(|| no_address("connect it to any bridge network"))
}

fn is_bridge(name: &str, place: &Attachment, world: &World) -> bool {
    name == "bridge" || world.network(name, place).is_some_and(|it| it.driver == "bridge")
}

/// Seen from a container: on what both are.
fn beside(owner: &Container, own: &Container, world: &World) -> Result<IpAddr, Reason> {
    let own = self::owner(own, world).ok_or_else(unknown_self)?;
    if own.network_mode == NetworkMode::Host {
        return on_a_bridge(owner, world);
    }
    first(owner, |name, _| own.networks.contains_key(name)).ok_or_else(|| {
        // `none` is there by name alone.
        let networks = own.networks.keys().map(String::as_str).filter(|name| *name != "none");
        let networks: Vec<_> = networks.collect();
        match networks[..] {
            [] => no_address("HAProxy's own container is on no network; connect both to one"),
            [only] => no_address(format!("connect it to HAProxy's network {only}")),
            _ => no_address(format!(
                "connect it to one of HAProxy's networks: {}",
                networks.join(", ")
            )),
        }
    })
}

/// Where a container on the host's network is.
fn beside_host(world: &World, vantage: &Vantage) -> Result<IpAddr, Reason> {
    let own = match vantage {
        Vantage::Host => return Ok(Ipv4Addr::LOCALHOST.into()),
        Vantage::Published(ip) | Vantage::Elsewhere { engine: ip, .. } => return Ok(*ip),
        Vantage::Inside(own) => world.containers.get(own).ok_or_else(unknown_self)?,
    };
    let own = owner(own, world).ok_or_else(unknown_self)?;
    if own.network_mode == NetworkMode::Host {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    // The gateway of another kind of network is a router of its own.
    let mut bridges = own.networks.iter().filter(|(name, place)| is_bridge(name, place, world));
    bridges.find_map(|(_, network)| network.gateway).ok_or_else(|| {
        no_address("none of HAProxy's networks has a gateway to the host; connect HAProxy to a bridge network")
    })
}

/// As a port that is published. Of several the family of the host's address first, then the lowest.
fn published(
    owner: &Container,
    port: u16,
    host: IpAddr,
    is_reached: impl Fn(IpAddr) -> bool,
) -> Result<SocketAddr, Reason> {
    let rank = |it: &&Published| (it.host_ip.is_ipv4() != host.is_ipv4(), it.host_ip, it.host_port);
    let published: Vec<_> = owner.published.iter().filter(|it| it.container_port == port).collect();
    let found = published.iter().copied().filter(|it| is_reached(it.host_ip)).min_by_key(rank);
    match (found, published.first()) {
        (Some(Published { host_ip, host_port, .. }), _) => {
            Ok(SocketAddr::new(if host_ip.is_unspecified() { host } else { *host_ip }, *host_port))
        }
        (None, Some(Published { host_ip, .. })) => Err(no_address(format!(
            "its port {port} is published on {host_ip} of another machine only; publish it on an address of that \
             machine that others reach, as in -p {port}:{port}"
        ))),
        (None, None) => Err(no_address(format!("publish its port {port}, as in -p {port}:{port}"))),
    }
}

/// Whether a port that another machine publishes there is reached from here. Addresses that mean something else on
/// each machine lead to whoever has them here.
fn is_reached(host_ip: IpAddr, own: &BTreeSet<IpAddr>) -> bool {
    let is_local = match host_ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let ip = host_ip.to_canonical();
    !is_local && !ip.is_loopback() && !ip.is_multicast() && !own.contains(&ip)
}

fn first(owner: &Container, reached: impl Fn(&str, &Attachment) -> bool) -> Option<IpAddr> {
    let mut places = owner.networks.iter().filter(|(name, place)| reached(name, place));
    places.find_map(|(_, place)| place.ip())
}

fn unknown_self() -> Reason {
    no_address("its own container is not known; name a network with --network")
}

fn no_address(way_out: impl Into<String>) -> Reason {
    Reason::NoAddress { way_out: way_out.into() }
}
