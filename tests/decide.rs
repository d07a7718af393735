//! Time and history: what is held, left out and tried again.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{
    container::{Container, ContainerId, NetworkMode},
    decide::{Decided, MOST_LISTENERS, Memory, Taken, Unloadable, decide},
    route::{Readiness, RouteKey},
    world::World,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

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
fn listeners_that_could_not_be_loaded_are_left_out_until_they_are_tried_again() {
    let (rules, start) = (story::rules(), Instant::now());
    let many = "many 172.17.0.3 glue_http_80_host=m.test glue_http_80_bind=81,82,83,84,85";
    let world = story::world(&format!("{ONE}\n{many}"));
    let first = decide(&world, Memory::default(), start, &rules);
    let mut memory = first.memory;
    for key in first.routes.0.keys().filter(|key| key.listener.port.get() != 80) {
        let out = Unloadable::new("no more files".to_owned(), start, None);
        memory.unloadable.insert(key.listener, out);
    }
    let without = decide(&world, memory, start, &rules);
    assert_eq!(routes(&without), ["a.test:80/ web"]);
    let told: Vec<_> = without.problems.iter().map(|it| it.reason.to_string()).collect();
    assert_eq!(
        told,
        [
            "public port 81, 82, 83 (and 2 more) is left out, as HAProxy could not be loaded with it: \
             no more files; it is tried again after pauses that grow"
        ]
    );
    let tried = without.wake_at.unwrap();
    let again = decide(&world, without.memory.clone(), tried, &rules);
    assert_eq!((again.routes.0.len(), again.problems.len()), (6, 0));

    // It failed again: the next pause is twice as long.
    let (_, before) = again.memory.unloadable.first_key_value().unwrap();
    let longer = Unloadable::new("no more files".to_owned(), tried, Some(before));
    assert_eq!(longer.until - tried, 2 * (tried - start));
}

#[test]
fn of_more_listeners_than_there_may_be_those_of_older_containers_stay() {
    let (rules, start) = (story::rules(), Instant::now());
    let ports =
        |first: usize| (first..first + 32).map(|it| it.to_string()).collect::<Vec<_>>().join(",");
    let line = |number: usize| {
        let (address, ports) = (number + 2, ports(20_000 + 100 * number));
        format!("c{number} 172.17.0.{address} glue_http_80_host=a.test glue_http_80_bind={ports}")
    };
    let count = MOST_LISTENERS / 32 + 1;
    let story: Vec<_> = (0..count).map(line).collect();
    let mut world = story::world(&story.join("\n"));
    // The first of the story is the youngest.
    let young = nth_of(&world, 0);
    change(&mut world, &young, |it| it.created = i64::MAX);
    let decided = decide(&world, Memory::default(), start, &rules);
    assert_eq!(decided.routes.0.len(), MOST_LISTENERS);
    assert!(decided.routes.0.keys().all(|key| 20_100 <= key.listener.port.get()));
    let told: Vec<_> = decided.problems.iter().map(|it| it.reason.to_string()).collect();
    assert_eq!(
        told,
        [
            "public port 20000, 20001, 20002 (and 29 more) is left out: all containers together get 256, \
             and older ones have these"
        ]
    );
    assert!(decided.problems.iter().next().unwrap().to_string().starts_with("container c0 "));
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

const EVIL: &str = "evil 172.17.0.3 glue_http_80_host=a.test glue_http_80_timeout=61s";
const WEB: &str = "web 172.17.0.2 glue_http_80_host=a.test";
const COMPOSE: &str = "com.docker.compose.project=p com.docker.compose.service=web";

/// Worlds one after the other, with the seconds before each, and the route that comes of it. Containers are as old as
/// their line is high.
#[test]
fn a_waiting_stranger_gets_no_route_at_a_deployment() {
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
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        for (seconds, story, expected) in turns {
            now += Duration::from_secs(seconds);
            let decided = decide(&story::world(&story.join("\n")), memory, now, &story::rules());
            assert_eq!(routes(&decided), [format!("a.test:80/ {expected}")], "{what}: {story:#?}");
            memory = decided.memory;
        }
    }
}

#[test]
fn a_waiting_stranger_is_told_for_whom_the_route_is_kept() {
    let (rules, start) = (story::rules(), Instant::now());
    let first = decide(&story::world(&format!("{WEB}\n{EVIL}")), Memory::default(), start, &rules);
    let kept = decide(&story::world(&format!("{WEB} exited\n{EVIL}")), first.memory, start, &rules);
    let told: Vec<_> = kept.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "container evil (00c0ffee0001): a.test:80/ was served by container web until just now, with another timeout, \
             and is kept for it for as long as --hold says; this container waits until then"
        ]
    );
    assert_eq!(kept.wake_at, Some(start + rules.hold));
    let over = decide(&story::world(EVIL), kept.memory, start + rules.hold, &rules);
    assert!(over.problems.is_empty(), "{:?}", over.problems);
}

#[test]
fn a_route_is_kept_for_no_time_where_nothing_is_held() {
    let (rules, start) = (story::rules(), Instant::now());
    let rules = docker_glue::decide::Rules { hold: Duration::ZERO, ..rules };
    let first = decide(&story::world(&format!("{WEB}\n{EVIL}")), Memory::default(), start, &rules);
    let left = decide(&story::world(&format!("{WEB} exited\n{EVIL}")), first.memory, start, &rules);
    assert_eq!(routes(&left), ["a.test:80/ evil"]);
}

#[test]
fn a_route_of_an_earlier_run_is_kept_for_who_served_it() {
    let (rules, start) = (story::rules(), Instant::now());
    let (young, gone) = (format!("{EVIL}\n{WEB}"), format!("{EVIL}\n{WEB} exited"));
    let served = story::routes(WEB);
    for (recalled, world, expected) in
        [(true, &young, "web"), (true, &gone, ""), (false, &young, "evil"), (false, &gone, "evil")]
    {
        let mut memory = Memory::of_routes(served.0.keys().cloned(), start);
        if recalled {
            memory.recall(&served);
        }
        let decided = decide(&story::world(world), memory, start, &rules);
        assert_eq!(routes(&decided), [format!("a.test:80/ {expected}")], "{recalled} {world}");
    }
}

/// Of a container that was not inspected yet the second is known alone.
#[test]
fn route_and_host_go_to_the_oldest_once_ages_are_known() {
    const SECOND: i64 = 1_000_000_000;
    let bank = BANK.replace("bank ", "bank-1 ");
    let stories = [
        (story::rules(), format!("{EVIL}\n{WEB}"), "a.test:80/ web"),
        (owning(), format!("{POOL}\n{bank}"), "a.test:80/ bank-1"),
    ];
    for (rules, story, expected) in stories {
        let (mut world, now) = (story::world(&story), Instant::now());
        let (evil, victim) = (nth_of(&world, 0), nth_of(&world, 1));
        let mut memory = Memory::default();
        let mut outcome = |world: &World| {
            let decided = decide(world, memory.clone(), now, &rules);
            memory = decided.memory.clone();
            routes(&decided).join(" ")
        };
        for id in [&evil, &victim] {
            change(&mut world, id, |it| it.created = SECOND - 1);
        }
        let _ = outcome(&world);
        change(&mut world, &evil, |it| it.created = 500);
        let _ = outcome(&world);
        change(&mut world, &victim, |it| it.created = 400);
        assert_eq!(outcome(&world), expected);
        // From then on nobody is older.
        change(&mut world, &evil, |it| it.created = SECOND - 1);
        assert_eq!(outcome(&world), expected);
        change(&mut world, &evil, |it| it.created = 300);
        assert_eq!(outcome(&world), expected);
    }
}

fn owning() -> docker_glue::decide::Rules {
    let mut rules = story::rules();
    rules.fences.own_hosts_by = Some("project".to_owned());
    rules
}

const BANK: &str = "bank 172.17.0.2 project=bank glue_http_80_host=a.test";
const POOL: &str = "evil 172.17.0.3 project=evil glue_http_80_host=a.test glue_http_80_weight=256";
const PATH: &str = "evil 172.17.0.3 project=evil glue_http_80_host=a.test,b.test glue_http_80_prefix=login glue_http_80_bind=80,81";

/// Worlds one after the other, with the seconds before each, and the routes that come of it.
#[test]
fn a_host_that_is_owned_has_routes_of_its_owner_alone() {
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
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        for (seconds, story, expected) in turns {
            now += Duration::from_secs(seconds);
            let decided = decide(&story::world(&story.join("\n")), memory, now, &owning());
            assert_eq!(routes(&decided), expected, "{what}: {story:#?}");
            memory = decided.memory;
        }
    }
}

#[test]
fn who_waits_for_an_owned_host_is_told() {
    let world = story::world(&format!("{BANK}\n{POOL}"));
    let decided = decide(&world, Memory::default(), Instant::now(), &owning());
    let told: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
    let expected = "container evil (00c0ffee0001): a.test:80/ is on a host of project=bank, which had it first \
                    (--own-hosts-by); this container waits until no container there has a claim on the host";
    assert_eq!(told, [expected]);
}

#[test]
fn hosts_of_an_earlier_run_stay_with_their_owners() {
    let world = story::world(&format!("{POOL}\n{BANK}"));
    let a = "a.test".parse::<docker_glue::label::value::HostMatch>().unwrap();
    for (kept, expected) in [
        ("project=bank", "bank"),
        ("project=evil", "evil"),
        ("team=bank", "evil"),
        ("project=x", ""),
    ] {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.recall_owners(&[(a.clone(), kept.into())].into(), "project", now);
        let decided = decide(&world, memory, now, &owning());
        let expected: Vec<_> = Some(format!("a.test:80/ {expected}"))
            .into_iter()
            .filter(|_| !expected.is_empty())
            .collect();
        assert_eq!(routes(&decided), expected, "{kept}");
    }
}

#[test]
fn container_that_waits_for_many_routes_is_told_of_some() {
    let hosts = (0..200).map(|at| format!("h{at}.test")).collect::<Vec<_>>().join(",");
    let (one, other) = (format!("glue_http_80_host={hosts}"), "glue_http_80_timeout=2m");
    let world = story::world(&format!("a 172.17.0.2 {one}\nb 172.17.0.3 {one} {other}"));
    let decided = decide(&world, Memory::default(), Instant::now(), &story::rules());
    let kinds: Vec<_> = decided.problems.iter().map(|it| it.reason.kind()).collect();
    let count = |kind: &str| kinds.iter().filter(|it| **it == kind).count();
    assert_eq!((count("conflict"), count("more"), kinds.len()), (50, 1, 51));
    assert!(decided.problems.iter().any(|it| it.to_string().contains("and 150 more problems")));
}

#[test]
fn hosts_shared_by_projects_are_hints() {
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
        ([line("a", 2, &of("p")), line("b", 3, &of("q"))], "shared"),
        ([line("a", 2, &of("p")), line("b", 3, "")], "shared"),
        ([line("a", 2, ""), line("b", 3, "")], ""),
    ] {
        let world = story::world(&story.join("\n"));
        let decided = decide(&world, Memory::default(), Instant::now(), &story::rules());
        let told: Vec<_> = decided.problems.iter().map(|it| it.reason.kind()).collect();
        assert_eq!(told.join(" "), expected, "{story:#?}");
    }
}

#[test]
fn ports_of_the_host_that_are_ours_are_not_served() {
    let mut rules = story::rules();
    let port = |port: u16| std::num::NonZeroU16::new(port).unwrap();
    rules.fences.own = [port(3000)].into();
    rules.fences.reserved = [port(3000), port(8080)].into();
    let label = |port: u16| format!("glue_http_{port}_host=a.test glue_http_{port}_bind=80");
    for (story, expected) in [
        (format!("h 172.17.0.2 host {}", label(80)), "a.test:80/ h"),
        (format!("h 172.17.0.2 host {}", label(3000)), ""),
        (format!("h 172.17.0.2 host {}", label(8080)), ""),
        (format!("h 172.17.0.2 {}", label(3000)), "a.test:80/ h"),
        (format!("h 172.17.0.2 host\ns 172.17.0.3 shares=0 {}", label(3000)), ""),
    ] {
        let decided = decide(&story::world(&story), Memory::default(), Instant::now(), &rules);
        assert_eq!(routes(&decided).join(" "), expected, "{story}");
        let told: Vec<_> = decided.problems.iter().map(|it| it.reason.kind()).collect();
        let expected = if expected.is_empty() { vec!["port_of_host"] } else { vec![] };
        assert_eq!(told, expected, "{story}");
    }
}

/// The container itself stays the very same in all of these worlds.
#[test]
fn a_container_is_reached_elsewhere_when_something_beside_it_changes() {
    let (rules, start) = (story::rules(), Instant::now());
    let mut world = story::world(
        "network back bridge\nowner 172.17.0.2 on=back\nuser 172.17.0.3 glue_http_80_host=a.test",
    );
    let (owner, user) = (nth_of(&world, 0), nth_of(&world, 1));
    let share = |it: &mut Container| it.network_mode = NetworkMode::Container(owner.clone());
    change(&mut world, &user, share);
    let mut memory = Memory::default();
    let mut check = |world: &World, expected: &str| {
        let decided = decide(world, memory.clone(), start, &rules);
        let endpoints = decided.routes.0.values().flat_map(|it| &it.endpoints);
        let at: Vec<_> = endpoints.map(|it| it.address.to_string()).collect();
        assert_eq!(
            (at.join(" "), decided.problems.len()),
            (expected.to_owned(), usize::from(expected.is_empty()))
        );
        memory = decided.memory;
    };
    check(&world, "172.17.0.2:80");
    change(&mut world, &owner, |it| {
        Arc::make_mut(&mut it.networks).get_mut("back").unwrap().ipv4 = "172.17.0.9".parse().ok();
    });
    check(&world, "172.17.0.9:80");
    let mut driver = |text: &str| {
        world.networks.get_mut("back").unwrap().driver = text.to_owned();
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

fn change(world: &mut World, id: &ContainerId, change: impl FnOnce(&mut Container)) {
    change(Arc::make_mut(world.containers.get_mut(id).unwrap()));
}

const TWO: &str = "
    web 172.17.0.2 glue_http_80_host=a.test glue_http_8080_host=b.test
    web2 172.17.0.3 glue_http_80_host=a.test";

/// The id of the story's nth container.
fn nth(story: &str, n: usize) -> ContainerId {
    nth_of(&story::world(story), n)
}

/// The servers that get new requests, by route.
fn ready(decided: &Decided) -> Vec<String> {
    let ready = |it: &docker_glue::route::Route| {
        let ready = it.endpoints.iter().filter(|it| it.readiness == Readiness::Ready);
        ready.map(|it| it.origin.name()).collect::<Vec<_>>().join(",")
    };
    decided.routes.0.iter().map(|(key, route)| format!("{key} {}", ready(route))).collect()
}

#[test]
fn a_drained_container_keeps_its_places_and_gets_no_new_requests() {
    let (rules, start) = (story::rules(), Instant::now());
    let (world, mut memory) = (story::world(TWO), Memory::default());
    memory.drain(&nth(TWO, 0));
    let drained = decide(&world, memory.clone(), start, &rules);
    assert_eq!(routes(&drained), ["a.test:80/ web,web2", "b.test:8080/ web"]);
    assert_eq!(ready(&drained), ["a.test:80/ web2", "b.test:8080/ "]);
    assert!(drained.problems.is_empty());

    let mut memory = drained.memory;
    memory.undrain(&nth(TWO, 0));
    let back = decide(&world, memory.clone(), start, &rules);
    assert_eq!(ready(&back), ["a.test:80/ web,web2", "b.test:8080/ web"]);
    assert!(back.memory.drained.is_empty());
}

#[test]
fn a_drained_container_does_not_call_up_itself_as_a_reserve() {
    let unhealthy = "web 172.17.0.2 unhealthy glue_http_80_host=a.test";
    let mut memory = Memory::default();
    memory.drain(&nth(unhealthy, 0));
    let world = story::world(unhealthy);
    assert_eq!(
        ready(&decide(&world, memory.clone(), Instant::now(), &story::rules())),
        ["a.test:80/ "]
    );
}

#[test]
fn that_a_container_was_drained_is_forgotten_when_it_is_not_up() {
    let (rules, start) = (story::rules(), Instant::now());
    let mut memory = Memory::default();
    memory.drain(&nth(ONE, 0));
    for (story, remembered) in [
        (ONE, true),
        ("web 172.17.0.2 leaving glue_http_80_host=a.test", true),
        ("web 172.17.0.2 paused glue_http_80_host=a.test", true),
        ("web 172.17.0.2 exited glue_http_80_host=a.test", false),
        ("", false),
    ] {
        let decided = decide(&story::world(story), memory.clone(), start, &rules);
        assert_eq!(!decided.memory.drained.is_empty(), remembered, "{story}");
    }
}

#[test]
fn sharer_of_a_network_has_no_address_in_the_step_in_which_its_owner_ends() {
    let both = |vpn: &str| format!("vpn 172.17.0.9{vpn}\napp - shares=0 glue_http_80_host=a.test");
    let (rules, now) = (story::rules(), Instant::now());
    let up = story::world(&both(""));
    let served = decide(&up, Memory::default(), now, &rules);
    let endpoints = |decided: &Decided| {
        let routes = decided.routes.0.values().flat_map(|route| route.endpoints.iter());
        routes.map(|it| it.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(&served), ["172.17.0.9:80"]);
    let mut last = up;
    for (after, problem) in [
        (both(" exited"), "start container vpn"),
        ("- - exited\napp - shares=0 glue_http_80_host=a.test".to_owned(), "start container -"),
    ] {
        let world = story::next_world(&last, &after);
        assert!(!world.differs_in_idle_ones_only(&last), "{after}");
        let decided = decide(&world, served.memory.clone(), now, &rules);
        assert_eq!(endpoints(&decided), [""; 0], "{after}");
        let problems: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
        assert!(problems.len() == 1 && problems[0].contains(problem), "{problems:?}");
        last = world;
    }
}

#[test]
fn containers_that_are_not_up_make_no_difference() {
    const OTHER: &str = "new 172.17.0.3 exited glue_http_80_host=b.test";
    let exited = ONE.replace(" glue", " exited glue");
    for (before, after, idle) in [
        (ONE, format!("{ONE}\n{OTHER}").as_str(), true),
        (&format!("{ONE}\n{OTHER}"), ONE, true),
        (&exited, "", true),
        (&exited, &exited.replace("a.test", "b.test"), true),
        // The very same, so that somebody wants a pass for another reason.
        (ONE, ONE, false),
        (ONE, "", false),
        (ONE, &exited, false),
        (&exited, ONE, false),
        (ONE, &ONE.replace(" glue", " paused glue"), false),
        (&format!("{ONE}\n{OTHER}"), OTHER, false),
    ] {
        let before = story::world(before);
        let after = story::next_world(&before, after);
        assert_eq!(after.differs_in_idle_ones_only(&before), idle, "{before:?} → {after:?}");
        if idle {
            let (rules, now) = (story::rules(), Instant::now());
            let first = decide(&before, Memory::default(), now, &rules);
            let second = decide(&after, first.memory.clone(), now, &rules);
            assert_eq!(first.routes, second.routes);
            assert_eq!(first.problems, second.problems);
            assert_eq!(first.wake_at, second.wake_at);
        }
    }
}

/// Who of `a.test` gets new requests after each of these turns: the words of containers `a` and `b` in each.
fn check_turns(labels: &str, turns: &[(&str, &str, &str)]) {
    let (rules, mut now) = (story::rules(), Instant::now());
    let (mut world, mut memory) = (World::default(), Memory::default());
    for (number, (a, b, expected)) in turns.iter().enumerate() {
        let line = |name: &str, address: u8, words: &str| {
            format!("{name} 172.17.0.{address} {words} glue_http_80_host=a.test {labels}\n")
        };
        let story = line("a", 2, a) + &line("b", 3, b);
        now += Duration::from_secs(1);
        world = story::next_world(&world, &story);
        let decided = decide(&world, memory, now, &rules);
        let ready = ready(&decided);
        let servers = ready.first().and_then(|it| it.split_once(' ')).map_or("", |(_, it)| it);
        assert_eq!(servers, *expected, "{labels} turn {number}: {a:?} {b:?}");
        memory = decided.memory;
    }
}

#[test]
fn container_told_to_stop_serves_on_only_if_it_is_the_last_that_does() {
    check_turns("", &[("", "", "a,b"), ("leaving", "", "b"), ("leaving", "leaving", "b")]);
    check_turns("", &[("", "", "a,b"), ("leaving", "leaving", "a,b"), ("leaving", "exited", "a")]);
    check_turns("", &[("", "exited", "a"), ("leaving", "exited", "a"), ("leaving", "", "b")]);
    check_turns("", &[("", "paused", "a"), ("leaving", "paused", "a"), ("exited", "paused", "")]);
    check_turns("", &[("", "", "a,b"), ("paused", "", "b"), ("paused", "paused", "")]);
    // It stays until the other one is healthy, and one that came in as the last serves on.
    check_turns("", &[("", "starting", "a"), ("leaving", "starting", "a"), ("leaving", "", "b")]);
    check_turns("", &[("unhealthy", "exited", "a"), ("leaving", "exited", "a")]);
    // One that has not served does not begin to.
    check_turns("", &[("leaving", "exited", ""), ("leaving", "starting", "b")]);
    check_turns("glue_http_80_weight=0", &[("", "", "a,b"), ("leaving", "", "a,b")]);
}

#[test]
fn health_required_the_last_ready_container_serves_on() {
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

/// What is said, of a story in which containers are of services: `name project/service`.
fn told_of(story: &str, services: &[(&str, &str)]) -> Vec<String> {
    let mut world = story::world(story);
    for container in world.containers.values_mut() {
        let of = services.iter().find(|(name, _)| *name == container.name);
        let Some((project, service)) = of.and_then(|(_, of)| of.split_once('/')) else { continue };
        let labels = &mut Arc::make_mut(container).labels;
        for (key, value) in [("project", project), ("service", service)] {
            Arc::make_mut(labels).insert(format!("com.docker.compose.{key}"), value.to_owned());
        }
    }
    let decided = decide(&world, Memory::default(), Instant::now(), &story::rules());
    decided.problems.iter().map(|it| format!("{:?} {it}", it.reason.severity())).collect()
}

#[test]
fn two_services_that_share_a_route_are_a_hint() {
    let story = "one 172.17.0.2 glue_http_80_host=a.test\n\
                 two 172.17.0.3 glue_http_80_host=a.test\n\
                 three 172.17.0.4 glue_http_80_host=a.test";
    let told = told_of(story, &[("one", "shop/web"), ("two", "shop/web"), ("three", "blog/web")]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].starts_with("Hint container three ("), "{told:?}");
    assert!(told[0].contains("a.test:80/ is asked for by container one ("), "{told:?}");
    let told = told_of(story, &[("one", "shop/web"), ("two", "shop/api"), ("three", "shop/api")]);
    assert_eq!(told.len(), 1, "once for each service: {told:#?}");
    let told = told_of(story, &[("one", "shop/web")]);
    assert_eq!(told.len(), 1, "who says no service shares it as well: {told:#?}");
    // One service, and containers of which nobody knows the service.
    assert_eq!(
        told_of(story, &[("one", "shop/web"), ("two", "shop/web"), ("three", "shop/web")]),
        [""; 0]
    );
    assert_eq!(told_of(story, &[]), [""; 0]);
    let apart = story.replacen("a.test", "b.test", 2);
    assert_eq!(
        told_of(&apart, &[("one", "shop/web"), ("two", "shop/web"), ("three", "blog/web")]),
        [""; 0]
    );
}

#[test]
fn a_port_map_the_wrong_way_round_is_a_hint() {
    let told = |maps: &[(u16, u16)]| -> Vec<String> {
        let mut rules = story::rules();
        let port = |it: u16| std::num::NonZeroU16::new(it).unwrap();
        rules.port_map.extend(maps.iter().map(|(public, ours)| (port(*public), port(*ours))));
        let decided = decide(&story::world(ONE), Memory::default(), Instant::now(), &rules);
        decided.problems.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(&[(8080, 80)]),
        [
            "option --map-port: no label asks for public port 8080, but some do for 80: it is PUBLIC=PORT, the label's \
          port first; was 80=8080 meant?"
        ]
    );
    for maps in [&[][..], &[(80, 8080)], &[(443, 8443)], &[(8080, 80), (80, 8080)]] {
        assert_eq!(told(maps), [""; 0], "{maps:?}");
    }
}

/// So that one container among 10,000 costs what it touches: no time is measured, but that nothing else is made again.
#[test]
fn decision_about_one_container_shares_all_that_is_of_others() {
    let (rules, start) = (story::rules(), Instant::now());
    // Each has a label that is not understood; of each two on a route one waits, as they disagree.
    let line = |number: usize| {
        let (host, retry) = (number / 2, if number.is_multiple_of(2) { "all" } else { "safe" });
        let labels = format!("glue_http_80_host=w{host}.test glue_http_80_retry={retry}");
        format!("w{number} 172.17.1.{number} {labels} glue_http_80_wight=1\n")
    };
    let story: String = (0..100).map(line).collect();
    let world = story::world(&story);
    let before = decide(&world, Memory::default(), start, &rules);
    assert_eq!((before.routes.0.len(), before.problems.len()), (50, 150));

    let more = story::next_world(&world, &(story + &line(100)));
    let after = decide(&more, before.memory.clone(), start, &rules);
    assert_eq!((after.routes.0.len(), after.problems.len()), (51, 151));
    for (key, route) in &before.routes.0 {
        assert!(Arc::ptr_eq(route, &after.routes.0[key]), "{key}");
    }
    for problem in before.problems.iter() {
        assert!(after.problems.shares(&before.problems, &problem.about), "{problem}");
    }

    let again = decide(&more, after.memory.clone(), start, &rules);
    assert_eq!(again.problems.difference(&after.problems).count(), 0);
}
