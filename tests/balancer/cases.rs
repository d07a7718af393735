//! Problems that users have met, as they met them: `tests/cases/`, each with the right behaviour.
//!
//! A script exits with 0 if everything is right, and can also be run by hand (`BAL=… sh tests/cases/X.sh`). For compose
//! files and handler files the output of `check` is compared.

use crate::common::{self, balancer::free_port, is_installed};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};

const BALANCER: &str = env!("CARGO_BIN_EXE_docker-balancer");
const GLUE: &str = env!("CARGO_BIN_EXE_docker-glue");

/// The scripts, each with its argument.
const SCRIPTS: &[(&str, &str)] = &[
    ("notify-fails-once.sh", "running"),
    ("notify-fails-once.sh", "restarted"),
    ("running-before-docker-glue.sh", ""),
    ("nginx-of-virtual-host.sh", ""),
    ("limit-of-open-files.sh", ""),
    ("forwarding-headers-of-a-stranger.sh", ""),
    ("client-that-half-closes.sh", ""),
    ("stop-of-the-only-container.sh", "restart"),
    ("stop-of-the-only-container.sh", "recreate"),
    ("shared-network-address-reused.sh", ""),
    ("why-is-it-down.sh", ""),
];

/// Compose files, the exit status of `check`, and texts that its output contains.
const COMPOSE: &[(&str, i32, &[&str])] = &[
    ("unset-variable-in-host.compose.yaml", 0, &[":8: hint", ":9: hint", "DOMAIN"]),
    (
        "prefix-pattern.compose.yaml",
        0,
        &["/api/*", "/api/.*", "/api/(.*)", "/users/:id", "4 hints"],
    ),
    ("prefix-without-pattern.compose.yaml", 0, &["no problems"]),
    ("published-port-in-label.compose.yaml", 0, &["service web", "service own", "2 hints"]),
    ("map-in-list.compose.yaml", 1, &[":7: ", "- glue_http_80_host=web.example.com"]),
    ("empty-ip-in-port.compose.yaml", 0, &["1 service with labels"]),
];

/// Handler files, the exit status of `check`, and texts that its output contains.
const HANDLERS: &[(&str, i32, &[&str])] =
    &[("shell-words-in-notify.ini", 1, &["shell-words-in-notify.ini:8: &&", "sh -c"])];

#[test]
fn case_script_succeeds() {
    if common::find_docker().is_none() {
        return;
    }
    let Some(image) = build_busybox_image() else { return };
    let failed: Vec<_> =
        SCRIPTS.iter().filter_map(|(name, word)| script_failure(image, name, word)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn script_failure(image: &str, name: &str, word: &str) -> Option<String> {
    let mut command = Command::new("sh");
    command
        .arg(Path::new("tests/cases").join(name))
        .args(Some(word).filter(|text| !text.is_empty()));
    let port = free_port().to_string();
    let output = command
        .envs([("BAL", BALANCER), ("GLUE", GLUE), ("IMAGE", image), ("PORT", &port)])
        .output()
        .unwrap();
    let (status, text) = status_and_text(&output);
    (status != 0).then(|| format!("{name} {word}: {status}\n{text}"))
}

#[test]
fn case_compose_file_gets_expected_check_output() {
    for (name, status, parts) in COMPOSE {
        let mut command = Command::new(BALANCER);
        command.args(["check", "--docker-url", "unix:///nowhere/docker.sock", "--compose"]);
        command.arg(Path::new("tests/cases").join(name)).env_remove("DOMAIN").env_remove("LAN_IP");
        assert_output(name, &command.output().unwrap(), *status, parts);
    }
}

#[test]
fn case_handler_file_gets_expected_check_output() {
    for (name, status, parts) in HANDLERS {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(Path::new("tests/cases").join(name), folder.path().join(name)).unwrap();
        let mut command = Command::new(GLUE);
        command.arg("--handler-paths").arg(folder.path()).arg("check");
        assert_output(name, &command.output().unwrap(), *status, parts);
    }
}

fn assert_output(name: &str, output: &Output, status: i32, parts: &[&str]) {
    let (ended, text) = status_and_text(output);
    assert_eq!(ended, status, "{name}: {text}");
    for part in parts {
        assert!(text.contains(part), "{name} does not say {part:?}:\n{text}");
    }
}

fn status_and_text(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn every_case_file_is_listed() {
    let tried = SCRIPTS.iter().map(|pair| pair.0);
    let tried: BTreeSet<_> = tried
        .chain(COMPOSE.iter().chain(HANDLERS).map(|item| item.0))
        .chain(["common.sh"])
        .collect();
    let names = fs::read_dir("tests/cases").unwrap().map(|result| result.unwrap().file_name());
    let names: BTreeSet<_> = names.map(|text| text.into_string().unwrap()).collect();
    assert_eq!(names, tried.into_iter().map(str::to_owned).collect());
}

/// Builds an image that contains only busybox, at the first use.
fn build_busybox_image() -> Option<&'static str> {
    static MADE: OnceLock<bool> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let script = "
            d=$(mktemp -d)
            trap 'rm -rf $d' EXIT
            mkdir $d/bin $d/tmp
            cp $(command -v busybox) $d/bin
            for name in $($d/bin/busybox --list); do [ $name = busybox ] || ln -s busybox $d/bin/$name; done
            tar -C $d -c . | docker import -c 'ENV PATH=/bin' - docker-glue-busybox:test";
        is_installed("busybox")
            && Command::new("sh").args(["-euc", script]).output().unwrap().status.success()
    });
    made.then_some("docker-glue-busybox:test")
}
