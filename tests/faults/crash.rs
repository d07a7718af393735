//! The balancer is killed. HAProxy continues to serve, and the next start takes over.

use crate::{
    asker::Asker,
    common::{
        self,
        balancer::{Balancer, BalancerPlan},
    },
    steps,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    process::{Command, Stdio},
};

const HOST: &str = "glue_http_80_host";

/// Returns the pid of HAProxy's current worker.
pub(crate) fn worker_pid(plan: &BalancerPlan) -> u32 {
    let socket = plan.runtime().join("master.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let master = docker_glue::haproxy::master::Master::new(&socket);
    let look = || runtime.block_on(master.list_processes()).ok()?.live_worker();
    common::wait_for("a worker of HAProxy", look)
}

#[test]
fn next_start_adopts_haproxy_and_applies_changes() {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).start();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    let other = balancer.run("other").label(HOST, "b.test").start();
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test", "other saw /")]);
    balancer.wait_for_log(&["+ b.test:80/"]);
    let asker = Asker::begin(&balancer, "a.test");
    balancer.stop_with(Signal::SIGKILL);
    let before = (balancer.master_pid(), worker_pid(&balancer));
    asker.more(10);

    balancer.start_again();
    balancer.wait_for_log(&["adopted the running HAProxy", &before.0.to_string()]);
    let report = || balancer.log().matches("+ b.test:80/").nth(1).map(|_| ());
    common::wait_for("the first pass", report);
    assert_eq!((balancer.master_pid(), worker_pid(&balancer)), before, "{}", balancer.log());

    balancer.stop_with(Signal::SIGKILL);
    drop(other);
    let _late = balancer.run("late").label(HOST, "c.test").start();
    balancer.start_again();
    balancer.wait_until_all_serve(&[("c.test", "late saw /"), ("b.test", "503")]);
    assert_eq!(balancer.master_pid(), before.0);
    assert_eq!(asker.end(), ["web saw /"]);
}

/// Returns the files of the generation that the configuration refers to.
fn generation_files(balancer: &Balancer) -> BTreeSet<OsString> {
    let text = fs::read_to_string(balancer.state().join("haproxy.cfg")).unwrap();
    let origin = text.lines().find_map(|line| line.trim().strip_prefix("default-path origin "));
    fs::read_dir(origin.unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// Checks that HAProxy accepts the configuration on disk and every file that it refers to.
fn assert_config_accepted(balancer: &Balancer) {
    let config = balancer.state().join("haproxy.cfg");
    let mut check = Command::new("haproxy");
    check.arg("-c").arg("-f").arg(&config).stdin(Stdio::null());
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Without spare backends a new route needs a reload with all its steps. From HAProxy 3.4 on that is so only without
/// named defaults, hence the base file.
#[test]
fn kill_at_any_reload_step_leaves_consistent_state_and_converges() {
    let base = tempfile::NamedTempFile::new().unwrap();
    fs::write(&base, BASE).unwrap();
    let base = base.path().to_str().unwrap();
    let steps = ["mkdir", "fsync", "rename", "clone", "connect"];
    check_kill_at_any_step(&["--spare-backends", "0", "--base-file", base], &steps);
}

const BASE: &str = "defaults
  mode http
  timeout connect 250ms
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 15s
  retries 40
  option redispatch 1
  retry-on conn-failure empty-response
  option idle-close-on-response
";

/// A change over the runtime API has few steps; a separate thread writes the files.
#[test]
fn kill_at_any_runtime_step_leaves_consistent_state_and_converges() {
    check_kill_at_any_step(&["--spare-backends", "50"], &["connect"]);
}

/// Kills the balancer before each step of a pass for a new route in turn, until a pass completes.
fn check_kill_at_any_step(options: &[&str], expected: &[&str]) {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).option(options).start();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["+ a.test:80/"]);
    let asker = Asker::begin(&balancer, "a.test");
    let (mut fleet, mut steps) = (Vec::new(), Vec::new());
    // Threads run concurrently, so the order of steps differs between runs and a round may miss one.
    for _ in 0..3 {
        let whole = generation_files(&balancer);
        let mut at = 0;
        loop {
            let host = format!("step{}.test", fleet.len());
            let newcomer = balancer.run("new").label(HOST, &host);
            let trigger = || fleet.push(newcomer.start());
            let done = steps::kill_at(&mut balancer, at, trigger, &format!("+ {host}:80/"));
            let Some(done) = done else { break };
            steps.extend(done.last());
            at += 1;
            assert_eq!(generation_files(&balancer), whole, "{steps:?}");
            assert_config_accepted(&balancer);
            balancer.start_again();
            balancer.wait_until_serves(&host, "new saw /");
            let report = || balancer.log().matches("+ a.test:80/").nth(steps.len()).map(|_| ());
            common::wait_for("the first pass", report);
        }
        if expected.iter().all(|name| steps.contains(name)) {
            break;
        }
    }
    asker.more(5);
    assert_eq!(asker.end(), ["web saw /"], "{steps:?}");
    for name in expected {
        assert!(steps.contains(name), "{name} was no step: {steps:?}");
    }
}
