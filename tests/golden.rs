//! Whole configurations, as files a person would like to read: `tests/golden/<case>/`.
//!
//! Each case is a story (`world.txt`) and what comes of it. `cargo insta review` shows what changed.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/story.rs"]
mod story;

use docker_glue::{decide, haproxy, haproxy::render::Frame};
use std::{fmt::Write as _, fs, path::Path, time::Instant};

#[test]
fn a_story_has_always_the_same_configuration() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|it| it.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty());
    for case in names {
        check(&case);
    }
}

/// As every case's, but for a line such as `# --haproxy-metrics 127.0.0.1:9106`.
fn frame(story: &str) -> Frame {
    let exporter = story.lines().find_map(|line| line.strip_prefix("# --haproxy-metrics "));
    Frame { exporter: exporter.map(|it| it.parse().unwrap()), ..story::frame() }
}

/// It comes and goes by a reload.
#[test]
fn another_exporter_is_another_skeleton() {
    let config = haproxy::config::Config::default();
    let lines = ["", "# --haproxy-metrics 127.0.0.1:9106", "# --haproxy-metrics [::1]:9106"];
    let all = lines.map(|line| haproxy::render::skeleton(&config, &frame(line)));
    assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
}

fn check(case: &Path) {
    let story = fs::read_to_string(case.join("world.txt")).unwrap();
    let decided = decide::decide(
        &story::world(&story),
        decide::Memory::default(),
        Instant::now(),
        &story::rules(),
    );
    let frame = frame(&story);
    let mut config = story::config(&decided.routes);
    config.skeleton = haproxy::render::skeleton(&config, &frame);
    let files = haproxy::render::render(&config, &frame);
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
        let adding = story::started(&decided.routes, 0, true);
        let adding = haproxy::render::render(&adding, &story::frame_for(true));
        assert_eq!(adding.generation, files.generation);
        insta::assert_snapshot!("haproxy-3.4.cfg", adding.config);
        let as_is = |name: &str| name.contains(".http") || name.contains(".lua");
        for (name, text) in files.generation.files.iter().filter(|(name, _)| !as_is(name)) {
            insta::assert_snapshot!(name.as_str(), text);
        }
        insta::assert_snapshot!("problems", problems);
    });
}
