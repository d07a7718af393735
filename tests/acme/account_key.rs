//! The replacement of the account's key, also one that is interrupted.

use crate::{
    fake::{Fake, Fault, problem},
    follower::{Follower, Serve},
    pebble::{Options, Pebble},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use docker_glue::sources::acme::{AcmeSettings, decide::HostState, status::KeyReplacement};
use rcgen::KeyPair;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};
use tempfile::TempDir;

const HOST: &str = "a.example.com";

/// Returns the path of a file of the CA's folder.
fn path(state: &TempDir, name: &str) -> PathBuf {
    let folders = fs::read_dir(state.path().join("acme")).unwrap();
    let mut folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.next().unwrap().join(name)
}

fn read_account(state: &TempDir) -> Value {
    serde_json::from_str(&fs::read_to_string(path(state, "account.json")).unwrap()).unwrap()
}

async fn start(settings: &AcmeSettings, pebble: &Pebble) -> Follower {
    Follower::start(settings.clone(), pebble.http_port, Serve::All).await
}

async fn replace_key(follower: &Follower) -> KeyReplacement {
    follower.replace_account_key().await;
    let done =
        follower.until_status("the key is replaced", |status| status.key_replacement.is_some());
    done.await.key_replacement.clone().unwrap()
}

#[tokio::test]
async fn key_is_replaced_and_orders_continue_with_the_account() {
    let options = Options { nonce_reject: 30, ..Options::default() };
    let Some(pebble) = Pebble::start(options) else { return };
    let state = tempfile::tempdir().unwrap();
    let settings = pebble.settings(&state);
    let mut follower = start(&settings, &pebble).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    let first = read_account(&state);

    assert_eq!(replace_key(&follower).await.failure, None);
    let second = read_account(&state);
    assert_ne!(first["key_pkcs8"], second["key_pkcs8"]);
    assert_eq!(first["id"], second["id"]);
    assert!(!path(&state, "account.json.next").exists());
    let mode = fs::metadata(path(&state, "account.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = second["key_pkcs8"].as_str().unwrap();
    assert!(!format!("{:?}", follower.status()).contains(key));

    follower.renew(HOST).await;
    follower.next_issued().await;
    assert_eq!(follower.until_state(HOST, HostState::Issued).await.failures, 0);
    drop(follower);
    follower = start(&settings, &pebble).await;
    follower.want(&[HOST, "b.example.com"]);
    follower.next_issued().await;
    assert_eq!(follower.next_issued().await.0, "b.example.com");
    assert_eq!(follower.status().account.as_deref(), first["id"].as_str());
}

#[tokio::test]
async fn request_during_orders_waits_for_them() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let mut follower = start(&pebble.settings(&state), &pebble).await;
    let hosts = ["a.example.com", "b.example.com", "c.example.com"];
    follower.want(&hosts);
    follower.until_status("an order runs", |status| 0 < status.counters.orders).await;
    assert_eq!(replace_key(&follower).await.failure, None);
    for _ in hosts {
        follower.next_issued().await;
    }
    assert!(follower.status().counters.failures.is_empty(), "{:?}", follower.status().counters);
}

#[tokio::test]
async fn interrupted_replacement_uses_the_key_that_the_ca_has() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let state = tempfile::tempdir().unwrap();
    let settings = pebble.settings(&state);
    let mut follower = start(&settings, &pebble).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    let first = read_account(&state);
    assert_eq!(replace_key(&follower).await.failure, None);
    let second = read_account(&state);
    drop(follower);

    let unknown = KeyPair::generate().unwrap().serialize_der();
    let mut third = second.clone();
    third["key_pkcs8"] = BASE64_URL_SAFE_NO_PAD.encode(unknown).into();
    // The program ended after the CA replaced the key, and before.
    for (current, next, host) in
        [(&first, &second, "b.example.com"), (&second, &third, "c.example.com")]
    {
        fs::write(path(&state, "account.json"), current.to_string()).unwrap();
        fs::write(path(&state, "account.json.next"), next.to_string()).unwrap();
        follower = start(&settings, &pebble).await;
        follower.want(&[HOST, host]);
        let issued = async |follower: &mut Follower| follower.next_issued().await.0;
        while issued(&mut follower).await != host {}
        assert_eq!(read_account(&state), second, "{host}");
        assert!(!path(&state, "account.json.next").exists(), "{host}");
        assert_eq!(follower.status().account.as_deref(), first["id"].as_str());
        drop(follower);
    }
}

#[tokio::test]
async fn refusal_keeps_the_key_and_an_unknown_result_keeps_both() {
    let refused = Fault::Answer("400 Bad Request", Vec::new(), problem("malformed", "not today"));
    let failed = Fault::Answer("503 Service Unavailable", Vec::new(), String::new());
    for (fault, text, keeps_next) in [(refused, "not today", false), (failed, "503", true)] {
        let fake = Fake::start().await;
        let state = tempfile::tempdir().unwrap();
        let settings = fake.settings(&state);
        let port = crate::common::balancer::free_port();
        let mut follower = Follower::start(settings, port, Serve::All).await;
        follower.want(&[HOST]);
        follower.next_issued().await;
        follower.until_state(HOST, HostState::Issued).await;
        let first = read_account(&state);
        fake.fail("/key-change", fault, 1);
        let failure = replace_key(&follower).await.failure.unwrap();
        assert!(failure.contains(text), "{failure}");
        assert_eq!(read_account(&state), first);
        assert_eq!(path(&state, "account.json.next").exists(), keeps_next, "{text}");
        // The next order connects again.
        follower.renew(HOST).await;
        follower.next_issued().await;
        assert!(!path(&state, "account.json.next").exists(), "{text}");
    }
}

#[tokio::test]
async fn ca_without_key_change_is_named() {
    let fake = Fake::start().await;
    let directory = fake.directory_without("keyChange");
    fake.fail("/dir", Fault::Answer("200 OK", Vec::new(), directory), 9);
    let state = tempfile::tempdir().unwrap();
    let port = crate::common::balancer::free_port();
    let follower = Follower::start(fake.settings(&state), port, Serve::All).await;
    let failure = replace_key(&follower).await.failure.unwrap();
    assert!(failure.contains("does not support the replacement of keys"), "{failure}");
    assert!(!path(&state, "account.json.next").exists());
}
