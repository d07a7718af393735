//! Certificates of pebble.

use crate::{
    common,
    follower::{Follower, Serve, host},
    pebble::{EAB, Options, Pebble},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use docker_glue::sources::acme::{
    AcmeSettings, chain,
    decide::HostState,
    error::FailureKind,
    settings::{AcmeKeyType, AcmeKeys, EabKey},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

const HOST: &str = "a.example.com";

async fn start(pebble: &Pebble, state: &TempDir) -> Follower {
    start_with(pebble, pebble.settings(state)).await
}

async fn start_with(pebble: &Pebble, settings: AcmeSettings) -> Follower {
    Follower::start(settings, pebble.http_port, Serve::All).await
}

/// Returns the folder of the CA in the state.
fn ca_folder(state: &TempDir) -> std::path::PathBuf {
    let folders = fs::read_dir(state.path().join("acme")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folders: Vec<_> = folders.collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

/// Changes the ledger of a follower that is stopped.
fn edit_ledger(state: &TempDir, edit: impl Fn(&mut Value)) {
    let path = state.path().join("acme/ledger.json");
    let mut ledger: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut ledger);
    fs::write(path, ledger.to_string()).unwrap();
}

fn key_of(pem: &str) -> &str {
    &pem[pem.find("-----BEGIN PRIVATE KEY").unwrap()..]
}

fn find_text(folder: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(find_text(&path, text));
        } else if fs::read_to_string(&path).is_ok_and(|content| content.contains(text)) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn requested_host_gets_certificate() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    let (name, pem) = follower.next_issued().await;
    assert_eq!(name, HOST);
    let leaf = chain::parse_leaf(&pem).unwrap();
    assert_eq!(leaf.names, [HOST]);
    assert!(leaf.issued.ari_id.is_some());
    let status = follower.until_state(HOST, HostState::Issued).await;
    assert_eq!((status.failures, status.not_after), (0, Some(leaf.issued.not_after)));
    assert_eq!(follower.status().counters.orders, 1);
    assert!(follower.tokens.lock().unwrap().is_empty(), "a token remains");
    let live = ca_folder(&state).join("live").join(HOST);
    let files = ["fullchain.pem", "privkey.pem"].map(|f| fs::read_to_string(live.join(f)).unwrap());
    let lines = |text: &str| text.lines().filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&files.concat()), pem.trim_end());
    // The first line of the key is the same for each key.
    let secret = key_of(&pem).lines().nth(2).unwrap();
    let found = find_text(state.path(), secret);
    assert_eq!(found, [fs::canonicalize(live.join("privkey.pem")).unwrap()]);
    assert!(!format!("{:?}", follower.status()).contains(secret));
}

#[tokio::test]
async fn restarts_order_nothing() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    let first = follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    for _ in 0..20 {
        drop(follower);
        follower = start(&pebble, &state).await;
        follower.want(&[HOST]);
        assert_eq!(follower.next_issued().await, first);
        follower.until_state(HOST, HostState::Issued).await;
        assert_eq!(follower.status().counters.orders, 0);
        assert!(!follower.has_issued());
    }
    assert_eq!(pebble.log().matches("There are now 1 orders in the db").count(), 1);
    assert!(!pebble.log().contains("There are now 2 orders in the db"));
}

#[tokio::test]
async fn several_hosts_get_certificates_at_once() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    let names: Vec<_> = (0..15).map(|n| format!("h{n}.example.com")).collect();
    follower.want(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut received = std::collections::BTreeSet::new();
    for _ in &names {
        received.insert(follower.next_issued().await.0);
    }
    assert_eq!(received, names.into_iter().collect());
    assert_eq!(follower.status().counters.failures.len(), 0);
}

#[tokio::test]
async fn rejected_nonces_fail_no_order() {
    let Some(pebble) = Pebble::start(Options { nonce_reject: 50, ..Options::default() }) else {
        return;
    };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    let names: Vec<_> = (0..10).map(|n| format!("h{n}.example.com")).collect();
    follower.want(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in &names {
        follower.next_issued().await;
    }
    assert!(pebble.log().contains("Configured to reject 50% of good nonces"));
    for name in &names {
        follower.until_state(name, HostState::Issued).await;
    }
    assert_eq!(follower.status().counters.failures, std::collections::BTreeMap::default());
    assert_eq!(follower.status().counters.orders, 10);
}

#[tokio::test]
async fn external_account_is_used_if_the_ca_requires_one() {
    let Some(pebble) = Pebble::start(Options { eab: true, ..Options::default() }) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    follower.until_state(HOST, HostState::Paused).await;
    let pause = follower.status().pause.clone().unwrap();
    assert_eq!(pause.kind, FailureKind::Account);
    drop(follower);

    edit_ledger(&state, |ledger| ledger["pause"] = Value::Null);
    let mut settings = pebble.settings(&state);
    let key = BASE64_URL_SAFE_NO_PAD.decode(EAB.1).unwrap();
    settings.eab = Some(EabKey { kid: EAB.0.to_owned(), key: key.into() });
    follower = start_with(&pebble, settings).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
}

#[tokio::test]
async fn pause_of_account_survives_a_restart() {
    let Some(pebble) = Pebble::start(Options { eab: true, ..Options::default() }) else { return };
    let state = tempfile::tempdir().unwrap();
    let follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    follower.until_state(HOST, HostState::Paused).await;
    let pause = follower.status().pause.clone();
    drop(follower);
    let follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    follower.until_state(HOST, HostState::Paused).await;
    assert_eq!(follower.status().pause, pause);
}

#[tokio::test]
async fn profile_decides_lifetime_and_unknown_profile_fails() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    for (profile, lifetime) in
        [("shortlived", Some(518_400)), ("default", Some(7_776_000)), ("odd", None)]
    {
        let state = tempfile::tempdir().unwrap();
        let mut settings = pebble.settings(&state);
        settings.profile = Some(profile.to_owned());
        let mut follower = start_with(&pebble, settings).await;
        follower.want(&[HOST]);
        let Some(lifetime) = lifetime else {
            let status = follower.until_state(HOST, HostState::Failed).await;
            assert_eq!(status.last_failure.unwrap().kind, FailureKind::BadRequest);
            continue;
        };
        let (_, pem) = follower.next_issued().await;
        let issued = chain::parse_leaf(&pem).unwrap().issued;
        assert!((issued.not_after - issued.not_before - lifetime).abs() <= 1, "{issued:?}");
    }
}

#[tokio::test]
async fn address_is_signed_with_the_short_profile() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = pebble.settings(&state);
    settings.profile = Some("shortlived".to_owned());
    let mut follower = start_with(&pebble, settings).await;
    follower.want(&["127.0.0.1"]);
    let (_, pem) = follower.next_issued().await;
    assert_eq!(chain::parse_leaf(&pem).unwrap().names, ["127.0.0.1"]);
}

#[tokio::test]
async fn rsa_key_is_used_if_it_is_set() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = pebble.settings(&state);
    settings.keys = AcmeKeys::One(AcmeKeyType::Rsa);
    let mut follower = start_with(&pebble, settings).await;
    follower.want(&[HOST]);
    let (_, pem) = follower.next_issued().await;
    let leaf = chain::parse_leaf(&pem).unwrap();
    assert!(256 < leaf.public_key.len(), "{} bytes", leaf.public_key.len());
}

#[tokio::test]
async fn both_key_types_are_stored_renewed_and_not_ordered_again() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = pebble.settings(&state);
    settings.keys = AcmeKeys::Both;
    let rsa = format!("{HOST}+rsa");
    let mut follower = start_with(&pebble, settings.clone()).await;
    let is_rsa = |pem: &str| 256 < chain::parse_leaf(pem).unwrap().public_key.len();
    follower.want(&[HOST]);
    let mut first = BTreeMap::new();
    for (name, expected) in [(HOST, false), (&rsa, true)] {
        let (host, pem) = follower.next_issued().await;
        assert_eq!((host.as_str(), is_rsa(&pem)), (name, expected));
        assert_eq!(chain::parse_leaf(&pem).unwrap().names, [HOST]);
        first.insert(host, pem);
    }
    follower.until_state(&rsa, HostState::Issued).await;
    // An operator renews both.
    follower.renew(HOST).await;
    let mut second = BTreeMap::new();
    for _ in 0..2 {
        let (host, pem) = follower.next_issued().await;
        assert_eq!(is_rsa(&pem), host == rsa);
        assert_ne!(first[&host], pem);
        second.insert(host, pem);
    }
    let status = follower.until_state(&rsa, HostState::Issued).await;
    assert_eq!(status.failures, 0);
    let status = follower.until_state(HOST, HostState::Issued).await;
    assert_eq!(status.failures, 0);
    drop(follower);
    for name in [HOST, &rsa] {
        let live = ca_folder(&state).join("live").join(name);
        let chain = fs::read_to_string(live.join("fullchain.pem")).unwrap();
        assert!(second[name].starts_with(chain.lines().next().unwrap()), "{name}");
    }
    // A restart orders nothing.
    let mut follower = start_with(&pebble, settings).await;
    follower.want(&[HOST]);
    let mut stored = BTreeMap::new();
    for _ in 0..2 {
        stored.extend([follower.next_issued().await]);
    }
    assert_eq!(stored, second);
    follower.until_state(&rsa, HostState::Issued).await;
    assert_eq!(follower.status().counters.orders, 0);
}

#[tokio::test]
async fn operator_forces_a_renewal_that_names_its_predecessor() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    let (_, first) = follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    follower.renew(HOST).await;
    let (_, second) = follower.next_issued().await;
    assert_ne!(key_of(&first), key_of(&second));
    let replaced = chain::parse_leaf(&first).unwrap().issued.ari_id.unwrap();
    // pebble refuses an order that names a certificate which another order replaced.
    let status = follower.until_state(HOST, HostState::Issued).await;
    assert_eq!(status.failures, 0);
    let issued = chain::parse_leaf(&second).unwrap().issued.ari_id.unwrap();
    assert_ne!(issued, replaced);
}

#[tokio::test]
async fn window_of_the_ca_renews_at_once() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    let (_, first) = follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    drop(follower);

    let window = json!({ "suggestedWindow": {
        "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z" } });
    let leaf = first.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    let body = json!({ "certificate": leaf, "ariResponse": window.to_string() });
    pebble.manage("set-renewal-info/", &body);
    edit_ledger(&state, |ledger| ledger["hosts"][HOST]["ask_window_at"] = 0.into());
    follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    assert_eq!(follower.next_issued().await.1, first);
    let (_, second) = follower.next_issued().await;
    assert_ne!(first, second);
    follower.until_state(HOST, HostState::Issued).await;
    assert_eq!(follower.status().counters.orders, 1);
}

#[tokio::test]
async fn failing_challenge_waits_and_then_tries_staging() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let Some(staging) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut settings = pebble.settings(&state);
    settings.staging = Some(staging.url().parse().unwrap());
    // Both CAs of the test have the same issuer's name, but not the same key.
    let roots =
        [pebble.path("ca.pem"), staging.path("ca.pem")].map(|p| fs::read_to_string(p).unwrap());
    fs::write(state.path().join("roots.pem"), roots.concat()).unwrap();
    settings.ca_file = Some(state.path().join("roots.pem"));

    let follower = Follower::start(settings.clone(), pebble.http_port, Serve::Nothing).await;
    follower.want(&[HOST]);
    let status = follower.until_state(HOST, HostState::Failed).await;
    let failure = status.last_failure.clone().unwrap();
    assert_eq!((failure.kind, failure.staging), (FailureKind::Unauthorized, false));
    assert!(status.staging && status.next_order.unwrap() >= failure.at + 54, "{status:?}");
    drop(follower);

    // A restart does not end the pause.
    let follower = Follower::start(settings.clone(), pebble.http_port, Serve::Nothing).await;
    follower.want(&[HOST]);
    let again = follower.until_state(HOST, HostState::Failed).await;
    assert_eq!((again.next_order, again.failures), (status.next_order, 1));
    drop(follower);

    // The staging CA asks for the token at another port, where none is served.
    edit_ledger(&state, |ledger| ledger["hosts"][HOST]["next_try"] = 0.into());
    let follower = Follower::start(settings.clone(), staging.http_port, Serve::Nothing).await;
    follower.want(&[HOST]);
    let what = "the second try fails";
    let status = follower.until_host(HOST, what, |status| status.failures == 2).await;
    assert!(status.last_failure.unwrap().staging);
    assert_eq!(follower.status().counters.orders, 0);
    drop(follower);

    // Staging succeeds, and production is tried, which expects the token at its own port.
    edit_ledger(&state, |ledger| ledger["hosts"][HOST]["next_try"] = 0.into());
    let follower = Follower::start(settings, staging.http_port, Serve::All).await;
    follower.want(&[HOST]);
    let status = follower.until_host(HOST, "production fails", |status| status.failures == 3).await;
    assert!(!status.last_failure.unwrap().staging);
    let counters = follower.status().counters.clone();
    assert_eq!((counters.staging_orders, counters.orders, counters.issued), (1, 1, 0));
}

#[tokio::test]
async fn account_that_the_ca_lost_is_registered_again() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    drop(follower);

    let account = ca_folder(&state).join("account.json");
    let text = fs::read_to_string(&account).unwrap();
    fs::write(&account, text.replace("/my-account/", "/my-account/0")).unwrap();
    follower = start(&pebble, &state).await;
    follower.want(&[HOST, "b.example.com"]);
    follower.next_issued().await;
    follower.until_state("b.example.com", HostState::Paused).await;
    let kinds: Vec<_> = follower.status().counters.failures.keys().copied().collect();
    assert_eq!(kinds, [FailureKind::UnknownAccount]);
    drop(follower);

    edit_ledger(&state, |ledger| ledger["pause"] = Value::Null);
    follower = start(&pebble, &state).await;
    follower.want(&[HOST, "b.example.com"]);
    follower.next_issued().await;
    assert_eq!(follower.next_issued().await.0, "b.example.com");
}

#[tokio::test]
async fn refused_name_never_reaches_the_ca() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let follower = start(&pebble, &state).await;
    follower.want(&["*.example.com", "a_b.example.com", "10.0.0.1"]);
    for name in ["*.example.com", "a_b.example.com", "10.0.0.1"] {
        let status = follower.until_state(name, HostState::Refused).await;
        assert!(status.refusal.is_some());
        assert!(follower.status().hosts.contains_key(&host(name)));
    }
    assert_eq!(follower.status().account, None);
}

#[tokio::test]
async fn state_that_cannot_be_written_pauses_orders() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    fs::write(state.path().join("acme"), "a file").unwrap();
    let follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    let paused = |status: &docker_glue::sources::acme::AcmeStatus| {
        status.pause.as_ref().is_some_and(|pause| pause.kind == FailureKind::Storage)
    };
    let status = follower.until_status("storage pauses orders", paused).await;
    assert_eq!(status.counters.orders, 0);
}

#[tokio::test]
async fn token_that_haproxy_refuses_fails_the_order() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let follower = Follower::start(pebble.settings(&state), pebble.http_port, Serve::Refuse).await;
    follower.want(&[HOST]);
    let failure = follower.until_state(HOST, HostState::Failed).await.last_failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Challenge);
    assert_eq!(failure.text, "HAProxy is down");
    common::wait_until("the token is withdrawn", async || {
        follower.tokens.lock().unwrap().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn order_killed_in_its_challenge_continues() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let follower = Follower::start(pebble.settings(&state), pebble.http_port, Serve::Hang).await;
    follower.want(&[HOST]);
    // A kill before the rename of the staged file loses the order's URL, and the order counts as interrupted.
    common::wait_until("the order is stored", async || {
        let files = find_text(state.path(), "/my-order/");
        files.iter().any(|file| !file.to_string_lossy().ends_with(".docker-glue")).then_some(())
    })
    .await;
    drop(follower);
    let mut follower = start(&pebble, &state).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    assert_eq!(follower.until_state(HOST, HostState::Issued).await.failures, 0);
    assert!(!pebble.log().contains("There are now 2 orders in the db"), "ordered twice");
    assert!(find_text(state.path(), "/my-order/").is_empty(), "the order is still stored");
}
