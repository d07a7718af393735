//! What explain says of a request, told as stories: `tests/explain/<case>/`.
//!
//! Each case is a story (`world.txt`) and what is said of the requests in it, for people and for programs.
//! `cargo insta review` shows what changed.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{
    haproxy::stat::{Count, Counters},
    rollback::Rollback,
    verb::explain::human,
    view::{
        Picture, alone,
        explain::{Absence, Asked, Explanation, Loss, Outcome, explain, request::Request},
    },
};
use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

fn request(text: &str) -> Request {
    let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
    Request { method: method.parse().unwrap(), url: url.parse().unwrap() }
}

fn picture(story: &str) -> Picture {
    let mut picture = alone::picture(
        story::world(story),
        story::rules(),
        None,
        None,
        Duration::from_secs(10),
        (Instant::now(), 0),
    );
    picture.haproxy.answers = true;
    picture
}

fn said(story: &str, asked: &str) -> Explanation {
    explain(&request(asked), &picture(story), Some(&Counters::default()))
}

#[test]
fn a_story_is_explained_as_people_and_programs_like_to_read_it() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        let read = |file| fs::read_to_string(case.join(file)).unwrap();
        let (story, requests) = (read("world.txt"), read("requests.txt"));
        let all: Vec<_> = requests.lines().map(|it| said(&story, it)).collect();
        let text: Vec<_> = all.iter().map(|it| plain(&human(it))).collect();
        let json = serde_json::to_string_pretty(&all[0]).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), all[0]);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&case);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| {
            insta::assert_snapshot!("human", text.join("\n\n"));
            insta::assert_snapshot!("json", json);
        });
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn nothing_of_a_label_speaks_to_the_terminal() {
    let story = "web 172.17.0.2 glue_http_80_host=app.example.com,\u{1b}[31mred";
    let text = human(&said(story, "http://app.example.com/"));
    let escape = "\u{1b}[31mred";
    assert!(text.contains("u{1b}[31mred") && !text.contains(escape), "{text:?}");
    assert!(text.contains('\u{1b}'), "it has colours: {text:?}");
}

/// In a line: who answers, by which route, and what the container sees; else why nobody does.
fn told(it: &Explanation) -> String {
    match (&it.route, &it.becomes, it.outcome) {
        (Some(route), Some(becomes), Outcome::Served) => {
            let share = |it: &docker_glue::view::explain::ServerStep| {
                format!("{} {}%", it.container, it.percent)
            };
            let servers: Vec<_> = it.servers.iter().map(share).collect();
            format!("{} → {} sees {}", route.route, servers.join(", "), becomes.path)
        }
        (Some(route), _, outcome) => format!("{} {outcome:?}", route.route),
        (None, _, outcome) => format!("{outcome:?}"),
    }
}

fn check(story: &str, expected: &[(&str, &str)]) {
    for (asked, expected) in expected {
        assert_eq!(told(&said(story, asked)), *expected, "{asked}");
    }
}

#[test]
fn the_exact_host_counts_more_than_a_wildcard_and_that_more_than_any() {
    check(
        "one 172.17.0.2 glue_http_80_host=a.example.com
         two 172.17.0.3 glue_http_80_host=*.example.com
         any 172.17.0.4 glue_http_ports=80",
        &[
            ("http://a.example.com/x", "a.example.com:80/ → one 100% sees /x"),
            ("http://A.Example.COM./x", "a.example.com:80/ → one 100% sees /x"),
            ("http://b.example.com", "*.example.com:80/ → two 100% sees /"),
            ("http://b.c.example.com", "*:80/ → any 100% sees /"),
            ("http://example.com?q", "*:80/ → any 100% sees /?q"),
            ("http://.example.com/", "*:80/ → any 100% sees /"),
            ("http://[::1]/", "*:80/ → any 100% sees /"),
        ],
    );
}

#[test]
fn the_longest_prefix_of_whole_segments_counts_and_paths_are_read() {
    check(
        "all  172.17.0.2 glue_http_80_host=a.test
         api  172.17.0.3 glue_http_80_host=a.test glue_http_80_prefix=/api glue_http_80_strip_prefix=1
         v1   172.17.0.4 glue_http_80_host=a.test glue_http_80_prefix=/api/v1
         deep 172.17.0.5 glue_http_80_host=a.test glue_http_80_prefix=/1/2/3/4/5/6/7/8 glue_http_80_strip_prefix=1",
        &[
            ("http://a.test/api", "a.test:80/api/ → api 100% sees /"),
            ("http://a.test/api?q=1", "a.test:80/api/ → api 100% sees /?q=1"),
            ("http://a.test/api/", "a.test:80/api/ → api 100% sees /"),
            ("http://a.test/api//x", "a.test:80/api/ → api 100% sees /x"),
            ("http://a.test/api/../x", "a.test:80/ → all 100% sees /x"),
            ("http://a.test/api/v1/x", "a.test:80/api/v1/ → v1 100% sees /api/v1/x"),
            ("http://a.test/api/v10", "a.test:80/api/ → api 100% sees /v10"),
            ("http://a.test/apiary", "a.test:80/ → all 100% sees /apiary"),
            ("http://a.test/API", "a.test:80/ → all 100% sees /API"),
            ("http://a.test/%61pi", "a.test:80/api/ → api 100% sees /"),
            ("http://a.test/%61piary", "a.test:80/ → all 100% sees /%61piary"),
            ("http://a.test//api", "a.test:80/api/ → api 100% sees /"),
            ("http://a.test//x;y", "a.test:80/ → all 100% sees //x;y"),
            ("http://a.test/api;x/v1", "a.test:80/api/v1/ → v1 100% sees /api/v1"),
            ("http://a.test/api/v1/%2e%2e/y%2Fz", "a.test:80/api/ → api 100% sees /y/z"),
            (
                "http://a.test/1/2/3/4/5/6/7/8/9",
                "a.test:80/1/2/3/4/5/6/7/8/ → deep 100% sees /9",
            ),
        ],
    );
}

#[test]
fn a_host_without_the_path_leaves_it_to_the_wildcard() {
    check(
        "one  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/one
         wild 172.17.0.3 glue_http_80_host=*.example.com glue_http_80_prefix=/w
         any  172.17.0.4 glue_http_80_prefix=/any glue_http_80_bind=80,81",
        &[
            ("http://a.example.com/w/x", "*.example.com:80/w/ → wild 100% sees /w/x"),
            ("http://a.example.com/any", "*:80/any/ → any 100% sees /any"),
            ("http://a.example.com/", "NotFound"),
            ("http://a.example.com:81/any", "*:81/any/ → any 100% sees /any"),
            ("http://a.example.com:82/any", "NobodyListens"),
        ],
    );
}

#[test]
fn servers_share_by_weight_and_reserves_serve_where_nobody_is_well() {
    check(
        "a 172.17.0.2 glue_http_80_host=a.test
         b 172.17.0.3 glue_http_80_host=a.test glue_http_80_weight=50
         c 172.17.0.4 unhealthy glue_http_80_host=b.test
         d 172.17.0.5 paused glue_http_80_host=b.test
         e 172.17.0.6 glue_http_80_host=e.test glue_http_80_weight=0
         f 172.17.0.7 starting glue_http_80_host=f.test glue_http_80_health=require",
        &[
            ("http://a.test/", "a.test:80/ → a 66.7%, b 33.3% sees /"),
            ("http://b.test/", "b.test:80/ → c 100% sees /"),
            ("http://e.test/", "e.test:80/ Unavailable"),
            ("http://f.test/", "f.test:80/ Unavailable"),
        ],
    );
}

fn labels(sources: &[docker_glue::view::explain::Source]) -> Vec<String> {
    let text = |it: &docker_glue::view::explain::Source| {
        let variable = if it.environment { " in the environment" } else { "" };
        format!("{} {}={}{variable}", it.container, it.key, it.value)
    };
    sources.iter().map(text).collect()
}

#[test]
fn each_step_names_its_label() {
    let story = "web 172.17.0.2 glue_http_3000_host=a.test glue_http_3000_bind=80 \
                 glue_http_3000_host.admin=admin.test,*.admin.test glue_http_3000_prefix.admin=ui \
                 glue_http_3000_weight=7 glue_http_3000_retry=all glue_http_3000_retry.admin=nonsense";
    let it = said(story, "http://x.admin.test/ui");
    assert_eq!(labels(&it.listener.labels), ["web glue_http_3000_bind=80"]);
    assert_eq!(
        labels(&it.host.unwrap().labels),
        ["web glue_http_3000_host.admin=admin.test,*.admin.test"]
    );
    assert_eq!(labels(&it.route.unwrap().labels), ["web glue_http_3000_prefix.admin=ui"]);
    let weights: Vec<_> = it.servers.into_iter().filter_map(|it| it.label).collect();
    assert_eq!(labels(&weights), ["web glue_http_3000_weight=7"]);
    // What was not understood does not count.
    assert_eq!(labels(&it.becomes.unwrap().labels), ["web glue_http_3000_retry=all"]);
    assert!(it.notes[0].contains("nonsense"), "{:?}", it.notes);
}

#[test]
fn two_ports_of_a_container_are_two_servers() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=1 \
                 glue_http_8080_host=a.test glue_http_8080_bind=80 glue_http_8080_weight=3";
    let it = said(story, "http://a.test/");
    let servers = it.servers.iter().map(|it| {
        let label = labels(it.label.as_slice()).concat();
        format!("{} {} {label}", it.address, it.percent)
    });
    assert_eq!(
        servers.collect::<Vec<_>>(),
        [
            "172.17.0.2:80 25 web glue_http_80_weight=1",
            "172.17.0.2:8080 75 web glue_http_8080_weight=3"
        ]
    );
}

#[test]
fn a_variable_of_the_environment_is_named_as_one() {
    let mut picture = picture("web 172.17.0.2");
    let mut world = story::world("web 172.17.0.2 glue_http_80_weight=5");
    for container in world.containers.values_mut() {
        let container = std::sync::Arc::make_mut(container);
        container.environment.insert("glue_http_80_host".into(), "env.test".into());
        container.environment.insert("glue_http_80_weight".into(), "6".into());
    }
    let moment = (picture.now, 0);
    picture = alone::picture(world, picture.rules, None, None, Duration::ZERO, moment);
    let it = explain(&request("http://env.test/"), &picture, Some(&Counters::default()));
    let expected = ["web glue_http_80_host=env.test in the environment"];
    assert_eq!(labels(&it.host.unwrap().labels), expected);
    assert_eq!(labels(it.servers[0].label.as_slice()), ["web glue_http_80_weight=5"]);
}

fn lost(story: &str, asked: &str, expected: &[(&str, Loss)]) {
    let it = said(story, asked);
    let found: Vec<_> = it.lost.iter().map(|it| (it.route.as_str(), it.why)).collect();
    assert_eq!(found, expected, "{asked}");
}

#[test]
fn who_lost_is_told_why() {
    let story = "
        one  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/,/api,/api/v1,/API/v2
        wild 172.17.0.3 glue_http_80_host=*.example.com glue_http_80_prefix=/api
        any  172.17.0.4 glue_http_80_prefix=/api/v1/users
        lone 172.17.0.5 glue_http_8080_host=a.example.com";
    lost(
        story,
        "http://a.example.com/api/v1/users/7",
        &[
            ("a.example.com:80/api/", Loss::ShorterPrefix),
            ("a.example.com:80/", Loss::ShorterPrefix),
            ("*.example.com:80/api/", Loss::Wildcard),
            ("*:80/api/v1/users/", Loss::AnyHost),
        ],
    );
    lost(story, "http://a.example.com/", &[]);
    let none = "
        one  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/API
        two  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/app
        wild 172.17.0.3 glue_http_80_host=*.a.example.com";
    lost(
        none,
        "http://a.example.com/api",
        &[
            ("a.example.com:80/app/", Loss::OtherPath),
            ("a.example.com:80/API/", Loss::OtherCase),
            ("*.a.example.com:80/", Loss::NotOneLabel),
        ],
    );
}

fn absent(picture: &Picture, asked: &str, expected: &[(&str, Absence, &str)]) {
    let it = explain(&request(asked), picture, Some(&Counters::default()));
    let found: Vec<_> =
        it.absent.iter().map(|it| (it.container.as_str(), it.why, it.text.as_str())).collect();
    assert_eq!(found, expected, "{asked}");
}

/// What is known after these stories, each so many seconds after the first.
fn after(
    stories: &[(u64, &str)],
    change: impl Fn(&mut docker_glue::decide::Memory, &Picture),
) -> Picture {
    let begun = Instant::now();
    let mut picture = picture("");
    let mut memory = docker_glue::decide::Memory::default();
    for (at, story) in stories {
        picture.now = begun + Duration::from_secs(*at);
        let world = story::world(story);
        change(&mut memory, &picture);
        let decided = docker_glue::decide::decide(&world, memory, picture.now, &picture.rules);
        memory = decided.memory;
        picture.memory = memory.clone();
        picture.config = story::config(&decided.routes).into();
        picture.routes = decided.routes;
        picture.problems = decided.problems;
        picture.world = Some(world.into());
    }
    picture
}

#[test]
fn a_route_is_held_for_a_while_after_its_last_container_went() {
    let web = "web 172.17.0.2 glue_http_80_host=a.test";
    let picture = after(&[(0, web), (10, ""), (28, "")], |_, _| {});
    let it = explain(&request("http://a.test/"), &picture, Some(&Counters::default()));
    assert_eq!((it.outcome, it.status), (Outcome::Unavailable, Some(503)));
    assert!(it.why.contains("for another 42s"), "{}", it.why);
    assert!(it.servers.is_empty() && it.becomes.is_none());
    let picture = after(&[(0, web), (10, ""), (70, "")], |_, _| {});
    let it = explain(&request("http://a.test/"), &picture, Some(&Counters::default()));
    assert_eq!(it.outcome, Outcome::NobodyListens);
}

#[test]
fn a_drained_and_a_crashing_container_are_told_from_others() {
    let both = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test";
    let one = "a 172.17.0.2 glue_http_80_host=a.test";
    let picture = after(&[(0, both), (1, both)], |memory, picture| {
        let containers = picture.world.iter().flat_map(|it| it.containers.values());
        containers.filter(|it| it.name == "b").for_each(|it| memory.drain(&it.id));
    });
    let text = "it was drained, until it is stopped or docker-balancer undrain b";
    absent(&picture, "http://a.test/", &[("b", Absence::Drained, text)]);
    let crash = [(0, both), (1, one), (2, both), (3, one), (4, both)];
    let picture = after(&crash, |_, _| {});
    let text = "it crashes over and over; next try in 1s";
    absent(&picture, "http://a.test/", &[("b", Absence::Crashing, text)]);
}

#[test]
fn what_an_administrator_or_haproxy_keeps_away_is_told() {
    let story = "
        web 172.17.0.2 glue_http_80_host=a.test
        ssh 172.17.0.3 glue_http_22_host=a.test
        all 172.17.0.4 glue_http_ports=80";
    let mut fenced = picture(story);
    fenced.rules.fences.hosts =
        vec!["b.test".parse::<docker_glue::label::value::HostMatch>().unwrap().into()];
    let world = story::world(story);
    let moment = (fenced.now, 0);
    let fenced = alone::picture(world, fenced.rules, None, None, Duration::ZERO, moment);
    let it = explain(&request("http://a.test/"), &fenced, Some(&Counters::default()));
    assert_eq!(it.outcome, Outcome::NobodyListens);
    let fenced: Vec<_> = it.absent.iter().filter(|it| it.why == Absence::Fenced).collect();
    let names: Vec<_> = fenced.iter().map(|it| it.container.as_str()).collect();
    assert_eq!(names, ["all", "ssh", "web"]);
    assert_eq!(labels(fenced[2].label.as_slice()), ["web glue_http_80_host=a.test"]);

    let mut fenced = picture(story);
    fenced.rules.fences.ports = Some([8080.try_into().unwrap()].into());
    let moment = (fenced.now, 0);
    let world = story::world(story);
    let fenced = alone::picture(world, fenced.rules, None, None, Duration::ZERO, moment);
    let it = explain(&request("http://a.test:22/"), &fenced, Some(&Counters::default()));
    let ssh: Vec<_> = it.absent.iter().filter(|it| it.container == "ssh").collect();
    assert_eq!(ssh[0].why, Absence::Fenced);
    assert!(ssh[0].text.starts_with("22 is not a public port"), "{}", ssh[0].text);

    let refused = after(&[(0, story), (1, story)], |memory, picture| {
        let key = "a.test:80/".parse().unwrap();
        if let Some(route) = picture.routes.0.get(&key) {
            memory.refused.insert(key, (route.clone(), "it does not like it".into()));
        }
    });
    // Then another one answers.
    assert_eq!(
        told(&explain(&request("http://a.test/"), &refused, Some(&Counters::default()))),
        "*:80/ → all 100% sees /"
    );
    let text = "HAProxy refused its route a.test:80/: it does not like it";
    absent(&refused, "http://a.test/", &[("web", Absence::Refused, text)]);

    let taken = "web 172.17.0.2 glue_http_80_host=a.test\ndb 172.17.0.3 publishes=80";
    let it = said(taken, "http://a.test/");
    assert_eq!(it.outcome, Outcome::NobodyListens);
    assert_eq!(it.absent[0].why, Absence::PortTaken);
    assert!(it.why.contains("taken by container db"), "{}", it.why);
}

/// Of a world in which another one is held, as generation 41.
fn held(then: &str, now: &str, asked: &str) -> Explanation {
    let rollback = Rollback::new(41, 1_000, Arc::new(story::routes(then)));
    let (world, rules) = (story::world(now), story::rules());
    let moment = (Instant::now(), 0);
    let picture =
        alone::picture(world, rules, Some(rollback), None, Duration::from_secs(10), moment);
    explain(&request(asked), &picture, Some(&Counters::default()))
}

#[test]
fn who_came_after_a_generation_that_is_held_is_told_so() {
    let since = "generation 41 is held since 1970-01-01T00:00:01Z";
    let then = "web 172.17.0.2 glue_http_80_host=a.test";
    let now = "
        web 172.17.0.2 glue_http_80_host=a.test glue_http_80_timeout=7s
        two 172.17.0.3 glue_http_80_host=a.test glue_http_80_timeout=7s
        new 172.17.0.4 glue_http_80_host=b.test
        far 172.17.0.5 glue_http_81_host=b.test";
    let went = now.replace("web 172.17.0.2", "web 172.17.0.2 exited");
    let a = "a.test:80/ → web 100% sees /";
    let nothing = format!("{since}, and it had no route for this");
    let nobody = format!("{since}, and none of the containers that served it then is left");
    for (now, asked, expected, why, absent) in [
        (now, "http://a.test/", a, "web answers", &["two"][..]),
        (now, "http://b.test/", "NotFound", &nothing, &["new"]),
        (now, "http://b.test:81/", "NobodyListens", &nothing, &["far"]),
        (now, "http://c.test/", "NotFound", "no container asks for c.test on port 80", &[]),
        (&went, "http://a.test/", "a.test:80/ Unavailable", &nobody, &["two"]),
    ] {
        let it = held(then, now, asked);
        assert_eq!((told(&it).as_str(), it.why.as_str()), (expected, why), "{asked}");
        let later = it.absent.iter().filter(|it| it.why == Absence::RolledBack);
        let later: Vec<_> = later
            .map(|it| {
                let text = format!("not served: {since}; docker-balancer rollback --release");
                assert_eq!(it.text, text);
                it.container.as_str()
            })
            .collect();
        assert_eq!(later, absent, "{asked}");
        assert!(it.absent.iter().all(|it| it.why != Absence::NotApplied), "{asked}");
        assert!(it.notes.iter().any(|it| it.starts_with(since)), "{:?}", it.notes);
        // What it is like is of then, and no label of now.
        assert!(it.becomes.is_none_or(|it| it.timeout_ms == 60_000 && it.labels.is_empty()));
    }
}

#[test]
fn who_was_asked_is_told_first() {
    let mut it = said("web 172.17.0.2 glue_http_80_host=a.test", "http://a.test/");
    for (asked, said, expected) in [
        (Asked::Daemon, None, ""),
        (Asked::Docker, None, "no docker-balancer answers, so this"),
        (Asked::Docker, Some("not yet"), "docker-balancer answers \"not yet\", so this"),
    ] {
        (it.asked, it.daemon_said) = (asked, said.map(str::to_owned));
        let text = plain(&human(&it));
        assert!(text.lines().nth(2).unwrap().starts_with(expected), "{text}");
    }
}

#[test]
fn a_mistake_is_told_to_whom_it_concerns() {
    let story = "
        web   172.17.0.2 glue_http_80_host=a.test
        typo  172.17.0.3 glue_http_80_hots=b.test
        wild  172.17.0.4 glue_http_80_host=*.c.test,*.*.test
        path  172.17.0.5 glue_http_80_prefix=a//b
        bare  172.17.0.6 glue_http_80_weight=1";
    for (asked, expected) in [
        ("http://a.test/", &[][..]),
        ("http://b.test/", &["bare", "path", "typo"]),
        ("http://x.c.test/", &["wild"]),
        ("http://d.test/", &["bare", "path"]),
    ] {
        let it = said(story, asked);
        let names: Vec<_> = it.absent.iter().map(|it| it.container.as_str()).collect();
        let notes = it.notes.iter().filter(|it| it.contains("wild"));
        let names: Vec<_> = names.into_iter().chain(notes.map(|_| "wild")).collect();
        assert_eq!(names, expected, "{asked}");
    }
}

#[test]
fn a_check_of_haproxy_that_fails_takes_a_server_out() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test";
    let picture = picture(story);
    let (name, backend) = picture.config.backends.first_key_value().unwrap();
    let states = |states: [&str; 2]| {
        let servers = backend.servers.iter().zip(states).map(|(server, status)| {
            (server.name.clone(), Count { status: status.to_owned(), ..Count::default() })
        });
        let servers = [(name.clone(), servers.collect())].into();
        Counters { servers, ..Counters::default() }
    };
    for (said, expected) in [
        (["UP", "UP"], "a.test:80/ → a 50%, b 50% sees /"),
        (["UP", "DOWN 1/2"], "a.test:80/ → a 100%, b 0% sees /"),
        (["DOWN", "DOWN"], "a.test:80/ Unavailable"),
    ] {
        let it = explain(&request("http://a.test/"), &picture, Some(&states(said)));
        assert_eq!(told(&it), expected);
    }
}

#[test]
fn what_was_meant_is_guessed_only_where_it_is_near() {
    let story = "
        app 172.17.0.2 glue_http_80_host=app.example.com
        b   172.17.0.3 glue_http_8080_host=shop.example.com";
    for (asked, nearest, elsewhere) in [
        ("http://ap.example.com/", Some("app.example.com"), &[][..]),
        ("http://app.exmaple.com/", Some("app.example.com"), &[]),
        ("http://zoo.example.com/", None, &[]),
        ("http://shop.example.com/x", None, &["http://shop.example.com:8080/x"]),
        ("http://app.example.com:9/", None, &["http://app.example.com/"]),
    ] {
        let it = said(story, asked);
        assert_eq!(it.did_you_mean.as_deref(), nearest, "{asked}");
        assert_eq!(it.elsewhere, elsewhere, "{asked}");
    }
}

#[test]
fn a_method_decides_what_is_sent_again() {
    use docker_glue::view::explain::Again::{Never, Unanswered, Unsent};
    for (retry, method, expected) in [
        ("safe", "GET", Unanswered),
        ("safe", "HEAD", Unanswered),
        ("safe", "OPTIONS", Unanswered),
        ("safe", "POST", Unsent),
        // HAProxy knows methods by their capitals.
        ("safe", "get", Unsent),
        ("all", "POST", Unanswered),
        ("off", "GET", Never),
    ] {
        let story = format!("a 172.17.0.2 glue_http_80_host=a.test glue_http_80_retry={retry}");
        let it = said(&story, &format!("{method} http://a.test/"));
        assert_eq!(it.becomes.unwrap().again, expected, "{retry} {method}");
    }
}

/// What a browser is given where `--map-port` moves a port.
#[test]
fn a_port_that_is_bound_for_another_is_understood() {
    let mut picture = picture("web 172.17.0.2 glue_http_80_host=a.test");
    let port = |number: u16| number.try_into().unwrap();
    picture.rules.port_map = [(port(80), port(8080))].into();
    for (asked, served, note) in [
        ("http://a.test/", true, ""),
        ("http://a.test:8080/x", true, "that is where public port 80 is bound; labels say 80"),
        ("http://a.test:8081/", false, ""),
    ] {
        let it = explain(&request(asked), &picture, Some(&Counters::default()));
        assert_eq!(it.outcome == Outcome::Served, served, "{asked}: {it:?}");
        assert_eq!(it.notes.concat(), note, "{asked}");
    }
}

#[test]
fn that_haproxy_does_not_say_how_its_servers_are_is_said() {
    let picture = picture("web 172.17.0.2 glue_http_80_host=a.test");
    let it = explain(&request("http://a.test/"), &picture, None);
    let note = "HAProxy does not answer at the moment; how its servers are is not known";
    assert_eq!(it.notes, [note]);
}
