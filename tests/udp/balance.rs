//! The choice of a container: weights, stickiness, draining.

use crate::site::{CLIENT, MACHINE, SECOND_CLIENT, Site, listener};
use docker_glue::udp::{
    config::UdpListener,
    pick::{Choice, choose_endpoint},
};
use std::collections::{BTreeMap, BTreeSet};

const TO: &str = "10.99.1.1:53";
const BOTH: &str = "a@10.99.2.11:53 b@10.99.2.12:53";

/// Returns how many of the flows each container serves, and checks the choice against the pure one.
fn spread(site: &Site, listener: &UdpListener, flows: u16) -> BTreeMap<String, u16> {
    let mut counts = BTreeMap::new();
    for port in 0..flows {
        let at = format!("{CLIENT}:{}", 10_000 + port);
        let name = site.client(&at).ask_name(TO);
        let Choice::Endpoint(expected) = choose_endpoint(listener, at.parse().unwrap()) else {
            panic!("{at} has no endpoint");
        };
        assert_eq!(name, expected.id, "{at}");
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn flows_are_distributed_by_weight() {
    let Some(site) = Site::start() else { return };
    let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    let listener = listener("0.0.0.0:53 | a@10.99.2.11:53*50 b@10.99.2.12:53*150");
    site.set(&listener);
    let counts = spread(&site, &listener, 400);
    assert!((70..=130).contains(&counts["a"]), "{counts:?}");
    let report = site.report();
    let served = |id: &str| report.endpoints[id].traffic.datagrams_in;
    assert_eq!((served("a"), served("b")), (counts["a"].into(), counts["b"].into()));
}

#[test]
fn flows_of_one_source_share_a_container() {
    let Some(site) = Site::start() else { return };
    let _all = ["a", "b", "c"].map(|name| {
        let last = 11 + u32::from(name.as_bytes()[0] - b'a');
        site.echo(name, &format!("10.99.2.{last}:53"))
    });
    let listener = listener(&format!("0.0.0.0:53 sticky=source | {BOTH} c@10.99.2.13:53"));
    site.set(&listener);
    assert_eq!(spread(&site, &listener, 30).len(), 1);
}

#[test]
fn datagrams_without_stickiness_are_distributed_by_themselves() {
    let Some(site) = Site::start_with(&["--threads", "1"]) else { return };
    let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    site.set(&listener("0.0.0.0:53 sticky=none | a@10.99.2.11:53*100 b@10.99.2.12:53*200"));
    let client = site.client(&format!("{CLIENT}:4000"));
    let mut counts = BTreeMap::<_, u16>::new();
    for _ in 0..300 {
        *counts.entry(client.ask_name(TO)).or_default() += 1;
    }
    assert!((70..=130).contains(&counts["a"]), "{counts:?}");
    assert_eq!(site.report().sessions, 2);
}

#[test]
fn draining_container_keeps_its_flows_and_gets_no_new_ones() {
    for change in ["*drain", "*0"] {
        let Some(site) = Site::start() else { return };
        let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        let old = site.client(&format!("{CLIENT}:4000"));
        assert_eq!(old.ask_name(TO), "a");
        site.set(&listener(&format!("0.0.0.0:53 | a@10.99.2.11:53{change} b@10.99.2.12:53")));
        assert_eq!(old.ask_name(TO), "a");
        let new: BTreeSet<_> = (5000..5020)
            .map(|port| site.client(&format!("{CLIENT}:{port}")).ask_name(TO))
            .collect();
        assert_eq!(new, BTreeSet::from(["b".to_owned()]));
        // Without another container there is none for new flows.
        site.set(&listener(&format!("0.0.0.0:53 | a@10.99.2.11:53{change}")));
        assert_eq!(old.ask_name(TO), "a");
        let late = site.client(&format!("{SECOND_CLIENT}:4000"));
        late.send(TO, "x");
        late.assert_no_answer();
        assert_eq!(site.report().counters.dropped.no_endpoint, 1);
    }
}

#[test]
fn removed_container_loses_its_flows_at_the_next_datagram() {
    let Some(site) = Site::start() else { return };
    let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    assert_eq!(client.ask_name(TO), "a");
    site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
    assert_eq!(client.ask_name(TO), "b");
    // It stays there when the first one returns, whatever the hash says.
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53*256 b@10.99.2.12:53*1"));
    assert_eq!(client.ask_name(TO), "b");
    assert_eq!(site.report().counters.moved, 1);
}

#[test]
fn flows_find_their_container_again_after_a_restart_of_the_plane() {
    let Some(site) = Site::start() else { return };
    let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    site.set(&listener(&format!("0.0.0.0:53 | {BOTH}")));
    let clients: Vec<_> =
        (4000..4040).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
    let ask = || clients.iter().map(|client| client.ask_name(TO)).collect::<Vec<_>>();
    let before = ask();
    site.end_plane(nix::sys::signal::Signal::SIGTERM);
    site.start_plane();
    assert_eq!(ask(), before);
    assert_eq!(MACHINE, "10.99.1.1");
}
