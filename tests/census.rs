//! Routes and servers are counted as the status tells them, of what is known anyway.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{
    decide::{Decided, Memory, decide},
    haproxy::{
        observed::Observed,
        stat::{Count, Counters},
    },
    view::{
        Haproxy, Picture,
        census::{self, RouteState},
        history::History,
        status::{ServerState, Status},
    },
};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Instant};

/// What is counted of a story where these servers fail their checks: `routes | servers`.
fn check(story: &str, failing: &[&str], expected: &str) {
    let now = Instant::now();
    let world = story::world(story);
    let Decided { routes, memory, problems, .. } =
        decide(&world, Memory::default(), now, &story::rules());
    let config = story::config(&routes);
    let mut observed = Observed::started(&config);
    let mut counters = Counters::default();
    for (backend, servers) in &mut observed.servers {
        for (name, seen) in servers {
            seen.up = !failing.iter().any(|it| name.starts_with(&format!("{it}-")));
            let status = if seen.up { "UP" } else { "DOWN" }.to_owned();
            let count = Count { status, ..Count::default() };
            counters.servers.entry(backend.clone()).or_default().insert(name.clone(), count);
        }
    }
    let (by_route, by_server) = census::count(&routes, &memory, &config, Some(&observed));
    let found =
        format!("{}| {}", words(&by_route, RouteState::word), words(&by_server, ServerState::word));
    assert_eq!(found.trim(), expected, "{story}");

    // As those who ask HAProxy have it.
    let picture = Picture {
        at_ms: 0,
        now,
        since_ms: 0,
        world: Some(Arc::new(world)),
        docker_is_there: true,
        docker_age: std::time::Duration::ZERO,
        rules: story::rules(),
        memory,
        routes,
        problems,
        config: Arc::new(config),
        haproxy: Haproxy {
            version: "HAProxy version 3.2.1".parse().unwrap(),
            pid: None,
            managed: true,
            answers: true,
        },
        last: None,
        trouble: None,
        history: History::default(),
    };
    let status = Status::of(&picture, Some(&counters));
    let mut told = BTreeMap::new();
    for server in status.routes.iter().flat_map(|route| &route.servers) {
        *told.entry(server.state).or_default() += 1;
    }
    assert_eq!(by_server, told, "{story}");
}

fn words<T: Copy>(counts: &BTreeMap<T, usize>, word: impl Fn(T) -> &'static str) -> String {
    counts.iter().fold(String::new(), |mut text, (state, count)| {
        write!(text, "{} {count} ", word(*state)).unwrap();
        text
    })
}

#[test]
fn each_server_is_counted_once_for_each_of_its_routes() {
    let two = "a 172.17.0.2 glue_http_80_host=a.test,b.test\nb 172.17.0.3 glue_http_80_host=b.test";
    check(two, &[], "served 2 | up 3");
    check(two, &["a"], "served 1 down 1 | up 1 down 2");
    check(two, &["a", "b"], "down 2 | down 3");
    check("", &[], "|");
}

#[test]
fn a_server_that_gets_nothing_is_counted_by_the_reason() {
    for (word, expected) in [
        ("", "served 1 | up 2"),
        ("paused", "served 1 | up 1 out 1"),
        ("leaving", "served 1 | up 1 out 1"),
        ("unhealthy", "served 1 | up 1 reserve 1"),
        ("unhealthy glue_http_80_health=require", "served 1 | up 1 out 1"),
        ("glue_http_80_weight=0", "served 1 | up 1 weightless 1"),
    ] {
        let story = format!(
            "a 172.17.0.2 {word} glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test"
        );
        check(&story, &[], expected);
    }
    check("a 172.17.0.2 paused glue_http_80_host=a.test", &[], "down 1 | out 1");
    check("a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=0", &["a"], "down 1 | down 1");
}
