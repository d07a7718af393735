//! Which address, cell by cell: from where HAProxy looks, and what the container has.

use super::address;
use crate::{
    container::{Attachment, Container, ContainerId, Health, NetworkMode, Published, State},
    world::{Network, Vantage, World},
};
use std::{collections::BTreeMap, net::IpAddr, slice::from_ref, sync::Arc};

const HOST: Vantage = Vantage::Host;

/// Asks for port 80 of the first container; the others, `haproxy` among them, are the world beside it.
fn check(containers: &[Container], vantage: &Vantage, expected: &str) {
    check_named(containers, vantage, None, None, expected);
}

fn check_named(
    containers: &[Container],
    vantage: &Vantage,
    wanted: Option<&str>,
    preferred: Option<&str>,
    expected: &str,
) {
    let containers = containers.iter().map(|it| (it.id.clone(), Arc::new(it.clone())));
    let drivers =
        [("a-macvlan", "macvlan"), ("host", "host"), ("none", "null"), ("over", "overlay")]
            .into_iter()
            .chain(["back", "front", "six"].map(|bridge| (bridge, "bridge")));
    let bare = |driver: &str| Network { driver: driver.into(), subnets: Vec::new() };
    let networks = drivers.map(|(name, driver)| (name.into(), bare(driver)));
    let mut world = World { containers: containers.collect(), networks: networks.collect() };
    for (name, driver, subnet) in
        [("bridge", "bridge", "10.88.0.0/16"), ("b-macvlan", "macvlan", "10.90.0.0/16")]
    {
        let subnets = vec![subnet.parse().unwrap()];
        world.networks.insert(name.into(), Network { driver: driver.into(), subnets });
    }
    let web = &world.containers[&ContainerId::new("web")];
    let said = match address(web, 80, wanted, preferred, &world, vantage) {
        Ok(address) => address.to_string(),
        Err(reason) => reason.to_string(),
    };
    assert_eq!(said, expected, "{:?} {vantage:?}", web.networks);
}

fn inside() -> Vantage {
    Vantage::Inside(ContainerId::new("haproxy"))
}

fn published_on(ip: &str) -> Vantage {
    Vantage::Published(ip.parse().unwrap())
}

/// Networks as `name=address`, with `/gateway` perhaps; several addresses of one are one network's.
fn container(id: &str, mode: NetworkMode, networks: &str) -> Container {
    let mut places: BTreeMap<String, Attachment> = BTreeMap::new();
    for network in networks.split_whitespace() {
        let (name, place) = network.split_once('=').unwrap_or((network, ""));
        let (ip, gateway) = place.split_once('/').unwrap_or((place, ""));
        let attachment = places.entry(name.into()).or_default();
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
        state: State::Running,
        health: Health::Unchecked,
        labels: std::sync::Arc::default(),
        environment: BTreeMap::new(),
        network_mode: mode,
        networks: places.into(),
        exposed: [80].into(),
        published: Vec::new(),
        stop: None,
        leaving: false,
        started: None,
        image_id: None,
        label_fault: None,
    }
}

fn web(networks: &str) -> Container {
    container("web", NetworkMode::Own, networks)
}

fn haproxy(networks: &str) -> Container {
    container("haproxy", NetworkMode::Own, networks)
}

fn of(id: &str) -> NetworkMode {
    NetworkMode::Container(ContainerId::new(id))
}

/// `host_ip host_port container_port`
fn publishing(published: &[(&str, u16, u16)]) -> Container {
    let published = published.iter().map(|&(host_ip, host_port, container_port)| Published {
        container_port,
        host_port,
        host_ip: host_ip.parse().unwrap(),
    });
    Container { published: published.collect(), ..web("front=10.1.0.2") }
}

#[test]
fn the_host_reaches_bridge_networks_the_first_by_name() {
    check(&[web("front=10.1.0.2 back=10.2.0.2")], &HOST, "10.2.0.2:80");
    check(&[web("a-macvlan=10.9.0.2 over=10.8.0.2 front=10.1.0.2")], &HOST, "10.1.0.2:80");
    check(&[web("bridge=172.17.0.2")], &HOST, "172.17.0.2:80");
    check(&[web("back front=10.1.0.2")], &HOST, "10.1.0.2:80");
    // Podman lists its default network as `bridge`, and its containers have it as `podman`.
    check(&[web("podman=10.88.0.2")], &HOST, "10.88.0.2:80");
    let out = "HAProxy cannot reach it; connect it to any bridge network";
    for networks in [
        "",
        "a-macvlan=10.9.0.2 over=10.8.0.2",
        "a-macvlan=10.88.0.2",
        "unheard-of=10.7.0.2",
        "unheard-of=10.90.0.2",
        "unheard-of",
        "front",
    ] {
        check(&[web(networks)], &HOST, out);
    }
}

#[test]
fn a_container_reaches_what_both_are_on() {
    check(
        &[web("front=10.1.0.2 back=10.2.0.2"), haproxy("front=10.1.0.9")],
        &inside(),
        "10.1.0.2:80",
    );
    check(&[web("over=10.8.0.2 six=fd00::2"), haproxy("six over")], &inside(), "10.8.0.2:80");
    check(
        &[web("back=10.2.0.2"), haproxy("over front")],
        &inside(),
        "HAProxy cannot reach it; connect it to one of HAProxy's networks: front, over",
    );
    check(
        &[web("back=10.2.0.2"), haproxy("front")],
        &inside(),
        "HAProxy cannot reach it; connect it to HAProxy's network front",
    );
    check(
        &[web("back=10.2.0.2"), haproxy("")],
        &inside(),
        "HAProxy cannot reach it; HAProxy's own container is on no network; connect both to one",
    );
    check(
        &[web("back=10.2.0.2"), container("haproxy", NetworkMode::None, "none")],
        &inside(),
        "HAProxy cannot reach it; HAProxy's own container is on no network; connect both to one",
    );
    check(
        &[web("back=10.2.0.2")],
        &inside(),
        "HAProxy cannot reach it; its own container is not known; name a network with --network",
    );
}

#[test]
fn haproxys_container_may_use_anothers_network_or_the_hosts() {
    let sidecar = [
        web("front=10.1.0.2 back=10.2.0.2"),
        container("haproxy", of("vpn"), ""),
        container("vpn", NetworkMode::Own, "front=10.1.0.7"),
    ];
    check(&sidecar, &inside(), "10.1.0.2:80");
    let on_host = container("haproxy", NetworkMode::Host, "host");
    check(&[web("front=10.1.0.2"), on_host.clone()], &inside(), "10.1.0.2:80");
    check(&[container("web", NetworkMode::Host, "host"), on_host], &inside(), "127.0.0.1:80");
}

#[test]
fn elsewhere_reaches_published_ports() {
    let check = |published: &[(&str, u16, u16)], host: &str, expected: &str| {
        check(&[publishing(published)], &published_on(host), expected);
    };
    check(&[("0.0.0.0", 8080, 80)], "192.0.2.1", "192.0.2.1:8080");
    check(&[("127.0.0.1", 8080, 80)], "127.0.0.1", "127.0.0.1:8080");
    check(&[("127.0.0.1", 8080, 80)], "192.0.2.1", "127.0.0.1:8080");
    check(&[("192.0.2.7", 8080, 80)], "192.0.2.1", "192.0.2.7:8080");
    check(&[("::", 8081, 80), ("0.0.0.0", 8080, 80)], "192.0.2.1", "192.0.2.1:8080");
    check(&[("::", 8081, 80), ("0.0.0.0", 8080, 80)], "2001:db8::1", "[2001:db8::1]:8081");
    check(&[("0.0.0.0", 8082, 80), ("0.0.0.0", 8080, 80)], "192.0.2.1", "192.0.2.1:8080");
    let out = "HAProxy cannot reach it; publish its port 80, as in -p 80:80";
    check(&[], "192.0.2.1", out);
    check(&[("0.0.0.0", 80, 8080)], "192.0.2.1", out);
}

#[test]
fn engine_elsewhere_is_reached_by_what_it_publishes_to_others() {
    let own = ["10.0.0.5", "172.17.0.1", "fd00::5"].map(|ip| ip.parse().unwrap());
    let vantage = |engine: &str| Vantage::Elsewhere {
        engine: engine.parse().unwrap(),
        own: own.into_iter().collect(),
    };
    let check = |published: &[(&str, u16, u16)], expected: &str| {
        let said = if expected.contains("only") {
            format!(
                "HAProxy cannot reach it; its port 80 is published on {} of another machine only; publish it on an \
                 address of that machine that others reach, as in -p 80:80",
                expected.trim_end_matches(" only")
            )
        } else {
            expected.to_owned()
        };
        self::check(&[publishing(published)], &vantage("192.0.2.1"), &said);
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
    check(&[], "HAProxy cannot reach it; publish its port 80, as in -p 80:80");
    // A bridge of another machine has the addresses of the one here.
    self::check(
        &[web("bridge=172.17.0.2")],
        &vantage("192.0.2.1"),
        "HAProxy cannot reach it; publish its port 80, as in -p 80:80",
    );
    let on_host = container("web", NetworkMode::Host, "host");
    self::check(&[on_host], &vantage("192.0.2.1"), "192.0.2.1:80");
}

#[test]
fn the_hosts_network_is_the_host() {
    let web = container("web", NetworkMode::Host, "host");
    check(from_ref(&web), &HOST, "127.0.0.1:80");
    check(from_ref(&web), &published_on("192.0.2.1"), "192.0.2.1:80");
    let gateways = "a-macvlan=10.9.0.9/10.9.0.1 front=10.1.0.9/10.1.0.1 over=10.8.0.9/10.8.0.1";
    check(&[web.clone(), haproxy(gateways)], &inside(), "10.1.0.1:80");
    check(
        &[web.clone(), haproxy("a-macvlan=10.9.0.9/10.9.0.1")],
        &inside(),
        "HAProxy cannot reach it; none of HAProxy's networks has a gateway to the host; \
         connect HAProxy to a bridge network",
    );
    check_named(from_ref(&web), &HOST, None, Some("front"), "127.0.0.1:80");
    check_named(from_ref(&web), &HOST, Some("host"), None, "127.0.0.1:80");
    let on_host = "the container is not on network \"front\", only on host; \
                   connect it, or name another";
    check_named(&[web], &HOST, Some("front"), None, on_host);
}

#[test]
fn no_network_is_no_address() {
    let web = container("web", NetworkMode::None, "none");
    for vantage in [HOST, inside(), published_on("192.0.2.1")] {
        check(
            &[web.clone(), haproxy("none front")],
            &vantage,
            "HAProxy cannot reach it; give it a network; it has none",
        );
    }
}

#[test]
fn anothers_network_is_the_others_address() {
    let web = container("web", of("vpn"), "");
    let vpn = container("vpn", NetworkMode::Own, "front=10.1.0.7");
    check(&[web.clone(), vpn.clone()], &HOST, "10.1.0.7:80");
    check(&[web.clone(), vpn.clone(), haproxy("front")], &inside(), "10.1.0.7:80");
    check_named(&[web.clone(), vpn], &HOST, Some("front"), None, "10.1.0.7:80");
    check(&[web.clone(), container("vpn", NetworkMode::Host, "")], &HOST, "127.0.0.1:80");
    let beside_haproxy = [container("web", of("haproxy"), ""), haproxy("front=10.1.0.9")];
    check(&beside_haproxy, &inside(), "10.1.0.9:80");
    let chain = [
        web.clone(),
        container("vpn", of("far"), ""),
        container("far", NetworkMode::Own, "front=10.1.0.8"),
    ];
    check(&chain, &HOST, "10.1.0.8:80");
    let out = "HAProxy cannot reach it; the container whose network it shares is gone; create that one, \
               then this one again";
    check(from_ref(&web), &HOST, out);
    check(&[web, container("vpn", of("web"), "")], &HOST, out);
}

#[test]
fn shared_network_goes_with_its_owner() {
    let web = Container { started: Some(5), ..container("web", of("vpn"), "") };
    let vpn = container("vpn", NetworkMode::Own, "front=10.1.0.7");
    let here = "10.1.0.7:80";
    let down = "HAProxy cannot reach it; start container vpn (vpn), whose network it shares, and then restart \
                this one";
    let later = "HAProxy cannot reach it; restart it: container vpn (vpn), whose network it shares, has started \
                 after it";
    for (state, started, expected) in [
        (State::Running, Some(4), here),
        (State::Running, Some(5), here),
        (State::Paused, Some(4), here),
        (State::Running, Some(6), later),
        (State::Running, None, here),
        (State::Running, Some(0), here),
        (State::Exited, Some(4), down),
        (State::Restarting, Some(6), down),
        (State::Created, None, down),
        (State::Removing, None, down),
        (State::Dead, None, down),
    ] {
        let vpn = Container { started, state, ..vpn.clone() };
        check(&[web.clone(), vpn.clone()], &HOST, expected);
        check(&[web.clone(), vpn.clone(), haproxy("front")], &inside(), expected);
        let on_host = Container { network_mode: NetworkMode::Host, ..vpn };
        let expected = if expected == here { "127.0.0.1:80" } else { expected };
        check(&[web.clone(), on_host], &HOST, expected);
    }
    for unknown in [None, Some(0)] {
        let web = Container { started: unknown, ..web.clone() };
        check(&[web, Container { started: Some(6), ..vpn.clone() }], &HOST, here);
    }
    // One in between may end: what it had joined goes on.
    let far = Container { id: ContainerId::new("far"), name: "far".into(), ..vpn };
    let middle = Container { state: State::Exited, ..container("vpn", of("far"), "") };
    check(&[web, middle, far], &HOST, here);
}

#[test]
fn the_named_network_is_taken_before_all_others() {
    let two = [web("front=10.1.0.2 over=10.8.0.2"), haproxy("front")];
    for vantage in [HOST, inside(), published_on("192.0.2.1")] {
        check_named(&two, &vantage, Some("over"), Some("front"), "10.8.0.2:80");
        check_named(&two, &vantage, None, Some("over"), "10.8.0.2:80");
        let not_there = "the container is not on network \"back\", only on front, over; \
                         connect it, or name another";
        check_named(&two, &vantage, Some("back"), Some("front"), not_there);
        check_named(&two, &vantage, None, Some("back"), not_there);
    }
    check_named(
        &[web("")],
        &HOST,
        Some("back"),
        None,
        "the container is on no network, so not on \"back\"",
    );
    check_named(
        &[web("front=10.1.0.2 back")],
        &HOST,
        Some("back"),
        None,
        "HAProxy cannot reach it; it has no address on network \"back\"; name or join another",
    );
}

#[test]
fn ipv6_serves_where_there_is_no_ipv4() {
    check(&[web("six=fd00::2 six=10.6.0.2")], &HOST, "10.6.0.2:80");
    check(&[web("six=fd00::2")], &HOST, "[fd00::2]:80");
    check(&[web("six=fd00::2"), haproxy("six")], &inside(), "[fd00::2]:80");
    check_named(&[web("six=fd00::2")], &HOST, Some("six"), None, "[fd00::2]:80");
}
