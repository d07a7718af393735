//! Several balancers that know each other through etcd.

use crate::{
    common::{
        Container,
        balancer::{Balancer, BalancerPlan},
        etcd::Etcd,
        find_docker, wait_for,
    },
    control::check_answer,
    https::run_command,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{io::Read, net::TcpStream};

/// What the keys of a test begin with.
const PREFIX: &str = "/test-fleet/";

/// Three balancers that serve the same containers.
struct Trio {
    etcd: Etcd,
    balancers: Vec<Balancer>,
}

impl Trio {
    /// `None` if Docker or etcd is not there. `before` starts containers that exist before the balancers.
    fn start<T>(before: impl Fn(&BalancerPlan) -> T) -> Option<(Self, T)> {
        let docker = find_docker()?;
        let mut etcd = Etcd::new()?;
        etcd.start();
        let first = Balancer::plan(&docker);
        let containers = before(&first);
        let mut plans = vec![first];
        for _ in 0..2 {
            plans.push(Balancer::plan(&docker).sharing_containers_of(&plans[0]));
        }
        let named = plans.into_iter().enumerate();
        let started = named.map(|(number, plan)| {
            plan.option(&["--fleet", &fleet_url(&etcd, &format!("lb{}", number + 1))]).start()
        });
        let balancers: Vec<_> = started.collect();
        let balancers = balancers.into_iter().map(Balancer::wait_until_started).collect();
        let trio = Self { etcd, balancers };
        trio.wait_until_equal();
        Some((trio, containers))
    }

    fn run_web(&self, name: &str) -> Container {
        run_web(&self.balancers[0], name)
    }

    /// Waits until each balancer knows all of them, and that they serve the same.
    fn wait_until_equal(&self) {
        for balancer in &self.balancers {
            wait_for("equal hashes", || {
                let fleet = read_fleet(balancer)?;
                let members = fleet["balancers"].as_array()?.clone();
                let is_equal = members.iter().all(|member| {
                    member["served"] == members[0]["served"] && member["differs"] == false
                });
                (members.len() == self.balancers.len() && is_equal).then_some(())
            });
        }
    }

    fn wait_until_shared(&self, names: &[&str]) {
        for balancer in &self.balancers {
            balancer.wait_until_shared("a.test", names);
        }
    }

    /// Waits until each balancer has exactly these kinds of problems.
    fn wait_for_problems(&self, kinds: &[&str]) {
        for balancer in &self.balancers {
            wait_for(&format!("problems {kinds:?}"), || {
                (problem_kinds(balancer) == kinds).then_some(())
            });
        }
    }

    fn drain_keys(&self) -> Vec<String> {
        self.etcd.keys(&format!("{PREFIX}drains/"))
    }
}

fn fleet_url(etcd: &Etcd, name: &str) -> String {
    format!("etcd://{}{}?name={name}", etcd.place(), PREFIX.trim_end_matches('/'))
}

fn run_web(plan: &BalancerPlan, name: &str) -> Container {
    plan.run(name).label("glue_http_80_host", "a.test").start()
}

/// Returns the answer of `status --fleet --json`.
fn read_fleet(balancer: &Balancer) -> Option<Value> {
    let (status, text) = run_command(balancer, &["status", "--fleet", "--json"]);
    (status == Some(0)).then(|| serde_json::from_str(&text).unwrap())
}

fn problem_kinds(balancer: &Balancer) -> Vec<String> {
    let (_, text) = run_command(balancer, &["problems", "--json"]);
    let problems: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    problems.iter().map(|problem| problem["kind"].as_str().unwrap().to_owned()).collect()
}

fn run(balancer: &Balancer, words: &[&str], expected: i32) -> String {
    let (status, text) = run_command(balancer, words);
    assert_eq!(status, Some(expected), "{words:?}: {text}");
    text
}

/// Returns the part of an answer that has arrived.
fn read_arrived(stream: &mut TcpStream) -> String {
    stream.set_nonblocking(true).unwrap();
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(length) = stream.read(&mut part)
        && 0 < length
    {
        bytes.extend(&part[..length]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn balancers_have_equal_hashes_under_churn_and_tell_a_rollback() {
    let Some((trio, _web)) = Trio::start(|plan| run_web(plan, "web-1")) else { return };
    let fleet = read_fleet(&trio.balancers[1]).unwrap();
    check_answer("GET", "/fleet", "200", &fleet);
    assert_eq!(fleet["name"], "lb2");

    for round in 0..5 {
        let names = ["x", "y", "z"].map(|name| format!("{name}-{round}"));
        let several: Vec<_> = names.iter().map(|name| trio.run_web(name)).collect();
        several[0].docker(&["pause"]);
        drop(several);
    }
    trio.wait_until_equal();
    trio.wait_until_shared(&["web-1"]);
    for balancer in &trio.balancers {
        assert!(!balancer.log().contains("other routes than"), "{}", balancer.log());
    }
    assert_ne!(read_fleet(&trio.balancers[0]).unwrap()["balancers"][0]["generation"], 1);

    // A rollback of one is told by all, and ends with it.
    let late = trio.run_web("web-2");
    trio.wait_until_shared(&["web-1", "web-2"]);
    let first = &trio.balancers[0];
    let history: Vec<Value> = serde_json::from_str(&run(first, &["history", "--json"], 0)).unwrap();
    let before = history[history.len() - 2]["generation"].to_string();
    run(first, &["rollback", &before], 0);
    for balancer in &trio.balancers {
        balancer.wait_for_log(&["lb1 (rollback) serves other routes than lb2 and lb3"]);
    }
    trio.wait_for_problems(&["fleet_differs"]);
    let text = run(&trio.balancers[2], &["status", "--fleet"], 0);
    let line = text.lines().find(|line| line.starts_with("lb1")).unwrap();
    assert!(line.ends_with("differs, rollback"), "{text}");
    run(first, &["rollback", "--release"], 0);
    trio.wait_for_problems(&[]);
    trio.wait_until_equal();
    drop(late);
}

#[test]
fn drain_waits_for_all_balancers() {
    let Some((mut trio, web)) = Trio::start(|plan| run_web(plan, "web-1")) else { return };
    let [one, two, _] = &trio.balancers[..] else { unreachable!() };
    let mut slow = two.request("GET", "a.test/slow?ms=10000").open().unwrap();
    wait_for("the slow request is under way", || {
        let stat = two.ask_haproxy("show stat -1 4 -1");
        stat.lines().any(|line| line.split(',').nth(4) == Some("1")).then_some(())
    });
    let other = trio.run_web("web-2");
    trio.wait_until_shared(&["web-1", "web-2"]);

    wait_for("what is open on the other balancer", || {
        let text = run(one, &["drain", &web.name, "--wait", "200ms"], 1);
        text.contains("1 is still open on lb2").then_some(())
    });
    for balancer in &trio.balancers {
        balancer.wait_until_shared("a.test", &["web-2"]);
    }
    assert_eq!(read_arrived(&mut slow), "", "the request is in flight");
    run(one, &["drain", &web.name, "--wait", "30s"], 0);
    let answer = read_arrived(&mut slow);
    assert!(answer.starts_with("HTTP/1.1 200"), "it has ended before the drain: {answer}");
    trio.wait_until_equal();

    // A balancer that starts again has the drain, too, and another one can end it.
    assert_eq!(trio.drain_keys().len(), 1);
    trio.balancers[1].stop_with(Signal::SIGTERM);
    trio.balancers[1].start_again();
    trio.wait_until_shared(&["web-2"]);
    trio.wait_until_equal();
    let three = &trio.balancers[2];
    run(three, &["undrain", &web.name], 0);
    trio.wait_until_shared(&["web-1", "web-2"]);
    assert!(trio.drain_keys().is_empty());
    trio.wait_until_equal();

    // A drain ends with its container.
    run(three, &["drain", &other.name], 0);
    trio.wait_until_shared(&["web-1"]);
    drop(other);
    wait_for("no drain", || trio.drain_keys().is_empty().then_some(()));
    trio.wait_until_equal();
}

#[test]
fn drain_with_cut_ends_requests_of_all_balancers() {
    let Some((trio, web)) = Trio::start(|plan| run_web(plan, "web-1")) else { return };
    let [one, two, _] = &trio.balancers[..] else { unreachable!() };
    let _slow = two.request("GET", "a.test/slow?ms=60000").open().unwrap();
    wait_for("the slow request is under way", || {
        let stat = two.ask_haproxy("show stat -1 4 -1");
        stat.lines().any(|line| line.split(',').nth(4) == Some("1")).then_some(())
    });
    let text = run(one, &["drain", &web.name, "--wait", "1s", "--cut"], 0);
    assert!(text.contains("ended 1 request"), "{text}");
}

#[test]
fn balancer_that_dies_leaves_and_etcd_that_is_away_changes_nothing() {
    let Some((mut trio, web)) = Trio::start(|plan| run_web(plan, "web-1")) else { return };
    let mut dead = trio.balancers.pop().unwrap();
    dead.stop_with(Signal::SIGKILL);
    // A drain does not wait for it longer than its lease.
    let other = trio.run_web("web-2");
    trio.wait_until_shared(&["web-1", "web-2"]);
    run(&trio.balancers[0], &["drain", &web.name, "--wait", "30s"], 0);
    trio.wait_until_equal();
    run(&trio.balancers[1], &["undrain", &web.name], 0);
    trio.wait_until_shared(&["web-1", "web-2"]);

    trio.etcd.kill();
    trio.wait_for_problems(&["fleet_silent"]);
    trio.wait_until_shared(&["web-1", "web-2"]);
    let third = trio.run_web("web-3");
    trio.wait_until_shared(&["web-1", "web-2", "web-3"]);
    let text = run(&trio.balancers[0], &["drain", &other.name], 1);
    assert!(text.contains("the etcd of the fleet does not answer"), "{text}");
    trio.balancers[0].wait_until_shared("a.test", &["web-1", "web-3"]);
    trio.balancers[1].wait_until_shared("a.test", &["web-1", "web-2", "web-3"]);
    // It may be stopped while etcd is away, and follows the others when both are back.
    trio.balancers[1].stop_with(Signal::SIGTERM);
    trio.etcd.start();
    trio.balancers[1].start_again();
    trio.wait_until_shared(&["web-1", "web-3"]);
    trio.wait_for_problems(&[]);
    trio.wait_until_equal();
    // A balancer that is stopped leaves at once.
    trio.balancers[1].stop_with(Signal::SIGTERM);
    wait_for("it has left", || {
        (trio.etcd.keys(&format!("{PREFIX}balancers/")).len() == 1).then_some(())
    });
    drop(third);
}

#[test]
fn second_balancer_with_a_name_is_told() {
    let Some(docker) = find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let start = || {
        let plan = Balancer::plan(&docker).option(&["--fleet", &fleet_url(&etcd, "lb1")]);
        plan.start()
    };
    let (one, two) = (start(), start());
    for balancer in [&one, &two] {
        balancer.wait_for_log(&["WARN", "another balancer of the fleet has the name lb1"]);
    }
    drop(two);
    wait_for("no problem", || problem_kinds(&one).is_empty().then_some(()));
    assert_eq!(read_fleet(&one).unwrap()["balancers"].as_array().unwrap().len(), 1);
}
