//! What both engines do alike: the same cases for each.

use crate::site::{
    CLIENT, CLIENT_SIX, MACHINE, MACHINE_SIX, SECOND_CLIENT, SECOND_MACHINE, Site, listener,
    wait_until,
};
use docker_glue::udp::answer::FlowReport;
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};

const TO: &str = "10.99.1.1:53";
const BOTH: &str = "a@10.99.2.11:53 b@10.99.2.12:53";

fn for_each_engine(check: impl Fn(&Site)) {
    for engine in ["user", "nft"] {
        let Some(site) = Site::start_engine(engine) else { return };
        eprintln!("engine {engine}");
        check(&site);
    }
}

/// Returns how many flows each container serves.
fn spread(site: &Site, flows: u16) -> BTreeMap<String, u16> {
    let mut counts = BTreeMap::new();
    for port in 0..flows {
        let client = site.client(&format!("{CLIENT}:{}", 10_000 + port));
        *counts.entry(client.ask_name(TO)).or_default() += 1;
    }
    counts
}

#[test]
fn flows_are_distributed_by_weight() {
    for_each_engine(|site| {
        let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53*50 b@10.99.2.12:53*150"));
        let counts = spread(site, 400);
        assert!((65..=135).contains(&counts["a"]), "{counts:?}");
    });
}

#[test]
fn flows_of_one_source_share_a_container() {
    for_each_engine(|site| {
        let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener(&format!("0.0.0.0:53 sticky=source | {BOTH}")));
        let names: Vec<_> = spread(site, 30).into_keys().collect();
        assert_eq!(names.len(), 1);
        // Another listener, with which the kernel gets other rules, has no effect.
        site.set(&listener("0.0.0.0:54 | a@10.99.2.11:53*1 b@10.99.2.12:53*2"));
        for port in 20_000..20_020 {
            assert_eq!(site.client(&format!("{CLIENT}:{port}")).ask_name(TO), names[0]);
        }
    });
}

#[test]
fn flow_stays_with_its_container() {
    for_each_engine(|site| {
        let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener(&format!("0.0.0.0:53 | {BOTH}")));
        let client = site.client(&format!("{CLIENT}:4000"));
        let first = client.ask_name(TO);
        for _ in 0..20 {
            assert_eq!(client.ask_name(TO), first);
        }
    });
}

#[test]
fn draining_container_keeps_its_flows_and_gets_no_new_ones() {
    for change in ["*drain", "*0"] {
        for_each_engine(|site| {
            let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
            site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
            let old = site.client(&format!("{CLIENT}:4000"));
            assert_eq!(old.ask_name(TO), "a");
            site.set(&listener(&format!("0.0.0.0:53 | a@10.99.2.11:53{change} b@10.99.2.12:53")));
            assert_eq!(old.ask_name(TO), "a");
            assert_eq!(spread(site, 20), BTreeMap::from([("b".to_owned(), 20)]));
            // Without another container there is none for new flows.
            site.set(&listener(&format!("0.0.0.0:53 | a@10.99.2.11:53{change}")));
            assert_eq!(old.ask_name(TO), "a");
            let late = site.client(&format!("{SECOND_CLIENT}:4000"));
            late.send(TO, "x");
            late.assert_no_answer();
            // The flow that found none is served as soon as there is one.
            site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
            assert_eq!(late.ask_name(TO), "b");
            assert_eq!(old.ask_name(TO), "b");
        });
    }
}

#[test]
fn flows_of_a_draining_container_are_counted_until_they_are_idle() {
    for_each_engine(|site| {
        let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener("0.0.0.0:53 idle=4000 | a@10.99.2.11:53"));
        site.set(&listener("0.0.0.0:54 idle=4000 | a@10.99.2.11:53 b@10.99.2.12:53*drain"));
        spread(site, 20);
        assert_eq!(site.client(&format!("{CLIENT}:9000")).ask_name("10.99.1.1:54"), "a");
        assert_eq!(site.count_flows("a"), FlowReport { accepting: 2, open: 21 });
        site.set(&listener("0.0.0.0:53 idle=4000 | a@10.99.2.11:53*drain b@10.99.2.12:53"));
        assert_eq!(site.count_flows("a"), FlowReport { accepting: 1, open: 21 });
        site.set(&listener("0.0.0.0:54 idle=4000 | b@10.99.2.12:53"));
        assert_eq!(spread(site, 5), BTreeMap::from([("a".to_owned(), 5)]));
        assert_eq!(site.count_flows("a"), FlowReport { accepting: 0, open: 20 });
        wait_until("the flows are idle", || site.count_flows("a") == FlowReport::default());
        assert_eq!(site.count_flows("b").accepting, 2);
        assert_eq!(site.count_flows("c"), FlowReport::default());
    });
}

#[test]
fn flows_of_a_container_that_died_go_to_another_one() {
    for_each_engine(|site| {
        let (a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener(&format!("0.0.0.0:53 | {BOTH}")));
        let clients: Vec<_> =
            (4000..4020).map(|port| site.client(&format!("{CLIENT}:{port}"))).collect();
        let before: BTreeSet<_> = clients.iter().map(|client| client.ask_name(TO)).collect();
        assert_eq!(before.len(), 2);
        a.end();
        site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
        for client in &clients {
            assert_eq!(client.ask_name(TO), "b");
        }
    });
}

#[test]
fn flow_older_than_its_listener_is_served() {
    for_each_engine(|site| {
        let _a = site.echo("a", "10.99.2.11:53");
        let client = site.client(&format!("{CLIENT}:4000"));
        let six = site.client(&format!("[{CLIENT_SIX}]:4000"));
        let _six = site.echo("six", "[fd99:2::11]:53");
        // Another listener makes the kernel track connections.
        site.set(&listener("0.0.0.0:99 | a@10.99.2.11:53"));
        for _ in 0..3 {
            client.send(TO, "x");
            six.send(&format!("[{MACHINE_SIX}]:53"), "x");
        }
        client.assert_no_answer();
        site.set(&listener("[::]:53 | a@10.99.2.11:53 six@[fd99:2::11]:53"));
        let answer = client.ask_name(TO);
        assert!(["a", "six"].contains(&answer.as_str()), "{answer}");
        let answer = six.ask_name(&format!("[{MACHINE_SIX}]:53"));
        assert!(["a", "six"].contains(&answer.as_str()), "{answer}");
    });
}

#[test]
fn last_container_goes_and_returns() {
    for_each_engine(|site| {
        let a = site.echo("a", "10.99.2.11:53");
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        let client = site.client(&format!("{CLIENT}:4000"));
        assert_eq!(client.ask_name(TO), "a");
        let received = a.received();
        site.set(&listener("0.0.0.0:53"));
        for _ in 0..5 {
            client.send(TO, "x");
        }
        client.assert_no_answer();
        assert_eq!(a.received(), received);
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        assert_eq!(client.ask_name(TO), "a");
    });
}

#[test]
fn deleted_listener_ends_its_flows() {
    for_each_engine(|site| {
        let _a = site.echo("a", "10.99.2.11:53");
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        let client = site.client(&format!("{CLIENT}:4000"));
        assert_eq!(client.ask_name(TO), "a");
        site.delete("0.0.0.0:53");
        client.send(TO, "x");
        client.assert_no_answer();
        let _other = site.hold_port("0.0.0.0:53");
    });
}

#[test]
fn answer_leaves_from_the_address_that_was_used() {
    for_each_engine(|site| {
        let _a = site.echo("a", "10.99.2.11:53");
        for bind in ["0.0.0.0:53", "[::]:54"] {
            site.set(&listener(&format!("{bind} | a@10.99.2.11:53")));
            let client = site.client(&format!("{CLIENT}:4000"));
            let port = &bind[bind.len() - 2..];
            for machine in [MACHINE, SECOND_MACHINE, MACHINE] {
                assert_eq!(client.ask(&format!("{machine}:{port}"), "x"), "a:x");
            }
        }
    });
}

#[test]
fn clients_of_ipv6_reach_containers_of_ipv6() {
    for_each_engine(|site| {
        let _six = site.echo("six", "[fd99:2::11]:53");
        let _four = site.echo("four", "10.99.2.11:53");
        let client = site.client(&format!("[{CLIENT_SIX}]:4000"));
        site.set(&listener("[::]:53 | six@[fd99:2::11]:53"));
        assert_eq!(client.ask(&format!("[{MACHINE_SIX}]:53"), "x"), "six:x");
        site.set(&listener(&format!("[{MACHINE_SIX}]:54 sticky=source | six@[fd99:2::11]:53")));
        assert_eq!(client.ask(&format!("[{MACHINE_SIX}]:54"), "x"), "six:x");
    });
}

#[test]
fn wildcards_of_both_families_share_a_port() {
    for_each_engine(|site| {
        let (_a, _six) = (site.echo("a", "10.99.2.11:53"), site.echo("six", "[fd99:2::11]:53"));
        let _b = site.echo("b", "10.99.2.12:53");
        site.set(&listener("[::]:53 | six@[fd99:2::11]:53"));
        site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
        let four = site.client(&format!("{CLIENT}:4000"));
        let six = site.client(&format!("[{CLIENT_SIX}]:4000"));
        assert_eq!(four.ask_name(TO), "b");
        assert_eq!(six.ask_name(&format!("[{MACHINE_SIX}]:53")), "six");
        site.set(&listener("[::]:53 | a@10.99.2.11:53"));
        site.delete("0.0.0.0:53");
        assert_eq!(four.ask_name(TO), "a");
    });
}

#[test]
fn listener_at_one_address_has_priority_there() {
    for_each_engine(|site| {
        let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
        site.set(&listener(&format!("{SECOND_MACHINE}:53 | a@10.99.2.11:53")));
        let client = site.client(&format!("{CLIENT}:4000"));
        client.send(TO, "x");
        client.assert_no_answer();
        assert_eq!(client.ask_name(&format!("{SECOND_MACHINE}:53")), "a");
        site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
        assert_eq!(client.ask_name(TO), "b");
        assert_eq!(client.ask_name(&format!("{SECOND_MACHINE}:53")), "a");
        // Without containers it does not fall through to the other one.
        site.set(&listener(&format!("{SECOND_MACHINE}:53")));
        client.send(&format!("{SECOND_MACHINE}:53"), "x");
        client.assert_no_answer();
    });
}

#[test]
fn datagrams_of_all_sizes_arrive() {
    for_each_engine(|site| {
        let _a = site.container("10.99.2.11:53", |request| vec![request.to_vec()]);
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        let client = site.client(&format!("{CLIENT}:4000"));
        for size in [0_usize, 1, 1473, 9000, 65_507] {
            let datagram = vec![b'x'; size];
            client.send(TO, &datagram);
            let (answer, _) = client.receive().unwrap_or_else(|| panic!("no answer to {size}"));
            assert_eq!(answer, datagram);
        }
    });
}

#[test]
fn containers_reach_themselves_and_their_neighbours_through_the_machine() {
    for_each_engine(|site| {
        let a = site.echo("a", "10.99.2.11:53");
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        for (count, from) in ["10.99.2.11:4000", "10.99.2.12:4000"].iter().enumerate() {
            let client = site.inner_client(from);
            assert_eq!(client.ask("10.99.2.1:53", "x"), "a:x");
            assert_eq!(client.ask("10.99.1.1:53", "x"), "a:x");
            assert_eq!(a.datagrams()[2 * count].1.ip().to_string(), "10.99.2.1");
        }
    });
}

#[test]
fn programs_on_the_machine_are_clients_too() {
    for_each_engine(|site| {
        let _a = site.echo("a", "10.99.2.11:53");
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        let client = site.local_client("0.0.0.0:4000");
        assert_eq!(client.ask("10.99.1.1:53", "x"), "a:x");
        assert_eq!(client.ask("10.99.2.1:53", "x"), "a:x");
    });
}

#[test]
fn restarted_plane_serves_its_last_listeners() {
    for_each_engine(|site| {
        let _a = site.echo("a", "10.99.2.11:53");
        let client = site.client(&format!("{CLIENT}:4000"));
        site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
        assert_eq!(client.ask_name(TO), "a");
        wait_until("the file is written", || site.state_file().exists());
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            site.end_plane(signal);
            site.start_plane();
            // It answers after it has restored the listeners.
            let (_, reports) = site.read_all();
            assert_eq!(client.ask_name(TO), "a");
            assert_eq!(reports[0].listener, listener("0.0.0.0:53 | a@10.99.2.11:53"));
        }
    });
}

#[test]
fn port_of_another_program_is_refused() {
    for_each_engine(|site| {
        let _other = site.hold_port("10.99.1.2:53");
        let answer = site.command_line(r#"set {"bind":"0.0.0.0:53"}"#);
        assert_eq!(
            answer,
            r#"{"error":"cannot listen on 0.0.0.0:53: another program has the port"}"#
        );
        assert_eq!(site.read_all().0.listeners, 0);
    });
}
