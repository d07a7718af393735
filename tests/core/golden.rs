//! Whole configurations, as readable files: `tests/golden/<case>/`.
//!
//! Each case is a story (`world.txt`) and the configuration that results. `cargo insta review` shows changes.

use crate::common::story;
use docker_glue::{
    haproxy::{
        self,
        config::Config,
        render::{ChallengeAnswer, Http3Mode, RenderContext},
    },
    model::problem::UnmatchedClients,
    routing::decide,
};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

#[test]
fn configuration_of_a_story_matches_snapshots() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> =
        fs::read_dir(&cases).unwrap().map(|result| result.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        check_case(&case);
    }
}

/// Returns the context of every case; a line such as `# --haproxy-metrics 127.0.0.1:9106` adds the exporter,
/// `# --http3` HTTP/3, and `# --default-certificate HOST` the default certificate.
fn frame_of(story: &str, frame: RenderContext) -> RenderContext {
    let exporter = story.lines().find_map(|line| line.strip_prefix("# --haproxy-metrics "));
    let exporter = exporter.map(|text| text.parse().unwrap());
    let has_http3 = story.lines().any(|line| line == "# --http3");
    let http3 = if has_http3 { Http3Mode::On } else { Http3Mode::Off };
    let host = story.lines().find_map(|line| line.strip_prefix("# --default-certificate "));
    let default_host = host.map(|host| host.parse().unwrap());
    RenderContext { http3, exporter, default_host, ..frame }
}

/// Without Lua, requests wait by attempts that are refused at once.
#[test]
fn connect_timeout_sets_pause_and_number_of_attempts() {
    for (connect, wait, expected) in [
        (250, 10_000, "timeout connect 250ms\n  retries 40\n"),
        (10, 10_000, "timeout connect 10ms\n  retries 1000\n"),
        (1500, 10_000, "timeout connect 1500ms\n  retries 10\n"),
        (60_000, 10_000, "timeout connect 1m\n  retries 10\n"),
        (60_000, 0, "timeout connect 1m\n  retries 1\n"),
    ] {
        let [connect_timeout, wait] = [connect, wait].map(Duration::from_millis);
        let frame =
            RenderContext { connect_timeout, wait, requeue: None, ..story::default_frame() };
        let text = haproxy::render::render_files(&Config::default(), &frame).config;
        assert!(text.contains(expected), "{expected}");
    }
}

/// Adding, changing or removing the exporter needs a reload.
#[test]
fn changed_exporter_changes_the_skeleton() {
    let config = haproxy::config::Config::default();
    let lines = ["", "# --haproxy-metrics 127.0.0.1:9106", "# --haproxy-metrics [::1]:9106"];
    let all = lines.map(|line| {
        haproxy::render::static_fingerprint(&config, &frame_of(line, story::default_frame()))
    });
    assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
}

/// HAProxy refuses an empty list without `strict-sni`.
#[test]
fn configuration_without_certificates_has_empty_lists_with_strict_sni() {
    let routes = story::parse_routes("web 172.17.0.2 glue_http_80_host=a.test glue_http_80_tls=on");
    for (story, lists) in [
        ("", &["tls-443.list strict-sni"][..]),
        ("# --http3", &["tls-443.list strict-sni"]),
        ("# --default-certificate a.test", &["tls-443.list"]),
        ("# --http3\n# --default-certificate a.test", &["tls-443.list"]),
    ] {
        let frame = RenderContext {
            acme: ChallengeAnswer::Certificate,
            ..frame_of(story, story::default_frame())
        };
        let config = story::config_in_frame(&routes, 1, &frame);
        let text = haproxy::render::render_files(&config, &frame).config;
        let checked = haproxy::render::without_certificates(&text).unwrap();
        let words = |text: &str| -> BTreeSet<String> {
            let lists = text.split(" crt-list ").skip(1);
            lists.filter_map(|line| line.split(" alpn ").next()).map(str::to_owned).collect()
        };
        let expected = lists.iter().chain(&["tls-acme.list strict-sni"]);
        assert_eq!(words(&text), expected.map(|words| (*words).to_owned()).collect(), "{story}");
        let empty = "no-certificates.list strict-sni".to_owned();
        assert_eq!(words(&checked), [empty].into(), "{story}");
    }
}

fn check_case(case: &Path) {
    let story = fs::read_to_string(case.join("world.txt")).unwrap();
    let frame = frame_of(&story, story::default_frame());
    let unmatched_clients = match frame.default_host {
        Some(_) => UnmatchedClients::GetDefault,
        None => UnmatchedClients::Refused,
    };
    let decided = decide::decide(
        &story::parse_world(&story),
        decide::DecideState::default(),
        Instant::now(),
        &decide::Rules { unmatched_clients, ..story::default_rules() },
    );
    let build = |stock, frame: &RenderContext| {
        let mut config = story::config_in_frame(&decided.routes, stock, frame);
        config.maps.auth_servers.clone_from(&decided.auth_servers);
        config
    };
    let config = build(1, &frame);
    let files = haproxy::render::render_files(&config, &frame);
    let problems = decided.problems.iter().fold(String::new(), |mut text, problem| {
        writeln!(text, "{problem}").unwrap();
        text
    });
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(case);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("haproxy.cfg", files.config);
        let adding_frame = frame_of(&story, story::frame_for(true));
        let adding = build(0, &adding_frame);
        let adding = haproxy::render::render_files(&adding, &adding_frame);
        assert_eq!(adding.generation, files.generation);
        insta::assert_snapshot!("haproxy-3.4.cfg", adding.config);
        assert_parents_named(&adding.config);
        let as_is = |name: &str| name.contains(".http") || name.contains(".lua");
        for (name, text) in files.generation.files.iter().filter(|(name, _)| !as_is(name)) {
            insta::assert_snapshot!(name.as_str(), text);
        }
        insta::assert_snapshot!("problems", problems);
    });
}

/// Without a name, a section would inherit from the last defaults before it, which are those of a backend's shape.
/// HAProxy then refuses to start if both a frontend and a backend do (Configuration Manual, section 4).
fn assert_parents_named(config: &str) {
    let is_section = |line: &&str| line.starts_with("frontend ") || line.starts_with("backend ");
    for line in config.lines().filter(is_section) {
        assert!(line.contains(" from docker-glue"), "{line}");
    }
}
