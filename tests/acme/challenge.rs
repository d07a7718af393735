//! Challenges in the DNS, with pebble's DNS server.

use crate::{
    follower::{Follower, Serve},
    pebble::{Options, Pebble},
};
use docker_glue::sources::acme::{
    AcmeSettings, chain,
    decide::HostState,
    error::FailureKind,
    settings::{Challenge, DnsLookup, DnsPublisher},
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// Writes a program of lego's protocol that publishes records in pebble's DNS server, and logs its calls.
fn write_program(pebble: &Pebble) -> PathBuf {
    let path = pebble.path("dns-program");
    let (log, url) = (pebble.path("dns-calls"), pebble.dns_management());
    let script = format!(
        r#"#!/bin/sh
set -eu
echo "$1 $2" >> {}
case $1 in
present) curl -sS --max-time 10 -d "{{\"host\":\"$2\",\"value\":\"$3\"}}" {url}/set-txt ;;
cleanup) curl -sS --max-time 10 -d "{{\"host\":\"$2\"}}" {url}/clear-txt ;;
esac
"#,
        log.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Returns settings with the program, and without a resolver that could find name servers.
fn dns_settings(pebble: &Pebble, state: &TempDir, path: PathBuf) -> AcmeSettings {
    let challenge = Challenge::Dns(DnsPublisher::Program(path));
    let mut settings = pebble.settings(state).with_challenge(challenge);
    let (resolvers, pause) = (Some(Vec::new()), Duration::ZERO);
    settings.dns = DnsLookup { resolvers, pause, ..DnsLookup::default() };
    settings
}

#[tokio::test]
async fn wildcard_is_proven_by_a_program() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let settings = dns_settings(&pebble, &state, write_program(&pebble));
    let mut follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
    follower.want(&["b.example.com"]);
    let (_, pem) = follower.next_issued().await;
    assert_eq!(chain::parse_leaf(&pem).unwrap().names, ["b.example.com"]);
    let calls = fs::read_to_string(pebble.path("dns-calls")).unwrap();
    let expected =
        ["present", "cleanup"].map(|word| format!("{word} _acme-challenge.b.example.com."));
    assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn wildcard_and_its_host_are_one_certificate() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let settings = dns_settings(&pebble, &state, write_program(&pebble));
    let mut follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
    follower.want(&["*.example.com"]);
    let (name, pem) = follower.next_issued().await;
    assert_eq!(name, "*.example.com");
    let mut names = chain::parse_leaf(&pem).unwrap().names;
    names.sort();
    assert_eq!(names, ["*.example.com", "example.com"]);
}

#[tokio::test]
async fn failing_program_is_the_failure() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let program = pebble.path("fails");
    fs::write(&program, "#!/bin/sh\necho secret\necho 'zone not found' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for (program, text) in [(program, "zone not found"), (pebble.path("missing"), "cannot run")] {
        let state = tempfile::tempdir().unwrap();
        let settings = dns_settings(&pebble, &state, program);
        let follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
        follower.want(&["b.example.com"]);
        let failed = follower.until_state("b.example.com", HostState::Failed).await;
        let failure = failed.last_failure.unwrap();
        assert_eq!(failure.kind, FailureKind::Challenge);
        assert!(failure.text.contains(text) && !failure.text.contains("secret"), "{failure:?}");
    }
}

#[tokio::test]
async fn persistent_record_proves_a_wildcard() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let settings = pebble.settings(&state).with_challenge(Challenge::DnsPersist);
    let mut follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
    follower.want(&["*.example.com"]);
    let status = follower.until_state("*.example.com", HostState::Failed).await;
    assert_eq!(status.last_failure.unwrap().kind, FailureKind::Unauthorized);
    let status = follower.status();
    let account = status.account.clone().unwrap();
    let host = "*.example.com".parse().unwrap();
    let issuer = status
        .caa_identities
        .first()
        .cloned()
        .unwrap_or_else(|| "pebble.letsencrypt.org".to_owned());
    let (name, value) = AcmeSettings::persist_record(&host, &issuer, &account);
    pebble.set_dns("set-txt", &json!({ "host": name, "value": value }));
    follower.renew("*.example.com").await;
    let (_, pem) = follower.next_issued().await;
    let mut names = chain::parse_leaf(&pem).unwrap().names;
    names.sort();
    assert_eq!(names, ["*.example.com", "example.com"]);
}
