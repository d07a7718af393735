//! Faults of a CA, which pebble does not have.

use crate::{
    common::{self, balancer::free_port},
    fake::{Fake, Fault, problem},
    follower::{Follower, Serve},
};
use docker_glue::sources::acme::{
    AcmeSettings, decide::HostState, error::FailureKind, status::HostStatus,
};
use serde_json::Value;
use std::{fs, time::Duration};
use tempfile::TempDir;

const HOST: &str = "a.example.com";
const OTHER: &str = "b.example.org";

async fn start(settings: AcmeSettings) -> Follower {
    Follower::start(settings, free_port(), Serve::All).await
}

/// Lets all hosts and the account try again at once.
fn end_pauses(state: &TempDir) {
    let path = state.path().join("acme/ledger.json");
    let mut ledger: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    ledger["pause"] = Value::Null;
    for record in ledger["hosts"].as_object_mut().unwrap().values_mut() {
        record["next_try"] = 0.into();
        record["ask_window_at"] = 0.into();
    }
    fs::write(path, ledger.to_string()).unwrap();
}

async fn until_failed(follower: &Follower) -> HostStatus {
    follower.until_host(HOST, "the host fails", |status| status.failures == 1).await
}

fn limited(detail: &str) -> Fault {
    let headers = vec![("retry-after", "7200".to_owned())];
    Fault::Answer("429 Too Many Requests", headers, problem("rateLimited", detail))
}

#[tokio::test]
async fn rate_limit_of_account_pauses_all_orders() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.fail("/order", limited("too many new orders (300) from this account"), 1);
    let follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    let paused = |status: &docker_glue::sources::acme::AcmeStatus| status.pause.is_some();
    let pause = follower.until_status("orders pause", paused).await.pause.clone().unwrap();
    assert_eq!(pause.kind, FailureKind::RateLimited);
    drop(follower);

    let follower = start(fake.settings(&state)).await;
    follower.want(&[HOST, OTHER]);
    let status = follower.until_state(OTHER, HostState::Paused).await;
    assert_eq!(status.next_order, Some(pause.until));
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    assert!(now + 7000 < pause.until, "{pause:?}");
    assert_eq!((fake.requests("/order"), fake.orders().len()), (1, 0));
}

#[tokio::test]
async fn rate_limit_of_domain_pauses_its_host_only() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    let detail = "too many certificates (50) already issued for \"example.com\" in the last 168h";
    fake.fail("/order", limited(detail), 1);
    let mut follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    let failed = follower.until_state(HOST, HostState::Failed).await;
    let failure = failed.last_failure.unwrap();
    assert_eq!(failure.kind, FailureKind::RateLimited);
    assert_eq!(failed.next_order, Some(failure.at + 7200));
    follower.want(&[HOST, OTHER]);
    assert_eq!(follower.next_issued().await.0, OTHER);
    follower.until_state(HOST, HostState::Failed).await;
}

/// Faults of an answer, and the kind of the failure that each causes.
fn answers() -> Vec<(&'static str, Fault, FailureKind)> {
    let answer = |status, body: &str| Fault::Answer(status, Vec::new(), body.to_owned());
    let internal = "500 Internal Server Error";
    vec![
        ("/order", answer(internal, "<html>oops</html>"), FailureKind::Server),
        ("/order", answer(internal, &problem("serverInternal", "oops")), FailureKind::Server),
        ("/order", answer("400 Bad Request", ""), FailureKind::BadResponse),
        ("/order", answer("403 Forbidden", &problem("caa", "no")), FailureKind::Caa),
        (
            "/order",
            answer("400 Bad Request", &problem("rejectedIdentifier", "no")),
            FailureKind::RefusedName,
        ),
        ("/order", answer("200 OK", "null"), FailureKind::BadResponse),
        ("/order", Fault::HalfBody, FailureKind::BadResponse),
        ("/order", Fault::CutBody, FailureKind::BadResponse),
        ("/finalize/1", answer(internal, ""), FailureKind::Server),
        ("/finalize/1", Fault::CutBody, FailureKind::BadResponse),
        ("/certificate/1", Fault::HalfBody, FailureKind::BadResponse),
        ("/certificate/1", Fault::CutBody, FailureKind::BadResponse),
        ("/certificate/1", answer("200 OK", "not a certificate"), FailureKind::BadResponse),
    ]
}

#[tokio::test]
async fn faulty_answer_is_a_failure_and_the_next_try_succeeds() {
    for (path, fault, kind) in answers() {
        let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.fail(path, fault.clone(), 1);
        let follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        let failure = until_failed(&follower).await.last_failure.unwrap();
        assert_eq!(failure.kind, kind, "{path} {fault:?}: {failure:?}");
        drop(follower);

        end_pauses(&state);
        let mut follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        follower.next_issued().await;
        let continued = path != "/order";
        assert!(!continued || fake.orders().len() == 1, "{path} {fault:?} orders twice");
    }
}

#[tokio::test]
async fn unavailable_ca_pauses_orders_until_its_retry_after() {
    for path in ["/dir", "/account"] {
        let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
        let headers = vec![("retry-after", "7200".to_owned())];
        fake.fail(path, Fault::Answer("503 Service Unavailable", headers, String::new()), 1);
        let follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        let status = follower.until_state(HOST, HostState::Paused).await;
        let pause = follower.status().pause.clone().unwrap();
        assert_eq!((pause.kind, status.next_order), (FailureKind::Server, Some(pause.until)));
        assert_eq!(fake.orders().len(), 0);
    }
}

#[tokio::test]
async fn ca_that_is_down_pauses_orders() {
    let state = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}/dir", free_port()).parse().unwrap();
    let follower = start(AcmeSettings::new(url, state.path().join("acme"))).await;
    follower.want(&[HOST]);
    follower.until_state(HOST, HostState::Paused).await;
    assert_eq!(follower.status().pause.as_ref().unwrap().kind, FailureKind::Unreachable);
}

#[tokio::test]
async fn slow_order_times_out_and_continues_later() {
    for path in ["/finalize/1", "/certificate/1"] {
        let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.fail(path, Fault::Hang, usize::MAX);
        let mut settings = fake.settings(&state);
        settings.order_timeout = Duration::from_secs(1);
        let follower = start(settings).await;
        follower.want(&[HOST]);
        let failure = until_failed(&follower).await.last_failure.unwrap();
        assert_eq!(failure.kind, FailureKind::Timeout);
        drop(follower);

        fake.repair(path);
        end_pauses(&state);
        let mut follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        follower.next_issued().await;
        assert_eq!(fake.orders().len(), 1, "{path}");
    }
}

#[tokio::test]
async fn killed_order_continues_at_the_next_start() {
    for path in ["/finalize/1", "/certificate/1"] {
        let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.fail(path, Fault::Hang, usize::MAX);
        let follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        common::wait_until("the request arrives", async || {
            (fake.requests(path) != 0).then_some(())
        })
        .await;
        drop(follower);

        fake.repair(path);
        let mut follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        follower.next_issued().await;
        assert_eq!(fake.orders().len(), 1, "{path}");
        assert_eq!(follower.until_state(HOST, HostState::Issued).await.failures, 0);
    }
}

#[tokio::test]
async fn order_killed_before_the_ca_answers_counts_as_failure() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.fail("/order", Fault::Hang, usize::MAX);
    let follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    common::wait_until("the request arrives", async || {
        (fake.requests("/order") != 0).then_some(())
    })
    .await;
    drop(follower);
    for _ in 0..20 {
        let follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        let status = follower.until_state(HOST, HostState::Failed).await;
        assert_eq!(status.last_failure.unwrap().kind, FailureKind::Interrupted);
    }
    assert_eq!(fake.requests("/order"), 1);
}

#[tokio::test]
async fn wrong_clock_pauses_orders() {
    for (offset, text) in [(86_400, "behind"), (-86_400, "ahead of")] {
        let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.set_clock(offset);
        let follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        follower.until_state(HOST, HostState::Paused).await;
        let pause = follower.status().pause.clone().unwrap();
        assert_eq!(pause.kind, FailureKind::Clock);
        assert!(pause.text.contains(text), "{pause:?}");
        assert_eq!(fake.orders().len(), 0);
    }
}

#[tokio::test]
async fn small_difference_of_clocks_is_shown_only() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.set_clock(200);
    let mut follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    let skew = follower.until_state(HOST, HostState::Issued).await;
    assert_eq!(skew.failures, 0);
    let skew = follower.status().clock_skew.unwrap();
    assert!((195..=205).contains(&skew), "{skew}");
}

#[tokio::test]
async fn window_in_the_past_renews_once_and_names_the_predecessor() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.set_window("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    let mut follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    drop(follower);
    end_pauses(&state);
    let mut follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    // The window is asked for again, and the answer renews nothing.
    let is_issued = |status: &HostStatus| status.state == HostState::Issued;
    follower.until_host(HOST, "the window is asked for", is_issued).await;
    common::wait_until("the ledger has the window", async || {
        let ledger = fs::read_to_string(state.path().join("acme/ledger.json")).unwrap();
        let ledger: Value = serde_json::from_str(&ledger).unwrap();
        (ledger["hosts"][HOST]["ask_window_at"] != 0).then_some(())
    })
    .await;
    let orders = fake.orders();
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert_eq!(orders[0].get("replaces"), None);
    assert!(orders[1]["replaces"].as_str().is_some_and(|id| id.contains('.')), "{orders:?}");
}

#[tokio::test]
async fn predecessor_that_is_already_replaced_is_left_out() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    let mut follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    follower.next_issued().await;
    follower.until_state(HOST, HostState::Issued).await;
    let body = problem("alreadyReplaced", "already replaced");
    fake.fail("/order", Fault::Answer("409 Conflict", Vec::new(), body), 1);
    follower.renew(HOST).await;
    follower.next_issued().await;
    let orders = fake.orders();
    assert_eq!((orders.len(), orders[1].get("replaces")), (2, None));
    assert_eq!(follower.until_state(HOST, HostState::Issued).await.failures, 0);
}

#[tokio::test]
async fn certificate_for_another_key_is_refused() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    fake.use_wrong_key();
    let follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    let failure = until_failed(&follower).await.last_failure.unwrap();
    assert_eq!(failure.kind, FailureKind::BadCertificate);
    assert!(!follower.has_issued());
}

#[tokio::test]
async fn token_with_illegal_characters_is_refused() {
    for token in ["a b", "a\nb", "", "../x", "a%2f"] {
        let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
        fake.require_token(token);
        let follower = start(fake.settings(&state)).await;
        follower.want(&[HOST]);
        let failure = until_failed(&follower).await.last_failure.unwrap();
        assert_eq!(failure.kind, FailureKind::BadResponse);
        assert!(follower.tokens.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn text_of_the_ca_is_escaped() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    let body = problem("caa", "no\n\u{1b}[31mred");
    fake.fail("/order", Fault::Answer("403 Forbidden", Vec::new(), body), 1);
    let follower = start(fake.settings(&state)).await;
    follower.want(&[HOST]);
    let failure = until_failed(&follower).await.last_failure.unwrap();
    assert_eq!(failure.text, "no\\n\\u{1b}[31mred");
}

#[tokio::test]
async fn certificate_that_cannot_be_stored_is_used_and_no_other_is_ordered() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().unwrap());
    let settings = fake.settings(&state);
    let ca = settings.folder.join(settings.directory.folder());
    fs::create_dir_all(&ca).unwrap();
    fs::write(ca.join("archive"), "a file").unwrap();
    let mut follower = start(settings.clone()).await;
    follower.want(&[HOST]);
    let (_, pem) = follower.next_issued().await;
    follower.want(&[HOST, OTHER]);
    let paused = |status: &docker_glue::sources::acme::AcmeStatus| {
        status.pause.as_ref().is_some_and(|pause| pause.kind == FailureKind::Storage)
    };
    follower.until_status("storage pauses orders", paused).await;
    assert_eq!(fake.orders().len(), 1);

    fs::remove_file(ca.join("archive")).unwrap();
    follower.want(&[HOST]);
    follower.until_status("the certificate is stored", |status| status.pause.is_none()).await;
    drop(follower);
    let mut follower = start(settings).await;
    assert_eq!(follower.next_issued().await.1, pem);
    assert_eq!(fake.orders().len(), 1);
}
