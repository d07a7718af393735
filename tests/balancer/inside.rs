//! docker-balancer and its HAProxy in a container: which containers they reach from there, and that docker-balancer
//! works as the container's first process (PID 1).

use crate::common::{
    self, Run,
    balancer::{self, Balancer, BalancerPlan, free_port},
    engine::Engine,
    wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// A container that serves `<name>.test`.
fn run_web(plan: &BalancerPlan, name: &str) -> Run {
    plan.run(name).label("glue_http_80_host", format!("{name}.test"))
}

#[test]
fn container_is_reached_on_a_shared_network() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let mut networks = ["a", "b", "c"].map(|name| docker.network(name));
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    // The first network by name belongs to the container `several`, but not to HAProxy.
    let [elsewhere, ours, later] = &networks;
    let plan = Balancer::plan(&docker).in_container(&ours.name).option(&["--wait-for-start", "1s"]);
    let port = free_port().to_string();
    let host = plan.run("host").option(&["--network", "host"]).env("WHOAMI_PORT", &port);
    let host = host.label(&format!("glue_http_{port}_host"), "host.test");
    let containers = common::start_all(vec![
        run_web(&plan, "one").network(ours),
        run_web(&plan, "several").network(elsewhere),
        run_web(&plan, "lost").network(elsewhere),
        run_web(&plan, "later").network(later),
        run_web(&plan, "nowhere").option(&["--network", "none"]),
        host.label(&format!("glue_http_{port}_bind"), 80),
    ]);
    let [_, several, lost, ..] = &containers[..] else { panic!("six were started") };
    ours.connect(several);
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[
        ("one.test/x", "one saw /x"),
        ("several.test/", "several saw /"),
        ("host.test/", "host saw /"),
        ("lost.test/", "404"),
        ("later.test/", "404"),
        ("nowhere.test/", "404"),
    ]);
    let at = |url: &str| balancer.get(url).address.unwrap().ip();
    assert_eq!(at("several.test"), several.address(ours));
    let gateway = balancer.container().network_field(ours, "Gateway");
    assert_eq!(at("host.test").to_string(), gateway);
    let out = format!(
        "HAProxy cannot reach the container; connect it to HAProxy's network {}",
        ours.name
    );
    balancer.wait_for_log(&["WARN", "-lost (", &out]);
    balancer.wait_for_log(&["WARN", "-later (", &out]);
    balancer.wait_for_log(&["WARN", "-nowhere (", "connect it to a network; it has none"]);

    ours.connect(lost);
    balancer.wait_until_serves("lost.test/", "lost saw /");
    balancer.wait_for_log(&["resolved: ", "-lost (", &out]);
    ours.disconnect(lost);
    balancer.wait_until_serves("lost.test/", "503");

    // HAProxy's own container joins the network of the other containers.
    later.connect(balancer.container());
    balancer.wait_until_serves("later.test/", "later saw /");
    balancer.wait_for_log(&["resolved: ", "-later (", &out]);
    let both = format!("one of HAProxy's networks: {}, {}", ours.name, later.name);
    balancer.wait_for_log(&["WARN", "-lost (", &both]);
    later.disconnect(balancer.container());
    balancer.wait_until_serves("later.test/", "503");
    balancer.assert_serves(&[("one.test/", "one saw /"), ("several.test/", "several saw /")]);
}

#[test]
fn balancer_on_the_host_network_reaches_host_addresses() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let net = docker.network("net");
    let plan = Balancer::plan(&docker).in_container("host");
    let _containers =
        common::start_all(vec![run_web(&plan, "user").network(&net), run_web(&plan, "default")]);
    plan.start()
        .wait_until_started()
        .assert_serves(&[("user.test/", "user saw /"), ("default.test/", "default saw /")]);
}

#[test]
fn balancer_in_another_containers_network_reaches_its_networks() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let (net, other) = (docker.network("net"), docker.network("other"));
    let plan = Balancer::plan(&docker);
    let published = format!("127.0.0.1:{0}:{0}", plan.bound_port(80));
    let owner = docker.run("owner").network(&net).option(&["--publish", &published]).start();
    let plan = plan.in_container(&format!("container:{}", owner.id));
    let _containers = common::start_all(vec![
        run_web(&plan, "near").network(&net),
        run_web(&plan, "far").network(&other),
    ]);
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("near.test/", "near saw /"), ("far.test/", "404")]);
    other.connect(&owner);
    balancer.wait_until_serves("far.test/", "far saw /");
}

#[test]
fn docker_stop_waits_for_requests_and_restart_serves_again() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let net = docker.network("net");
    let plan = Balancer::plan(&docker).in_container(&net.name);
    let _web = run_web(&plan, "web").network(&net).start();
    let mut balancer = plan.start().wait_until_started();
    for verb in ["stop", "restart"] {
        // An idle connection would last longer than Docker's stop timeout of 10 s.
        let mut idle = TcpStream::connect(("127.0.0.1", balancer.bound_port(80))).unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").unwrap();
        assert_ne!(idle.read(&mut [0; 4096]).unwrap(), 0);
        let request = balancer.request("GET", "web.test/slow?ms=3000");
        let answer = std::thread::scope(|scope| {
            let answer = scope.spawn(move || request.send().unwrap());
            wait_for("the request is under way", || {
                balancer.ask_haproxy("show stat").lines().any(has_running_request).then_some(())
            });
            balancer.container().docker(&[verb]);
            answer.join().unwrap()
        });
        assert_eq!(answer.to_string(), "web saw /slow?ms=3000", "{verb}");
        assert!(balancer.wait_for_exit().success(), "{verb}: {}", balancer.log());
        balancer.start_again();
        balancer.wait_until_serves("web.test/", "web saw /");
    }
    balancer.container().docker(&["kill"]);
    assert_eq!(balancer.wait_for_exit().code(), Some(137));
    balancer.start_again();
    balancer.wait_until_serves("web.test/", "web saw /");
    balancer.wait_for_log(&["serves the last good configuration"]);
}

#[test]
fn balancer_container_survives_a_docker_restart() {
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    engine.load(balancer::build_balancer_image());
    let docker = engine.docker();
    // Published ports stop working with the engine, hence the host's network.
    let plan = Balancer::plan(&docker).in_container("host");
    let _web = run_web(&plan, "web").start();
    let mut balancer = plan.start().wait_until_started();
    engine.stop();
    balancer.assert_serves(&[("web.test/", "web saw /")]);
    // Only `docker start --attach` ends, not the container.
    balancer.wait_for_exit();
    engine.start();
    balancer.start_again();
    let _late = run_web(&balancer, "late").start();
    balancer.wait_until_serves("late.test/", "late saw /");
}

/// Whether a row of `show stat` (Management Guide, section 9.1) is a server with a request in progress.
fn has_running_request(row: &str) -> bool {
    let columns: Vec<_> = row.split(',').collect();
    matches!(columns[..], [_, name, _, _, "1", ..] if name.contains("-web-"))
}

#[test]
fn balancer_as_pid_1_reaps_zombies() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let net = docker.network("net");
    let plan = Balancer::plan(&docker).in_container(&net.name);
    let _web = run_web(&plan, "web").network(&net).start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("web.test/", "web saw /")]);
    let first = balancer.container().docker(&["inspect", "--format", "{{.State.Pid}}"]);
    let mut before = 0;
    for _ in 0..3 {
        // Zombies are still children.
        before = wait_for("one HAProxy, another one, and nobody beside it", || {
            let [child] = child_pids(&first)[..] else { return None };
            if child == before || !is_master(child) {
                return None;
            }
            balancer.wait_until_serves("web.test/", "web saw /");
            // This makes the master's workers children of the first process. The master may already have exited,
            // because workers of the previous one still had its port.
            kill(Pid::from_raw(child), Signal::SIGKILL).is_ok().then_some(child)
        });
    }
}

fn child_pids(pid: &str) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Other children exist for a moment: an HAProxy that checks a file.
fn is_master(pid: i32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"-W")
}
