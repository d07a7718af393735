//! `docker-balancer ready` and `GET /ready`: both follow HAProxy, and neither Docker nor docker-balancer.

use crate::common::{
    balancer::{Balancer, BalancerPlan, free_port},
    engine::Engine,
    find_docker,
    prometheus::send_request,
    wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
};

/// The exit status of `ready`, and its output.
fn run_ready(plan: &BalancerPlan) -> (i32, String) {
    let Output { status, stdout, stderr } = plan.command().arg("ready").output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn get_ready(port: u16) -> (u16, String) {
    let answer = send_request(port, "GET", "/ready").unwrap();
    (answer.status, answer.body)
}

/// Checks both answers now.
fn check_ready(plan: &BalancerPlan, metrics: u16) {
    assert_eq!(run_ready(plan), (0, "ready\n".to_owned()));
    assert_eq!(get_ready(metrics), (200, "ready\n".to_owned()));
}

/// Sends a signal to HAProxy's master and its workers.
fn signal_haproxy(plan: &BalancerPlan, signal: Signal) {
    kill(Pid::from_raw(-plan.master_pid()), signal).unwrap();
}

#[test]
fn ready_follows_haproxy_without_docker_and_docker_balancer() {
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let metrics = free_port();
    let plan = Balancer::plan(&engine.docker()).option(&["--metrics", &metrics.to_string()]);
    let (code, text) = run_ready(&plan);
    assert!(code == 1 && text.contains("HAProxy does not answer on "), "{code} {text}");
    let mut balancer = plan.start().wait_until_started();
    check_ready(&balancer, metrics);

    engine.stop();
    balancer.wait_for_log(&["lost connection to Docker"]);
    check_ready(&balancer, metrics);
    balancer.signal(Signal::SIGSTOP);
    assert_eq!(run_ready(&balancer), (0, "ready\n".to_owned()));
    balancer.signal(Signal::SIGCONT);

    // HAProxy creates its socket again only when it starts. Until then its master answers.
    std::fs::remove_file(balancer.runtime().join("haproxy.sock")).unwrap();
    check_ready(&balancer, metrics);

    signal_haproxy(&balancer, Signal::SIGSTOP);
    let (code, text) = run_ready(&balancer);
    assert!(code == 1 && text.contains("docker-balancer: HAProxy does not answer"), "{text}");
    let (status, text) = get_ready(metrics);
    assert!(status == 503 && text.starts_with("HAProxy does not answer on "), "{status} {text}");
    signal_haproxy(&balancer, Signal::SIGCONT);
    wait_for("ready again", || (run_ready(&balancer).0 == 0).then_some(()));

    balancer.stop_with(Signal::SIGTERM);
    assert_eq!(run_ready(&balancer).0, 1);
}

#[test]
fn stopping_haproxy_with_requests_in_flight_is_not_ready() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _web = plan.run("web").label("glue_http_80_host", "web.test").start();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/", "web saw /");
    let _request = balancer.request("GET", "web.test/slow?ms=20000").open().unwrap();
    wait_for("the request", || {
        balancer.ask_haproxy("show sess").contains("be=web.test:80").then_some(())
    });
    balancer.signal(Signal::SIGTERM);
    let (_, text) =
        wait_for("not ready", || Some(run_ready(&balancer)).filter(|(code, _)| *code == 1));
    assert!(text.contains("HAProxy"), "{text}");
    // A second signal stops HAProxy at once.
    balancer.stop_with(Signal::SIGTERM);
}

#[test]
fn reloads_do_not_change_readiness() {
    let Some(docker) = find_docker() else { return };
    let metrics = free_port();
    let ports: Vec<u16> = (8000..8010).collect();
    let plan = Balancer::plan(&docker).ports(&ports).option(&["--metrics", &metrics.to_string()]);
    let web = |plan: &BalancerPlan, port: u16| {
        let run = plan.run("web").label("glue_http_80_host", "web.test");
        run.label("glue_http_80_bind", port).start()
    };
    let _first = web(&plan, 8000);
    let balancer = plan.start().wait_until_started();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                check_ready(&balancer, metrics);
                count += 1;
            }
            count
        });
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for port in &ports[1..4] {
                let _web = web(&balancer, *port);
                balancer.wait_until_serves(&format!("web.test:{port}/"), "web saw /");
            }
        }));
        over.store(true, Ordering::Relaxed);
        work.unwrap();
        assert!(0 < client.join().unwrap());
    });
    assert!(balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
}
