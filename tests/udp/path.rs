//! The way of a datagram: addresses, IPv4 and IPv6, sizes.

use crate::site::{
    CLIENT, CLIENT_SIX, MACHINE, MACHINE_SIX, SECOND_MACHINE, Site, listener, wait_until,
};

#[test]
fn answer_leaves_from_the_address_that_was_used() {
    for bind in ["0.0.0.0:53", "[::]:53"] {
        let Some(site) = Site::start() else { return };
        let _a = site.echo("a", "10.99.2.11:53");
        site.set(&listener(&format!("{bind} | a@10.99.2.11:53")));
        let client = site.client(&format!("{CLIENT}:4000"));
        for machine in [MACHINE, SECOND_MACHINE, MACHINE] {
            assert_eq!(client.ask(&format!("{machine}:53"), "x"), "a:x");
        }
    }
}

#[test]
fn each_family_of_clients_reaches_each_family_of_containers() {
    let Some(site) = Site::start() else { return };
    let _four = site.echo("four", "10.99.2.11:53");
    let _six = site.echo("six", "[fd99:2::11]:53");
    let four = site.client(&format!("{CLIENT}:4000"));
    let six = site.client(&format!("[{CLIENT_SIX}]:4000"));
    for (endpoint, expected) in [("four@10.99.2.11:53", "four:x"), ("six@[fd99:2::11]:53", "six:x")]
    {
        site.set(&listener(&format!("[::]:53 | {endpoint}")));
        assert_eq!(four.ask(&format!("{MACHINE}:53"), "x"), expected);
        assert_eq!(six.ask(&format!("[{MACHINE_SIX}]:53"), "x"), expected);
    }
}

#[test]
fn wildcards_of_both_families_share_a_port() {
    let Some(site) = Site::start() else { return };
    let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    site.set(&listener("[::]:53 | a@10.99.2.11:53"));
    site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
    let four = site.client(&format!("{CLIENT}:4000"));
    let six = site.client(&format!("[{CLIENT_SIX}]:4000"));
    assert_eq!(four.ask_name(&format!("{MACHINE}:53")), "b");
    assert_eq!(six.ask_name(&format!("[{MACHINE_SIX}]:53")), "a");
    site.delete("0.0.0.0:53");
    assert_eq!(four.ask_name(&format!("{MACHINE}:53")), "a");
}

#[test]
fn listener_at_one_address_serves_only_that() {
    let Some(site) = Site::start() else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener(&format!("{SECOND_MACHINE}:53 | a@10.99.2.11:53")));
    let client = site.client(&format!("{CLIENT}:4000"));
    client.send(&format!("{MACHINE}:53"), "x");
    client.assert_no_answer();
    assert_eq!(client.ask(&format!("{SECOND_MACHINE}:53"), "x"), "a:x");
}

#[test]
fn datagrams_of_all_sizes_arrive() {
    let Some(site) = Site::start() else { return };
    let a = site.container("10.99.2.11:53", |request| vec![request.to_vec()]);
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    for size in [0_usize, 1, 1472, 1473, 9000, 65_507] {
        let datagram: Vec<_> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
        client.send(&format!("{MACHINE}:53"), &datagram);
        let (answer, _) = client.receive().unwrap_or_else(|| panic!("no answer to {size} bytes"));
        assert_eq!(answer, datagram);
    }
    assert_eq!(a.received(), 6);
}

#[test]
fn container_reaches_itself_through_the_machine() {
    let Some(site) = Site::start() else { return };
    let a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.inner_client("10.99.2.11:4000");
    assert_eq!(client.ask("10.99.2.1:53", "x"), "a:x");
    assert_eq!(a.datagrams()[0].1.ip().to_string(), "10.99.2.1");
}

#[test]
fn flow_older_than_its_listener_is_served() {
    let Some(site) = Site::start() else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    let client = site.client(&format!("{CLIENT}:4000"));
    for _ in 0..3 {
        client.send(&format!("{MACHINE}:53"), "x");
    }
    client.assert_no_answer();
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    assert_eq!(client.ask(&format!("{MACHINE}:53"), "x"), "a:x");
}

#[test]
fn idle_flow_is_forgotten_and_active_flow_is_not() {
    let Some(site) = Site::start() else { return };
    let a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 idle=300 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    client.ask(&format!("{MACHINE}:53"), "x");
    client.ask(&format!("{MACHINE}:53"), "x");
    wait_until("the flow is forgotten", || site.report().sessions == 0);
    client.ask(&format!("{MACHINE}:53"), "x");
    let sources: Vec<_> = a.datagrams().iter().map(|(_, from)| from.port()).collect();
    assert_eq!(sources[0], sources[1]);
    assert_ne!(sources[1], sources[2]);
    assert_eq!(site.report().counters.sessions, 2);
}
