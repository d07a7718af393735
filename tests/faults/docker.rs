//! Docker stops, starts, hangs and loses its list. Existing routes are still served.

use crate::{
    asker::Asker,
    common::{
        self, Network,
        balancer::{Balancer, BalancerPlan},
        engine::Engine,
        glue::Glue,
        proxy::RecordingSocket,
    },
};
use nix::sys::signal::Signal;
use std::process::Command;

const HOST: &str = "glue_http_80_host";

/// Starts an engine of the test that has the whoami image.
fn engine_with_image() -> Option<Engine> {
    let mut engine = Engine::new()?;
    engine.start();
    engine.load_image();
    Some(engine)
}

fn run_web(plan: &BalancerPlan, name: &str, net: &Network) -> common::Container {
    plan.run(name).label(HOST, format!("{name}.test")).network(net).start()
}

#[test]
fn docker_restart_and_hang_are_survived_and_followed() {
    let Some(mut engine) = engine_with_image() else { return };
    let docker = engine.docker();
    let net = docker.network("net");
    let balancer = Balancer::plan(&docker).option(&["--wait-for-start", "1s"]).start();
    let _web = run_web(&balancer, "web", &net);
    balancer.wait_until_serves("web.test", "web saw /");
    let asker = Asker::begin(&balancer, "web.test");

    engine.stop();
    balancer.wait_for_log(&["lost connection to Docker"]);
    asker.more(10);
    engine.start();
    balancer.wait_for_log(&["connected to Docker again"]);
    let late = run_web(&balancer, "late", &net);
    balancer.wait_until_serves("late.test", "late saw /");

    let paused = engine.pause_daemon();
    asker.more(30);
    drop(paused);
    drop(late);
    balancer.wait_until_serves("late.test", "503");
    let _last = run_web(&balancer, "last", &net);
    balancer.wait_until_serves("last.test", "last saw /");
    assert_eq!(asker.end(), ["web saw /"]);
    assert_eq!(
        balancer.log().matches("lost connection to Docker").count(),
        1,
        "{}",
        balancer.log()
    );
}

/// The engine accepts connections and does not answer.
#[test]
fn hanging_engine_is_logged_and_shown_as_disconnected() {
    let Some(engine) = engine_with_image() else { return };
    let docker = engine.docker();
    let net = docker.network("net");
    let balancer = Balancer::plan(&docker).start();
    let _web = run_web(&balancer, "web", &net);
    balancer.wait_until_serves("web.test", "web saw /");
    let status = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
        command.env("DOCKER_GLUE_SETTINGS", "/dev/null").arg("status");
        command.arg("--runtime-dir").arg(balancer.runtime());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(status().contains("connected, 1 container"), "{}", status());
    let paused = engine.pause_daemon();
    balancer.wait_for_log(&["lost connection to Docker", "did not answer within 5s"]);
    common::wait_for("its status", || {
        status().contains("not connected; 1 container").then_some(())
    });
    balancer.wait_until_serves("web.test", "web saw /");
    drop(paused);
    balancer.wait_for_log(&["connected to Docker again"]);
    assert!(status().contains("connected, 1 container"), "{}", status());
    let _late = run_web(&balancer, "late", &net);
    balancer.wait_until_serves("late.test", "late saw /");
}

#[test]
fn engine_that_hangs_is_away_in_the_log_of_docker_glue_until_it_goes_on() {
    let Some(engine) = engine_with_image() else { return };
    let docker = engine.docker();
    let glue = Glue::plan(&docker)
        .file("say.ini", "[handler]\nclass=script\nevents=start\n[params]\nscript=say.sh\n")
        .script("say.sh", "#!/bin/sh\necho hello\n")
        .start();
    let web = docker.run("web").start();
    glue.wait_for_log(&["hello", &web.name]);
    let paused = engine.pause_daemon();
    glue.wait_for_log(&["lost connection to Docker", "did not answer within 5s"]);
    drop(paused);
    glue.wait_for_log(&["connected to Docker again"]);
    let late = docker.run("late").start();
    glue.wait_for_log(&["hello", &late.name]);
    assert_eq!(glue.log().matches("lost connection to Docker").count(), 1, "{}", glue.log());
}

#[test]
fn start_without_docker_serves_stored_routes() {
    let Some(mut engine) = engine_with_image() else { return };
    let docker = engine.docker();
    let net = docker.network("net");
    let mut balancer = Balancer::plan(&docker).option(&["--wait-for-start", "1s"]).start();
    let _web = run_web(&balancer, "web", &net);
    balancer.wait_until_serves("web.test", "web saw /");
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    assert!(balancer.try_get("web.test").is_err(), "HAProxy went with it");
    engine.stop();

    let once = balancer.command().arg("--once").output().unwrap();
    let text = String::from_utf8_lossy(&once.stderr);
    assert_eq!(once.status.code(), Some(1), "{text}");
    assert!(text.lines().last().unwrap().contains(&engine.url()), "{text}");

    balancer.start_again();
    balancer.wait_until_serves("web.test", "web saw /");
    balancer.wait_for_log(&["serves the last good configuration"]);
    balancer.wait_for_log(&["cannot connect to Docker"]);
    engine.start();
    let late = run_web(&balancer, "late", &net);
    balancer.wait_until_serves("late.test", "late saw /");
    drop(late);
    balancer.wait_until_serves("late.test", "503");
    balancer.wait_until_serves("web.test", "web saw /");
}

/// An engine that has just started may list no containers for a moment.
#[test]
fn momentarily_empty_list_removes_no_route() {
    let Some(docker) = common::find_docker() else { return };
    let proxy = RecordingSocket::in_front_of(&docker.socket());
    let balancer = Balancer::plan(&docker).option(&["--docker-url", &proxy.url()]).start();
    let _web = balancer.run("web").label(HOST, "web.test").start();
    balancer.wait_until_serves("web.test", "web saw /");
    let asker = Asker::begin(&balancer, "web.test");
    proxy.return_empty_list_once();
    proxy.close_connections();
    balancer.wait_for_log(&["connected to Docker again"]);
    assert_eq!(proxy.empty_lists(), 1);
    let _late = balancer.run("late").label(HOST, "late.test").start();
    balancer.wait_until_serves("late.test", "late saw /");
    asker.more(10);
    assert_eq!(asker.end(), ["web saw /"]);
    assert!(!balancer.log().contains("web.test:80/: - "), "{}", balancer.log());
}
