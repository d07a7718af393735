//! Containers of several Docker engines, of which some fail.

use crate::common::{
    Container, Docker,
    balancer::{Balancer, BalancerPlan},
    elsewhere::RemoteEngine,
    engine::Engine,
    find_docker, wait_for,
};
use crate::https::run_command;
use nix::sys::signal::Signal;
use std::fs;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Returns three engines with whoami's image.
fn start_engines() -> Option<[Engine; 3]> {
    let mut engines = Vec::new();
    for _ in NAMES {
        let mut engine = Engine::new()?;
        engine.start();
        engine.load_image();
        engines.push(engine);
    }
    engines.try_into().ok()
}

fn plan_for(docker: &Docker, engines: &[Engine; 3]) -> BalancerPlan {
    let source = |(name, engine): (&str, &Engine)| {
        let forget = if name == "c" { "1s" } else { "never" };
        format!("{}?name={name}&forget={forget}", engine.url())
    };
    let sources = NAMES.into_iter().zip(engines).map(source);
    sources.fold(Balancer::plan(docker), |plan, source| plan.option(&["--source", &source]))
}

fn start_web(plan: &BalancerPlan, engine: &Engine, name: &str) -> Container {
    plan.run_at(&engine.docker(), name).label("glue_http_80_host", "a.test").start()
}

#[test]
fn containers_of_silent_engines_are_served_on_also_by_the_next_start() {
    let (Some(docker), Some(mut engines)) = (find_docker(), start_engines()) else { return };
    let plan = plan_for(&docker, &engines);
    let mut webs: Vec<_> = NAMES
        .into_iter()
        .zip(&engines)
        .map(|(name, engine)| start_web(&plan, engine, name))
        .collect();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &NAMES);
    let config = fs::read_to_string(balancer.state().join("haproxy.cfg")).unwrap();
    let server = |web: &Container, name| format!("{}-{}.{name}:80", web.name, &web.id[..12]);
    for (web, name) in webs.iter().zip(NAMES) {
        assert!(config.contains(&server(web, name)), "{config}");
    }

    // Its containers live on.
    engines[0].stop();
    let paused = engines[1].pause_daemon();
    for silent in ["a", "b"] {
        balancer.wait_for_log(&[
            "WARN",
            &format!("option --source: {silent} has not answered since"),
            "its one container with labels is served as known then",
        ]);
    }
    balancer.wait_until_shared("a.test", &NAMES);
    let (_, status) = run_command(&balancer, &["status"]);
    assert!(status.contains("c (unix://"), "{status}");
    assert!(status.contains("no answer for"), "{status}");
    webs.push(start_web(&balancer, &engines[2], "late"));
    balancer.wait_until_shared("a.test", &["a", "b", "c", "late"]);
    let (_, explained) = run_command(&balancer, &["explain", "http://a.test/"]);
    assert!(explained.contains("a has not answered for"), "{explained}");
    let late = format!("{}@c", webs[3].name);
    assert!(explained.contains(&late), "{explained}");
    assert_eq!(run_command(&balancer, &["drain", &late]).0, Some(0));
    balancer.wait_until_shared("a.test", &NAMES);
    assert_eq!(run_command(&balancer, &["undrain", &late]).0, Some(0));

    assert!(balancer.stop_with(Signal::SIGTERM).success());
    balancer.start_again();
    balancer.wait_until_shared("a.test", &["a", "b", "c", "late"]);
    let last = webs.pop();
    drop(last);
    balancer.wait_until_shared("a.test", &NAMES);

    drop(paused);
    engines[0].start();
    // That it is gone is known when its engine answers.
    drop(webs.remove(0));
    balancer.wait_until_shared("a.test", &["b", "c"]);
    engines[2].stop();
    balancer.wait_for_log(&["WARN", "c has not answered for too long; forgetting 1 container"]);
    balancer.wait_until_shared("a.test", &["b"]);
}

#[test]
fn containers_with_one_id_and_name_are_two_servers() {
    let (Some(docker), Some(mut original)) = (find_docker(), Engine::new()) else { return };
    original.start();
    original.load_image();
    let plan = Balancer::plan(&docker);
    // It is removed with the first engine; the other one is removed by its id.
    let web = plan.run_at(&original.docker(), "web").label("glue_http_80_host", "a.test").start();
    web.docker(&["stop", "--time", "0"]);
    original.stop();
    let Some(mut clone) = original.clone_machine() else { return };
    original.start();
    clone.start();
    for engine in [&original, &clone] {
        engine.docker().run_docker(&["start", &web.id]);
    }
    let balancer = plan
        .option(&["--source", &format!("{}?name=a", original.url())])
        .option(&["--source", &format!("{}?name=b", clone.url())])
        .start()
        .wait_until_started();
    let server = |source| format!("\"{}.{source}\"", &web.id[..12]);
    let wait_for_servers = |expected: [bool; 2]| {
        wait_for(&format!("servers of a and b: {expected:?}"), || {
            let (_, routes) = run_command(&balancer, &["routes", "--json"]);
            (["a", "b"].map(|source| routes.contains(&server(source))) == expected).then_some(())
        });
    };
    wait_for_servers([true, true]);
    clone.docker().run_docker(&["stop", "--time", "0", &web.id]);
    wait_for_servers([true, false]);
    clone.docker().run_docker(&["start", &web.id]);
    wait_for_servers([true, true]);
    original.docker().run_docker(&["stop", "--time", "0", &web.id]);
    wait_for_servers([false, true]);
}

#[test]
fn requests_survive_a_machine_that_is_cut_off() {
    let (Some(docker), Some(there)) = (find_docker(), RemoteEngine::start()) else { return };
    let plan = Balancer::plan(&docker)
        .option(&["--source", &format!("{}?name=here", docker.url())])
        .option(&["--source", &format!("{}?name=there", there.docker().url())]);
    let label = ("glue_http_80_host", "a.test");
    let _here = plan.run("here").label(label.0, label.1).start();
    let far = plan.run_at(&there.docker(), "there").label(label.0, label.1);
    let far = far.option(&["--publish", &format!("{}::80", there.address)]).start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["here", "there"]);
    there.cut_off();
    // From the first one on, before anybody knows.
    for number in 0..100 {
        let answer = balancer.get("a.test");
        assert_eq!((answer.status, &*answer.name), (200, "here"), "request {number}");
    }
    balancer.wait_for_log(&["WARN", "there has not answered since", "served as known then"]);
    there.reconnect();
    balancer.wait_until_shared("a.test", &["here", "there"]);
    drop(far);
}
