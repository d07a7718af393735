//! Time and history: what is held, left out and tried again.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{
    decide::{Decided, Memory, Taken, decide},
    route::RouteKey,
};
use std::time::{Duration, Instant};

const ONE: &str = "web 172.17.0.2 glue_http_80_host=a.test";

fn routes(decided: &Decided) -> Vec<String> {
    let servers = |it: &docker_glue::route::Route| {
        it.endpoints.iter().map(|it| it.origin.name()).collect::<Vec<_>>().join(",")
    };
    decided.routes.0.iter().map(|(key, route)| format!("{key} {}", servers(route))).collect()
}

#[test]
fn a_route_whose_last_container_went_is_held_for_its_time() {
    let (rules, start) = (story::rules(), Instant::now());
    let second = Duration::from_secs(1);
    let before = decide(&story::world(ONE), Memory::default(), start, &rules);
    assert_eq!(before.wake_at, None);

    let gone = decide(&story::world(""), before.memory.clone(), start + second, &rules);
    assert_eq!(routes(&gone), ["a.test:80/ "]);
    assert_eq!(gone.wake_at, Some(start + second * 61));

    let later = decide(&story::world(""), gone.memory.clone(), start + second * 60, &rules);
    assert_eq!(routes(&later), ["a.test:80/ "]);
    let back = decide(&story::world(ONE), later.memory.clone(), start + second * 60, &rules);
    assert_eq!((routes(&back), back.wake_at), (vec!["a.test:80/ web".to_owned()], None));
    let over = decide(&story::world(""), later.memory.clone(), start + second * 61, &rules);
    assert_eq!((routes(&over), over.wake_at), (vec![], None));
}

#[test]
fn a_taken_listener_is_left_out_until_it_is_tried_again() {
    let (rules, start) = (story::rules(), Instant::now());
    let world = story::world(&format!("{ONE}\nx 172.17.0.3 glue_http_8080_host=a.test"));
    let first = decide(&world, Memory::default(), start, &rules);
    let listener = first.routes.0.keys().next().unwrap().listener;
    let mut memory = first.memory;
    memory.taken.insert(listener, Taken::new("taken by nginx (pid 7)".to_owned(), start));

    let without = decide(&world, memory.clone(), start, &rules);
    assert_eq!(routes(&without), ["a.test:8080/ x"]);
    let told: Vec<_> = without.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "listener http :80: its port is taken by nginx (pid 7); it is tried again every few seconds, the other listeners are served"
        ]
    );

    let again = decide(&world, without.memory.clone(), without.wake_at.unwrap(), &rules);
    assert_eq!(routes(&again), ["a.test:80/ web", "a.test:8080/ x"]);
    assert!(again.problems.is_empty());
}

#[test]
fn a_refused_route_is_left_out_until_it_changes() {
    let (rules, start) = (story::rules(), Instant::now());
    let world = story::world(ONE);
    let first = decide(&world, Memory::default(), start, &rules);
    let (key, route) = first.routes.0.iter().next().unwrap();
    let mut memory = first.memory.clone();
    memory.refused.insert(key.clone(), (route.clone(), "too ugly".to_owned()));

    let without = decide(&world, memory.clone(), start, &rules);
    assert!(without.problems.iter().any(|it| it.to_string().contains("too ugly")));
    let moved = story::world(&ONE.replace("0.2", "0.9"));
    let again = decide(&moved, without.memory.clone(), start, &rules);
    assert_eq!(routes(&again), ["a.test:80/ web"]);
}

#[test]
fn a_port_that_another_listener_is_moved_to_is_taken() {
    let mut rules = story::rules();
    rules.port_map.insert(80.try_into().unwrap(), 8080.try_into().unwrap());
    let world = story::world(&format!("{ONE}\nx 172.17.0.3 glue_http_8080_host=x.test"));
    let decided = decide(&world, Memory::default(), Instant::now(), &rules);
    assert_eq!(routes(&decided), ["a.test:80/ web"]);
    let told: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("taken by listener http :80, which --map-port puts there"),
        "{told:?}"
    );
}

#[test]
fn what_an_earlier_run_served_is_held_too() {
    let (rules, start) = (story::rules(), Instant::now());
    let keys = ["a.test:80/", "*.b.test:80/x/y/", "*:80/"].map(|text| {
        let key: RouteKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        key
    });
    let memory = Memory::of_routes(keys, start);
    let decided = decide(&story::world(ONE), memory.clone(), start, &rules);
    assert_eq!(routes(&decided), ["a.test:80/ web", "*.b.test:80/x/y/ ", "*:80/ "]);
    let later =
        decide(&story::world(ONE), decided.memory.clone(), decided.wake_at.unwrap(), &rules);
    assert_eq!(routes(&later), ["a.test:80/ web"]);
}
