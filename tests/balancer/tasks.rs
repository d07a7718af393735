//! A task of either program that panics is logged and restarted. Values from outside make no task panic.

use crate::common::{
    balancer::{Balancer, Request, free_port},
    find_docker,
    glue::Glue,
    wait_for,
};
use nix::sys::signal::Signal;
use std::{fs, net::Ipv4Addr, path::Path, process::Command};
use tempfile::TempDir;

const HOST: &str = "glue_http_80_host";
const LONGEST: &str = "9223372036854775807";

/// The folder with the names of tasks that are to panic, which only test builds of the programs read.
struct Panics(TempDir);

impl Panics {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("glue").tempdir().unwrap())
    }

    fn variable(&self) -> (&'static str, &Path) {
        ("DOCKER_GLUE_TEST_PANICS", self.0.path())
    }

    fn order(&self, task: &str) {
        fs::write(self.0.path().join(task.replace(' ', "-")), "").unwrap();
    }
}

fn get_status(port: u16, path: &str) -> Option<u16> {
    let at = (Ipv4Addr::LOCALHOST, port).into();
    Request::new(at, "GET", "localhost", path).send().ok().map(|answer| answer.status)
}

#[test]
fn panicked_docker_balancer_task_is_logged_and_restarted() {
    let Some(docker) = find_docker() else { return };
    let (panics, metrics, dashboard) = (Panics::new(), free_port(), free_port());
    let (name, value) = panics.variable();
    let plan = Balancer::plan(&docker).env(name, value);
    let plan = plan.option(&["--metrics", &metrics.to_string()]);
    let mut balancer = plan.option(&["--dashboard", &dashboard.to_string()]).start();
    let _web = balancer.run("web").label(HOST, "web.test").start();
    balancer.wait_until_serves("web.test", "web saw /");
    let control = || {
        let socket = balancer.runtime().join("control.sock").display().to_string();
        let words = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", &socket];
        let output = Command::new("curl").args(words).arg("http://d/healthz").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let panicked = |task: &str| {
        panics.order(task);
        balancer.wait_for_log(&["ERROR", "panicked at", &format!("{task} panics as requested")]);
        balancer.wait_for_log(&["ERROR", &format!("{task} panicked"), "restarting in 100ms"]);
    };

    panicked("Docker watch");
    let _late = balancer.run("late").label(HOST, "late.test").start();
    balancer.wait_until_serves("late.test", "late saw /");
    balancer.wait_until_serves("web.test", "web saw /");
    panicked("control socket");
    wait_for("the control socket", || (control() == "200").then_some(()));
    panicked("metrics server");
    wait_for("metrics", || get_status(metrics, "/metrics").filter(|n| *n == 200));
    panicked("dashboard");
    wait_for("the dashboard", || get_status(dashboard, "/").filter(|n| *n == 200));
    balancer.wait_until_serves("web.test", "web saw /");
    // HAProxy is not affected, and docker-balancer exits normally.
    assert_eq!(balancer.log().matches("started HAProxy").count(), 1, "{}", balancer.log());
    assert!(balancer.stop_with(Signal::SIGTERM).success());
}

#[test]
fn panicked_docker_glue_task_is_logged_and_restarted() {
    let Some(docker) = find_docker() else { return };
    let panics = Panics::new();
    let (name, value) = panics.variable();
    let ini = "[handler]\nclass=script\nevents=start\n[params]\nscript=say.sh\n";
    let script = "#!/bin/sh\necho \"$GLUE_CONTAINER_NAME\" >>ROOT/starts\n";
    let glue = Glue::plan(&docker).file("say.ini", ini).script("say.sh", script).env(name, value);
    let glue = glue.start();
    let starts = |name: &str| glue.read("starts").lines().filter(|text| *text == name).count();
    let is_logged_once = |name: &str| {
        glue.wait_until_written("starts", &[name]);
        assert_eq!(starts(name), 1, "{}", glue.read("starts"));
    };
    let first = docker.run("first").start();
    is_logged_once(&first.name);

    panics.order("Docker follower");
    glue.wait_for_log(&["ERROR", "Docker follower panicked", "restarting"]);
    let second = docker.run("second").start();
    is_logged_once(&second.name);

    panics.order("say");
    glue.wait_for_log(&["ERROR", "the handler panicked", "handler=\"say\"", "restarting"]);
    let third = docker.run("third").start();
    is_logged_once(&third.name);
    assert_eq!(starts(&first.name), 1, "{}", glue.read("starts"));
}

#[test]
fn once_fails_when_a_handler_panics() {
    let Some(docker) = find_docker() else { return };
    let panics = Panics::new();
    let (name, value) = panics.variable();
    let ini = "[handler]\nclass=script\nevents=none\n[params]\nscript=wait.sh\n";
    let glue = Glue::plan(&docker).file("say.ini", ini).env(name, value);
    let glue = glue.script("wait.sh", "#!/bin/sh\nsleep 60\n");
    panics.order("say");
    assert_eq!(glue.run(&["-1"]).status.code(), Some(1));
}

/// Docker accepts any 64-bit number of seconds.
#[test]
fn container_with_huge_stop_timeout_does_not_affect_others() {
    let Some(docker) = find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let stuck = balancer.run("stuck").label(HOST, "stuck.test");
    let stuck = stuck.option(&["--stop-timeout", LONGEST]).start();
    balancer.wait_until_serves("stuck.test", "stuck saw /");
    stuck.docker(&["stop"]);
    let _web = balancer.run("web").label(HOST, "web.test").start();
    balancer.wait_until_serves("web.test", "web saw /");
    balancer.wait_until_serves("stuck.test", "503");
    assert!(!balancer.log().contains("panicked"), "{}", balancer.log());
}
