//! The dashboard's page, as readable files: `tests/page/`.
//!
//! The stories are those of `tests/golden/`, with made-up counters. `cargo insta review` shows changes.

use crate::{common::story, show::change_status};
use docker_glue::{
    api::dashboard::{explain::explain_url, fragment::Fragments, page::PageView, render},
    haproxy::{
        config::Config,
        stats::{Counters, StatsRow},
        version::Version,
    },
    model::world::World,
    report::{
        AppliedPass, ApplyMethod, HaproxyInfo, StateSnapshot,
        history::History,
        status::{LastApply, Status},
    },
    routing::decide::{DecideState, decide},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const AT_MS: u64 = 1_700_000_000_000;

fn state_of(story: Option<&str>) -> StateSnapshot {
    let world = story.map(story::parse_world);
    let none = World::default();
    let now = Instant::now();
    let rules = story::default_rules();
    let decided = decide(world.as_ref().unwrap_or(&none), DecideState::default(), now, &rules);
    StateSnapshot {
        at_ms: AT_MS,
        now,
        started_ms: AT_MS - 7_300_000,
        docker_connected: world.is_some(),
        docker_age: Duration::ZERO,
        sources: Vec::new(),
        world: world.map(Arc::new),
        rules,
        config: Arc::new(story::build_config(&decided.routes)),
        decide_state: decided.memory,
        routes: decided.routes,
        problems: decided.problems,
        orders: None,
        haproxy: HaproxyInfo {
            version: Version { major: 3, minor: 2 },
            pid: Some(4711),
            managed: true,
            answers: story.is_some(),
        },
        udp: None,
        last_applied: None,
        history: History::default(),
        last_error: None,
    }
}

/// Returns counters in which the second server of each backend is down and the third answers with errors.
fn made_up_counters(config: &Config) -> Counters {
    let mut counters = Counters::default();
    for (name, backend) in &config.backends {
        let count = |n: usize| StatsRow {
            status: if n == 1 { "DOWN 1/2" } else { "UP" }.to_owned(),
            sessions: n as u64,
            requests: 4000,
            rate: 1200 * n as u64 + 7,
            errors: if n == 1 { 1000 } else { 0 },
            server_errors: if n == 2 { 14 } else { 0 },
            since: 60,
        };
        let servers =
            backend.servers.iter().enumerate().map(|(at, server)| (server.name.clone(), count(at)));
        counters.servers.insert(name.clone(), servers.collect());
        counters.backends.insert(name.clone(), count(2));
    }
    for frontend in &config.frontends {
        let count = StatsRow { rate: 2400, sessions: 3, ..StatsRow::default() };
        counters.frontends.insert(frontend.name.clone(), count);
    }
    counters
}

fn status_of(picture: &StateSnapshot) -> Status {
    let counters = made_up_counters(&picture.config);
    let counters = Some(&counters).filter(|_| picture.haproxy.answers);
    Status { version: "VERSION".to_owned(), ..Status::from_snapshot(picture, counters) }
}

fn fragments_of(picture: &StateSnapshot, recent: &[AppliedPass], text: &str) -> Fragments {
    let recent = recent.iter().rev().map(LastApply::from);
    render::render_fragments(&PageView::from_status(&status_of(picture), recent, text))
}

fn check_page(
    name: &str,
    picture: &StateSnapshot,
    recent: &[AppliedPass],
    requested: &str,
    text: &str,
) {
    let answer = (!requested.is_empty())
        .then(|| explain_url(requested, picture, Some(&made_up_counters(&picture.config))));
    let html =
        render::render_page(&fragments_of(picture, recent, text), requested, answer.as_ref(), text);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../page");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("{name}.html"), html));
}

#[test]
fn page_of_a_story_matches_snapshots() {
    let golden = |name: &str| {
        let story = std::fs::read_to_string(format!("tests/golden/{name}/world.txt")).unwrap();
        state_of(Some(&story))
    };
    let (mut readme, mut recent) = (golden("readme"), Vec::new());
    for (before, cause, how, changes) in [
        (7_200_000, "list", ApplyMethod::Started, vec!["+ wp1.example.com:80/ → wp1"; 9]),
        (
            90_000,
            "start wp2",
            ApplyMethod::Runtime { commands: 4 },
            vec!["+ wp2.example.com:80/ → wp2"],
        ),
        (
            61_000,
            "die wp2",
            ApplyMethod::Runtime { commands: 1 },
            vec!["~ wp2.example.com:80/: - wp2"],
        ),
        (
            1500,
            "start os-ui1",
            ApplyMethod::Reloaded { why: "new public port 8080".into() },
            vec!["- wp3.example.com:80/"],
        ),
    ] {
        let changes = changes.into_iter().map(change_status).collect();
        let took = Duration::from_micros(1830);
        let applied = AppliedPass {
            at_ms: AT_MS - before,
            cause: cause.into(),
            how,
            duration: took,
            changes,
        };
        readme.last_applied = Some(applied.clone());
        recent.push(applied);
    }
    check_page(
        "readme",
        &readme,
        &recent,
        "http://openstack.example.com/dashboard/horizon/x?y",
        "",
    );
    check_page("filtered", &readme, &recent, "ftp://openstack.example.com", "OS-id");
    check_page("policies", &golden("policies"), &[], "nobody.example.com", "");
    check_page("reserve", &golden("reserve"), &[], "", "");
    check_page("trouble", &golden("trouble"), &[], "", "");
    check_page("empty", &state_of(Some("")), &[], "", "");
    let mut away = state_of(None);
    away.last_error = Some("HAProxy refused the configuration: <file>:12".to_owned());
    check_page("away", &away, &[], "", "");
}

/// The text of labels adds no HTML element to the page.
#[test]
fn label_text_adds_no_html_element() {
    let calm = "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=b glue_http_ports=80 glue_network=x";
    let elements = |story: &str, t: &str, text: &str| {
        let picture = state_of(Some(story));
        let answer = explain_url(t, &picture, None);
        let html = render::render_page(&fragments_of(&picture, &[], text), t, Some(&answer), text);
        let tags =
            html.split('<').skip(1).map(|text| text.split(['>', ' ']).next().unwrap().to_owned());
        (tags.collect::<Vec<_>>(), html.matches(['"', '\'']).count())
    };
    let hostile = "\"'><img/src=x/onerror=alert(1)><script>alert(2)</script><!--{{7*7}}";
    let story = format!(
        "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight={hostile} glue_http_ports=80 glue_network={hostile}"
    );
    assert_eq!(elements(&story, hostile, hostile), elements(calm, "x y", "a"));
}

#[test]
fn thousand_groups_are_closed_except_unserved_ones() {
    let container = |number: usize| match number {
        7 => format!("w{number} 172.17.0.2 paused glue_http_80_host=h{number}.test\n"),
        _ => format!("w{number} 172.17.0.2 glue_http_80_host=h{number}.test\n"),
    };
    let story: String = (0..1000).map(container).collect();
    let mut picture = state_of(Some(&story));
    let before = fragments_of(&picture, &[], "");
    let open = before.groups.iter().filter(|fragment| fragment.html.contains(" open")).count();
    let named: Vec<_> =
        before.groups.iter().filter(|fragment| fragment.html.contains(" open>")).collect();
    assert_eq!((before.groups.len(), named.len()), (1000, 1), "{open}");
    assert_eq!(named[0].id, "h7.test:80");
    assert!(before.diff_from(&before).is_none());

    // A change in one group updates no other group.
    let after = decide(
        &story::parse_world(&story.replace(" paused", "")),
        DecideState::default(),
        picture.now,
        &picture.rules,
    );
    picture.routes = after.routes;
    let after = fragments_of(&picture, &[], "");
    let update = after.diff_from(&before).unwrap();
    let parts: Vec<_> = update.parts.iter().map(|part| part.id).collect();
    assert_eq!((parts, update.order), (vec!["h7.test:80"], None));
}
