//! The log of a deployment, as text and as JSON: `tests/balancer/snapshots/balancer__logs__*.snap`.

use crate::common::{Docker, balancer::Balancer, find_docker};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Returns the log while a container with an invalid label is started, paused and unpaused.
fn log_of_deployment(docker: &Docker, format: &str) -> String {
    let plan = Balancer::plan(docker).option(&["--access-log", "off", "--log-format", format]);
    let web = plan.run("web").labels("glue_http_80_host=web.test glue_http_80_weight=heavy");
    let mut balancer = plan.start();
    balancer.wait_for_log(&["started HAProxy"]);
    let web = web.start();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    web.docker(&["pause"]);
    balancer.wait_for_log(&["updated HAProxy over the runtime API", "pause "]);
    web.docker(&["unpause"]);
    balancer.wait_for_log(&["updated HAProxy over the runtime API", "unpause "]);
    balancer.stop_with(Signal::SIGTERM);
    let log = balancer.log();
    log.replace(&web.name, "web").replace(&web.id[..12], "0123456789ab")
}

#[test]
fn deployment_log_text_matches_snapshot() {
    let Some(docker) = find_docker() else { return };
    let log = log_of_deployment(&docker, "text");
    let line = |line: &str| {
        let (_, remaining) = line.split_once("Z ").unwrap();
        let words = remaining.split(' ').map(|word| match word.split_once('=') {
            Some((key @ ("us" | "commands"), _)) => format!("{key}=…"),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<_> = log.lines().map(line).collect();
    insta::assert_snapshot!("text", lines.join("\n"));
}

#[test]
fn deployment_log_json_matches_snapshot() {
    let Some(docker) = find_docker() else { return };
    let log = log_of_deployment(&docker, "json");
    let lines: Vec<_> = log.lines().map(|line| redact_fields(line).to_string()).collect();
    insta::assert_snapshot!("json", lines.join("\n"));
}

/// Replaces values that differ from run to run.
fn redact_fields(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    for name in ["timestamp", "us", "commands"] {
        if let Some(value) = line.get_mut(name) {
            assert!(value.is_u64() || value.is_string(), "{name}: {value}");
            *value = "…".into();
        }
    }
    line
}

#[test]
fn stalled_log_reader_loses_log_lines_only() {
    let Some(docker) = find_docker() else { return };
    let plan =
        Balancer::plan(&docker).option(&["--access-log", "off", "-vv"]).without_reading_log();
    let mut balancer = plan.start();
    let web = |name: &str| balancer.run(name).label("glue_http_80_host", format!("{name}.test"));
    // The log lines about each container exceed the pipe's buffer.
    let labels: Vec<_> = (0..200).map(|number| format!("glue_junk_{number}=x")).collect();
    let labels = labels.join(" ");
    let _first = web("first").labels(&labels).start();
    balancer.wait_until_serves("first.test/x", "first saw /x");
    let _second = web("second").labels(&labels).start();
    balancer.wait_until_serves("second.test/x", "second saw /x");
    let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    let status = status.args(["status", "--runtime-dir"]).arg(balancer.runtime()).output().unwrap();
    assert!(status.status.success(), "{status:?}");
    balancer.stop_with(Signal::SIGTERM);
}

#[test]
fn secrets_are_not_logged_at_any_level() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["-vv", "--log-format", "json"]);
    let web = plan.run("web").label("glue_http_80_host", "web.test").env("PASSWORD", "open-sesame");
    let web = web.label("com.example.token", "s3cr3t-token").start();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    balancer.stop_with(Signal::SIGTERM);
    let log = balancer.log();
    assert!(log.lines().count() > 10, "{log}");
    for secret in ["open-sesame", "s3cr3t-token"] {
        let texts: Vec<_> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(texts.is_empty(), "{texts:#?}");
    }
    drop(web);
}
