//! Decisions that depend on time and history: routes on hold, excluded listeners and retries.

use crate::common::story;
use docker_glue::{
    model::{
        container::{Container, ContainerId, NetworkMode},
        route::{OwnedName, Readiness, RouteKey},
        source_name::SourceName,
        world::{NodeReport, RecordFault, World},
    },
    routing::decide::{
        DecideState, Decision, MAX_LISTENERS, PortConflict, UnloadableListener, decide,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const ONE: &str = "web 172.17.0.2 glue_http_80_host=a.test";

fn format_routes(decided: &Decision) -> Vec<String> {
    let servers = |route: &docker_glue::model::route::Route| {
        route.endpoints.iter().map(|view| view.container.name()).collect::<Vec<_>>().join(",")
    };
    decided.routes.0.iter().map(|(key, route)| format!("{key} {}", servers(route))).collect()
}

#[test]
fn route_without_containers_is_held_until_timeout() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let second = Duration::from_secs(1);
    let before = decide(&story::parse_world(ONE), DecideState::default(), start, &rules);
    assert_eq!(before.wake_at, None);

    let gone = decide(&story::parse_world(""), before.memory.clone(), start + second, &rules);
    assert_eq!(format_routes(&gone), ["a.test:80/ "]);
    assert_eq!(gone.wake_at, Some(start + second * 61));

    let later = decide(&story::parse_world(""), gone.memory.clone(), start + second * 60, &rules);
    assert_eq!(format_routes(&later), ["a.test:80/ "]);
    let back = decide(&story::parse_world(ONE), later.memory.clone(), start + second * 60, &rules);
    assert_eq!((format_routes(&back), back.wake_at), (vec!["a.test:80/ web".to_owned()], None));
    let over = decide(&story::parse_world(""), later.memory.clone(), start + second * 61, &rules);
    assert_eq!((format_routes(&over), over.wake_at), (vec![], None));
}

/// HAProxy's checks know whether a container of a lost machine serves; without checks, none does.
#[test]
fn container_of_a_lost_machine_serves_only_with_checks() {
    let (rules, now) = (story::default_rules(), Instant::now());
    for (labels, serves) in [
        ("glue_http_80_host=a.test", true),
        ("glue_http_80_host=a.test glue_http_80_check=/x", true),
        ("glue_http_80_host=a.test glue_http_80_check=off", false),
        ("glue_tcp_80_bind=5432", true),
        ("glue_tcp_80_bind=5432 glue_tcp_80_check=off", false),
        ("glue_udp_80_bind=5353", false),
    ] {
        for (word, expected) in [("", true), (" lost", serves)] {
            let world = story::parse_world(&format!("web 172.17.0.2 {labels}{word}"));
            let decision = decide(&world, DecideState::default(), now, &rules);
            let mut endpoints = decision.routes.0.values().flat_map(|route| &route.endpoints);
            let is_ready = endpoints.any(|endpoint| endpoint.readiness == Readiness::Ready);
            assert_eq!(is_ready, expected, "{labels}{word}");
        }
    }
}

/// A service of a Swarm without tasks claims its route, which then answers 503, and is no server of it.
#[test]
fn expected_container_keeps_its_route_and_serves_nothing() {
    let (rules, now) = (story::default_rules(), Instant::now());
    let host = "glue_http_80_host=a.test";
    for (story, routes, problems) in [
        (format!("web - expected {host}"), &["a.test:80/ "][..], 0),
        (format!("web - expected {host}\nweb.1 172.17.0.2 {host}"), &["a.test:80/ web.1"], 0),
        // It has no address, which is no problem, whatever its labels say of one.
        (format!("web - expected glue_network=none {host}"), &["a.test:80/ "], 0),
        (format!("web - expected leaving unhealthy {host}"), &["a.test:80/ "], 0),
        (format!("web - expected lost glue_http_80_check=off {host}"), &["a.test:80/ "], 0),
        (format!("web - exited {host}"), &[], 0),
        ("web - expected glue_tcp_80_bind=5432".to_owned(), &["tcp://*:5432 "], 0),
        ("web - expected other=x".to_owned(), &[], 0),
        // It is the older one, so the other one is left out.
        (
            format!("web - expected glue_http_80_check=/x {host}\nx 172.17.0.2 {host}"),
            &["a.test:80/ "],
            1,
        ),
    ] {
        let world = story::parse_world(&story);
        let decision = decide(&world, DecideState::default(), now, &rules);
        assert_eq!(format_routes(&decision), routes, "{story}");
        assert_eq!(decision.problems.len(), problems, "{story}: {:?}", decision.problems);
        assert_eq!(decision.wake_at, None, "{story}");
        // It is held as long as the service is there, and not only for a while.
        let later = decide(&world, decision.memory, now + Duration::from_hours(1), &rules);
        assert_eq!(format_routes(&later), routes, "{story}");
    }
}

#[test]
fn lost_machines_and_ignored_records_are_problems() {
    let (rules, now) = (story::default_rules(), Instant::now());
    let fault = |key: &str| RecordFault { key: key.into(), why: "no JSON".into() };
    let lost = |names: &[&str]| names.iter().map(|name| ((*name).into(), 60)).collect();
    for (report, expected) in [
        (NodeReport { up: 3, ..NodeReport::default() }, &[][..]),
        (
            NodeReport { up: 3, lost: lost(&["a"]), ..NodeReport::default() },
            &["option --source: fleet has had no sign of life of the machine a since \
               1970-01-01T00:01:00Z; HAProxy's checks decide whether its 0 containers with labels are \
               served"],
        ),
        (
            NodeReport {
                up: 3,
                lost: lost(&["a", "b"]),
                keeps_lost: true,
                ..NodeReport::default()
            },
            &[
                "option --source: fleet has no sign of life of 2 of 5 machines, the last of which was \
               lost at 1970-01-01T00:01:00Z: etcd lost them, or the network did; HAProxy's checks \
               decide what is served, and none is forgotten",
            ],
        ),
        (
            NodeReport { faults: vec![fault("a/x")], more_faults: 2, ..NodeReport::default() },
            &[
                "option --source: fleet has a record that is ignored, a/x: no JSON; so are 2 others \
               that are not listed",
            ],
        ),
    ] {
        let source: SourceName = "fleet".parse().unwrap();
        let world = World { nodes: [(source, Arc::new(report))].into(), ..World::default() };
        let decision = decide(&world, DecideState::default(), now, &rules);
        let texts: Vec<_> = decision.problems.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn taken_listener_is_excluded_until_retry() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let world = story::parse_world(&format!("{ONE}\nx 172.17.0.3 glue_http_8080_host=a.test"));
    let first = decide(&world, DecideState::default(), start, &rules);
    let listener = first.routes.0.keys().next().unwrap().listener;
    let mut memory = first.memory;
    memory
        .port_conflicts
        .insert(listener, PortConflict::new("taken by nginx (pid 7)".to_owned(), start));

    let without = decide(&world, memory.clone(), start, &rules);
    assert_eq!(format_routes(&without), ["a.test:8080/ x"]);
    let texts: Vec<_> = without.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["listener http :80: its port is taken by nginx (pid 7); retrying every few seconds, \
             other listeners are not affected"]
    );

    let again = decide(&world, without.memory.clone(), without.wake_at.unwrap(), &rules);
    assert_eq!(format_routes(&again), ["a.test:80/ web", "a.test:8080/ x"]);
    assert!(again.problems.is_empty());
}

#[test]
fn unloadable_listeners_are_excluded_until_retry() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let many = "many 172.17.0.3 glue_http_80_host=m.test glue_http_80_bind=81,82,83,84,85";
    let world = story::parse_world(&format!("{ONE}\n{many}"));
    let first = decide(&world, DecideState::default(), start, &rules);
    let mut memory = first.memory;
    for key in first.routes.0.keys().filter(|key| key.listener.port.get() != 80) {
        let out = UnloadableListener::new("no more files".to_owned(), start, None);
        memory.unloadable_listeners.insert(key.listener, out);
    }
    let without = decide(&world, memory, start, &rules);
    assert_eq!(format_routes(&without), ["a.test:80/ web"]);
    let texts: Vec<_> = without.problems.iter().map(|problem| problem.reason.to_string()).collect();
    assert_eq!(
        texts,
        ["public port 81, 82, 83 (and 2 more) is ignored, because HAProxy could not load a \
          configuration with it: no more files; retrying with increasing delays"]
    );
    let tried = without.wake_at.unwrap();
    let again = decide(&world, without.memory.clone(), tried, &rules);
    assert_eq!((again.routes.0.len(), again.problems.len()), (6, 0));

    // The listener failed again: the next delay is twice as long.
    let (_, before) = again.memory.unloadable_listeners.first_key_value().unwrap();
    let longer = UnloadableListener::new("no more files".to_owned(), tried, Some(before));
    assert_eq!(longer.until - tried, 2 * (tried - start));
}

#[test]
fn listeners_beyond_limit_are_kept_for_older_containers() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let ports =
        |first: usize| (first..first + 32).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let line = |number: usize| {
        let (address, ports) = (number + 2, ports(20_000 + 100 * number));
        format!("c{number} 172.17.0.{address} glue_http_80_host=a.test glue_http_80_bind={ports}")
    };
    let count = MAX_LISTENERS / 32 + 1;
    let story: Vec<_> = (0..count).map(line).collect();
    let mut world = story::parse_world(&story.join("\n"));
    // The first container of the story is the youngest.
    let young = nth_of(&world, 0);
    change_container(&mut world, &young, |container| container.created = i64::MAX);
    let decided = decide(&world, DecideState::default(), start, &rules);
    assert_eq!(decided.routes.0.len(), MAX_LISTENERS);
    assert!(decided.routes.0.keys().all(|key| 20_100 <= key.listener.port.get()));
    let texts: Vec<_> = decided.problems.iter().map(|problem| problem.reason.to_string()).collect();
    assert_eq!(
        texts,
        ["public port 20000, 20001, 20002 (and 29 more) is ignored: all containers together may \
          have 256 public ports, and older containers use them"]
    );
    assert!(decided.problems.iter().next().unwrap().to_string().starts_with("container c0 "));
}

#[test]
fn rejected_route_is_excluded_until_it_changes() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let world = story::parse_world(ONE);
    let first = decide(&world, DecideState::default(), start, &rules);
    let (key, route) = first.routes.0.iter().next().unwrap();
    let mut memory = first.memory.clone();
    memory.refused_routes.insert(key.clone(), (route.clone(), "too ugly".to_owned()));

    let without = decide(&world, memory.clone(), start, &rules);
    assert!(without.problems.iter().any(|problem| problem.to_string().contains("too ugly")));
    let moved = story::parse_world(&ONE.replace("0.2", "0.9"));
    let again = decide(&moved, without.memory.clone(), start, &rules);
    assert_eq!(format_routes(&again), ["a.test:80/ web"]);
}

#[test]
fn listener_on_a_mapped_port_is_a_conflict() {
    let mut rules = story::default_rules();
    rules.port_map.insert(80.try_into().unwrap(), 8080.try_into().unwrap());
    let world = story::parse_world(&format!("{ONE}\nx 172.17.0.3 glue_http_8080_host=x.test"));
    let decided = decide(&world, DecideState::default(), Instant::now(), &rules);
    assert_eq!(format_routes(&decided), ["a.test:80/ web"]);
    let texts: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
    assert!(texts[0].contains("used by listener http :80 because of --map-port"), "{texts:?}");
}

#[test]
fn routes_of_an_earlier_run_are_held() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let keys = ["a.test:80/", "*.b.test:80/x/y/", "*:80/"].map(|text| {
        let key: RouteKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        key
    });
    let memory = DecideState::with_routes(keys, start);
    let decided = decide(&story::parse_world(ONE), memory.clone(), start, &rules);
    assert_eq!(format_routes(&decided), ["a.test:80/ web", "*.b.test:80/x/y/ ", "*:80/ "]);
    let later =
        decide(&story::parse_world(ONE), decided.memory.clone(), decided.wake_at.unwrap(), &rules);
    assert_eq!(format_routes(&later), ["a.test:80/ web"]);
}

const EVIL: &str = "evil 172.17.0.3 glue_http_80_host=a.test glue_http_80_timeout=61s";
const WEB: &str = "web 172.17.0.2 glue_http_80_host=a.test";
const COMPOSE: &str = "com.docker.compose.project=p com.docker.compose.service=web";

/// Each turn has the seconds since the previous turn, the world, and the container that serves the route. A container's
/// age is the position of its line: the first line is the oldest.
#[test]
fn waiting_claim_does_not_win_the_route_during_redeployment() {
    let exited = |line: &str| format!("{line} exited");
    let again = |line: &str| line.replace("0.2", "0.4");
    let changed = |line: &str| format!("{} glue_http_80_timeout=2m", again(line));
    let (one, two) =
        (format!("web-1 172.17.0.2 glue_http_80_host=a.test {COMPOSE}"), |end: &str| {
            format!("web-2 172.17.0.4 glue_http_80_host=a.test {COMPOSE} {end}")
        });
    let late = "glue_http_80_timeout=2m";
    let other = "other 172.17.0.4 glue_http_80_host=a.test";
    for (what, turns) in [
        (
            "recreated under its name",
            vec![
                (0, vec![WEB.to_owned(), EVIL.to_owned()], "web"),
                (1, vec![exited(WEB), EVIL.to_owned()], ""),
                (9, vec![exited(WEB), EVIL.to_owned(), again(WEB)], "web"),
                (99, vec![exited(WEB), EVIL.to_owned(), again(WEB)], "web"),
            ],
        ),
        (
            "recreated in one moment, with another policy",
            vec![
                (0, vec![WEB.to_owned(), EVIL.to_owned()], "web"),
                (1, vec![exited(WEB), EVIL.to_owned(), changed(WEB)], "web"),
            ],
        ),
        (
            "recreated by its service",
            vec![
                (0, vec![one.clone(), EVIL.to_owned()], "web-1"),
                (1, vec![exited(&one), EVIL.to_owned()], ""),
                (1, vec![exited(&one), EVIL.to_owned(), two(late)], "web-2"),
            ],
        ),
        (
            "rolled, with another policy",
            vec![
                (0, vec![one.clone(), EVIL.to_owned()], "web-1"),
                (1, vec![one.clone(), EVIL.to_owned(), two(late)], "web-1"),
                (1, vec![exited(&one), EVIL.to_owned(), two(late)], "web-2"),
            ],
        ),
        (
            "rolled, without a service or a name",
            vec![
                (0, vec![WEB.to_owned(), EVIL.to_owned()], "web"),
                (1, vec![WEB.to_owned(), EVIL.to_owned(), other.to_owned()], "other,web"),
                (1, vec![exited(WEB), EVIL.to_owned(), other.to_owned()], "other"),
                (99, vec![exited(WEB), EVIL.to_owned(), other.to_owned()], "other"),
            ],
        ),
        (
            "another one that agrees serves meanwhile",
            vec![
                (0, vec![WEB.to_owned(), EVIL.to_owned()], "web"),
                (1, vec![exited(WEB), EVIL.to_owned(), other.to_owned()], "other"),
                (30, vec![exited(WEB), EVIL.to_owned(), other.to_owned(), changed(WEB)], "web"),
            ],
        ),
        (
            "it never comes back",
            vec![
                (0, vec![WEB.to_owned(), EVIL.to_owned()], "web"),
                (1, vec![exited(WEB), EVIL.to_owned()], ""),
                (59, vec![exited(WEB), EVIL.to_owned()], ""),
                (1, vec![exited(WEB), EVIL.to_owned()], "evil"),
                (1, vec![exited(WEB), EVIL.to_owned(), again(WEB)], "evil"),
            ],
        ),
        (
            "an older stranger is started later",
            vec![
                (0, vec![exited(EVIL), WEB.to_owned()], "web"),
                (1, vec![EVIL.to_owned(), WEB.to_owned()], "web"),
            ],
        ),
    ] {
        let (mut memory, mut now) = (DecideState::default(), Instant::now());
        for (seconds, story, expected) in turns {
            now += Duration::from_secs(seconds);
            let decided = decide(
                &story::parse_world(&story.join("\n")),
                memory,
                now,
                &story::default_rules(),
            );
            assert_eq!(
                format_routes(&decided),
                [format!("a.test:80/ {expected}")],
                "{what}: {story:#?}"
            );
            memory = decided.memory;
        }
    }
}

#[test]
fn waiting_claim_problem_names_the_previous_owner() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let first = decide(
        &story::parse_world(&format!("{WEB}\n{EVIL}")),
        DecideState::default(),
        start,
        &rules,
    );
    let kept =
        decide(&story::parse_world(&format!("{WEB} exited\n{EVIL}")), first.memory, start, &rules);
    let texts: Vec<_> = kept.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["container evil (00c0ffee0001): a.test:80/ was last served by container web with a \
          different timeout, and is reserved for it for the time of --hold; this container waits \
          until then"]
    );
    assert_eq!(kept.wake_at, Some(start + rules.hold));
    let over = decide(&story::parse_world(EVIL), kept.memory, start + rules.hold, &rules);
    assert!(over.problems.is_empty(), "{:?}", over.problems);
}

#[test]
fn route_passes_to_waiting_claim_at_once_without_hold() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let rules = docker_glue::routing::decide::Rules { hold: Duration::ZERO, ..rules };
    let first = decide(
        &story::parse_world(&format!("{WEB}\n{EVIL}")),
        DecideState::default(),
        start,
        &rules,
    );
    let left =
        decide(&story::parse_world(&format!("{WEB} exited\n{EVIL}")), first.memory, start, &rules);
    assert_eq!(format_routes(&left), ["a.test:80/ evil"]);
}

#[test]
fn route_of_an_earlier_run_is_kept_for_its_owner() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let (young, gone) = (format!("{EVIL}\n{WEB}"), format!("{EVIL}\n{WEB} exited"));
    let served = story::parse_routes(WEB);
    for (recalled, world, expected) in
        [(true, &young, "web"), (true, &gone, ""), (false, &young, "evil"), (false, &gone, "evil")]
    {
        let mut memory = DecideState::with_routes(served.0.keys().cloned(), start);
        if recalled {
            memory.restore_claimants(&served);
        }
        let decided = decide(&story::parse_world(world), memory, start, &rules);
        assert_eq!(
            format_routes(&decided),
            [format!("a.test:80/ {expected}")],
            "{recalled} {world}"
        );
    }
}

/// Docker's container list gives the creation time in seconds only, until a container is inspected.
#[test]
fn route_and_host_go_to_the_oldest_once_ages_are_known() {
    const SECOND: i64 = 1_000_000_000;
    let bank = BANK.replace("bank ", "bank-1 ");
    let stories = [
        (story::default_rules(), format!("{EVIL}\n{WEB}"), "a.test:80/ web"),
        (rules_with_host_owners(), format!("{POOL}\n{bank}"), "a.test:80/ bank-1"),
    ];
    for (rules, story, expected) in stories {
        let (mut world, now) = (story::parse_world(&story), Instant::now());
        let (evil, victim) = (nth_of(&world, 0), nth_of(&world, 1));
        let mut memory = DecideState::default();
        let mut outcome = |world: &World| {
            let decided = decide(world, memory.clone(), now, &rules);
            memory = decided.memory.clone();
            format_routes(&decided).join(" ")
        };
        for id in [&evil, &victim] {
            change_container(&mut world, id, |container| container.created = SECOND - 1);
        }
        let _ = outcome(&world);
        change_container(&mut world, &evil, |container| container.created = 500);
        let _ = outcome(&world);
        change_container(&mut world, &victim, |container| container.created = 400);
        assert_eq!(outcome(&world), expected);
        // Once the exact ages are known, the oldest container keeps the route.
        change_container(&mut world, &evil, |container| container.created = SECOND - 1);
        assert_eq!(outcome(&world), expected);
        change_container(&mut world, &evil, |container| container.created = 300);
        assert_eq!(outcome(&world), expected);
    }
}

fn rules_with_host_owners() -> docker_glue::routing::decide::Rules {
    let mut rules = story::default_rules();
    rules.base.label_limits.own_hosts_by = Some("project".to_owned());
    rules
}

const BANK: &str = "bank 172.17.0.2 project=bank glue_http_80_host=a.test";
const POOL: &str = "evil 172.17.0.3 project=evil glue_http_80_host=a.test glue_http_80_weight=256";
const PATH: &str = "evil 172.17.0.3 project=evil glue_http_80_host=a.test,b.test glue_http_80_prefix=login glue_http_80_bind=80,81";

/// Each turn has the seconds since the previous turn, the world, and the routes that result.
#[test]
fn owned_host_has_routes_of_its_owner_only() {
    let exited = |line: &str| format!("{line} exited");
    let again = "bank-2 172.17.0.4 project=bank glue_http_80_host=a.test glue_http_80_timeout=2m";
    let plain = "web 172.17.0.4 glue_http_80_host=a.test";
    for (what, turns) in [
        (
            "its pool",
            vec![
                (0, vec![BANK.to_owned(), POOL.to_owned()], vec!["a.test:80/ bank"]),
                (
                    1,
                    vec![BANK.to_owned(), POOL.to_owned(), again.to_owned()],
                    vec!["a.test:80/ bank"],
                ),
                (
                    1,
                    vec![exited(BANK), POOL.to_owned(), again.to_owned()],
                    vec!["a.test:80/ bank-2"],
                ),
            ],
        ),
        (
            "its paths",
            vec![(
                0,
                vec![BANK.to_owned(), PATH.to_owned()],
                vec!["a.test:80/ bank", "b.test:80/login/ evil", "b.test:81/login/ evil"],
            )],
        ),
        (
            "until it is gone for long",
            vec![
                (0, vec![BANK.to_owned(), POOL.to_owned()], vec!["a.test:80/ bank"]),
                (1, vec![exited(BANK), POOL.to_owned()], vec!["a.test:80/ "]),
                (59, vec![exited(BANK), POOL.to_owned()], vec!["a.test:80/ "]),
                (1, vec![exited(BANK), POOL.to_owned()], vec!["a.test:80/ evil"]),
                (1, vec![exited(BANK), POOL.to_owned(), again.to_owned()], vec!["a.test:80/ evil"]),
            ],
        ),
        (
            "a container without the label is on its own",
            vec![(
                0,
                vec![plain.to_owned(), POOL.to_owned(), plain.replace("web", "other")],
                vec!["a.test:80/ web"],
            )],
        ),
    ] {
        let (mut memory, mut now) = (DecideState::default(), Instant::now());
        for (seconds, story, expected) in turns {
            now += Duration::from_secs(seconds);
            let decided = decide(
                &story::parse_world(&story.join("\n")),
                memory,
                now,
                &rules_with_host_owners(),
            );
            assert_eq!(format_routes(&decided), expected, "{what}: {story:#?}");
            memory = decided.memory;
        }
    }
}

#[test]
fn claim_on_an_owned_host_is_reported() {
    let world = story::parse_world(&format!("{BANK}\n{POOL}"));
    let decided = decide(&world, DecideState::default(), Instant::now(), &rules_with_host_owners());
    let texts: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
    let expected = "container evil (00c0ffee0001): a.test:80/ is on a host that belongs to \
                    project=bank (--own-hosts-by); this container waits until no container of that \
                    owner claims the host";
    assert_eq!(texts, [expected]);
}

#[test]
fn host_of_an_earlier_run_stays_with_its_owner() {
    let world = story::parse_world(&format!("{POOL}\n{BANK}"));
    let a = "a.test".parse::<docker_glue::model::option_value::HostMatch>().unwrap();
    for (kept, expected) in [
        ("project=bank", "bank"),
        ("project=evil", "evil"),
        ("team=bank", "evil"),
        ("project=x", ""),
    ] {
        let (mut memory, now) = (DecideState::default(), Instant::now());
        memory.restore_host_owners(
            &[(OwnedName::Host(a.clone()), kept.into())].into(),
            "project",
            now,
        );
        let decided = decide(&world, memory, now, &rules_with_host_owners());
        let expected: Vec<_> = Some(format!("a.test:80/ {expected}"))
            .into_iter()
            .filter(|_| !expected.is_empty())
            .collect();
        assert_eq!(format_routes(&decided), expected, "{kept}");
    }
}

#[test]
fn problems_of_one_container_beyond_50_are_summarized() {
    let hosts = (0..200).map(|at| format!("h{at}.test")).collect::<Vec<_>>().join(",");
    let (one, other) = (format!("glue_http_80_host={hosts}"), "glue_http_80_timeout=2m");
    let world = story::parse_world(&format!("a 172.17.0.2 {one}\nb 172.17.0.3 {one} {other}"));
    let decided = decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
    let kinds: Vec<_> = decided.problems.iter().map(|problem| problem.reason.kind()).collect();
    let count = |kind: &str| kinds.iter().filter(|text| **text == kind).count();
    assert_eq!((count("conflict"), count("more_problems"), kinds.len()), (50, 1, 51));
    assert!(
        decided
            .problems
            .iter()
            .any(|problem| problem.to_string().contains("150 more problems are not listed"))
    );
}

#[test]
fn host_shared_by_two_projects_is_a_hint() {
    let of = |project: &str| {
        format!("com.docker.compose.project={project} com.docker.compose.service=web")
    };
    let line = |name: &str, at: u8, more: &str| {
        format!("{name} 172.17.0.{at} glue_http_80_host=a.test {more}")
    };
    let login = "glue_http_80_prefix=login";
    for (story, expected) in [
        ([line("a", 2, &of("p")), line("b", 3, &format!("{login} {}", of("p")))], ""),
        ([line("a", 2, ""), line("b", 3, login)], ""),
        ([line("a", 2, &of("p")), line("b", 3, &format!("{login} {}", of("q")))], "shared_host"),
        ([line("a", 2, &of("p")), line("b", 3, login)], "shared_host"),
        ([line("a", 2, &of("p")), line("b", 3, &of("q"))], "shared_route"),
        ([line("a", 2, &of("p")), line("b", 3, "")], "shared_route"),
        ([line("a", 2, ""), line("b", 3, "")], ""),
    ] {
        let world = story::parse_world(&story.join("\n"));
        let decided =
            decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
        let texts: Vec<_> = decided.problems.iter().map(|problem| problem.reason.kind()).collect();
        assert_eq!(texts.join(" "), expected, "{story:#?}");
    }
}

#[test]
fn reserved_host_ports_are_not_served_on_the_host_network() {
    let mut rules = story::default_rules();
    let port = |port: u16| std::num::NonZeroU16::new(port).unwrap();
    rules.base.label_limits.own_ports = [port(3000)].into();
    rules.base.label_limits.reserved_ports = [port(3000), port(8080)].into();
    let label = |port: u16| format!("glue_http_{port}_host=a.test glue_http_{port}_bind=80");
    for (story, expected) in [
        (format!("h 172.17.0.2 host {}", label(80)), "a.test:80/ h"),
        (format!("h 172.17.0.2 host {}", label(3000)), ""),
        (format!("h 172.17.0.2 host {}", label(8080)), ""),
        (format!("h 172.17.0.2 {}", label(3000)), "a.test:80/ h"),
        (format!("h 172.17.0.2 host\ns 172.17.0.3 shares=0 {}", label(3000)), ""),
    ] {
        let decided =
            decide(&story::parse_world(&story), DecideState::default(), Instant::now(), &rules);
        assert_eq!(format_routes(&decided).join(" "), expected, "{story}");
        let texts: Vec<_> = decided.problems.iter().map(|problem| problem.reason.kind()).collect();
        let expected = if expected.is_empty() { vec!["host_port_reserved"] } else { vec![] };
        assert_eq!(texts, expected, "{story}");
    }
}

/// The container itself is unchanged in all of these worlds.
#[test]
fn address_changes_when_network_owner_or_networks_change() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let mut world = story::parse_world(
        "network back bridge\nowner 172.17.0.2 on=back\nuser 172.17.0.3 glue_http_80_host=a.test",
    );
    let (owner, user) = (nth_of(&world, 0), nth_of(&world, 1));
    let share =
        |container: &mut Container| container.network_mode = NetworkMode::Container(owner.clone());
    change_container(&mut world, &user, share);
    let mut memory = DecideState::default();
    let mut check = |world: &World, expected: &str| {
        let decided = decide(world, memory.clone(), start, &rules);
        let endpoints = decided.routes.0.values().flat_map(|route| &route.endpoints);
        let at: Vec<_> = endpoints.map(|view| view.address.to_string()).collect();
        assert_eq!(
            (at.join(" "), decided.problems.len()),
            (expected.to_owned(), usize::from(expected.is_empty()))
        );
        memory = decided.memory;
    };
    check(&world, "172.17.0.2:80");
    change_container(&mut world, &owner, |container| {
        Arc::make_mut(&mut container.networks).get_mut("back").unwrap().ipv4 =
            "172.17.0.9".parse().ok();
    });
    check(&world, "172.17.0.9:80");
    let mut driver = |text: &str| {
        world.networks.get_mut(&SourceName::NONE).unwrap().get_mut("back").unwrap().driver =
            text.to_owned();
        world.clone()
    };
    check(&driver("macvlan"), "");
    check(&driver("bridge"), "172.17.0.9:80");
    check(&world, "172.17.0.9:80");
    world.containers.remove(&owner);
    check(&world, "");
}

fn nth_of(world: &World, n: usize) -> ContainerId {
    world.containers.keys().nth(n).unwrap().clone()
}

fn change_container(world: &mut World, id: &ContainerId, change: impl FnOnce(&mut Container)) {
    change(Arc::make_mut(world.containers.get_mut(id).unwrap()));
}

const TWO: &str = "
    web 172.17.0.2 glue_http_80_host=a.test glue_http_8080_host=b.test
    web2 172.17.0.3 glue_http_80_host=a.test";

/// Returns the id of the story's nth container.
fn nth_id(story: &str, n: usize) -> ContainerId {
    nth_of(&story::parse_world(story), n)
}

/// Returns for each route the servers that get new requests.
fn format_ready_servers(decided: &Decision) -> Vec<String> {
    let ready = |route: &docker_glue::model::route::Route| {
        let ready = route.endpoints.iter().filter(|view| view.readiness == Readiness::Ready);
        ready.map(|view| view.container.name()).collect::<Vec<_>>().join(",")
    };
    decided.routes.0.iter().map(|(key, route)| format!("{key} {}", ready(route))).collect()
}

#[test]
fn drained_container_keeps_its_routes_without_new_requests() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let (world, mut memory) = (story::parse_world(TWO), DecideState::default());
    memory.drain_container(&nth_id(TWO, 0));
    let drained = decide(&world, memory.clone(), start, &rules);
    assert_eq!(format_routes(&drained), ["a.test:80/ web,web2", "b.test:8080/ web"]);
    assert_eq!(format_ready_servers(&drained), ["a.test:80/ web2", "b.test:8080/ "]);
    assert!(drained.problems.is_empty());

    let mut memory = drained.memory;
    memory.undrain_container(&nth_id(TWO, 0));
    let back = decide(&world, memory.clone(), start, &rules);
    assert_eq!(format_ready_servers(&back), ["a.test:80/ web,web2", "b.test:8080/ web"]);
    assert!(back.memory.drained.is_empty());
}

#[test]
fn drained_container_is_not_used_as_its_own_backup() {
    let unhealthy = "web 172.17.0.2 unhealthy glue_http_80_host=a.test";
    let mut memory = DecideState::default();
    memory.drain_container(&nth_id(unhealthy, 0));
    let world = story::parse_world(unhealthy);
    assert_eq!(
        format_ready_servers(&decide(
            &world,
            memory.clone(),
            Instant::now(),
            &story::default_rules()
        )),
        ["a.test:80/ "]
    );
}

/// `web` and its backup `spare` with these words, labels of HTTP written without their start.
fn backup_story(protocol: &str, web: &str, spare: &str) -> String {
    let matching = if protocol == "http" { "glue_http_80_host=a.test" } else { "" };
    let line = |number: u8, name: &str, words: &str| {
        let words = words.split_whitespace().map(|word| match word.split_once('=') {
            Some(_) => format!("glue_{protocol}_80_{word} "),
            None => format!("{word} "),
        });
        let words: String = words.collect();
        format!("{name} 172.17.0.{number} {words}{matching} glue_{protocol}_80_bind=80\n")
    };
    line(2, "web", web) + &line(3, "spare", &format!("backup=1 {spare}"))
}

#[test]
fn backup_serves_while_no_other_container_is_fit() {
    for (web, spare, expected) in [
        ("", "", "web"),
        ("exited", "", "spare"),
        ("paused", "", "spare"),
        ("leaving", "", "spare"),
        ("starting", "", "spare"),
        ("unhealthy", "", "spare"),
        ("unhealthy health=require", "", "spare"),
        ("unhealthy health=ignore", "", "web"),
        // It gets no requests, and ends those that it has.
        ("weight=0", "", "spare,web"),
        ("weight=0", "weight=0", "web"),
        ("", "unhealthy", "web"),
        ("", "backup=no", "spare,web"),
        ("backup=1", "", "spare,web"),
        ("backup=1", "weight=0", "spare,web"),
        ("unhealthy", "unhealthy", "web"),
        ("unhealthy backup=1", "unhealthy", "spare,web"),
        ("exited", "unhealthy", "spare"),
        ("paused", "unhealthy", "spare"),
        ("leaving", "leaving", ""),
        ("paused", "paused", ""),
    ] {
        for (protocol, route) in [("http", "a.test:80/"), ("tcp", "*:80"), ("udp", "*:80")] {
            let story = backup_story(protocol, web, spare);
            let (memory, rules) = (DecideState::default(), story::default_rules());
            let decided = decide(&story::parse_world(&story), memory, Instant::now(), &rules);
            let ready = format_ready_servers(&decided).concat();
            assert_eq!(
                ready.rsplit_once(' ').map(|(_, ready)| ready),
                Some(expected),
                "{route} {story}"
            );
        }
    }
}

#[test]
fn backup_serves_from_stop_signal_until_another_container_is_fit() {
    let (rules, now) = (story::default_rules(), Instant::now());
    let mut memory = DecideState::default();
    for (web, spare, expected) in [
        ("", "", "a.test:80/ web"),
        ("leaving", "", "a.test:80/ spare"),
        ("exited", "", "a.test:80/ spare"),
        ("starting", "", "a.test:80/ spare"),
        ("", "", "a.test:80/ web"),
        ("unhealthy", "", "a.test:80/ spare"),
        // Who serves continues, if the other one is no better.
        ("unhealthy", "leaving", "a.test:80/ spare"),
        ("unhealthy", "exited", "a.test:80/ web"),
        ("leaving", "", "a.test:80/ spare"),
        ("leaving", "leaving", "a.test:80/ spare"),
        ("", "leaving", "a.test:80/ web"),
    ] {
        let world = story::parse_world(&backup_story("http", web, spare));
        let decided = decide(&world, memory, now, &rules);
        assert_eq!(format_ready_servers(&decided), [expected], "{web}; {spare}");
        memory = decided.memory;
    }
    memory.drain_container(&nth_id(&backup_story("http", "", ""), 0));
    let world = story::parse_world(&backup_story("http", "", ""));
    let drained = decide(&world, memory, now, &rules);
    assert_eq!(format_ready_servers(&drained), ["a.test:80/ spare"]);
}

#[test]
fn drain_ends_when_the_container_is_not_running() {
    let (rules, start) = (story::default_rules(), Instant::now());
    let mut memory = DecideState::default();
    memory.drain_container(&nth_id(ONE, 0));
    for (story, remembered) in [
        (ONE, true),
        ("web 172.17.0.2 leaving glue_http_80_host=a.test", true),
        ("web 172.17.0.2 paused glue_http_80_host=a.test", true),
        ("web 172.17.0.2 exited glue_http_80_host=a.test", false),
        ("", false),
    ] {
        let decided = decide(&story::parse_world(story), memory.clone(), start, &rules);
        assert_eq!(!decided.memory.drained.is_empty(), remembered, "{story}");
    }
}

#[test]
fn network_sharer_loses_its_address_in_the_pass_its_owner_exits() {
    let both = |vpn: &str| format!("vpn 172.17.0.9{vpn}\napp - shares=0 glue_http_80_host=a.test");
    let (rules, now) = (story::default_rules(), Instant::now());
    let up = story::parse_world(&both(""));
    let served = decide(&up, DecideState::default(), now, &rules);
    let endpoints = |decided: &Decision| {
        let routes = decided.routes.0.values().flat_map(|route| route.endpoints.iter());
        routes.map(|view| view.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(&served), ["172.17.0.9:80"]);
    let mut last = up;
    for (after, problem) in [
        (both(" exited"), "start container vpn"),
        ("- - exited\napp - shares=0 glue_http_80_host=a.test".to_owned(), "start container -"),
    ] {
        let world = story::parse_next_world(&last, &after);
        assert!(!world.only_idle_containers_changed(&last), "{after}");
        let decided = decide(&world, served.memory.clone(), now, &rules);
        assert_eq!(endpoints(&decided), [""; 0], "{after}");
        let problems: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
        assert!(problems.len() == 1 && problems[0].contains(problem), "{problems:?}");
        last = world;
    }
}

#[test]
fn change_of_stopped_containers_only_is_idle() {
    const OTHER: &str = "new 172.17.0.3 exited glue_http_80_host=b.test";
    let exited = ONE.replace(" glue", " exited glue");
    for (before, after, idle) in [
        (ONE, format!("{ONE}\n{OTHER}").as_str(), true),
        (&format!("{ONE}\n{OTHER}"), ONE, true),
        (&exited, "", true),
        (&exited, &exited.replace("a.test", "b.test"), true),
        // An unchanged world is not idle: the pass was requested for another reason.
        (ONE, ONE, false),
        (ONE, "", false),
        (ONE, &exited, false),
        (&exited, ONE, false),
        (ONE, &ONE.replace(" glue", " paused glue"), false),
        (&format!("{ONE}\n{OTHER}"), OTHER, false),
    ] {
        let before = story::parse_world(before);
        let after = story::parse_next_world(&before, after);
        assert_eq!(after.only_idle_containers_changed(&before), idle, "{before:?} → {after:?}");
        if idle {
            let (rules, now) = (story::default_rules(), Instant::now());
            let first = decide(&before, DecideState::default(), now, &rules);
            let second = decide(&after, first.memory.clone(), now, &rules);
            assert_eq!(first.routes, second.routes);
            assert_eq!(first.problems, second.problems);
            assert_eq!(first.wake_at, second.wake_at);
        }
    }
}

/// Checks which containers of `a.test` get new requests after each turn. A turn has the states of containers `a` and
/// `b`.
fn check_turns(labels: &str, turns: &[(&str, &str, &str)]) {
    let (rules, mut now) = (story::default_rules(), Instant::now());
    let (mut world, mut memory) = (World::default(), DecideState::default());
    for (number, (a, b, expected)) in turns.iter().enumerate() {
        let line = |name: &str, address: u8, words: &str| {
            format!("{name} 172.17.0.{address} {words} glue_http_80_host=a.test {labels}\n")
        };
        let story = line("a", 2, a) + &line("b", 3, b);
        now += Duration::from_secs(1);
        world = story::parse_next_world(&world, &story);
        let decided = decide(&world, memory, now, &rules);
        let ready = format_ready_servers(&decided);
        let servers =
            ready.first().and_then(|text| text.split_once(' ')).map_or("", |(_, text)| text);
        assert_eq!(servers, *expected, "{labels} turn {number}: {a:?} {b:?}");
        memory = decided.memory;
    }
}

#[test]
fn stopping_container_serves_only_if_it_is_the_last_one() {
    check_turns("", &[("", "", "a,b"), ("leaving", "", "b"), ("leaving", "leaving", "b")]);
    check_turns("", &[("", "", "a,b"), ("leaving", "leaving", "a,b"), ("leaving", "exited", "a")]);
    check_turns("", &[("", "exited", "a"), ("leaving", "exited", "a"), ("leaving", "", "b")]);
    check_turns("", &[("", "paused", "a"), ("leaving", "paused", "a"), ("exited", "paused", "")]);
    check_turns("", &[("", "", "a,b"), ("paused", "", "b"), ("paused", "paused", "")]);
    // The stopping container serves until the other one is healthy. An unhealthy container that served last continues
    // to.
    check_turns("", &[("", "starting", "a"), ("leaving", "starting", "a"), ("leaving", "", "b")]);
    check_turns("", &[("unhealthy", "exited", "a"), ("leaving", "exited", "a")]);
    // A stopping container that has not served does not start to.
    check_turns("", &[("leaving", "exited", ""), ("leaving", "starting", "b")]);
    check_turns("glue_http_80_weight=0", &[("", "", "a,b"), ("leaving", "", "a,b")]);
}

#[test]
fn last_ready_container_serves_on_with_required_health() {
    const REQUIRE: &str = "glue_http_80_health=require";
    check_turns(
        REQUIRE,
        &[("", "", "a,b"), ("unhealthy", "", "b"), ("unhealthy", "unhealthy", "b")],
    );
    check_turns(REQUIRE, &[("starting", "exited", ""), ("", "exited", "a")]);
    check_turns(
        REQUIRE,
        &[("", "exited", "a"), ("unhealthy", "starting", "a"), ("unhealthy", "", "b")],
    );
}

/// Returns the problems of a story whose containers belong to these Compose services: `name project/service`.
fn problems_of_services(story: &str, services: &[(&str, &str)]) -> Vec<String> {
    let mut world = story::parse_world(story);
    for container in world.containers.values_mut() {
        let of = services.iter().find(|(name, _)| *name == container.name);
        let Some((project, service)) = of.and_then(|(_, of)| of.split_once('/')) else { continue };
        let labels = &mut Arc::make_mut(container).labels;
        for (key, value) in [("project", project), ("service", service)] {
            Arc::make_mut(labels).insert(format!("com.docker.compose.{key}"), value.to_owned());
        }
    }
    let decided = decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
    decided
        .problems
        .iter()
        .map(|problem| format!("{:?} {problem}", problem.reason.severity()))
        .collect()
}

#[test]
fn route_shared_by_two_services_is_a_hint() {
    let story = "one 172.17.0.2 glue_http_80_host=a.test\n\
                 two 172.17.0.3 glue_http_80_host=a.test\n\
                 three 172.17.0.4 glue_http_80_host=a.test";
    let texts = problems_of_services(
        story,
        &[("one", "shop/web"), ("two", "shop/web"), ("three", "blog/web")],
    );
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert!(texts[0].starts_with("Hint container three ("), "{texts:?}");
    assert!(texts[0].contains("a.test:80/ is also served by container one ("), "{texts:?}");
    let texts = problems_of_services(
        story,
        &[("one", "shop/web"), ("two", "shop/api"), ("three", "shop/api")],
    );
    assert_eq!(texts.len(), 1, "once for each service: {texts:#?}");
    let texts = problems_of_services(story, &[("one", "shop/web")]);
    assert_eq!(texts.len(), 1, "who says no service shares it as well: {texts:#?}");
    // One service, and containers without a known service.
    assert_eq!(
        problems_of_services(
            story,
            &[("one", "shop/web"), ("two", "shop/web"), ("three", "shop/web")]
        ),
        [""; 0]
    );
    assert_eq!(problems_of_services(story, &[]), [""; 0]);
    let apart = story.replacen("a.test", "b.test", 2);
    assert_eq!(
        problems_of_services(
            &apart,
            &[("one", "shop/web"), ("two", "shop/web"), ("three", "blog/web")]
        ),
        [""; 0]
    );
}

#[test]
fn reversed_port_map_is_a_hint() {
    let report = |maps: &[(u16, u16)]| -> Vec<String> {
        let mut rules = story::default_rules();
        let port = |n: u16| std::num::NonZeroU16::new(n).unwrap();
        rules.port_map.extend(maps.iter().map(|(public, ours)| (port(*public), port(*ours))));
        let decided =
            decide(&story::parse_world(ONE), DecideState::default(), Instant::now(), &rules);
        decided.problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        report(&[(8080, 80)]),
        ["option --map-port: no label uses public port 8080, but labels use 80; the order is \
          PUBLIC=PORT, with the label's port first: did you mean 80=8080?"]
    );
    for maps in [&[][..], &[(80, 8080)], &[(443, 8443)], &[(8080, 80), (80, 8080)]] {
        assert_eq!(report(maps), [""; 0], "{maps:?}");
    }
}

/// Makes the cost of one changed container independent of the number of others (10,000, for example). The test measures
/// no time; it checks that the routes and problems of other containers are shared, not built again.
#[test]
fn decision_about_one_container_shares_all_that_is_of_others() {
    let (rules, start) = (story::default_rules(), Instant::now());
    // Each container has an unknown label. Of the two containers on each route one waits, because they disagree.
    let line = |number: usize| {
        let (host, retry) = (number / 2, if number.is_multiple_of(2) { "all" } else { "safe" });
        let labels = format!("glue_http_80_host=w{host}.test glue_http_80_retry={retry}");
        format!("w{number} 172.17.1.{number} {labels} glue_http_80_wight=1\n")
    };
    let story: String = (0..100).map(line).collect();
    let world = story::parse_world(&story);
    let before = decide(&world, DecideState::default(), start, &rules);
    assert_eq!((before.routes.0.len(), before.problems.len()), (50, 150));

    let more = story::parse_next_world(&world, &(story + &line(100)));
    let after = decide(&more, before.memory.clone(), start, &rules);
    assert_eq!((after.routes.0.len(), after.problems.len()), (51, 151));
    for (key, route) in &before.routes.0 {
        assert!(Arc::ptr_eq(route, &after.routes.0[key]), "{key}");
    }
    for problem in before.problems.iter() {
        assert!(after.problems.shares(&before.problems, &problem.subject), "{problem}");
    }

    let again = decide(&more, after.memory.clone(), start, &rules);
    assert_eq!(again.problems.difference(&after.problems).count(), 0);
}
