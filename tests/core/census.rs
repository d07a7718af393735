//! Counts of routes and servers for the metrics, which must equal those of the status.

use crate::common::story;
use docker_glue::{
    haproxy::{
        observed::ObservedState,
        stats::{Counters, StatsRow},
    },
    model::route::Protocol,
    report::{HaproxyInfo, StateSnapshot, counts, history::History, status::Status},
    routing::decide::{DecideState, Decision, decide},
};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Instant};

/// Checks the counts of a story in which HAProxy's checks of `failing` containers fail: `routes | servers`.
fn check_counts(story: &str, failing: &[&str], expected: &str) {
    let now = Instant::now();
    let world = story::parse_world(story);
    let Decision { routes, memory, problems, .. } =
        decide(&world, DecideState::default(), now, &story::default_rules());
    let config = story::build_config(&routes);
    let mut observed = ObservedState::from_config(&config);
    let mut counters = Counters::default();
    for (backend, servers) in &mut observed.servers {
        for (name, seen) in servers {
            seen.up = !failing.iter().any(|text| name.starts_with(&format!("{text}-")));
            let status = if seen.up { "UP" } else { "DOWN" }.to_owned();
            let count = StatsRow { status, ..StatsRow::default() };
            counters.servers.entry(backend.clone()).or_default().insert(name.clone(), count);
        }
    }
    let (by_route, by_server) = counts::count_states(&routes, &memory, &config, Some(&observed));
    let found = format!(
        "{}| {}",
        format_counts(&by_route, |(protocol, state)| match protocol {
            Protocol::Http => state.as_str().to_owned(),
            other => format!("{other} {}", state.as_str()),
        }),
        format_counts(&by_server, |state| state.as_str().to_owned())
    );
    assert_eq!(found.trim(), expected, "{story}");

    // The status, which also uses HAProxy's counters, has the same counts of servers.
    let picture = StateSnapshot {
        at_ms: 0,
        now,
        started_ms: 0,
        world: Some(Arc::new(world)),
        docker_connected: true,
        docker_age: std::time::Duration::ZERO,
        sources: Vec::new(),
        rules: story::default_rules(),
        decide_state: memory,
        routes,
        problems,
        orders: None,
        config: Arc::new(config),
        haproxy: HaproxyInfo {
            version: "HAProxy version 3.2.1".parse().unwrap(),
            pid: None,
            managed: true,
            answers: true,
        },
        udp: None,
        last_applied: None,
        last_error: None,
        history: History::default(),
    };
    let status = Status::from_snapshot(&picture, Some(&counters));
    let mut ns = BTreeMap::new();
    for server in status.routes.iter().flat_map(|route| &route.servers) {
        *ns.entry(server.state).or_default() += 1;
    }
    assert_eq!(by_server, ns, "{story}");
}

fn format_counts<T: Copy>(counts: &BTreeMap<T, usize>, word: impl Fn(T) -> String) -> String {
    counts.iter().fold(String::new(), |mut text, (state, count)| {
        write!(text, "{} {count} ", word(*state)).unwrap();
        text
    })
}

#[test]
fn server_is_counted_once_per_route() {
    let two = "a 172.17.0.2 glue_http_80_host=a.test,b.test\nb 172.17.0.3 glue_http_80_host=b.test";
    check_counts(two, &[], "served 2 | up 3");
    check_counts(two, &["a"], "served 1 down 1 | up 1 down 2");
    check_counts(two, &["a", "b"], "down 2 | down 3");
    check_counts("", &[], "|");
}

#[test]
fn server_without_requests_is_counted_by_reason() {
    for (word, expected) in [
        ("", "served 1 | up 2"),
        ("paused", "served 1 | up 1 excluded 1"),
        ("leaving", "served 1 | up 1 excluded 1"),
        ("unhealthy", "served 1 | up 1 backup 1"),
        ("unhealthy glue_http_80_health=require", "served 1 | up 1 excluded 1"),
        ("glue_http_80_backup=1", "served 1 | up 1 backup 1"),
        ("paused glue_http_80_backup=1", "served 1 | up 1 excluded 1"),
        ("glue_http_80_weight=0", "served 1 | up 1 zero_weight 1"),
    ] {
        let story = format!(
            "a 172.17.0.2 {word} glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test"
        );
        check_counts(&story, &[], expected);
    }
    check_counts("a 172.17.0.2 paused glue_http_80_host=a.test", &[], "down 1 | excluded 1");
    check_counts(
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=0",
        &["a"],
        "down 1 | down 1",
    );
}

#[test]
fn route_is_counted_by_protocol() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test glue_tcp_5432_bind=5432 glue_udp_53_replies=1\n\
                 b 172.17.0.3 paused glue_udp_514_replies=0";
    check_counts(story, &[], "served 1 tcp served 1 udp served 1 udp down 1 | up 3 excluded 1");
}
