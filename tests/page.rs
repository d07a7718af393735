//! The dashboard's page, as files a person would like to read: `tests/page/`.
//!
//! The stories are those of `tests/golden/`, with counts made up. `cargo insta review` shows what changed.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{
    dashboard::{explain::explain, fragment::Painting, page::Page, render},
    decide::{Memory, decide},
    haproxy::{
        config::Config,
        stat::{Count, Counters},
        version::Version,
    },
    view::{
        Applied, Haproxy, How, Picture,
        history::History,
        status::{LastApply, Status},
    },
    world::World,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const AT_MS: u64 = 1_700_000_000_000;

fn picture(story: Option<&str>) -> Picture {
    let world = story.map(story::world);
    let none = World::default();
    let now = Instant::now();
    let rules = story::rules();
    let decided = decide(world.as_ref().unwrap_or(&none), Memory::default(), now, &rules);
    Picture {
        at_ms: AT_MS,
        now,
        since_ms: AT_MS - 7_300_000,
        docker_is_there: world.is_some(),
        docker_age: Duration::ZERO,
        world: world.map(Arc::new),
        rules,
        config: Arc::new(story::config(&decided.routes)),
        memory: decided.memory,
        routes: decided.routes,
        problems: decided.problems,
        haproxy: Haproxy {
            version: Version { major: 3, minor: 2 },
            pid: Some(4711),
            managed: true,
            answers: story.is_some(),
        },
        last: None,
        history: History::default(),
        trouble: None,
    }
}

/// The second server of each backend is down, and the third answers with errors.
fn counters(config: &Config) -> Counters {
    let mut counters = Counters::default();
    for (backend, it) in &config.backends {
        let count = |place: usize| Count {
            status: if place == 1 { "DOWN 1/2" } else { "UP" }.to_owned(),
            sessions: place as u64,
            requests: 4000,
            rate: 1200 * place as u64 + 7,
            errors: if place == 1 { 1000 } else { 0 },
            server_errors: if place == 2 { 14 } else { 0 },
            since: 60,
        };
        let servers = it.servers.iter().enumerate().map(|(at, it)| (it.name.clone(), count(at)));
        counters.servers.insert(backend.clone(), servers.collect());
        counters.backends.insert(backend.clone(), count(2));
    }
    for frontend in &config.frontends {
        let count = Count { rate: 2400, sessions: 3, ..Count::default() };
        counters.frontends.insert(frontend.name.clone(), count);
    }
    counters
}

fn status(picture: &Picture) -> Status {
    let counters = counters(&picture.config);
    let counters = Some(&counters).filter(|_| picture.haproxy.answers);
    Status { version: "VERSION".to_owned(), ..Status::of(picture, counters) }
}

fn painting(picture: &Picture, recent: &[Applied], wanted: &str) -> Painting {
    let recent = recent.iter().rev().map(LastApply::from);
    render::paint(&Page::of(&status(picture), recent, wanted))
}

fn check(name: &str, picture: &Picture, recent: &[Applied], asked: &str, wanted: &str) {
    let answer =
        (!asked.is_empty()).then(|| explain(asked, picture, Some(&counters(&picture.config))));
    let html = render::whole(&painting(picture, recent, wanted), asked, answer.as_ref(), wanted);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("page");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("{name}.html"), html));
}

#[test]
fn a_story_has_always_the_same_page() {
    let golden = |name: &str| {
        let story = std::fs::read_to_string(format!("tests/golden/{name}/world.txt")).unwrap();
        picture(Some(&story))
    };
    let (mut readme, mut recent) = (golden("readme"), Vec::new());
    for (before, cause, how, changes) in [
        (7_200_000, "list", How::Started, vec!["+ wp1.example.com:80/ → wp1"; 9]),
        (90_000, "start wp2", How::Runtime { commands: 4 }, vec!["+ wp2.example.com:80/ → wp2"]),
        (61_000, "die wp2", How::Runtime { commands: 1 }, vec!["~ wp2.example.com:80/: - wp2"]),
        (
            1500,
            "start os-ui1",
            How::Reloaded { why: "new public port 8080".into() },
            vec!["- wp3.example.com:80/"],
        ),
    ] {
        let changes = changes.into_iter().map(str::to_owned).collect();
        let took = Duration::from_micros(1830);
        let applied = Applied { at_ms: AT_MS - before, cause: cause.into(), how, took, changes };
        readme.last = Some(applied.clone());
        recent.push(applied);
    }
    check("readme", &readme, &recent, "http://openstack.example.com/dashboard/horizon/x?y", "");
    check("filtered", &readme, &recent, "https://openstack.example.com", "OS-id");
    check("policies", &golden("policies"), &[], "nobody.example.com", "");
    check("reserve", &golden("reserve"), &[], "", "");
    check("trouble", &golden("trouble"), &[], "", "");
    check("empty", &picture(Some("")), &[], "", "");
    let mut away = picture(None);
    away.trouble = Some("HAProxy refused the configuration: <file>:12".to_owned());
    check("away", &away, &[], "", "");
}

/// Whatever a container says of itself, there is no element in the page that would not be there without.
#[test]
fn text_of_others_makes_no_element() {
    let calm = "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=b glue_http_ports=80 glue_network=x";
    let elements = |story: &str, asked: &str, wanted: &str| {
        let picture = picture(Some(story));
        let answer = explain(asked, &picture, None);
        let html = render::whole(&painting(&picture, &[], wanted), asked, Some(&answer), wanted);
        let tags =
            html.split('<').skip(1).map(|it| it.split(['>', ' ']).next().unwrap().to_owned());
        (tags.collect::<Vec<_>>(), html.matches(['"', '\'']).count())
    };
    let hostile = "\"'><img/src=x/onerror=alert(1)><script>alert(2)</script><!--{{7*7}}";
    let story = format!(
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight={hostile} glue_http_ports=80 glue_network={hostile}"
    );
    assert_eq!(elements(&story, hostile, hostile), elements(calm, "x y", "a"));
}

#[test]
fn a_thousand_groups_are_closed_but_for_those_that_nobody_serves() {
    let container = |number: usize| match number {
        7 => format!("w{number} 172.17.0.2 paused glue_http_80_host=h{number}.test\n"),
        _ => format!("w{number} 172.17.0.2 glue_http_80_host=h{number}.test\n"),
    };
    let story: String = (0..1000).map(container).collect();
    let mut picture = picture(Some(&story));
    let before = painting(&picture, &[], "");
    let open = before.groups.iter().filter(|it| it.html.contains(" open")).count();
    let named: Vec<_> = before.groups.iter().filter(|it| it.html.contains(" open>")).collect();
    assert_eq!((before.groups.len(), named.len()), (1000, 1), "{open}");
    assert_eq!(named[0].id, "h7.test:80");
    assert!(before.update(&before).is_none());

    // What becomes of one group touches no other.
    let after = decide(
        &story::world(&story.replace(" paused", "")),
        Memory::default(),
        picture.now,
        &picture.rules,
    );
    picture.routes = after.routes;
    let after = painting(&picture, &[], "");
    let update = after.update(&before).unwrap();
    let parts: Vec<_> = update.parts.iter().map(|it| it.id).collect();
    assert_eq!((parts, update.order), (vec!["h7.test:80"], None));
}
