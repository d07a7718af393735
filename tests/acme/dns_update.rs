//! dns-01 with records that DNS UPDATE publishes in Knot DNS, where pebble looks them up.

use crate::{
    common,
    follower::{Follower, Serve},
    knot::{Knot, SECRET, Second, WRONG_SECRET},
    pebble::{Options, Pebble},
};
use docker_glue::sources::acme::{
    AcmeSettings, chain,
    decide::HostState,
    error::FailureKind,
    settings::{Challenge, DnsLookup, DnsPublisher},
};
use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, time::Duration};
use tempfile::TempDir;

fn start_pebble(name_server: SocketAddr) -> Option<Pebble> {
    Pebble::start(Options { name_server: Some(name_server), ..Options::default() })
}

fn settings(pebble: &Pebble, knot: &Knot, state: &TempDir, challenge: Challenge) -> AcmeSettings {
    let mut settings = pebble.settings(state).with_challenge(challenge);
    settings.dns = knot.lookup();
    settings
}

/// Returns the names of the certificate that is issued for a host.
async fn order(settings: AcmeSettings, pebble: &Pebble, host: &str) -> Vec<String> {
    let mut follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
    follower.want(&[host]);
    let (_, pem) = follower.next_issued().await;
    assert_eq!(follower.until_state(host, HostState::Issued).await.failures, 0);
    let mut names = chain::parse_leaf(&pem).unwrap().names;
    names.sort();
    names
}

#[tokio::test]
async fn wildcard_is_proven_by_update_and_other_records_stay() {
    let Some(knot) = Knot::start(Second::None) else { return };
    let Some(pebble) = start_pebble(knot.address(1)) else { return };
    for lines in ["", "zone = \"example.com\"", "key = \"long\"\nalgorithm = \"hmac-sha512\""] {
        let state = tempfile::tempdir().unwrap();
        let settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, lines));
        let names = order(settings, &pebble, "*.example.com").await;
        assert_eq!(names, ["*.example.com", "example.com"], "{lines}");
        common::wait_until("the records are removed", async || {
            (knot.texts("_acme-challenge") == ["another-record"]).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn refused_update_is_a_failure_with_its_remedy() {
    let Some(knot) = Knot::start(Second::None) else { return };
    let Some(pebble) = start_pebble(knot.address(1)) else { return };
    let (b, net) = ("b.example.com", "b.example.net");
    for (secret, lines, host, expected) in [
        (WRONG_SECRET, "", b, "does not accept the signature of key balancer; correct secret"),
        (SECRET, "key = \"unknown\"", b, "key unknown to change _acme-challenge.b.example.com in"),
        (SECRET, "key = \"reader\"", b, "does not permit key reader to change _acme-challenge.b"),
        (SECRET, "", net, "has no zone for _acme-challenge.b.example.net; set server"),
        (SECRET, "zone = \"example.net\"", net, "in zone example.net (NOTAUTH); correct server"),
        (SECRET, "zone = \"example.com\"", net, "zone example.com"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let settings = settings(&pebble, &knot, &state, knot.challenge(secret, lines));
        let follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
        follower.want(&[host]);
        let failed = follower.until_state(host, HostState::Failed).await;
        let failure = failed.last_failure.unwrap();
        assert_eq!(failure.kind, FailureKind::Challenge, "{failure:?}");
        assert!(failure.text.contains(expected), "{expected}: {failure:?}");
        assert!(!failure.text.contains(secret), "{failure:?}");
    }
}

#[tokio::test]
async fn order_waits_until_the_last_name_server_has_the_record() {
    let Some(knot) = Knot::start(Second::Polls) else { return };
    // The CA asks the name server that has the record last.
    let Some(pebble) = start_pebble(knot.address(2)) else { return };
    let state = tempfile::tempdir().unwrap();
    let settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, ""));
    assert_eq!(order(settings, &pebble, "b.example.com").await, ["b.example.com"]);
}

#[tokio::test]
async fn order_without_the_check_asks_the_ca_too_early() {
    let Some(knot) = Knot::start(Second::Polls) else { return };
    let Some(pebble) = start_pebble(knot.address(2)) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, ""));
    settings.dns.resolvers = Some(Vec::new());
    let follower = Follower::start(settings, pebble.http_port, Serve::Nothing).await;
    follower.want(&["b.example.com"]);
    let failed = follower.until_state("b.example.com", HostState::Failed).await;
    assert_eq!(failed.last_failure.unwrap().kind, FailureKind::Unauthorized);
}

#[tokio::test]
async fn name_server_that_stays_behind_delays_until_the_limit() {
    let Some(knot) = Knot::start(Second::Stale) else { return };
    let Some(pebble) = start_pebble(knot.address(1)) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, ""));
    settings.dns.limit = Duration::from_millis(600);
    assert_eq!(order(settings, &pebble, "b.example.com").await, ["b.example.com"]);
}

#[tokio::test]
async fn unreachable_name_servers_are_replaced_by_the_pause() {
    let Some(knot) = Knot::start(Second::None) else { return };
    let Some(pebble) = start_pebble(knot.address(1)) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, ""));
    // Nothing listens on this port, so the system refuses at once.
    settings.dns.port = common::balancer::free_port();
    assert_eq!(order(settings, &pebble, "b.example.com").await, ["b.example.com"]);
}

#[tokio::test]
async fn alias_of_the_challenge_is_followed_unless_it_is_a_wildcard() {
    let Some(knot) = Knot::start(Second::None) else { return };
    let Some(pebble) = start_pebble(knot.address(1)) else { return };
    for (host, expected) in [
        ("alias.example.com", "alias.challenges.example.com."),
        ("b.example.com", "_acme-challenge.b.example.com."),
        ("b.wild.example.com", "_acme-challenge.b.wild.example.com."),
    ] {
        // A program that publishes nothing shows the name. The order fails.
        let state = tempfile::tempdir().unwrap();
        let (program, calls) = (state.path().join("program"), state.path().join("calls"));
        let script = format!("#!/bin/sh\necho \"$1 $2\" >> {}\nexit 1\n", calls.display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let challenge = Challenge::Dns(DnsPublisher::Program(program));
        let follower = Follower::start(
            settings(&pebble, &knot, &state, challenge),
            pebble.http_port,
            Serve::Nothing,
        );
        let follower = follower.await;
        follower.want(&[host]);
        follower.until_state(host, HostState::Failed).await;
        let calls = fs::read_to_string(calls).unwrap();
        let words = ["present", "cleanup"].map(|word| format!("{word} {expected}"));
        assert_eq!(calls.lines().collect::<Vec<_>>(), words);
    }
    let state = tempfile::tempdir().unwrap();
    let settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, ""));
    assert_eq!(order(settings, &pebble, "alias.example.com").await, ["alias.example.com"]);
    assert!(knot.texts("alias.challenges").is_empty());
}

#[tokio::test]
async fn resolver_that_does_not_answer_does_not_fail_the_order() {
    let Some(knot) = Knot::start(Second::None) else { return };
    let Some(pebble) = start_pebble(knot.address(1)) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = settings(&pebble, &knot, &state, knot.challenge(SECRET, ""));
    let closed = ([127, 0, 0, 1], common::balancer::free_port()).into();
    settings.dns = DnsLookup { resolvers: Some(vec![closed]), ..settings.dns };
    assert_eq!(order(settings, &pebble, "b.example.com").await, ["b.example.com"]);
}
