//! Containers that end, and the last one that leaves.

use crate::site::{CLIENT, Client, Site, listener, wait_until};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

const TO: &str = "10.99.1.1:53";
/// The number of datagrams in the test under load.
const COUNT: usize = 10_500;
const BOTH: &str = "0.0.0.0:53 | a@10.99.2.11:53 b@10.99.2.12:53";

#[test]
fn refused_datagram_is_sent_to_another_container() {
    let Some(site) = Site::start() else { return };
    let (a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    site.set(&listener(BOTH));
    let clients: Vec<_> =
        (4000..4020).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
    let names: Vec<_> = clients.iter().map(|client| client.ask_name(TO)).collect();
    let flows = names.iter().filter(|name| *name == "a").count();
    assert!(flows > 0, "{names:?}");
    a.end();
    for client in &clients {
        assert_eq!(client.ask_name(TO), "b");
    }
    let counters = site.report().counters;
    // The first refusal counts for all flows of the container.
    assert_eq!((counters.moved, counters.resent, counters.refused), (flows as u64, 1, 1));
    assert_eq!(counters.dropped.total(), 0);
}

#[test]
fn new_flows_avoid_a_refusing_container_until_it_answers() {
    let Some(site) = Site::start() else { return };
    let _b = site.echo("b", "10.99.2.12:53");
    site.set(&listener(BOTH));
    let ports = AtomicU16::new(4000);
    let ask = || {
        let port = ports.fetch_add(1, Ordering::Relaxed);
        site.client(&format!("{CLIENT}:{port}")).ask_name(TO)
    };
    for _ in 0..20 {
        assert_eq!(ask(), "b");
    }
    let report = site.report();
    assert!(report.endpoints["a"].refusing && !report.endpoints["b"].refusing);
    // More than one if the flows took longer than the pause between two attempts.
    assert!((1..20).contains(&report.counters.refused), "{report:?}");
    let _a = site.echo("a", "10.99.2.11:53");
    wait_until("a flow tries the container again", || ask() == "a");
    assert!(!site.report().endpoints["a"].refusing);
    wait_until("other flows follow", || ask() == "a");
}

#[test]
fn only_container_that_restarts_is_used_at_once() {
    let Some(site) = Site::start() else { return };
    let a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    assert_eq!(client.ask_name(TO), "a");
    a.end();
    for _ in 0..3 {
        client.send(TO, "x");
    }
    client.assert_no_answer();
    let _a = site.echo("a", "10.99.2.11:53");
    assert_eq!(client.ask_name(TO), "a");
    let dropped = site.report().counters.dropped;
    assert_eq!((dropped.no_endpoint, dropped.total()), (3, 3));
}

#[test]
fn datagrams_without_containers_are_dropped_until_one_comes() {
    let Some(site) = Site::start() else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    assert_eq!(client.ask_name(TO), "a");
    site.set(&listener("0.0.0.0:53"));
    for _ in 0..5 {
        client.send(TO, "x");
    }
    client.assert_no_answer();
    assert_eq!(site.report().counters.dropped.no_endpoint, 5);
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    assert_eq!(client.ask_name(TO), "a");
}

#[test]
fn unreachable_container_is_passed_over() {
    let Some(site) = Site::start() else { return };
    let _b = site.echo("b", "10.99.2.12:53");
    // The machine has no route to the first.
    site.set(&listener("0.0.0.0:53 | a@198.51.100.1:53 b@10.99.2.12:53"));
    for port in 4000..4010 {
        assert_eq!(site.client(&format!("{CLIENT}:{port}")).ask_name(TO), "b");
    }
    assert_eq!(site.report().counters.dropped.total(), 0);
}

/// 50 flows with 1,000 datagrams a second in sum; containers end and return ten times. The controller is 50 ms late.
/// Linux reports few refusals to each machine: here 20 a second instead of one, for ten ends in ten seconds.
#[test]
#[ignore = "it counts losses under load, which depend on the machine"]
fn ends_of_containers_under_load_lose_no_datagram() {
    let Some(site) = Site::start() else { return };
    site.run_ip("netns exec E sysctl -qw net.ipv4.icmp_ratelimit=50");
    let mut containers =
        [Some(site.echo("a", "10.99.2.11:53")), Some(site.echo("b", "10.99.2.12:53"))];
    site.set(&listener(BOTH));
    let clients: Vec<_> =
        (4000..4050).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
    thread::scope(|scope| {
        let load = scope.spawn(|| send_paced(&clients, COUNT));
        for kill in 0..10 {
            thread::sleep(Duration::from_millis(500));
            containers[kill % 2].take().unwrap().end();
            thread::sleep(Duration::from_millis(50));
            let mut other = listener(BOTH);
            other.endpoints.remove(kill % 2);
            site.set(&other);
            thread::sleep(Duration::from_millis(450));
            let at = ["10.99.2.11:53", "10.99.2.12:53"][kill % 2];
            containers[kill % 2] = Some(site.echo(["a", "b"][kill % 2], at));
            site.set(&listener(BOTH));
        }
        load.join().unwrap();
    });
    let lost = find_lost(&clients, COUNT);
    let report = site.report();
    assert!(lost.is_empty(), "lost {lost:?}; {:?}", report.counters);
    assert!(report.counters.resent > 0);
}

/// Sends numbered datagrams, one each millisecond, in turns by all clients.
fn send_paced(clients: &[Client], count: usize) {
    let start = Instant::now();
    for number in 0..count {
        let due = start + Duration::from_millis(number as u64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        clients[number % clients.len()].send(TO, number.to_string());
    }
}

/// A container that leaves may still have datagrams to answer.
#[test]
fn answer_of_a_container_that_has_left_arrives() {
    let Some(site) = Site::start() else { return };
    let _slow = site.container("10.99.2.11:53", |_| {
        thread::sleep(Duration::from_millis(300));
        vec![b"slow".to_vec()]
    });
    let _b = site.echo("b", "10.99.2.12:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    client.send(TO, "first");
    wait_until("the first arrives", || site.report().endpoints["a"].traffic.datagrams_in == 1);
    site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
    // The other container gets it as well, since the first one has probably ended.
    client.send(TO, "second");
    let texts = [(); 3].map(|()| client.receive().unwrap().0);
    assert_eq!(texts, [b"b:first".to_vec(), b"b:second".to_vec(), b"slow".to_vec()]);
    wait_until("the old session ends", || site.report().sessions == 1);
}

#[test]
fn unanswered_datagram_of_a_container_that_leaves_is_sent_to_another() {
    for (case, earlier, datagrams, resent) in [
        ("the first one", "", 1, 1),
        ("after an answer", "answer", 1, 1),
        ("the last of two, after an answer", "answer", 2, 1),
        ("of a program that answers none", "", 2, 0),
    ] {
        let Some(site) = Site::start() else { return };
        let answers = |datagram: &[u8]| match datagram {
            b"answer" => vec![b"a".to_vec()],
            _ => Vec::new(),
        };
        let _a = site.container("10.99.2.11:53", answers);
        let _b = site.echo("b", "10.99.2.12:53");
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        let client = site.client(&format!("{CLIENT}:4000"));
        if !earlier.is_empty() {
            assert_eq!(client.ask(TO, earlier), "a", "{case}");
        }
        for _ in 0..datagrams {
            client.send(TO, "lost");
        }
        let sent = datagrams + u64::from(!earlier.is_empty());
        let arrived = || site.report().endpoints["a"].traffic.datagrams_in == sent;
        wait_until("all arrive", arrived);
        site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
        match resent {
            0 => client.assert_no_answer(),
            _ => assert_eq!(client.receive().unwrap().0, b"b:lost", "{case}"),
        }
        assert_eq!(site.report().counters.resent, resent, "{case}");
        // The flow continues there.
        assert_eq!(client.ask_name(TO), "b", "{case}");
    }
}

/// A new container comes, the old one drains and then leaves, twenty times at 1,000 datagrams a second.
#[test]
#[ignore = "it counts losses under load, which depend on the machine"]
fn rolling_updates_under_load_lose_no_datagram() {
    let Some(site) = Site::start() else { return };
    let at = |roll: usize| format!("10.99.2.1{}:{}", 1 + roll % 3, 5300 + roll);
    let endpoint = |roll: usize| format!("c{roll}@{}", at(roll));
    let mut current = site.echo("c0", &at(0));
    let mut received = 0;
    site.set(&listener(&format!("0.0.0.0:53 | {}", endpoint(0))));
    let clients: Vec<_> =
        (4000..4050).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
    thread::scope(|scope| {
        let load = scope.spawn(|| send_paced(&clients, 2000));
        for roll in 1..=20 {
            let next = site.echo(&format!("c{roll}"), &at(roll));
            let (old, new) = (endpoint(roll - 1), endpoint(roll));
            site.set(&listener(&format!("0.0.0.0:53 | {old}*drain {new}")));
            thread::sleep(Duration::from_millis(40));
            site.set(&listener(&format!("0.0.0.0:53 | {new}")));
            received += std::mem::replace(&mut current, next).end();
            thread::sleep(Duration::from_millis(20));
        }
        load.join().unwrap();
    });
    let lost = find_lost(&clients, 2000);
    received += current.end();
    assert!(lost.is_empty(), "{lost:?}; {received} received; {:?}", site.report());
}

/// Returns the numbers of the datagrams that were not answered.
fn find_lost(clients: &[Client], count: usize) -> Vec<usize> {
    let mut answered = BTreeSet::new();
    for client in clients {
        while let Some((answer, _)) = client.receive_within(Duration::from_millis(200)) {
            let text = String::from_utf8(answer).unwrap();
            answered.insert(text.split_once(':').unwrap().1.parse::<usize>().unwrap());
        }
    }
    (0..count).filter(|number| !answered.contains(number)).collect()
}
