//! Containers of several Docker engines, of which some fail.

use crate::common::{
    Container, Docker,
    balancer::{Balancer, BalancerPlan},
    engine::Engine,
    find_docker,
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
    engines[1].pause_daemon();
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
    let late = format!("{}@c", webs[3].name);
    assert_eq!(run_command(&balancer, &["drain", &late]).0, Some(0));
    balancer.wait_until_shared("a.test", &NAMES);
    assert_eq!(run_command(&balancer, &["undrain", &late]).0, Some(0));

    assert!(balancer.stop_with(Signal::SIGTERM).success());
    balancer.start_again();
    balancer.wait_until_shared("a.test", &["a", "b", "c", "late"]);
    let last = webs.pop();
    drop(last);
    balancer.wait_until_shared("a.test", &NAMES);

    engines[1].resume_daemon();
    engines[0].start();
    // That it is gone is known when its engine answers.
    drop(webs.remove(0));
    balancer.wait_until_shared("a.test", &["b", "c"]);
    engines[2].stop();
    balancer.wait_for_log(&["WARN", "c has not answered for too long; forgetting 1 container"]);
    balancer.wait_until_shared("a.test", &["b"]);
}
