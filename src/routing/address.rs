//! Selects the address by which HAProxy reaches a container, from the container, the world, and where HAProxy runs.
//!
//! Pure. Never random: of several networks the first by name, and IPv4 if a network has both.

#[cfg(test)]
mod tests;

use crate::model::{
    container::{Container, ContainerPort, NetworkEndpoint, NetworkMode, PublishedPort, Transport},
    problem::{AddressFence, Reason},
    source_name::SourceName,
    world::{MAX_NETWORK_HOPS, Networks, Vantage, World},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Returns the address of a port. `required` is the container's `glue_network`, `preferred` the setting `--network`.
///
/// A container on the host's network has no other, so `preferred` does not apply to it.
pub fn resolve_address(
    container: &Container,
    (transport, port): ContainerPort,
    required: Option<&str>,
    preferred: Option<&str>,
    world: &World,
    vantage: &Vantage,
) -> Result<SocketAddr, Reason> {
    let owner = running_network_owner(container, world)?;
    let ip = match (required, preferred, &owner.network_mode, vantage) {
        (Some(network), ..) if !is_host_network(owner, network) => network_ip(owner, network),
        (_, _, NetworkMode::Host, vantage) => host_network_ip(owner, world, vantage),
        (_, Some(network), ..) => network_ip(owner, network),
        (_, _, NetworkMode::None, _) => Err(address_error("connect it to a network; it has none")),
        (_, _, _, Vantage::Host) => bridge_ip(owner, world),
        (_, _, _, Vantage::Inside(own)) => match world.containers.get(own) {
            None => Err(own_container_error()),
            Some(own) => shared_network_ip(owner, own, world),
        },
        (_, _, _, Vantage::Published(ip)) => {
            return published_address(owner, (transport, port), *ip, |_| true);
        }
        (_, _, _, Vantage::Remote { engine, own_addresses: own }) => {
            let is_reached = |address| is_reachable(address, own);
            let host = owner.host.unwrap_or(*engine);
            let address = published_address(owner, (transport, port), host, is_reached)?;
            check_machine(owner, address.ip(), own)?;
            return Ok(address);
        }
        (_, _, _, Vantage::Swarm { own_addresses, is_manager_here }) => {
            let Some(ip) = overlay_ip(owner, own_addresses, world) else {
                let vantage = (own_addresses, *is_manager_here);
                return node_address(owner, (transport, port), vantage, world);
            };
            Ok(ip)
        }
    };
    let ip = ip?;
    if let Vantage::Remote { engine, own_addresses } = vantage
        && ip != *engine
        && !is_reachable(ip, own_addresses)
    {
        return Err(Reason::AddressRefused { address: ip, fence: AddressFence::OfThisMachine });
    }
    if let Vantage::Remote { own_addresses, .. } = vantage {
        check_machine(owner, ip, own_addresses)?;
    }
    let is_named = !container.id.source().is_none();
    if is_named && owner.network_mode != NetworkMode::Host && is_of_no_container(ip) {
        return Err(address_error(format!(
            "the engine says that its address is {ip}, which no container has; inspect the container"
        )));
    }
    Ok(SocketAddr::new(ip, port))
}

/// Refuses the address of a machine that names none, or one of HAProxy's machine.
fn check_machine(owner: &Container, ip: IpAddr, own: &BTreeSet<IpAddr>) -> Result<(), Reason> {
    if owner.host == Some(ip) && !is_remote_address(ip, own) {
        return Err(Reason::AddressRefused { address: ip, fence: AddressFence::OfThisMachine });
    }
    if ip.is_unspecified() {
        return Err(address_error(
            "its machine names no address that may be used; set addresses= of the publisher there, \
             to addresses that allow_addresses= of the source contains, and that are not of this \
             machine",
        ));
    }
    Ok(())
}

/// Whether an address that another machine names as its own may be one: it is neither of this machine, nor does it mean
/// something else on each machine.
pub fn is_remote_address(ip: IpAddr, own: &BTreeSet<IpAddr>) -> bool {
    is_reachable(ip, own) && !is_of_no_container(ip)
}

/// Whether connections to the address stay on HAProxy's machine, or go to many machines. What one of several engines
/// says is input: another machine must not direct requests to programs on this one.
fn is_of_no_container(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_broadcast
}

/// Inputs of address selection other than the containers themselves and the owners of the networks that they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkContext {
    networks: Networks,
    vantage: Vantage,
    /// HAProxy's own container, and the owner of the network that it uses.
    own_containers: Vec<Arc<Container>>,
}

impl NetworkContext {
    /// Returns those for the containers of a source.
    pub fn new(world: &World, source: &SourceName, vantage: &Vantage) -> Self {
        let own = match vantage {
            Vantage::Inside(own) => world.containers.get(own),
            Vantage::Host
            | Vantage::Published(_)
            | Vantage::Remote { .. }
            | Vantage::Swarm { .. } => None,
        };
        let owner = own.and_then(|own| world.containers.get(&final_network_owner(own, world)?.id));
        Self {
            networks: world.networks.get(source).cloned().unwrap_or_default(),
            vantage: vantage.clone(),
            own_containers: own.into_iter().chain(owner).cloned().collect(),
        }
    }
}

/// Returns the container whose network this one uses, if that network still exists. A network ends when its owner
/// stops. A container that joined it does not join the owner's next one, while the engine may assign the address to
/// another container.
fn running_network_owner<'a>(
    container: &'a Container,
    world: &'a World,
) -> Result<&'a Container, Reason> {
    let Some(owner) = final_network_owner(container, world) else {
        return Err(address_error(
            "the container whose network it shares no longer exists; create that container, then \
             this one again",
        ));
    };
    let is_shared = owner.id != container.id;
    let of = owner.to_ref();
    if is_shared && !owner.is_up() {
        return Err(address_error(format!(
            "start container {of}, whose network it shares, then restart this container"
        )));
    }
    let joined = container.started.filter(|time| *time != 0);
    if is_shared && joined.is_some_and(|joined| owner.started.is_some_and(|n| joined < n)) {
        return Err(address_error(format!(
            "restart this container: container {of}, whose network it shares, was started after it"
        )));
    }
    Ok(owner)
}

/// Returns the container at the end of the chain of shared networks.
fn final_network_owner<'a>(container: &'a Container, world: &'a World) -> Option<&'a Container> {
    let mut owner = container;
    for _ in 0..MAX_NETWORK_HOPS {
        if !matches!(owner.network_mode, NetworkMode::Container(_)) {
            return Some(owner);
        }
        owner = world.network_owner(owner)?;
    }
    None
}

fn is_host_network(owner: &Container, network: &str) -> bool {
    owner.network_mode == NetworkMode::Host && network == "host"
}

/// Returns the address on the named network.
fn network_ip(owner: &Container, network: &str) -> Result<IpAddr, Reason> {
    let Some(endpoint) = owner.networks.get(network) else {
        let on = owner.networks.keys().cloned().collect();
        return Err(Reason::NotOnNetwork { network: network.to_owned(), on });
    };
    endpoint.ip().ok_or_else(|| {
        address_error(format!(
            "it has no address on network {network:?}; set another network, or connect it to one"
        ))
    })
}

/// Returns the address for an HAProxy on the host.
fn bridge_ip(owner: &Container, world: &World) -> Result<IpAddr, Reason> {
    let ip = first_ip(owner, |name, endpoint| is_bridge(owner, (name, endpoint), world));
    ip.ok_or_else(|| address_error("connect it to any bridge network"))
}

fn is_bridge(
    container: &Container,
    (name, endpoint): (&str, &NetworkEndpoint),
    world: &World,
) -> bool {
    let network = || world.find_network(container.id.source(), name, endpoint);
    name == "bridge" || network().is_some_and(|network| network.driver == "bridge")
}

/// Returns the address for an HAProxy in a container: on a network that both share.
fn shared_network_ip(owner: &Container, own: &Container, world: &World) -> Result<IpAddr, Reason> {
    let own = self::final_network_owner(own, world).ok_or_else(own_container_error)?;
    if own.network_mode == NetworkMode::Host {
        return bridge_ip(owner, world);
    }
    first_ip(owner, |name, _| own.networks.contains_key(name)).ok_or_else(|| {
        // `none` is not a real network; it has only an entry by name.
        let networks = own.networks.keys().map(String::as_str).filter(|name| *name != "none");
        let networks: Vec<_> = networks.collect();
        match networks[..] {
            [] => address_error(
                "HAProxy's own container is not connected to any network; connect both containers \
                 to one",
            ),
            [only] => address_error(format!("connect it to HAProxy's network {only}")),
            _ => address_error(format!(
                "connect it to one of HAProxy's networks: {}",
                networks.join(", ")
            )),
        }
    })
}

/// Returns the address on the first overlay network that HAProxy's own container is on. Never on that of the routing
/// mesh, which containers leave before they stop.
fn overlay_ip(owner: &Container, own: &BTreeSet<IpAddr>, world: &World) -> Option<IpAddr> {
    let networks = world.networks.get(owner.id.source())?;
    let is_shared = |name: &str| {
        networks.get(name).is_some_and(|network| {
            network.driver == "overlay" && own.iter().any(|ip| network.contains_ip(*ip))
        })
    };
    first_ip(owner, |name, _| is_shared(name))
}

/// Returns the address of a port that a container of a Swarm publishes on its node. The manager says where that is:
/// other addresses than those of a machine are refused.
fn node_address(
    owner: &Container,
    port: ContainerPort,
    (own, is_manager_here): (&BTreeSet<IpAddr>, bool),
    world: &World,
) -> Result<SocketAddr, Reason> {
    let (transport, number) = port;
    let is_same = |published: &&PublishedPort| {
        (published.transport, published.container_port) == (transport, number)
    };
    let Some(published) = owner.published.iter().find(is_same) else {
        return Err(address_error(unpublished_hint(owner, port, own, world)));
    };
    let ip = published.host_ip;
    let is_allowed = is_manager_here && ip.is_loopback();
    if is_of_no_container(ip) && !is_allowed {
        let node = owner.node.as_deref().unwrap_or("?");
        return Err(address_error(format!(
            "the manager says that node {node} has the address {ip}; join it to the Swarm with \
             --advertise-addr"
        )));
    }
    Ok(SocketAddr::new(ip, published.host_port))
}

/// Returns how a service that HAProxy does not reach can be reached.
fn unpublished_hint(
    owner: &Container,
    (transport, port): ContainerPort,
    own: &BTreeSet<IpAddr>,
    world: &World,
) -> String {
    let suffix = if transport == Transport::Udp { ",protocol=udp" } else { "" };
    let publish =
        format!("publish the port on its node: --publish mode=host,target={port}{suffix}");
    let networks = world.networks.get(owner.id.source()).into_iter().flatten();
    let shared: Vec<_> = networks
        .filter(|(_, network)| {
            network.driver == "overlay" && own.iter().any(|ip| network.contains_ip(*ip))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    match shared[..] {
        [] => format!(
            "{publish}, or run docker-balancer in a container on an overlay network of the service"
        ),
        _ => format!("add its service to HAProxy's network {}, or {publish}", shared.join(" or ")),
    }
}

/// Returns the address of a container on the host's network.
fn host_network_ip(owner: &Container, world: &World, vantage: &Vantage) -> Result<IpAddr, Reason> {
    let own = match vantage {
        Vantage::Host => return Ok(Ipv4Addr::LOCALHOST.into()),
        Vantage::Published(ip) => return Ok(*ip),
        Vantage::Remote { engine, .. } => return Ok(owner.host.unwrap_or(*engine)),
        Vantage::Swarm { .. } => {
            let node = owner.networks.get("host").and_then(NetworkEndpoint::ip);
            return node
                .ok_or_else(|| address_error("the manager does not know its node's address"));
        }
        Vantage::Inside(own) => world.containers.get(own).ok_or_else(own_container_error)?,
    };
    let own = final_network_owner(own, world).ok_or_else(own_container_error)?;
    if own.network_mode == NetworkMode::Host {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    // The gateway of another kind of network is a router, not the host.
    let mut bridges =
        own.networks.iter().filter(|(name, endpoint)| is_bridge(own, (name, endpoint), world));
    bridges.find_map(|(_, network)| network.gateway).ok_or_else(|| {
        address_error(
            "none of HAProxy's networks has a gateway to the host; connect HAProxy's container to \
             a bridge network",
        )
    })
}

/// Returns the address of a published port. Of several, one of the host address's family comes first, then the lowest.
fn published_address(
    owner: &Container,
    (transport, port): ContainerPort,
    host: IpAddr,
    is_reached: impl Fn(IpAddr) -> bool,
) -> Result<SocketAddr, Reason> {
    let rank = |port: &&PublishedPort| {
        (port.host_ip.is_ipv4() != host.is_ipv4(), port.host_ip, port.host_port)
    };
    let published: Vec<_> = owner
        .published
        .iter()
        .filter(|published| (published.transport, published.container_port) == (transport, port))
        .collect();
    let found = published.iter().copied().filter(|port| is_reached(port.host_ip)).min_by_key(rank);
    let suffix = if transport == Transport::Udp { "/udp" } else { "" };
    match (found, published.first()) {
        (Some(PublishedPort { host_ip, host_port, .. }), _) => {
            Ok(SocketAddr::new(if host_ip.is_unspecified() { host } else { *host_ip }, *host_port))
        }
        (None, Some(PublishedPort { host_ip, .. })) => Err(address_error(format!(
            "its port {port} is published only on {host_ip} of another machine; publish it on an \
             address that HAProxy can reach, as in -p {port}:{port}{suffix}"
        ))),
        (None, None) => {
            Err(address_error(format!("publish its port {port}, as in -p {port}:{port}{suffix}")))
        }
    }
}

/// Whether a port that another machine publishes on this address can be reached from here. An address that has a
/// different meaning on each machine, such as loopback, would lead to HAProxy's own machine.
fn is_reachable(host_ip: IpAddr, own: &BTreeSet<IpAddr>) -> bool {
    let is_local = match host_ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let ip = host_ip.to_canonical();
    !is_local && !ip.is_loopback() && !ip.is_multicast() && !own.contains(&ip)
}

fn first_ip(owner: &Container, matches: impl Fn(&str, &NetworkEndpoint) -> bool) -> Option<IpAddr> {
    let mut endpoints = owner.networks.iter().filter(|(name, endpoint)| matches(name, endpoint));
    endpoints.find_map(|(_, endpoint)| endpoint.ip())
}

fn own_container_error() -> Reason {
    address_error("docker-balancer does not know its own container; set a network with --network")
}

fn address_error(hint: impl Into<String>) -> Reason {
    Reason::NoAddress { hint: hint.into() }
}
