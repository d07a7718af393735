//! HAProxy's sockets fail at every step, HAProxy dies at every step, somebody else reloads and changes
//! it: the program as a user starts it ends where it should, and no request is lost meanwhile that
//! HAProxy could have served.

#![allow(clippy::print_stdout, reason = "this is a test")]

use crate::{
    asker::Asker,
    common::{
        self, Container,
        balancer::Balancer,
        between::{Fault, FaultProxy},
    },
};
use docker_glue::haproxy::{
    master::{Master, ProcessList},
    server_setting::ServerSettings,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::time::{Duration, Instant};

const HOST: &str = "glue_http_80_host";
/// More than it takes for a container that comes or goes: some of the last never come.
const STEPS: usize = 14;
/// Longer than what HAProxy has is believed unseen.
const MUCH_LATER: Duration = Duration::from_secs(90);

/// One container that always serves and one that comes and goes, while somebody asks.
struct Scene {
    web: Container,
    guest: Container,
    balancer: Balancer,
}

impl Scene {
    fn start() -> Option<Self> {
        let docker = common::find_docker()?;
        let plan = Balancer::plan(&docker);
        let web = plan.run("web").label(HOST, "a.test").start();
        let guest = plan.run("guest").label(HOST, "a.test").create();
        let balancer = plan.start();
        balancer.wait_until_serves("a.test", "web saw /");
        Some(Self { web, guest, balancer })
    }

    /// The guest comes, or goes again.
    fn change_route(&self, number: usize) -> &'static [&'static str] {
        if number.is_multiple_of(2) {
            self.guest.docker(&["start"]);
            &["web", "guest"]
        } else {
            self.guest.docker(&["stop"]);
            &["web"]
        }
    }

    /// Until exactly these servers are ready, the route leads there, and the file says so too.
    fn until_is(&self, between: &FaultProxy, names: &[&str]) -> Duration {
        let begun = Instant::now();
        common::wait_for(&format!("{names:?} serve"), || {
            let state = between.ask_haproxy("show servers state").ok()?;
            let ready = docker_glue::haproxy::observed::parse_servers(&state);
            let mut ready: Vec<_> = ready
                .into_values()
                .flatten()
                .filter(|(name, _)| *name != docker_glue::haproxy::name::HOLD_SERVER)
                .filter(|(_, server)| {
                    server.admin == docker_glue::haproxy::config::AdminState::Ready && server.up
                })
                .map(|(name, _)| name)
                .collect();
            ready.sort();
            let is_ready = |name: &&str| {
                let container = if *name == "web" { &self.web } else { &self.guest };
                ready.iter().any(|text| text.starts_with(&container.name))
            };
            (ready.len() == names.len() && names.iter().all(is_ready)).then_some(())
        });
        begun.elapsed()
    }

    fn worker_pids(&self) -> ProcessList {
        let socket = self.balancer.runtime().join("master.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let master = Master::new(&socket);
        common::wait_for("HAProxy's master", || runtime.block_on(master.list_processes()).ok())
    }
}

/// HAProxy 3.4.7 says so when signals to reload come within half a second of each other, with or
/// without a balancer, and resets what waits in the sockets that were not handed on.
const LOST_BY_HAPROXY: &str = "Failed to get the sockets from the old process!";

/// `make` is the fault, injected before the first line that HAProxy is told, the second, and so on.
fn fail_at_every_step(what: &str, every: usize, make: impl Fn(&Scene) -> Fault) {
    let Some(scene) = Scene::start() else { return };
    let asker = Asker::begin(&scene.balancer, "a.test");
    let mut longest = Duration::ZERO;
    let (mut turns, mut fired) = (0, 0);
    for step in (0..STEPS).step_by(every) {
        let between = FaultProxy::replace_socket(&scene.balancer.runtime().join("haproxy.sock"));
        between.inject_after(step, make(&scene));
        let names = scene.change_route(turns);
        turns += 1;
        longest = longest.max(scene.until_is(&between, names));
        scene.balancer.wait_until_shared("a.test", names);
        fired += usize::from(between.has_fired());
    }
    println!("{what}: {fired} of {turns} times, in place again after {longest:?} at most");
    assert!(3 <= fired, "{what} only {fired} times");
    asker.more(20);
    let outcomes = asker.end();
    let strange: Vec<_> = outcomes.iter().filter(|text| !text.ends_with(" saw /")).collect();
    if scene.balancer.log().contains(LOST_BY_HAPROXY) {
        println!(
            "{what}: HAProxy says that it lost its sockets over a reload, and clients saw {strange:?}"
        );
    } else {
        assert!(strange.is_empty(), "{what}: {strange:?}");
    }
}

#[test]
fn rejected_command_at_any_step_loses_no_request() {
    fail_at_every_step("refused", 1, |_| Fault::Answer("Permission denied\n"));
}

#[test]
fn garbage_reply_at_any_step_loses_no_request() {
    fail_at_every_step("garbage", 1, |_| Fault::Answer("4 0x \u{fffd}\n# \u{1}\n\n> x"));
}

#[test]
fn lost_connection_at_any_step_loses_no_request() {
    fail_at_every_step("closed", 1, |_| Fault::Close);
}

#[test]
fn hanging_socket_at_any_step_loses_no_request() {
    fail_at_every_step("hung", 3, |_| Fault::Hang);
}

#[test]
fn foreign_reload_at_any_step_loses_no_request() {
    fail_at_every_step("reloaded", 2, |scene| {
        let master = scene.balancer.master_pid();
        Fault::Meanwhile(Box::new(move || kill(Pid::from_raw(master), Signal::SIGUSR2).unwrap()))
    });
}

/// Nobody can be served while HAProxy is dead; it is started again and has what the world asks for.
fn kill_at_every_step(what: &str, victim: impl Fn(&Scene) -> i32) {
    let Some(scene) = Scene::start() else { return };
    let mut longest = Duration::ZERO;
    let mut fired = 0;
    for (turn, step) in (0..STEPS).step_by(3).enumerate() {
        let before = scene.worker_pids();
        let between = FaultProxy::replace_socket(&scene.balancer.runtime().join("haproxy.sock"));
        let victim = Pid::from_raw(victim(&scene));
        between.inject_after(
            step,
            Fault::Meanwhile(Box::new(move || kill(victim, Signal::SIGKILL).unwrap())),
        );
        let names = scene.change_route(turn);
        let begun = Instant::now();
        scene.balancer.wait_until_shared("a.test", names);
        longest = longest.max(begun.elapsed());
        if !between.has_fired() {
            continue;
        }
        fired += 1;
        common::wait_for("another worker", || {
            (scene.worker_pids().live_worker() != before.live_worker()).then_some(())
        });
        scene.balancer.wait_until_shared("a.test", names);
    }
    println!("{what}: {fired} times, served again after {longest:?} at most");
    assert!(2 <= fired, "{what} only {fired} times");
}

#[test]
fn worker_killed_at_any_step_is_replaced() {
    kill_at_every_step("worker killed", |scene| {
        scene.worker_pids().live_worker().unwrap().try_into().unwrap()
    });
}

#[test]
fn master_killed_at_any_step_is_replaced() {
    kill_at_every_step("master killed", |scene| scene.balancer.master_pid());
}

/// What touches the same backend repairs it at once, all else is found at the next look.
#[test]
fn foreign_runtime_changes_are_repaired() {
    let Some(scene) = Scene::start() else { return };
    let other = scene.balancer.run("other").label(HOST, "b.test").start();
    scene.balancer.wait_until_serves("b.test", "other saw /");
    let ask = |command: &str| scene.balancer.ask_haproxy(command);
    let state = ask("show servers state");
    let servers = docker_glue::haproxy::observed::parse_servers(&state);
    let (backend, server) = servers
        .iter()
        .flat_map(|(backend, servers)| servers.keys().map(move |name| (backend, name)))
        .find(|(_, name)| name.starts_with(&scene.web.name))
        .unwrap();
    ask(&format!("set server {backend}/{server} weight 3"));
    ask("del map routes.map b.test:80/");
    ask("add map routes.map theirs.test:80/ nowhere");
    ask("add server no-server/theirs 127.0.0.1:9");
    scene.balancer.assert_serves(&[("b.test", "404"), ("a.test", "web saw /")]);

    let begun = Instant::now();
    let is_repaired = || {
        let routes = docker_glue::haproxy::observed::parse_map(&ask("show map routes.map"));
        let all = docker_glue::haproxy::observed::parse_servers(&ask("show servers state"));
        let weights =
            all.values().flatten().all(|(_, server)| server.settings == ServerSettings::default());
        let names = all.values().flatten().all(|(name, _)| name != "theirs");
        routes.keys().eq(["a.test:80/", "b.test:80/"]) && weights && names
    };
    while !is_repaired() {
        assert!(begun.elapsed() < MUCH_LATER, "not repaired:\n{}", ask("show servers state"));
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("repaired after {:?}", begun.elapsed());
    scene.balancer.assert_serves(&[("b.test", "other saw /"), ("a.test", "web saw /")]);
    scene.balancer.wait_for_log(&["state differs from the expected state; repairing"]);
    drop(other);
}

/// A reload that is needed, while the master does not answer as it should.
#[test]
fn failing_master_socket_is_retried() {
    for fault in [|| Fault::Close, || Fault::Hang, || Fault::Answer("what?\n")] {
        let Some(docker) = common::find_docker() else { return };
        let balancer = Balancer::plan(&docker).ports(&[80, 81, 82]).start();
        let _web = balancer.run("web").label(HOST, "a.test").start();
        balancer.wait_until_serves("a.test", "web saw /");
        let asker = Asker::begin(&balancer, "a.test");
        let mut others = Vec::new();
        for (step, port) in [81, 82].into_iter().enumerate() {
            let between = FaultProxy::replace_socket(&balancer.runtime().join("master.sock"));
            between.inject_after(step, fault());
            let host = format!("{port}.test");
            let other = balancer.run("other").label(HOST, &host).label("glue_http_80_bind", port);
            others.push(other.start());
            balancer.wait_until_serves(&format!("{host}:{port}"), "other saw /");
        }
        asker.more(20);
        let outcomes = asker.end();
        assert_eq!(outcomes, ["web saw /"], "{}", balancer.log());
    }
}
