//! Explanations of requests, as stories: `tests/explain/<case>/`.
//!
//! Each case is a story (`world.txt`) and the explanations of its requests, as text and as JSON. `cargo insta review`
//! shows changes.

use crate::common::story;
use docker_glue::{
    haproxy::stats::{Counters, StatsRow},
    report::explain_text::format_explanation,
    report::{
        StateSnapshot,
        explain::{
            AnsweredBy, ExclusionReason, Explanation, NotSelectedReason, RequestOutcome, explain,
            request::ExplainRequest,
        },
        offline,
    },
    routing::rollback::Rollback,
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

fn get_request(text: &str) -> ExplainRequest {
    let mut words = text.split(" --");
    let request = words.next().unwrap();
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    let request = ExplainRequest::new(method.parse().unwrap(), url.parse().unwrap());
    words.fold(request, |mut request, word| {
        match word.split_once(' ').unwrap() {
            ("from", from) => request.from = Some(from.parse().unwrap()),
            ("header", header) => request.headers.push(header.parse().unwrap()),
            ("user", user) => request.user = Some(user.parse().unwrap()),
            (option, _) => panic!("{option}"),
        }
        request
    })
}

fn state_of(story: &str) -> StateSnapshot {
    let mut picture = offline::offline_snapshot(
        story::parse_world(story),
        story::default_rules(),
        None,
        None,
        Duration::from_secs(10),
        (Instant::now(), 0),
    );
    picture.haproxy.answers = true;
    picture
}

fn explain_story(story: &str, text: &str) -> Explanation {
    explain(&get_request(text), &state_of(story), Some(&Counters::default()))
}

#[test]
fn explanation_of_a_story_matches_snapshots() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut names: Vec<_> =
        fs::read_dir(&cases).unwrap().map(|result| result.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        let read = |file| fs::read_to_string(case.join(file)).unwrap();
        let (story, requests) = (read("world.txt"), read("requests.txt"));
        let all: Vec<_> = requests.lines().map(|text| explain_story(&story, text)).collect();
        let text: Vec<_> =
            all.iter().map(|explanation| strip_colours(&format_explanation(explanation))).collect();
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

fn strip_colours(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn explanation_escapes_control_characters_of_labels() {
    let story = "web 172.17.0.2 glue_http_80_host=app.example.com,\u{1b}[31mred";
    let text = format_explanation(&explain_story(story, "http://app.example.com/"));
    let escape = "\u{1b}[31mred";
    assert!(text.contains("u{1b}[31mred") && !text.contains(escape), "{text:?}");
    assert!(text.contains('\u{1b}'), "it has colours: {text:?}");
}

/// Returns a summary in one line: the servers, their route and the path that the container sees, or else why no server
/// answers.
fn summary_line(explanation: &Explanation) -> String {
    match (&explanation.route, &explanation.becomes, explanation.outcome) {
        (Some(route), Some(becomes), RequestOutcome::Served) => {
            let share = |step: &docker_glue::report::explain::ServerStep| {
                format!("{} {}%", step.container, step.percent)
            };
            let servers: Vec<_> = explanation.servers.iter().map(share).collect();
            format!("{} → {} sees {}", route.route, servers.join(", "), becomes.path)
        }
        (Some(route), _, outcome) => format!("{} {outcome:?}", route.route),
        (None, _, outcome) => format!("{outcome:?}"),
    }
}

fn check(story: &str, expected: &[(&str, &str)]) {
    for (text, expected) in expected {
        assert_eq!(summary_line(&explain_story(story, text)), *expected, "{text}");
    }
}

#[test]
fn exact_host_wins_over_wildcard_over_any_host() {
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
fn longest_whole_segment_prefix_wins_on_decoded_paths() {
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
fn host_without_matching_path_falls_back_to_wildcard() {
    check(
        "one  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/one
         wild 172.17.0.3 glue_http_80_host=*.example.com glue_http_80_prefix=/w
         any  172.17.0.4 glue_http_80_prefix=/any glue_http_80_bind=80,81",
        &[
            ("http://a.example.com/w/x", "*.example.com:80/w/ → wild 100% sees /w/x"),
            ("http://a.example.com/any", "*:80/any/ → any 100% sees /any"),
            ("http://a.example.com/", "NotFound"),
            ("http://a.example.com:81/any", "*:81/any/ → any 100% sees /any"),
            ("http://a.example.com:82/any", "NotListening"),
        ],
    );
}

#[test]
fn servers_share_by_weight_and_backups_serve_without_healthy_ones() {
    check(
        "a 172.17.0.2 glue_http_80_host=a.test
         b 172.17.0.3 glue_http_80_host=a.test glue_http_80_weight=50
         c 172.17.0.4 unhealthy glue_http_80_host=b.test
         d 172.17.0.5 paused glue_http_80_host=b.test
         e 172.17.0.6 glue_http_80_host=e.test glue_http_80_weight=0
         f 172.17.0.7 starting glue_http_80_host=f.test glue_http_80_health=require
         g 172.17.0.8 glue_http_80_host=a.test glue_http_80_backup=1
         h 172.17.0.9 glue_http_80_host=b.test glue_http_80_backup=1",
        &[
            ("http://a.test/", "a.test:80/ → a 66.7%, b 33.3% sees /"),
            ("http://b.test/", "b.test:80/ → h 100% sees /"),
            ("http://e.test/", "e.test:80/ Unavailable"),
            ("http://f.test/", "f.test:80/ Unavailable"),
        ],
    );
}

fn label_texts(sources: &[docker_glue::report::explain::LabelSource]) -> Vec<String> {
    let text = |source: &docker_glue::report::explain::LabelSource| {
        let variable = if source.environment { " in the environment" } else { "" };
        format!("{} {}={}{variable}", source.container, source.key, source.value)
    };
    sources.iter().map(text).collect()
}

#[test]
fn every_step_names_its_label() {
    let story = "web 172.17.0.2 glue_http_3000_host=a.test glue_http_3000_bind=80 \
                 glue_http_3000_host.admin=admin.test,*.admin.test glue_http_3000_prefix.admin=ui \
                 glue_http_3000_weight=7 glue_http_3000_retry=all glue_http_3000_retry.admin=nonsense";
    let explanation = explain_story(story, "http://x.admin.test/ui");
    assert_eq!(label_texts(&explanation.listener.labels), ["web glue_http_3000_bind=80"]);
    assert_eq!(
        label_texts(&explanation.host.unwrap().labels),
        ["web glue_http_3000_host.admin=admin.test,*.admin.test"]
    );
    assert_eq!(
        label_texts(&explanation.route.unwrap().labels),
        ["web glue_http_3000_prefix.admin=ui"]
    );
    let weights: Vec<_> = explanation.servers.into_iter().filter_map(|step| step.label).collect();
    assert_eq!(label_texts(&weights), ["web glue_http_3000_weight=7"]);
    // A label with an invalid value has no effect.
    assert_eq!(label_texts(&explanation.becomes.unwrap().labels), ["web glue_http_3000_retry=all"]);
    assert!(explanation.notes[0].contains("nonsense"), "{:?}", explanation.notes);
}

#[test]
fn two_ports_of_one_container_are_two_servers() {
    let story = "web 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=1 \
                 glue_http_8080_host=a.test glue_http_8080_bind=80 glue_http_8080_weight=3";
    let explanation = explain_story(story, "http://a.test/");
    let servers = explanation.servers.iter().map(|step| {
        let label = label_texts(step.label.as_slice()).concat();
        format!("{} {} {label}", step.address, step.percent)
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
fn environment_variable_is_marked_as_label_source() {
    let mut picture = state_of("web 172.17.0.2");
    let mut world = story::parse_world("web 172.17.0.2 glue_http_80_weight=5");
    for container in world.containers.values_mut() {
        let container = std::sync::Arc::make_mut(container);
        container.environment.insert("glue_http_80_host".into(), "env.test".into());
        container.environment.insert("glue_http_80_weight".into(), "6".into());
    }
    let moment = (picture.now, 0);
    picture = offline::offline_snapshot(world, picture.rules, None, None, Duration::ZERO, moment);
    let explanation =
        explain(&get_request("http://env.test/"), &picture, Some(&Counters::default()));
    let expected = ["web glue_http_80_host=env.test in the environment"];
    assert_eq!(label_texts(&explanation.host.unwrap().labels), expected);
    assert_eq!(label_texts(explanation.servers[0].label.as_slice()), ["web glue_http_80_weight=5"]);
}

fn check_not_selected(story: &str, text: &str, expected: &[(&str, NotSelectedReason)]) {
    let explanation = explain_story(story, text);
    let found: Vec<_> =
        explanation.lost.iter().map(|server| (server.route.as_str(), server.why)).collect();
    assert_eq!(found, expected, "{text}");
}

#[test]
fn unselected_routes_have_a_reason() {
    let story = "
        one  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/,/api,/api/v1,/API/v2
        wild 172.17.0.3 glue_http_80_host=*.example.com glue_http_80_prefix=/api
        any  172.17.0.4 glue_http_80_prefix=/api/v1/users
        lone 172.17.0.5 glue_http_8080_host=a.example.com";
    check_not_selected(
        story,
        "http://a.example.com/api/v1/users/7",
        &[
            ("a.example.com:80/api/", NotSelectedReason::ShorterPrefix),
            ("a.example.com:80/", NotSelectedReason::ShorterPrefix),
            ("*.example.com:80/api/", NotSelectedReason::Wildcard),
            ("*:80/api/v1/users/", NotSelectedReason::AnyHost),
        ],
    );
    check_not_selected(story, "http://a.example.com/", &[]);
    let none = "
        one  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/API
        two  172.17.0.2 glue_http_80_host=a.example.com glue_http_80_prefix=/app
        wild 172.17.0.3 glue_http_80_host=*.a.example.com";
    check_not_selected(
        none,
        "http://a.example.com/api",
        &[
            ("a.example.com:80/app/", NotSelectedReason::OtherPath),
            ("a.example.com:80/API/", NotSelectedReason::OtherCase),
            ("*.a.example.com:80/", NotSelectedReason::NotOneLabel),
        ],
    );
}

fn check_excluded(picture: &StateSnapshot, text: &str, expected: &[(&str, ExclusionReason, &str)]) {
    let explanation = explain(&get_request(text), picture, Some(&Counters::default()));
    let found: Vec<_> = explanation
        .absent
        .iter()
        .map(|container| (container.container.as_str(), container.why, container.text.as_str()))
        .collect();
    assert_eq!(found, expected, "{text}");
}

/// Returns the state after these stories. Each story has its time in seconds after the first.
fn state_after(
    stories: &[(u64, &str)],
    change: impl Fn(&mut docker_glue::routing::decide::DecideState, &StateSnapshot),
) -> StateSnapshot {
    let begun = Instant::now();
    let mut picture = state_of("");
    let mut memory = docker_glue::routing::decide::DecideState::default();
    for (at, story) in stories {
        picture.now = begun + Duration::from_secs(*at);
        let world = story::parse_world(story);
        change(&mut memory, &picture);
        let decided =
            docker_glue::routing::decide::decide(&world, memory, picture.now, &picture.rules);
        memory = decided.memory;
        picture.rules.auth_servers = decided.auth_servers;
        picture.decide_state = memory.clone();
        picture.config = story::build_config(&decided.routes).into();
        picture.routes = decided.routes;
        picture.problems = decided.problems;
        picture.world = Some(world.into());
    }
    picture
}

#[test]
fn route_without_containers_is_explained_as_held() {
    let web = "web 172.17.0.2 glue_http_80_host=a.test";
    let picture = state_after(&[(0, web), (10, ""), (28, "")], |_, _| {});
    let explanation = explain(&get_request("http://a.test/"), &picture, Some(&Counters::default()));
    assert_eq!((explanation.outcome, explanation.status), (RequestOutcome::Unavailable, Some(503)));
    assert!(explanation.why.contains("for another 42s"), "{}", explanation.why);
    assert!(explanation.servers.is_empty() && explanation.becomes.is_none());
    let picture = state_after(&[(0, web), (10, ""), (70, "")], |_, _| {});
    let explanation = explain(&get_request("http://a.test/"), &picture, Some(&Counters::default()));
    assert_eq!(explanation.outcome, RequestOutcome::NotListening);
}

#[test]
fn drained_and_crashing_containers_are_distinguished() {
    let both = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test";
    let one = "a 172.17.0.2 glue_http_80_host=a.test";
    let picture = state_after(&[(0, both), (1, both)], |memory, picture| {
        let containers = picture.world.iter().flat_map(|world| world.containers.values());
        containers
            .filter(|container| container.name == "b")
            .for_each(|container| memory.drain_container(&container.id));
    });
    let text = "it is drained until it stops, or until docker-balancer undrain b";
    check_excluded(&picture, "http://a.test/", &[("b", ExclusionReason::Drained, text)]);
    let crash = [(0, both), (1, one), (2, both), (3, one), (4, both)];
    let picture = state_after(&crash, |_, _| {});
    let text = "it crashes repeatedly; next attempt in 1s";
    check_excluded(&picture, "http://a.test/", &[("b", ExclusionReason::Crashing, text)]);
}

#[test]
fn containers_excluded_by_limits_or_haproxy_are_named() {
    let story = "
        web 172.17.0.2 glue_http_80_host=a.test
        ssh 172.17.0.3 glue_http_22_host=a.test
        all 172.17.0.4 glue_http_ports=80";
    let mut fenced = state_of(story);
    fenced.rules.base.label_limits.allowed_hosts =
        vec!["b.test".parse::<docker_glue::model::option_value::HostMatch>().unwrap().into()];
    let world = story::parse_world(story);
    let moment = (fenced.now, 0);
    let fenced = offline::offline_snapshot(world, fenced.rules, None, None, Duration::ZERO, moment);
    let explanation = explain(&get_request("http://a.test/"), &fenced, Some(&Counters::default()));
    assert_eq!(explanation.outcome, RequestOutcome::NotListening);
    let fenced: Vec<_> = explanation
        .absent
        .iter()
        .filter(|container| container.why == ExclusionReason::NotAllowed)
        .collect();
    let names: Vec<_> = fenced.iter().map(|container| container.container.as_str()).collect();
    assert_eq!(names, ["all", "ssh", "web"]);
    assert_eq!(label_texts(fenced[2].label.as_slice()), ["web glue_http_80_host=a.test"]);

    let mut fenced = state_of(story);
    fenced.rules.base.label_limits.allowed_ports =
        Some(BTreeSet::from([8080.try_into().unwrap()]).into());
    let moment = (fenced.now, 0);
    let world = story::parse_world(story);
    let fenced = offline::offline_snapshot(world, fenced.rules, None, None, Duration::ZERO, moment);
    let explanation =
        explain(&get_request("http://a.test:22/"), &fenced, Some(&Counters::default()));
    let ssh: Vec<_> =
        explanation.absent.iter().filter(|container| container.container == "ssh").collect();
    assert_eq!(ssh[0].why, ExclusionReason::NotAllowed);
    assert!(ssh[0].text.starts_with("22 is not an allowed public port"), "{}", ssh[0].text);

    let refused = state_after(&[(0, story), (1, story)], |memory, picture| {
        let key = "a.test:80/".parse().unwrap();
        if let Some(route) = picture.routes.0.get(&key) {
            memory.refused_routes.insert(key, (route.clone(), "it does not like it".into()));
        }
    });
    // The container without a host (`all`) answers instead.
    assert_eq!(
        summary_line(&explain(
            &get_request("http://a.test/"),
            &refused,
            Some(&Counters::default())
        )),
        "*:80/ → all 100% sees /"
    );
    let text = "HAProxy refused its route a.test:80/: it does not like it";
    check_excluded(&refused, "http://a.test/", &[("web", ExclusionReason::Refused, text)]);

    let taken = "web 172.17.0.2 glue_http_80_host=a.test\ndb 172.17.0.3 publishes=80";
    let explanation = explain_story(taken, "http://a.test/");
    assert_eq!(explanation.outcome, RequestOutcome::NotListening);
    assert_eq!(explanation.absent[0].why, ExclusionReason::PortTaken);
    assert!(explanation.why.contains("published by container db"), "{}", explanation.why);
}

/// Explains a request while a rollback to generation 41, the routes of `then`, is active and the world is `now`.
fn explain_during_rollback(then: &str, now: &str, text: &str) -> Explanation {
    let rollback = Rollback::new(41, 1_000, Arc::new(story::parse_routes(then)));
    let (world, rules) = (story::parse_world(now), story::default_rules());
    let moment = (Instant::now(), 0);
    let picture = offline::offline_snapshot(
        world,
        rules,
        Some(rollback),
        None,
        Duration::from_secs(10),
        moment,
    );
    explain(&get_request(text), &picture, Some(&Counters::default()))
}

#[test]
fn containers_newer_than_the_rollback_are_named() {
    let since = "rollback to generation 41 is active since 1970-01-01T00:00:01Z";
    let then = "web 172.17.0.2 glue_http_80_host=a.test";
    let now = "
        web 172.17.0.2 glue_http_80_host=a.test glue_http_80_timeout=7s
        two 172.17.0.3 glue_http_80_host=a.test glue_http_80_timeout=7s
        new 172.17.0.4 glue_http_80_host=b.test
        far 172.17.0.5 glue_http_81_host=b.test";
    let went = now.replace("web 172.17.0.2", "web 172.17.0.2 exited");
    let a = "a.test:80/ → web 100% sees /";
    let nothing = format!("{since}, which has no route for this request");
    let string = format!("{since}, and none of the containers of that time exists any more");
    for (now, text, expected, why, absent) in [
        (now, "http://a.test/", a, "served by web", &["two"][..]),
        (now, "http://b.test/", "NotFound", &nothing, &["new"]),
        (now, "http://b.test:81/", "NotListening", &nothing, &["far"]),
        (now, "http://c.test/", "NotFound", "no container has a route for c.test on port 80", &[]),
        (&went, "http://a.test/", "a.test:80/ Unavailable", &string, &["two"]),
    ] {
        let explanation = explain_during_rollback(then, now, text);
        assert_eq!(
            (summary_line(&explanation).as_str(), explanation.why.as_str()),
            (expected, why),
            "{text}"
        );
        let later = explanation
            .absent
            .iter()
            .filter(|container| container.why == ExclusionReason::RolledBack);
        let later: Vec<_> = later
            .map(|container| {
                let text =
                    format!("not served: {since}; end it with docker-balancer rollback --release");
                assert_eq!(container.text, text);
                container.container.as_str()
            })
            .collect();
        assert_eq!(later, absent, "{text}");
        assert!(
            explanation.absent.iter().all(|container| container.why != ExclusionReason::NotApplied),
            "{text}"
        );
        assert!(
            explanation.notes.iter().any(|text| text.starts_with(since)),
            "{:?}",
            explanation.notes
        );
        // The request's properties are those of generation 41, and no current label is named.
        assert!(
            explanation
                .becomes
                .is_none_or(|request| request.timeout_ms == 60_000 && request.labels.is_empty())
        );
    }
}

#[test]
fn explanation_starts_with_its_source() {
    let mut explanation =
        explain_story("web 172.17.0.2 glue_http_80_host=a.test", "http://a.test/");
    for (answered_by, text, expected) in [
        (AnsweredBy::Daemon, None, ""),
        (AnsweredBy::Docker, None, "no docker-balancer answers, so this"),
        (AnsweredBy::Docker, Some("not yet"), "docker-balancer answered \"not yet\", so this"),
    ] {
        (explanation.answered_by, explanation.daemon_error) =
            (answered_by, text.map(str::to_owned));
        let text = strip_colours(&format_explanation(&explanation));
        assert!(text.lines().nth(2).unwrap().starts_with(expected), "{text}");
    }
}

#[test]
fn label_problem_appears_for_matching_requests_only() {
    let story = "
        web   172.17.0.2 glue_http_80_host=a.test
        typo  172.17.0.3 glue_http_80_hots=b.test
        wild  172.17.0.4 glue_http_80_host=*.c.test,*.*.test
        path  172.17.0.5 glue_http_80_prefix=a//b
        bare  172.17.0.6 glue_http_80_weight=1";
    for (text, expected) in [
        ("http://a.test/", &[][..]),
        ("http://b.test/", &["bare", "path", "typo"]),
        ("http://x.c.test/", &["wild"]),
        ("http://d.test/", &["bare", "path"]),
    ] {
        let explanation = explain_story(story, text);
        let names: Vec<_> =
            explanation.absent.iter().map(|container| container.container.as_str()).collect();
        let notes = explanation.notes.iter().filter(|text| text.contains("wild"));
        let names: Vec<_> = names.into_iter().chain(notes.map(|_| "wild")).collect();
        assert_eq!(names, expected, "{text}");
    }
}

#[test]
fn server_with_failing_haproxy_check_gets_no_share() {
    let story = "a 172.17.0.2 glue_http_80_host=a.test\nb 172.17.0.3 glue_http_80_host=a.test";
    let picture = state_of(story);
    let (name, backend) = picture.config.backends.first_key_value().unwrap();
    let states = |states: [&str; 2]| {
        let servers = backend.servers.iter().zip(states).map(|(server, status)| {
            (server.name.clone(), StatsRow { status: status.to_owned(), ..StatsRow::default() })
        });
        let servers = [(name.clone(), servers.collect())].into();
        Counters { servers, ..Counters::default() }
    };
    for (texts, expected) in [
        (["UP", "UP"], "a.test:80/ → a 50%, b 50% sees /"),
        (["UP", "DOWN 1/2"], "a.test:80/ → a 100%, b 0% sees /"),
        (["DOWN", "DOWN"], "a.test:80/ Unavailable"),
    ] {
        let explanation = explain(&get_request("http://a.test/"), &picture, Some(&states(texts)));
        assert_eq!(summary_line(&explanation), expected);
    }
}

#[test]
fn similar_host_is_suggested_distant_one_is_not() {
    let story = "
        app 172.17.0.2 glue_http_80_host=app.example.com
        b   172.17.0.3 glue_http_8080_host=shop.example.com";
    for (text, nearest, elsewhere) in [
        ("http://ap.example.com/", Some("app.example.com"), &[][..]),
        ("http://app.exmaple.com/", Some("app.example.com"), &[]),
        ("http://zoo.example.com/", None, &[]),
        ("http://shop.example.com/x", None, &["http://shop.example.com:8080/x"]),
        ("http://app.example.com:9/", None, &["http://app.example.com/"]),
    ] {
        let explanation = explain_story(story, text);
        assert_eq!(explanation.did_you_mean.as_deref(), nearest, "{text}");
        assert_eq!(explanation.elsewhere, elsewhere, "{text}");
    }
}

#[test]
fn retry_scope_depends_on_the_method() {
    use docker_glue::report::explain::RetryScope::{Never, Unanswered, Unsent};
    for (retry, method, expected) in [
        ("safe", "GET", Unanswered),
        ("safe", "HEAD", Unanswered),
        ("safe", "OPTIONS", Unanswered),
        ("safe", "POST", Unsent),
        // HAProxy compares methods case-sensitively.
        ("safe", "get", Unsent),
        ("all", "POST", Unanswered),
        ("off", "GET", Never),
    ] {
        let story = format!("a 172.17.0.2 glue_http_80_host=a.test glue_http_80_retry={retry}");
        let explanation = explain_story(&story, &format!("{method} http://a.test/"));
        assert_eq!(explanation.becomes.unwrap().again, expected, "{retry} {method}");
    }
}

/// The explanation of a request to a port that `--map-port` maps.
#[test]
fn mapped_port_explains_as_its_public_port() {
    let mut picture = state_of("web 172.17.0.2 glue_http_80_host=a.test");
    let port = |number: u16| number.try_into().unwrap();
    picture.rules.port_map = [(port(80), port(8080))].into();
    for (text, served, note) in [
        ("http://a.test/", true, ""),
        ("http://a.test:8080/x", true, "public port 80 is bound to this port; labels use 80"),
        ("http://a.test:8081/", false, ""),
    ] {
        let explanation = explain(&get_request(text), &picture, Some(&Counters::default()));
        assert_eq!(
            explanation.outcome == RequestOutcome::Served,
            served,
            "{text}: {explanation:?}"
        );
        assert_eq!(explanation.notes.concat(), note, "{text}");
    }
}

#[test]
fn missing_haproxy_counters_are_noted() {
    let picture = state_of("web 172.17.0.2 glue_http_80_host=a.test");
    let explanation = explain(&get_request("http://a.test/"), &picture, None);
    let note = "HAProxy does not answer; the state of its servers is unknown";
    assert_eq!(explanation.notes, [note]);
}
