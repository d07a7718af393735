//! Address selection for each combination of HAProxy's place and the container's networks.

use super::resolve_address;
use crate::model::{
    container::{
        Container, ContainerId, ContainerState, Health, NetworkEndpoint, NetworkMode,
        PublishedPort, Transport,
    },
    source_name::SourceName,
    world::{Network, Networks, Vantage, World},
};
use std::{collections::BTreeMap, net::IpAddr, slice::from_ref, sync::Arc};

const HOST: Vantage = Vantage::Host;

/// Resolves port 80 of the first container; the others, including `haproxy`, complete the world.
fn check(containers: &[Container], vantage: &Vantage, expected: &str) {
    check_named(containers, vantage, None, None, expected);
}

fn check_named(
    containers: &[Container],
    vantage: &Vantage,
    required: Option<&str>,
    preferred: Option<&str>,
    expected: &str,
) {
    let first = containers[0].id.clone();
    let containers =
        containers.iter().map(|container| (container.id.clone(), Arc::new(container.clone())));
    let drivers =
        [("a-macvlan", "macvlan"), ("host", "host"), ("none", "null"), ("over", "overlay")]
            .into_iter()
            .chain(["back", "front", "six"].map(|bridge| (bridge, "bridge")));
    let bare = |driver: &str| Network { driver: driver.into(), subnets: Vec::new() };
    let networks = drivers.map(|(name, driver)| (name.into(), bare(driver)));
    let mut networks: Networks = networks.collect();
    for (name, driver, subnet) in [
        ("bridge", "bridge", "10.88.0.0/16"),
        ("b-macvlan", "macvlan", "10.90.0.0/16"),
        ("net", "overlay", "10.60.0.0/24"),
        ("mesh", "ingress", "10.61.0.0/24"),
        ("other", "overlay", "10.62.0.0/24"),
    ] {
        let subnets = vec![subnet.parse().unwrap()];
        networks.insert(name.into(), Network { driver: driver.into(), subnets });
    }
    let networks = [(SourceName::NONE, networks)].into();
    let world = World { containers: containers.collect(), networks, ..World::default() };
    let web = &world.containers[&first];
    let actual =
        match resolve_address(web, (Transport::Tcp, 80), required, preferred, &world, vantage) {
            Ok(address) => address.to_string(),
            Err(reason) => reason.to_string(),
        };
    assert_eq!(actual, expected, "{:?} {vantage:?}", web.networks);
}

fn inside_haproxy() -> Vantage {
    Vantage::Inside(ContainerId::new("haproxy"))
}

fn published_on(ip: &str) -> Vantage {
    Vantage::Published(ip.parse().unwrap())
}

/// Networks as `name=address`, optionally with `/gateway`; several addresses with one name belong to one network.
fn container_on(id: &str, mode: NetworkMode, networks: &str) -> Container {
    let mut endpoints: BTreeMap<String, NetworkEndpoint> = BTreeMap::new();
    for network in networks.split_whitespace() {
        let (name, address) = network.split_once('=').unwrap_or((network, ""));
        let (ip, gateway) = address.split_once('/').unwrap_or((address, ""));
        let attachment = endpoints.entry(name.into()).or_default();
        match ip.parse() {
            Ok(IpAddr::V4(ip)) => attachment.ipv4 = Some(ip),
            Ok(IpAddr::V6(ip)) => attachment.ipv6 = Some(ip),
            Err(_) => {}
        }
        attachment.gateway = gateway.parse().ok().or(attachment.gateway);
    }
    Container {
        id: ContainerId::new(id),
        name: id.into(),
        image: String::new(),
        created: 0,
        state: ContainerState::Running,
        health: Health::Unchecked,
        labels: std::sync::Arc::default(),
        environment: BTreeMap::new(),
        network_mode: mode,
        networks: endpoints.into(),
        exposed: [80].into(),
        published: Vec::new(),
        stop_config: None,
        stopping: false,
        started: None,
        image_id: None,
        label_fault: None,
        node: None,
        host: None,
        is_lost: false,
    }
}

fn web_on(networks: &str) -> Container {
    container_on("web", NetworkMode::Own, networks)
}

fn haproxy_on(networks: &str) -> Container {
    container_on("haproxy", NetworkMode::Own, networks)
}

fn network_of(id: &str) -> NetworkMode {
    NetworkMode::Container(ContainerId::new(id))
}

/// `host_ip host_port container_port`
fn web_publishing(published: &[(&str, u16, u16)]) -> Container {
    let published = published.iter().map(|&(host_ip, host_port, container_port)| PublishedPort {
        transport: Transport::Tcp,
        container_port,
        host_port,
        host_ip: host_ip.parse().unwrap(),
    });
    Container { published: published.collect(), ..web_on("front=10.1.0.2") }
}

#[test]
fn haproxy_on_host_uses_first_bridge_network_by_name() {
    check(&[web_on("front=10.1.0.2 back=10.2.0.2")], &HOST, "10.2.0.2:80");
    check(&[web_on("a-macvlan=10.9.0.2 over=10.8.0.2 front=10.1.0.2")], &HOST, "10.1.0.2:80");
    check(&[web_on("bridge=172.17.0.2")], &HOST, "172.17.0.2:80");
    check(&[web_on("back front=10.1.0.2")], &HOST, "10.1.0.2:80");
    // Podman lists its default network as `bridge`, but its containers call it `podman`.
    check(&[web_on("podman=10.88.0.2")], &HOST, "10.88.0.2:80");
    let out = "HAProxy cannot reach the container; connect it to any bridge network";
    for networks in [
        "",
        "a-macvlan=10.9.0.2 over=10.8.0.2",
        "a-macvlan=10.88.0.2",
        "unheard-of=10.7.0.2",
        "unheard-of=10.90.0.2",
        "unheard-of",
        "front",
    ] {
        check(&[web_on(networks)], &HOST, out);
    }
}

#[test]
fn haproxy_in_container_uses_shared_network() {
    check(
        &[web_on("front=10.1.0.2 back=10.2.0.2"), haproxy_on("front=10.1.0.9")],
        &inside_haproxy(),
        "10.1.0.2:80",
    );
    check(
        &[web_on("over=10.8.0.2 six=fd00::2"), haproxy_on("six over")],
        &inside_haproxy(),
        "10.8.0.2:80",
    );
    check(
        &[web_on("back=10.2.0.2"), haproxy_on("over front")],
        &inside_haproxy(),
        "HAProxy cannot reach the container; connect it to one of HAProxy's networks: front, over",
    );
    check(
        &[web_on("back=10.2.0.2"), haproxy_on("front")],
        &inside_haproxy(),
        "HAProxy cannot reach the container; connect it to HAProxy's network front",
    );
    check(
        &[web_on("back=10.2.0.2"), haproxy_on("")],
        &inside_haproxy(),
        "HAProxy cannot reach the container; HAProxy's own container is not connected to any \
         network; connect both containers to one",
    );
    check(
        &[web_on("back=10.2.0.2"), container_on("haproxy", NetworkMode::None, "none")],
        &inside_haproxy(),
        "HAProxy cannot reach the container; HAProxy's own container is not connected to any \
         network; connect both containers to one",
    );
    check(
        &[web_on("back=10.2.0.2")],
        &inside_haproxy(),
        "HAProxy cannot reach the container; docker-balancer does not know its own container; set \
         a network with --network",
    );
}

#[test]
fn haproxy_sharing_other_network_uses_that_network() {
    let sidecar = [
        web_on("front=10.1.0.2 back=10.2.0.2"),
        container_on("haproxy", network_of("vpn"), ""),
        container_on("vpn", NetworkMode::Own, "front=10.1.0.7"),
    ];
    check(&sidecar, &inside_haproxy(), "10.1.0.2:80");
    let on_host = container_on("haproxy", NetworkMode::Host, "host");
    check(&[web_on("front=10.1.0.2"), on_host.clone()], &inside_haproxy(), "10.1.0.2:80");
    check(
        &[container_on("web", NetworkMode::Host, "host"), on_host],
        &inside_haproxy(),
        "127.0.0.1:80",
    );
}

#[test]
fn address_that_no_container_has_is_not_used() {
    for ip in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"] {
        let web = web_on(&format!("bridge={ip}"));
        check(from_ref(&web), &HOST, &format!("{ip}:80"));
        let id = ContainerId::in_source("node2".parse().unwrap(), "web");
        check(
            &[Container { id, ..web }],
            &HOST,
            &format!(
                "HAProxy cannot reach the container; the engine says that its address is {ip}, which no \
                 container has; inspect the container"
            ),
        );
    }
}

#[test]
fn published_vantage_uses_published_port() {
    let check = |published: &[(&str, u16, u16)], host: &str, expected: &str| {
        check(&[web_publishing(published)], &published_on(host), expected);
    };
    check(&[("0.0.0.0", 8080, 80)], "192.0.2.1", "192.0.2.1:8080");
    check(&[("127.0.0.1", 8080, 80)], "127.0.0.1", "127.0.0.1:8080");
    check(&[("127.0.0.1", 8080, 80)], "192.0.2.1", "127.0.0.1:8080");
    check(&[("192.0.2.7", 8080, 80)], "192.0.2.1", "192.0.2.7:8080");
    check(&[("::", 8081, 80), ("0.0.0.0", 8080, 80)], "192.0.2.1", "192.0.2.1:8080");
    check(&[("::", 8081, 80), ("0.0.0.0", 8080, 80)], "2001:db8::1", "[2001:db8::1]:8081");
    check(&[("0.0.0.0", 8082, 80), ("0.0.0.0", 8080, 80)], "192.0.2.1", "192.0.2.1:8080");
    let out = "HAProxy cannot reach the container; publish its port 80, as in -p 80:80";
    check(&[], "192.0.2.1", out);
    check(&[("0.0.0.0", 80, 8080)], "192.0.2.1", out);
}

#[test]
fn remote_engine_uses_externally_published_port() {
    let own = ["10.0.0.5", "172.17.0.1", "fd00::5"].map(|ip| ip.parse().unwrap());
    let vantage = |engine: &str| Vantage::Remote {
        engine: engine.parse().unwrap(),
        own_addresses: own.into_iter().collect(),
    };
    let check = |published: &[(&str, u16, u16)], expected: &str| {
        let actual = if expected.contains("only") {
            format!(
                "HAProxy cannot reach the container; its port 80 is published only on {} of \
                 another machine; publish it on an address that HAProxy can reach, as in -p 80:80",
                expected.trim_end_matches(" only")
            )
        } else {
            expected.to_owned()
        };
        self::check(&[web_publishing(published)], &vantage("192.0.2.1"), &actual);
    };
    check(&[("0.0.0.0", 8080, 80)], "192.0.2.1:8080");
    check(&[("::", 8080, 80)], "192.0.2.1:8080");
    check(&[("192.0.2.1", 8080, 80)], "192.0.2.1:8080");
    check(&[("192.0.2.7", 8080, 80)], "192.0.2.7:8080");
    check(&[("10.0.0.6", 8080, 80)], "10.0.0.6:8080");
    check(&[("127.0.0.1", 8081, 80), ("192.0.2.7", 8080, 80)], "192.0.2.7:8080");
    for local in [
        "127.0.0.1",
        "127.0.0.53",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "10.0.0.5",
        "172.17.0.1",
        "fd00::5",
        "::ffff:10.0.0.5",
    ] {
        let shown: IpAddr = local.parse().unwrap();
        check(&[(local, 8080, 80)], &format!("{shown} only"));
    }
    check(&[], "HAProxy cannot reach the container; publish its port 80, as in -p 80:80");
    // A bridge network of another machine may use the same addresses as the one here.
    self::check(
        &[web_on("bridge=172.17.0.2")],
        &vantage("192.0.2.1"),
        "HAProxy cannot reach the container; publish its port 80, as in -p 80:80",
    );
    let on_host = container_on("web", NetworkMode::Host, "host");
    self::check(&[on_host], &vantage("192.0.2.1"), "192.0.2.1:80");
}

/// Each container of a registry names its own machine.
#[test]
fn container_of_a_registry_is_reached_at_its_machine() {
    let own = ["10.0.0.5".parse().unwrap()].into();
    let vantage = Vantage::Remote { engine: "0.0.0.0".parse().unwrap(), own_addresses: own };
    let published = web_publishing(&[("0.0.0.0", 8080, 80)]);
    let on_host = container_on("web", NetworkMode::Host, "host");
    let own_machine = "the address 10.0.0.5, which another \
                       machine names, is of this machine, or has another meaning on each; if the \
                       containers are of this machine, give its own engine as a source";
    for (host, expected_port, expected_host) in [
        (Some("192.0.2.7"), "192.0.2.7:8080", "192.0.2.7:80"),
        (Some("10.0.0.5"), own_machine, own_machine),
        (None, NO_ADDRESS, NO_ADDRESS),
    ] {
        let host = host.map(|host| host.parse().unwrap());
        check(&[Container { host, ..published.clone() }], &vantage, expected_port);
        check(&[Container { host, ..on_host.clone() }], &vantage, expected_host);
    }
}

/// What is said of a machine that names no address.
const NO_ADDRESS: &str = "HAProxy cannot reach the container; its machine names no address that may \
                          be used; set addresses= of the publisher there, to addresses that \
                          allow_addresses= of the source contains, and that are not of this machine";

#[test]
fn container_on_host_network_has_host_address() {
    let web = container_on("web", NetworkMode::Host, "host");
    check(from_ref(&web), &HOST, "127.0.0.1:80");
    check(from_ref(&web), &published_on("192.0.2.1"), "192.0.2.1:80");
    let gateways = "a-macvlan=10.9.0.9/10.9.0.1 front=10.1.0.9/10.1.0.1 over=10.8.0.9/10.8.0.1";
    check(&[web.clone(), haproxy_on(gateways)], &inside_haproxy(), "10.1.0.1:80");
    check(
        &[web.clone(), haproxy_on("a-macvlan=10.9.0.9/10.9.0.1")],
        &inside_haproxy(),
        "HAProxy cannot reach the container; none of HAProxy's networks has a gateway to the host; \
         connect HAProxy's container to a bridge network",
    );
    check_named(from_ref(&web), &HOST, None, Some("front"), "127.0.0.1:80");
    check_named(from_ref(&web), &HOST, Some("host"), None, "127.0.0.1:80");
    let on_host = "the container is not connected to network \"front\", only to host; connect it, \
                   or set another network";
    check_named(&[web], &HOST, Some("front"), None, on_host);
}

#[test]
fn container_without_network_has_no_address() {
    let web = container_on("web", NetworkMode::None, "none");
    for vantage in [HOST, inside_haproxy(), published_on("192.0.2.1")] {
        check(
            &[web.clone(), haproxy_on("none front")],
            &vantage,
            "HAProxy cannot reach the container; connect it to a network; it has none",
        );
    }
}

#[test]
fn container_sharing_network_has_owner_address() {
    let web = container_on("web", network_of("vpn"), "");
    let vpn = container_on("vpn", NetworkMode::Own, "front=10.1.0.7");
    check(&[web.clone(), vpn.clone()], &HOST, "10.1.0.7:80");
    check(&[web.clone(), vpn.clone(), haproxy_on("front")], &inside_haproxy(), "10.1.0.7:80");
    check_named(&[web.clone(), vpn], &HOST, Some("front"), None, "10.1.0.7:80");
    check(&[web.clone(), container_on("vpn", NetworkMode::Host, "")], &HOST, "127.0.0.1:80");
    let beside_haproxy =
        [container_on("web", network_of("haproxy"), ""), haproxy_on("front=10.1.0.9")];
    check(&beside_haproxy, &inside_haproxy(), "10.1.0.9:80");
    let chain = [
        web.clone(),
        container_on("vpn", network_of("far"), ""),
        container_on("far", NetworkMode::Own, "front=10.1.0.8"),
    ];
    check(&chain, &HOST, "10.1.0.8:80");
    let out = "HAProxy cannot reach the container; the container whose network it shares no longer \
               exists; create that container, then this one again";
    check(from_ref(&web), &HOST, out);
    check(&[web, container_on("vpn", network_of("web"), "")], &HOST, out);
}

#[test]
fn shared_network_with_stopped_or_restarted_owner_is_refused() {
    let web = Container { started: Some(5), ..container_on("web", network_of("vpn"), "") };
    let vpn = container_on("vpn", NetworkMode::Own, "front=10.1.0.7");
    let here = "10.1.0.7:80";
    let down = "HAProxy cannot reach the container; start container vpn (vpn), whose network it \
                shares, then restart this container";
    let later = "HAProxy cannot reach the container; restart this container: container vpn (vpn), \
                 whose network it shares, was started after it";
    for (state, started, expected) in [
        (ContainerState::Running, Some(4), here),
        (ContainerState::Running, Some(5), here),
        (ContainerState::Paused, Some(4), here),
        (ContainerState::Running, Some(6), later),
        (ContainerState::Running, None, here),
        (ContainerState::Running, Some(0), here),
        (ContainerState::Exited, Some(4), down),
        (ContainerState::Restarting, Some(6), down),
        (ContainerState::Created, None, down),
        (ContainerState::Removing, None, down),
        (ContainerState::Dead, None, down),
    ] {
        let vpn = Container { started, state, ..vpn.clone() };
        check(&[web.clone(), vpn.clone()], &HOST, expected);
        check(&[web.clone(), vpn.clone(), haproxy_on("front")], &inside_haproxy(), expected);
        let on_host = Container { network_mode: NetworkMode::Host, ..vpn };
        let expected = if expected == here { "127.0.0.1:80" } else { expected };
        check(&[web.clone(), on_host], &HOST, expected);
    }
    for unknown in [None, Some(0)] {
        let web = Container { started: unknown, ..web.clone() };
        check(&[web, Container { started: Some(6), ..vpn.clone() }], &HOST, here);
    }
    // A container in the middle of the chain may stop: the network that it joined continues to exist.
    let far = Container { id: ContainerId::new("far"), name: "far".into(), ..vpn };
    let middle =
        Container { state: ContainerState::Exited, ..container_on("vpn", network_of("far"), "") };
    check(&[web, middle, far], &HOST, here);
}

#[test]
fn named_network_is_preferred_over_all_others() {
    let two = [web_on("front=10.1.0.2 over=10.8.0.2"), haproxy_on("front")];
    for vantage in [HOST, inside_haproxy(), published_on("192.0.2.1")] {
        check_named(&two, &vantage, Some("over"), Some("front"), "10.8.0.2:80");
        check_named(&two, &vantage, None, Some("over"), "10.8.0.2:80");
        let not_there = "the container is not connected to network \"back\", only to front, over; \
                         connect it, or set another network";
        check_named(&two, &vantage, Some("back"), Some("front"), not_there);
        check_named(&two, &vantage, None, Some("back"), not_there);
    }
    check_named(
        &[web_on("")],
        &HOST,
        Some("back"),
        None,
        "the container is not connected to any network, so not to \"back\"",
    );
    check_named(
        &[web_on("front=10.1.0.2 back")],
        &HOST,
        Some("back"),
        None,
        "HAProxy cannot reach the container; it has no address on network \"back\"; set another \
         network, or connect it to one",
    );
}

#[test]
fn network_without_ipv4_uses_ipv6() {
    check(&[web_on("six=fd00::2 six=10.6.0.2")], &HOST, "10.6.0.2:80");
    check(&[web_on("six=fd00::2")], &HOST, "[fd00::2]:80");
    check(&[web_on("six=fd00::2"), haproxy_on("six")], &inside_haproxy(), "[fd00::2]:80");
    check_named(&[web_on("six=fd00::2")], &HOST, Some("six"), None, "[fd00::2]:80");
}

/// HAProxy outside of the Swarm, or in a container with this address.
fn on_swarm(own: &str) -> Vantage {
    let own_addresses = own.split_whitespace().map(|ip| ip.parse().unwrap()).collect();
    Vantage::Swarm { own_addresses, is_manager_here: false }
}

/// A task that publishes `host_ip host_port` for its port 80 on its node.
fn task_on(networks: &str, published: &[(&str, u16, u16)]) -> Container {
    let published = web_publishing(published).published;
    Container { published, node: Some("node1".into()), ..web_on(networks) }
}

#[test]
fn task_of_a_swarm_is_reached_on_a_shared_overlay_or_at_its_node() {
    let port = [("192.0.2.1", 32768, 80)];
    for (networks, own, ports, expected) in [
        ("net=10.60.0.5", "10.60.0.9", &[][..], "10.60.0.5:80"),
        ("net=10.60.0.5", "10.60.0.9", &port, "10.60.0.5:80"),
        ("mesh=10.61.0.5 net=10.60.0.5", "10.61.0.9 10.60.0.9", &[], "10.60.0.5:80"),
        ("net=10.60.0.5", "", &port, "192.0.2.1:32768"),
        ("net=10.60.0.5", "172.17.0.2", &port, "192.0.2.1:32768"),
        ("mesh=10.61.0.5", "10.61.0.9", &port, "192.0.2.1:32768"),
        ("", "", &port, "192.0.2.1:32768"),
        // A bridge has the same addresses on each node.
        ("bridge=10.88.0.5", "10.88.0.9", &port, "192.0.2.1:32768"),
    ] {
        check(&[task_on(networks, ports)], &on_swarm(own), expected);
    }
}

#[test]
fn task_that_is_not_reached_is_told_both_ways() {
    let no = "HAProxy cannot reach the container; ";
    let publish = "publish the port on its node: --publish mode=host,target=80";
    let elsewhere = ", or run docker-balancer in a container on an overlay network of the service";
    for (networks, own, expected) in [
        ("other=10.62.0.5", "", format!("{no}{publish}{elsewhere}")),
        ("", "10.61.0.9", format!("{no}{publish}{elsewhere}")),
        (
            "other=10.62.0.5",
            "10.60.0.9",
            format!("{no}add its service to HAProxy's network net, or {publish}"),
        ),
    ] {
        check(&[task_on(networks, &[])], &on_swarm(own), &expected);
    }
}

#[test]
fn address_of_a_node_that_is_none_is_refused() {
    for ip in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "::1"] {
        let expected = format!(
            "HAProxy cannot reach the container; the manager says that node node1 has the address \
             {ip}; join it to the Swarm with --advertise-addr"
        );
        check(&[task_on("", &[(ip, 8080, 80)])], &on_swarm(""), &expected);
    }
    let here = Vantage::Swarm { own_addresses: [].into(), is_manager_here: true };
    check(&[task_on("", &[("127.0.0.1", 8080, 80)])], &here, "127.0.0.1:8080");
}

#[test]
fn task_on_the_host_network_is_reached_at_its_node() {
    let task = |networks| container_on("web", NetworkMode::Host, networks);
    check(&[task("host=192.0.2.1")], &on_swarm(""), "192.0.2.1:80");
    let unknown =
        "HAProxy cannot reach the container; the manager does not know its node's address";
    check(&[task("host")], &on_swarm(""), unknown);
}
