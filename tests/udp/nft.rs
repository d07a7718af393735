//! The nft engine: what only it does, what it refuses, and how it deals with other programs that change the kernel.

use crate::site::{CLIENT, Site, listener, wait_until};
use docker_glue::udp::engine::Engine;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const TO: &str = "10.99.1.1:53";

#[test]
fn container_sees_the_address_of_the_client() {
    let Some(site) = Site::start_engine("nft") else { return };
    let a = site.echo("a", "10.99.2.11:5353");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:5353"));
    assert_eq!(site.client(&format!("{CLIENT}:4000")).ask(TO, "x"), "a:x");
    assert_eq!(a.datagrams()[0].1.to_string(), format!("{CLIENT}:4000"));
    assert_eq!(site.read_all().0.engine, Engine::Nft);
}

#[test]
fn traffic_does_not_depend_on_the_program() {
    let Some(site) = Site::start_engine("nft") else { return };
    let a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    assert_eq!(client.ask_name(TO), "a");
    wait_until("the file is written", || site.state_file().exists());
    site.end_plane(Signal::SIGKILL);
    assert_eq!(client.ask_name(TO), "a");
    assert_eq!(site.client(&format!("{CLIENT}:4001")).ask_name(TO), "a");
    site.start_plane();
    assert_eq!(client.ask_name(TO), "a");
    // The process that comes ends the flows of a container that left.
    let b = site.echo("b", "10.99.2.12:53");
    a.end();
    site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
    assert_eq!(client.ask_name(TO), "b");
    drop(b);
}

#[test]
fn what_the_kernel_cannot_do_is_refused_and_not_served_otherwise() {
    let Some(site) = Site::start_engine("nft") else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    let endpoint = r#""endpoints":[{"id":"a","name":"a","address":"10.99.2.11:53"}]"#;
    for (line, expected) in [
        (r#""bind":"0.0.0.0:53","proxy":"v2","#, "PROXY headers"),
        (r#""bind":"0.0.0.0:53","replies":1,"#, "does not count answers"),
        (r#""bind":"0.0.0.0:53","replies":0,"#, "does not count answers"),
        (r#""bind":"0.0.0.0:53","sticky":"none","#, "does not distribute single datagrams"),
        (r#""bind":"127.0.0.1:53","#, "loopback address 127.0.0.1"),
        (r#""bind":"[fd99:1::1]:53","#, "does not translate between IPv4 and IPv6"),
    ] {
        let answer = site.command_line(&format!("set {{{line}{endpoint}}}"));
        assert!(answer.starts_with(r#"{"error":"cannot serve "#), "{line}: {answer}");
        assert!(answer.contains(expected), "{line}: {answer}");
    }
    let answer = site.command_line(
        r#"set {"bind":"0.0.0.0:53","endpoints":[{"id":"a","address":"127.0.0.1:53"}]}"#,
    );
    assert!(answer.contains("a loopback address"), "{answer}");
    site.run_ip("-n M route del 10.99.2.0/24");
    let answer = site.command_line(&format!(r#"set {{"bind":"0.0.0.0:53",{endpoint}}}"#));
    assert!(answer.contains("does not reach 10.99.2.11:53"), "{answer}");
    site.run_on_machine("sysctl -qw net.ipv4.ip_forward=0");
    let answer = site.command_line(&format!(r#"set {{"bind":"0.0.0.0:53",{endpoint}}}"#));
    assert!(answer.contains("sysctl -w net.ipv4.ip_forward=1"), "{answer}");
    assert_eq!(site.read_all().0.listeners, 0);
    let client = site.client(&format!("{CLIENT}:4000"));
    client.send(TO, "x");
    client.assert_no_answer();
}

#[test]
fn refused_change_leaves_the_listener_as_it_was() {
    let Some(site) = Site::start_engine("nft") else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let answer = site.command_line(r#"set {"bind":"0.0.0.0:53","replies":1}"#);
    assert!(answer.contains("does not count answers"), "{answer}");
    assert_eq!(site.report().listener, listener("0.0.0.0:53 | a@10.99.2.11:53"));
    assert_eq!(site.client(&format!("{CLIENT}:4000")).ask_name(TO), "a");
}

#[test]
fn networks_that_docker_closes_are_refused() {
    let Some(site) = Site::start_engine("nft") else { return };
    site.run_on_machine("iptables -N DOCKER-ISOLATION-STAGE-1");
    site.run_on_machine("iptables -A DOCKER-ISOLATION-STAGE-1 ! -s 10.99.2.0/24 -o none -j DROP");
    let line = r#"set {"bind":"0.0.0.0:53","endpoints":[{"id":"a","name":"web","address":"10.99.2.11:53"}]}"#;
    let answer = site.command_line(line);
    assert!(
        answer.contains("container web with 10.99.2.11:53 is on an internal network"),
        "{answer}"
    );
    site.run_on_machine("iptables -F DOCKER-ISOLATION-STAGE-1");
    let answer = site.command_line(line);
    assert!(answer.starts_with(r#"{"listener""#), "{answer}");
}

#[test]
fn machine_without_dockers_chain_is_reported_until_it_has_one() {
    let Some(site) = Site::without_plane(&["--engine", "nft"]) else { return };
    site.run_on_machine("sysctl -qw net.ipv4.ip_forward=1");
    site.start_plane();
    let _a = site.echo("a", "10.99.2.11:53");
    let line = r#"set {"bind":"0.0.0.0:53","endpoints":[{"id":"a","address":"10.99.2.11:53"}]}"#;
    let answer = site.command_line(line);
    assert!(
        answer.contains("no chain DOCKER-USER of iptables")
            && answer.contains("systemctl start docker"),
        "{answer}"
    );
    site.set_up_docker();
    assert!(site.command_line(line).starts_with(r#"{"listener""#));
    assert_eq!(site.client(&format!("{CLIENT}:4000")).ask_name(TO), "a");
}

#[test]
fn missing_program_and_missing_capability_are_reported() {
    let Some(site) = Site::without_plane(&["--engine", "nft"]) else { return };
    site.set_up_docker();
    site.start_plane_by(&["env", "PATH=/nonexistent"]);
    let line = r#"set {"bind":"0.0.0.0:53"}"#;
    let answer = site.command_line(line);
    assert!(
        answer.contains("the program nft is missing: install the package nftables"),
        "{answer}"
    );
    assert_eq!(site.read_all().0.listeners, 0);
    site.end_plane(Signal::SIGTERM);
    // What the service has for the user engine.
    let capabilities = "-all,+net_bind_service";
    site.start_plane_by(&["setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities]);
    let answer = site.command_line(line.replace(":53", ":5353").as_str());
    assert!(
        answer.contains("nft lacks a capability: start docker-glue-udp with CAP_NET_ADMIN"),
        "{answer}"
    );
}

#[test]
fn resolver_of_the_machine_keeps_its_loopback_address() {
    let Some(site) = Site::start_engine("nft") else { return };
    let resolver = site.hold_port("127.0.0.53:53");
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("[::]:53 | a@10.99.2.11:53"));
    let client = site.local_client("127.0.0.1:4000");
    client.send("127.0.0.53:53", "query");
    let mut buffer = [0; 16];
    resolver.set_read_timeout(Some(crate::site::DEADLINE)).unwrap();
    let (length, _) = resolver.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..length], *b"query");
    assert_eq!(site.client(&format!("{CLIENT}:4000")).ask_name(TO), "a");
}

/// Checks that of the rules in the kernel only that of another program is left, which the test has set.
fn assert_rules_are_removed(site: &Site) {
    assert_eq!(site.run_on_machine("nft list tables inet"), "");
    assert_eq!(
        site.run_on_machine("iptables -S DOCKER-USER"),
        "-N DOCKER-USER\n-A DOCKER-USER -s 192.0.2.1/32 -j DROP\n"
    );
}

#[test]
fn user_engine_removes_rules_and_flows_of_the_nft_engine() {
    let Some(site) = Site::start_engine("nft") else { return };
    site.run_on_machine("iptables -I DOCKER-USER -s 192.0.2.1 -j DROP");
    let (_a, _b) = (site.echo("a", "10.99.2.11:53"), site.echo("b", "10.99.2.12:53"));
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    assert_eq!(client.ask_name(TO), "a");
    let rules = site.run_on_machine("iptables -S DOCKER-USER");
    let rule = rules.lines().find(|line| line.contains("docker-glue-udp")).unwrap();
    // What another program restored twice.
    site.run_on_machine(&format!("iptables {rule}"));
    site.end_plane(Signal::SIGTERM);
    site.start_plane_with_arguments(&["--engine", "user"]);
    // A flow that the kernel continued to forward would stay with its container.
    site.set(&listener("0.0.0.0:53 | b@10.99.2.12:53"));
    assert_eq!(client.ask_name(TO), "b");
    assert_rules_are_removed(&site);
}

#[test]
fn remove_rules_refuses_while_the_engine_runs_and_removes_what_it_left() {
    let Some(site) = Site::start_engine("nft") else { return };
    site.run_on_machine("iptables -I DOCKER-USER -s 192.0.2.1 -j DROP");
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    assert_eq!(client.ask_name(TO), "a");
    let remove = |arguments: &[&str]| {
        let output =
            site.command_in_machine(&[]).args(arguments).arg("remove-rules").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = remove(&[]);
    assert!(code == Some(1) && text.contains("stop it first"), "{code:?} {text}");
    site.end_plane(Signal::SIGTERM);
    assert_eq!(client.ask_name(TO), "a", "the rules remain");
    // Another docker-glue-udp has none, and does not touch these.
    let other = tempfile::tempdir().unwrap();
    let none = (Some(0), String::new());
    assert_eq!(remove(&["--state-dir", other.path().to_str().unwrap()]), none);
    assert_eq!(client.ask_name(TO), "a");
    assert_eq!(remove(&[]), (Some(0), "removed the rules of --engine nft\n".to_owned()));
    assert_rules_are_removed(&site);
    client.send(TO, "x");
    client.assert_no_answer();
    assert_eq!(remove(&[]), none);
}

/// The engine looks every 30 seconds.
#[test]
fn rules_that_another_program_deleted_are_loaded_again() {
    let Some(site) = Site::start_engine("nft") else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 | a@10.99.2.11:53"));
    site.run_on_machine("nft flush map inet docker-glue all4_one");
    site.run_on_machine("iptables -F DOCKER-USER");
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let client = site.client(&format!("{CLIENT}:0"));
        client.send(TO, "x");
        if client.receive_within(Duration::from_millis(500)).is_some() {
            return;
        }
        assert!(Instant::now() < end, "the rules never returned");
    }
}

/// A silent flow of `idle` seconds is forgotten, and gets a container again.
#[test]
fn idle_is_the_timeout_of_connection_tracking() {
    let Some(site) = Site::start_engine("nft") else { return };
    let _a = site.echo("a", "10.99.2.11:53");
    site.set(&listener("0.0.0.0:53 idle=2500 | a@10.99.2.11:53"));
    site.set(&listener("0.0.0.0:54 | a@10.99.2.11:53"));
    let client = site.client(&format!("{CLIENT}:4000"));
    for (to, least, most) in [(TO, 1, 3), ("10.99.1.1:54", 100, 120)] {
        client.ask(to, "x");
        client.ask(to, "x");
        let port = to.rsplit_once(':').unwrap().1;
        let entries = site.run_on_machine("cat /proc/net/nf_conntrack");
        let entry = entries.lines().find(|line| line.contains(&format!("dport={port} "))).unwrap();
        let seconds: u32 = entry.split_whitespace().nth(4).unwrap().parse().unwrap();
        assert!((least..=most).contains(&seconds), "{entry}");
    }
}
