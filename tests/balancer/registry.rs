//! Containers of several machines that docker-glue publishes in etcd.

use crate::{
    common::{
        CONSTRAINT, Container,
        balancer::{Balancer, BalancerPlan, Request},
        elsewhere::RemoteEngine,
        etcd::{Etcd, EtcdBed},
        find_docker,
        glue::{Glue, GluePlan},
        wait_for,
    },
    https::run_command,
};
use nix::sys::signal::Signal;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const ID: &str = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff";

/// A machine with an engine and its publisher.
struct Node {
    engine: RemoteEngine,
    glue: Glue,
}

impl Node {
    fn start(engine: RemoteEngine, name: &str, etcd: &Etcd) -> Self {
        let (url, address) = (etcd.url(), engine.address);
        let text = format!(
            "[handler]\nclass=publish\n[params]\nwhat=served\nendpoints={url}\nnode={name}\nttl=3s\n\
             addresses={address}\nlabels={CONSTRAINT}\n"
        );
        let plan: GluePlan = Glue::plan(&engine.docker()).file("publish.ini", &text);
        Self { glue: plan.start(), engine }
    }

    fn start_web(&self, plan: &BalancerPlan, name: &str) -> Container {
        let run = plan.run_at(&self.engine.docker(), name).option(&["--publish", "80"]);
        run.label("glue_http_80_host", "a.test").start()
    }
}

fn source(places: &str, parameters: &str) -> String {
    format!("etcd://{places}?name=fleet{parameters}")
}

/// Requests that are sent one after the other until it is stopped.
struct Load {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn start(balancer: &Balancer) -> Self {
        let place = ([127, 0, 0, 1], balancer.bound_port(80)).into();
        let request = Request::new(place, "GET", "a.test", "/");
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let thread = std::thread::spawn(move || {
            let (mut count, mut failures) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                match request.send() {
                    Ok(answer) if answer.status == 200 => {}
                    Ok(answer) => failures.push(format!("{count}: {}", answer.status)),
                    Err(error) => failures.push(format!("{count}: {error}")),
                }
            }
            (count, failures)
        });
        Self { is_stopped, thread: Some(thread) }
    }

    /// Stops, and asserts how many requests failed at most.
    fn assert_failures(mut self, most: usize) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let (count, failures) = self.thread.take().unwrap().join().unwrap();
        assert!(failures.len() <= most, "of {count}: {failures:?}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

#[test]
fn containers_of_two_machines_survive_what_happens_to_etcd_and_publishers() {
    let Some(docker) = find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    let (Some(one), Some(two)) = (RemoteEngine::start(), RemoteEngine::start()) else { return };
    etcd.start();
    let (mut one, mut two) = (Node::start(one, "one", &etcd), Node::start(two, "two", &etcd));
    let plan = Balancer::plan(&docker).option(&["--source", &source(&etcd.place(), "&forget=5s")]);
    let (a, b) = (one.start_web(&plan, "a"), two.start_web(&plan, "b"));
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["a", "b"]);
    let load = Load::start(&balancer);

    // Upgrades of the publisher, of which one takes longer than the lease.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        one.glue.stop_with(signal);
        one.glue.start_again();
        one.glue.wait_for_log(&["watching Docker"]);
    }
    two.glue.stop_with(Signal::SIGTERM);
    balancer.wait_for_log(&["fleet has had no sign of life of the machine two since"]);
    balancer.wait_until_shared("a.test", &["a", "b"]);
    two.glue.start_again();
    wait_for("no problem", || problems(&balancer).is_empty().then_some(()));

    etcd.kill();
    balancer.wait_for_log(&["WARN", "fleet has not answered since"]);
    balancer.wait_until_shared("a.test", &["a", "b"]);
    etcd.start();
    balancer.wait_for_log(&["connected to registry fleet again"]);

    // The changes that it misses are not stored any more when it resumes.
    balancer.signal(Signal::SIGSTOP);
    etcd.kill();
    etcd.start();
    let late = one.start_web(&balancer, "late");
    wait_for("its record", || {
        etcd.keys("/docker-glue/one/served/")
            .iter()
            .any(|key| key.ends_with(&late.id))
            .then_some(())
    });
    compact(&etcd);
    balancer.signal(Signal::SIGCONT);
    balancer
        .wait_for_log(&["reading all keys of fleet again: older changes are not stored any more"]);
    balancer.wait_until_shared("a.test", &["a", "b", "late"]);

    // It comes back without anything.
    etcd.kill();
    etcd.delete_data();
    etcd.start();
    wait_for("all publishers wrote again", || {
        let keys = etcd.keys("/docker-glue/");
        (keys.iter().filter(|key| key.ends_with("/alive")).count() == 2).then_some(())
    });
    wait_for("no problem", || problems(&balancer).is_empty().then_some(()));
    balancer.wait_until_shared("a.test", &["a", "b", "late"]);
    late.docker(&["stop"]);
    balancer.wait_until_shared("a.test", &["a", "b"]);

    // The next start has what was known, although etcd is away.
    etcd.pause_server();
    load.assert_failures(0);
    balancer.stop_with(Signal::SIGTERM);
    balancer.start_again();
    balancer.wait_until_shared("a.test", &["a", "b"]);
    etcd.resume_server();
    balancer.wait_for_log(&["connected to registry fleet again"]);
    balancer.wait_until_shared("a.test", &["a", "b"]);

    // A machine fails. Requests that are retried find the other one.
    let load = Load::start(&balancer);
    two.glue.stop_with(Signal::SIGKILL);
    drop(two);
    balancer.wait_until_shared("a.test", &["a"]);
    wait_for("it is lost", || {
        let problems = problems(&balancer);
        problems.contains("no sign of life of the machine two").then_some(())
    });
    let (_, status) = run_command(&balancer, &["status", "--json"]);
    assert!(status.contains(&b.id[..12]), "it is lost, not gone: {status}");
    wait_for("it is forgotten", || {
        let (_, status) = run_command(&balancer, &["status", "--json"]);
        (!status.contains(&b.id[..12]) && problems(&balancer).is_empty()).then_some(())
    });
    // The one that was in flight to that machine ends with an error; it does not hang.
    load.assert_failures(1);
    drop(a);
    balancer.wait_until_serves("a.test/", "503");
}

/// Removes the history of changes, so that a watch cannot resume.
fn compact(etcd: &Etcd) {
    let state = etcd.run_etcdctl(&["put", "/other", "x", "--write-out=fields"]);
    let revision = state.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
    etcd.run_etcdctl(&["compact", revision.trim()]);
}

fn problems(balancer: &Balancer) -> String {
    let (_, text) = run_command(balancer, &["problems", "--json"]);
    if text.trim() == "[]" { String::new() } else { text }
}

/// Writes a record as a publisher does, without a lease.
fn put(etcd: &Etcd, key: &str, value: &serde_json::Value) {
    etcd.run_etcdctl(&["put", &format!("/docker-glue/{key}"), &value.to_string()]);
}

fn alive(addresses: &[&str]) -> serde_json::Value {
    json!({"v": 1, "state": "up", "addresses": addresses})
}

/// A record of a container that publishes its port 80, with more labels.
fn record(plan: &BalancerPlan, name: &str, host_ip: &str, host: &str) -> serde_json::Value {
    json!({
        "v": 1, "name": name, "created": 1, "state": "running", "health": "none", "mode": "own",
        "labels": {"glue_http_80_host": host, CONSTRAINT: plan.constraint()},
        "networks": {"bridge": {"ipv4": "172.17.0.9"}},
        "published": [{"port": "80/tcp", "host_port": 8000, "host_ip": host_ip}],
    })
}

#[test]
fn hostile_records_are_refused() {
    let Some(docker) = find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let own = own_address();
    let fences = "&allow_addresses=203.0.113.0/24&allow_hosts=*.test&allow_ports=80&forget=never";
    let plan = Balancer::plan(&docker).option(&["--source", &source(&etcd.place(), fences)]);
    // What each node and its container claim, and what is said of it. A good one is served.
    let cases = [
        ("good", "203.0.113.2", "0.0.0.0", "good.test", ""),
        ("loopback", "127.0.0.1", "0.0.0.0", "x.test", "its machine names no address"),
        ("linklocal", "169.254.1.1", "0.0.0.0", "x.test", "its machine names no address"),
        ("multicast", "224.0.0.1", "0.0.0.0", "x.test", "its machine names no address"),
        ("unspecified", "0.0.0.0", "0.0.0.0", "x.test", "its machine names no address"),
        ("own", &own, "0.0.0.0", "x.test", "its machine names no address"),
        ("outside", "198.51.100.1", "0.0.0.0", "x.test", "its machine names no address"),
        ("port-own", "203.0.113.2", &own, "x.test", "published only on"),
        ("port-local", "203.0.113.2", "127.0.0.1", "x.test", "published only on"),
        ("port-outside", "203.0.113.2", "198.51.100.1", "x.test", "is not in allow_addresses="),
        ("host", "203.0.113.2", "0.0.0.0", "example.com", "--allow-hosts"),
    ];
    for (number, (node, address, host_ip, host, _)) in cases.iter().enumerate() {
        put(&etcd, &format!("{node}/alive"), &alive(&[address]));
        let id = format!("{number:064x}");
        put(&etcd, &format!("{node}/served/{id}"), &record(&plan, node, host_ip, host));
    }
    let mut port = record(&plan, "port", "0.0.0.0", "x.test");
    port["labels"]["glue_http_80_bind"] = "8443".into();
    let mut network = record(&plan, "network", "0.0.0.0", "x.test");
    network["labels"]["glue_network"] = "bridge".into();
    network["networks"]["bridge"]["ipv4"] = own.as_str().into();
    let mut host_network = record(&plan, "ssh", "0.0.0.0", "x.test");
    (host_network["mode"], host_network["labels"]) =
        ("host".into(), json!({"glue_tcp_22_bind": "2222", CONSTRAINT: plan.constraint()}));
    let mut foreign = record(&plan, "foreign", "0.0.0.0", "foreign.test");
    foreign["labels"] = json!({"glue_http_80_host": "foreign.test"});
    for (number, record) in [(100, &port), (101, &network), (102, &host_network), (103, &foreign)] {
        put(&etcd, &format!("good/served/{number:064x}"), record);
    }
    let script = "<script>\u{1b}[31m";
    put(&etcd, &format!("good/served/{ID}"), &json!({"v": 1, "name": script}));
    put(&etcd, "good/served/../../x", &record(&plan, "path", "0.0.0.0", "x.test"));
    put(&etcd, "later/alive", &json!({"v": 9}));
    etcd.run_etcdctl(&["put", "/docker-glue/broken/alive", "{"]);

    let balancer = plan.start().wait_until_started();
    let text = wait_for("problems", || Some(problems(&balancer)).filter(|text| !text.is_empty()));
    let problems: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let expected = cases.iter().map(|(node, .., words)| (*node, *words)).skip(1);
    let others = [
        ("port", "--allow-ports"),
        ("network", "the address "),
        ("ssh", "22"),
        (ID, "it is not a record: missing field"),
        ("later/alive", "it has version 9; update docker-balancer"),
        ("broken/alive", "it is not a record: EOF"),
    ];
    for (about, words) in expected.chain(others) {
        let is_about = |problem: &&serde_json::Value| {
            let text = problem.to_string();
            text.contains(about) && text.contains(words)
        };
        assert!(problems.iter().any(|problem| is_about(&problem)), "{about}: {words}: {text}");
    }
    let (_, status) = run_command(&balancer, &["routes", "--json"]);
    for address in
        ["127.0.0.1:8000", "169.254", "224.0.0.1", "198.51.100.1", "0.0.0.0:", "foreign.test"]
    {
        assert!(!status.contains(address), "{address}: {status}");
    }
    assert!(!status.contains(&format!("{own}:")), "{own}: {status}");
    assert!(status.contains("203.0.113.2:8000"), "{status}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

/// Returns an address of this machine that is not loopback.
fn own_address() -> String {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // The address of a default route, or that of Docker's bridge.
    let _ = socket.connect("192.0.2.1:9").or_else(|_| socket.connect("172.17.0.2:9"));
    socket.local_addr().unwrap().ip().to_string()
}

#[test]
fn cluster_that_loses_its_leader_or_majority_loses_nothing() {
    let Some(docker) = find_docker() else { return };
    let Some(mut etcd) = Etcd::start_cluster() else { return };
    let places = etcd.each_ref().map(Etcd::place).join(",");
    let plan = Balancer::plan(&docker).option(&["--source", &source(&places, "")]);
    let web = |name: &str| record(&plan, name, "0.0.0.0", &format!("{name}.test"));
    put(&etcd[0], "one/alive", &alive(&["203.0.113.2"]));
    put(&etcd[0], &format!("one/served/{ID}"), &web("first"));
    let (second, third) = (web("second"), web("third"));
    let balancer = plan.start().wait_until_started();
    let until_known = |name: &str| {
        wait_for(&format!("{name} is known"), || {
            let (_, status) = run_command(&balancer, &["status", "--json"]);
            status.contains(&format!("{name}.test")).then_some(())
        });
    };
    until_known("first");

    // The balancer is connected to the first member, which loses the others.
    etcd[1].pause_server();
    etcd[2].pause_server();
    balancer.wait_for_log(&["WARN", "lost connection to registry fleet: etcd at http://"]);
    balancer.wait_for_log(&["WARN", "fleet has not answered since"]);
    until_known("first");
    etcd[1].resume_server();
    etcd[2].resume_server();
    balancer.wait_for_log(&["connected to registry fleet again"]);
    put(&etcd[1], &format!("one/served/{:064x}", 2), &second);
    until_known("second");

    let leader = wait_for("a leader", || etcd.iter().position(Etcd::is_leader));
    etcd[leader].kill();
    let other = (leader + 1) % 3;
    wait_for("another leader", || etcd[other].try_put("/other", "x").then_some(()));
    put(&etcd[other], &format!("one/served/{:064x}", 3), &third);
    until_known("third");
    until_known("first");
}

/// A member without the others still answers its clients, with what it knew: a watch there would be silent for ever.
#[test]
fn member_without_its_peers_is_left_for_one_that_has_a_leader() {
    let Some(docker) = find_docker() else { return };
    let Some(bed) = EtcdBed::start() else { return };
    let Some(there) = RemoteEngine::start() else { return };
    let [first, second, third] = &bed.members;
    // The publisher writes through a member of the majority; the balancer begins with the first one.
    let node = Node::start(there, "one", third);
    let places = [first, second, third].map(Etcd::place).join(",");
    let fleet = format!("etcd://{places}/test-fleet?name=lb1");
    let plan = Balancer::plan(&docker)
        .option(&["--source", &source(&places, "")])
        .option(&["--fleet", &fleet]);
    let (_a, _b) = (node.start_web(&plan, "a"), node.start_web(&plan, "b"));
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["a", "b"]);
    let load = Load::start(&balancer);
    let names = ["a", "b", "late"];

    bed.cut_off_from_peers(0);
    let line = balancer.wait_for_log(&["lost connection to registry fleet", &first.place()]);
    assert!(line.contains("no leader"), "{line}");
    let late = node.start_web(&balancer, "late");
    balancer.wait_until_shared("a.test", &names);
    assert!(!first.try_put("/other", "x"), "it is without a leader");
    bed.reconnect_to_peers(0);
    wait_for("the first member has a leader", || first.try_put("/other", "x").then_some(()));
    late.docker(&["stop"]);
    balancer.wait_until_shared("a.test", &names[..2]);

    // The next one falls silent.
    bed.cut_off(1);
    balancer.wait_for_log(&["lost connection to registry fleet", &second.place()]);
    late.docker(&["start"]);
    balancer.wait_until_shared("a.test", &names);
    bed.reconnect(1);
    wait_for("the second member has a leader", || second.try_put("/other", "x").then_some(()));
    late.docker(&["stop"]);
    balancer.wait_until_shared("a.test", &names[..2]);
    wait_for("no problem", || problems(&balancer).is_empty().then_some(()));
    load.assert_failures(0);
}

/// The reader's user may only read, the fleet's only write its own keys, and neither answers without a certificate.
#[test]
fn etcd_with_tls_and_users_is_read_and_written_by_those_that_may() {
    let Some(docker) = find_docker() else { return };
    let Some(etcd) = Etcd::new() else { return };
    let mut etcd = etcd.with_tls();
    etcd.start();
    let file = |name: &str| etcd.file(name).display().to_string();
    for (name, password) in [("reader", "read\n"), ("lb", "write\n"), ("guess", "guess\n")] {
        std::fs::write(file(name), password).unwrap();
    }
    let own = ["balancers/", "drains/"].map(|folder| format!("/docker-glue/{folder}"));
    let grant = ["role", "grant-permission", "lb", "readwrite", "--prefix"];
    for words in [
        &["role", "add", "root"][..],
        &["user", "add", "root:admin"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "--prefix", "/docker-glue/"],
        &["role", "add", "lb"],
        &[&grant[..], &[&own[0]]].concat(),
        &[&grant[..], &[&own[1]]].concat(),
        &["user", "add", "reader:read"],
        &["user", "grant-role", "reader", "reader"],
        &["user", "add", "lb:write"],
        &["user", "grant-role", "lb", "lb"],
        &["auth", "enable"],
    ] {
        etcd.run_etcdctl(words);
    }
    let ca = format!("&ca_file={}", file("ca.pem"));
    let tls = format!("{ca}&cert_file={}&key_file={}", file("cert.pem"), file("key.pem"));
    let place = etcd.place();
    let url = |name: &str, user: &str, password: &str, tls: &str| {
        let password = etcd.file(password).display().to_string();
        format!("etcds://{place}?name={name}&user={user}&password_file={password}{tls}")
    };
    let plan = Balancer::plan(&docker)
        .option(&["--source", &url("fleet", "reader", "reader", &tls)])
        .option(&["--fleet", &url("lb1", "lb", "lb", &tls)]);
    let refused = [
        (url("fleet", "reader", "guess", &tls), "invalid user ID or password"),
        (url("fleet", "lb", "lb", &tls), "permission denied"),
        (url("fleet", "reader", "reader", &ca), "etcd at https://"),
        (url("fleet", "reader", "reader", ""), "UnknownIssuer"),
    ]
    .map(|(url, text)| (Balancer::plan(&docker).option(&["--source", &url]), text));
    etcd.add_etcdctl_option("--user=root:admin");
    put(&etcd, "one/alive", &alive(&["203.0.113.2"]));
    put(&etcd, &format!("one/served/{ID}"), &record(&plan, "first", "0.0.0.0", "first.test"));

    for (plan, text) in refused {
        let balancer = plan.start();
        let line = balancer.wait_for_log(&["lost connection to registry fleet", text]);
        assert!(!line.contains("guess\n") && !line.contains("password="), "{line}");
    }
    let balancer = plan.start().wait_until_started();
    let until_known = |name: &str| {
        wait_for(&format!("{name} is known"), || {
            let (_, status) = run_command(&balancer, &["status", "--json"]);
            status.contains(&format!("{name}.test")).then_some(())
        });
    };
    let until_in_fleet = || {
        wait_for("its own record", || {
            let (_, fleet) = run_command(&balancer, &["status", "--fleet"]);
            (fleet.contains("lb1 (this one)") && !etcd.get(&format!("{}lb1", own[0])).is_empty())
                .then_some(())
        });
    };
    until_known("first");
    until_in_fleet();
    let (_, status) = run_command(&balancer, &["status"]);
    assert!(status.contains("1 container on 1 machine"), "{status}");

    // Its tokens are not known any more.
    etcd.kill();
    balancer.wait_for_log(&["lost connection to registry fleet"]);
    etcd.start();
    balancer.wait_for_log(&["connected to registry fleet again"]);
    put(
        &etcd,
        &format!("one/served/{:064x}", 2),
        &record(&balancer, "second", "0.0.0.0", "second.test"),
    );
    until_known("second");
    let (drained, text) = run_command(&balancer, &["drain", "second", "--wait", "1s"]);
    assert_eq!(drained, Some(0), "{text}");
    wait_for("the record of the drain", || (!etcd.keys(&own[1]).is_empty()).then_some(()));
}

/// What docker-glue of this machine publishes is known from this machine's engine, too.
#[test]
fn container_of_an_engine_and_a_registry_is_one_server() {
    let Some(docker) = find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    let Some(there) = RemoteEngine::start() else { return };
    etcd.start();
    let address = there.address;
    let node = Node::start(there, "node7", &etcd);
    let engine = format!("tcp://{address}:2375?name=near");
    let plan = Balancer::plan(&docker)
        .option(&["--source", &source(&etcd.place(), "")])
        .option(&["--source", &engine]);
    let (a, b) = (node.start_web(&plan, "a"), node.start_web(&plan, "b"));
    wait_for("both records", || (etcd.keys("/docker-glue/node7/served/").len() == 2).then_some(()));
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["a", "b"]);
    balancer.wait_for_log(&["INFO", "of a registry, too; they are served as the engine's"]);
    let (_, routes) = run_command(&balancer, &["routes", "--json"]);
    for container in [&a, &b] {
        assert_eq!(routes.matches(&container.id[..12]).count(), 1, "{routes}");
    }
    let late = node.start_web(&balancer, "late");
    balancer.wait_until_shared("a.test", &["a", "b", "late"]);
    let load = Load::start(&balancer);
    late.docker(&["stop"]);
    balancer.wait_until_shared("a.test", &["a", "b"]);
    load.assert_failures(0);
}

/// Prints what clients notice of a machine that is cut off: its servers are out long before its lease ends. Each round
/// sends requests one after the other, from the moment at which the cable is pulled until the machine is lost.
#[test]
#[ignore = "a measurement, which takes a minute"]
#[allow(clippy::print_stdout, reason = "the figures")]
fn measure_a_machine_that_is_cut_off() {
    let (Some(docker), Some(mut etcd)) = (find_docker(), Etcd::new()) else { return };
    let (Some(one), Some(two)) = (RemoteEngine::start(), RemoteEngine::start()) else { return };
    etcd.start();
    let nodes = [Node::start(one, "one", &etcd), Node::start(two, "two", &etcd)];
    let plan = Balancer::plan(&docker).option(&["--source", &source(&etcd.place(), "")]);
    let _webs = (nodes[0].start_web(&plan, "a"), nodes[1].start_web(&plan, "b"));
    let balancer = plan.start().wait_until_started();
    let place = ([127, 0, 0, 1], balancer.bound_port(80)).into();
    let request = Request::new(place, "GET", "a.test", "/");
    for round in 1..=10 {
        balancer.wait_until_shared("a.test", &["a", "b"]);
        nodes[1].engine.cut_off();
        let begun = Instant::now();
        let (mut sent, mut failed, mut slow) = (0, 0, Vec::new());
        while begun.elapsed() < Duration::from_secs(4) {
            let asked_at = Instant::now();
            failed += usize::from(!request.send().is_ok_and(|answer| answer.status == 200));
            sent += 1;
            if Duration::from_millis(100) < asked_at.elapsed() {
                slow.push((begun.elapsed().as_millis(), asked_at.elapsed().as_millis()));
            }
        }
        println!(
            "round {round}: {sent} requests, {failed} failed; over 100 ms (at, took): {slow:?}"
        );
        nodes[1].engine.reconnect();
    }
}
