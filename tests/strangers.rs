//! What a container can do to a route of somebody else, with a real engine and a real HAProxy.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Container,
    balancer::{Balancer, Plan, free_port},
    wait_for,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

const HOST: &str = "glue_http_80_host=victim.test";

fn victim(plan: &Plan, name: &str, more: &str) -> Container {
    let service = "com.docker.compose.project=bank com.docker.compose.service=web";
    let container = plan.run(name).labels(&format!("{HOST} {service} {more}")).start();
    // A list tells the second of a container's creation alone, and whoever comes next is to be younger from the first.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let then = second();
    wait_for("another second", || (then < second()).then_some(()));
    container
}

fn evil(plan: &Plan, more: &str) -> Container {
    plan.run("evil").labels(&format!("com.docker.compose.project=evil {more}")).start()
}

/// All requests, and that no other one ever was in the route.
fn assert_served_by(balancer: &Balancer, name: &str) {
    balancer.until_shared("victim.test/", &[name]);
    let spread = balancer.spread("victim.test/", 20);
    assert_eq!(spread, BTreeMap::from([(name.to_owned(), 20)]));
    let log = balancer.log();
    let is_evil = |line: &&str| line.contains("victim.test:80/ →") && line.contains("-evil");
    assert_eq!(log.lines().find(is_evil), None, "{log}");
}

#[test]
fn stranger_that_waits_gets_no_route_at_a_deployment() {
    let Some(docker) = common::docker() else { return };
    let plan = Balancer::of(&docker);
    let first = victim(&plan, "first", "");
    let _evil = evil(&plan, &format!("{HOST} glue_http_80_timeout=61s"));
    let mut balancer = plan.start().until_started();
    assert_served_by(&balancer, "first");

    // Recreated.
    drop(first);
    balancer.until_said(&["-evil (", "victim.test:80/ was served by service bank/web"]);
    let second = victim(&balancer, "second", "");
    assert_served_by(&balancer, "second");

    // Rolled, with other options.
    let _third = victim(&balancer, "third", "glue_http_80_timeout=2m");
    balancer.until_said(&["-third (", "is served by container", "-second ("]);
    drop(second);
    assert_served_by(&balancer, "third");

    // docker-balancer itself.
    assert!(balancer.end(Signal::SIGTERM).success());
    balancer.start_again();
    assert_served_by(&balancer, "third");
}

#[test]
fn container_of_many_ports_gets_a_few_servers() {
    let Some(docker) = common::docker() else { return };
    let plan = Balancer::of(&docker);
    let _victim = victim(&plan, "victim", "");
    let port = |port: u16| format!("glue_http_{port}_host=victim.test glue_http_{port}_bind=80");
    let ports: Vec<_> = (8001..8031).map(port).collect();
    let _evil = evil(&plan, &ports.join(" "));
    let balancer = plan.start().until_started();
    balancer.until_said(&["WARN", "-evil (", "30 ports of the container ask for victim.test:80/"]);
    let servers = balancer.ask_haproxy("show servers state victim.test:80");
    assert_eq!(servers.lines().filter(|line| line.contains("-evil-")).count(), 8, "{servers}");
}

#[test]
fn owner_of_a_host_has_its_pool_and_its_paths() {
    let Some(docker) = common::docker() else { return };
    let plan = Balancer::of(&docker);
    let plan = plan.option(&["--own-hosts-by", "com.docker.compose.project"]);
    let first = victim(&plan, "first", "");
    let _evil = evil(&plan, &format!("{HOST} glue_http_80_weight=256"));
    let _path = evil(&plan, &format!("{HOST} glue_http_80_prefix=login"));
    let mut balancer = plan.start().until_started();
    balancer.until_said(&["WARN", "-evil (", "victim.test:80/login/", "project=bank"]);
    assert_served_by(&balancer, "first");
    balancer.serves(&[("victim.test/login", "first saw /login")]);

    let _second = victim(&balancer, "second", "");
    balancer.until_shared("victim.test/", &["first", "second"]);
    drop(first);
    assert!(balancer.end(Signal::SIGTERM).success());
    balancer.start_again();
    assert_served_by(&balancer, "second");
    balancer.serves(&[("victim.test/login", "second saw /login")]);
}

#[test]
fn reserved_host_is_had_by_its_label_alone() {
    let Some(docker) = common::docker() else { return };
    let plan = Balancer::of(&docker);
    let reservation = "victim.test if com.docker.compose.project=bank";
    let plan = plan.option(&["--allow-hosts", "*", "--allow-hosts", reservation]);
    let _evil = evil(&plan, "glue_http_80_host=victim.test,evil.test");
    let _victim = victim(&plan, "victim", "");
    let balancer = plan.start().until_started();
    balancer.until_said(&["WARN", "-evil (", "\"victim.test\" is reserved by --allow-hosts"]);
    balancer.serves(&[("evil.test/", "evil saw /")]);
    assert_served_by(&balancer, "victim");
}

#[test]
fn container_on_the_host_network_does_not_publish_the_dashboard() {
    let Some(docker) = common::docker() else { return };
    let (dashboard, own) = (free_port(), free_port());
    let at = dashboard.to_string();
    let plan = Balancer::of(&docker).option(&["--dashboard", &at]);
    let label =
        |port: u16, host: &str| format!("glue_http_{port}_host={host} glue_http_{port}_bind=80");
    let labels = format!("{} {}", label(dashboard, "localhost"), label(own, "own.test"));
    let run = plan.run("evil").labels(&labels).env("WHOAMI_PORT", own);
    let _evil = run.bare().option(&["--network", "host"]).start();
    let balancer = plan.start().until_started();
    balancer.until_said(&["WARN", "-evil (", &format!("port {dashboard} is not served")]);
    balancer.until_serves("own.test/", "evil saw /");
    balancer.serves(&[("localhost/", "404")]);
}
