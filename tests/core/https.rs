//! HTTPS over time: who decides the terms of a host, and which protocol a port has.

use crate::common::story;
use docker_glue::{
    model::certificate::{Certificate, CertificateIndex},
    report::{
        StateSnapshot, certificates::CertificateList, offline::offline_snapshot, status::Status,
        text_report,
    },
    routing::decide::{DecideState, Decision, decide},
    sources::acme::{
        AcmeStatus, HostStatus, SharedStatus, decide::HostState, error::FailureKind,
        ledger::Failure, shared::Leader,
    },
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Decides for one world after the other, a second apart. Returns the last decision.
fn decide_in_turn(stories: &[&str]) -> Decision {
    decide_at(&(0..).zip(stories.iter().copied()).collect::<Vec<_>>())
}

/// Decides for worlds at these seconds. Returns the last decision.
fn decide_at(stories: &[(u64, &str)]) -> Decision {
    let (now, rules) = (Instant::now(), story::default_rules());
    let mut state = DecideState::default();
    let mut last = None;
    for &(second, text) in stories {
        let world = story::parse_world(text);
        let decided = decide(&world, state, now + Duration::from_secs(second), &rules);
        state = decided.memory.clone();
        last = Some(decided);
    }
    last.expect("there is a world")
}

/// Returns each route with its containers and terms, then the problems.
fn describe(decided: &Decision) -> Vec<String> {
    let routes = decided.routes.0.iter().map(|(key, route)| {
        let names: Vec<_> =
            route.endpoints.iter().map(|endpoint| endpoint.container.name()).collect();
        let terms = route.terms.iter().map(|value| format!(" {}={value}", value.option()));
        format!("{key} {}{}", names.join("+"), terms.collect::<String>())
    });
    routes.chain(decided.problems.iter().map(ToString::to_string)).collect()
}

const OLD: &str = "old 172.17.0.2 glue_http_80_host=secure.test glue_http_80_tls=only \
                   glue_http_80_tls_policy=old";
const NEW: &str = "new 172.17.0.3 glue_http_80_host=secure.test glue_http_80_prefix=/new \
                   glue_http_80_tls=only glue_http_80_tls_policy=modern";
const SILENT: &str = "silent 172.17.0.4 glue_http_80_host=secure.test glue_http_80_prefix=/silent \
                      glue_http_80_tls=only";

#[test]
fn terms_of_host_are_those_of_oldest_container_that_has_any() {
    let conflict = "container new (01c0ffee0000): container old has set a different tls_policy for \
                    the HTTPS host secure.test; this container waits until that one is removed or \
                    the options are equal";
    for (stories, expected) in [
        (
            &[[OLD, NEW, SILENT].join("\n")][..],
            &[
                "https://secure.test:443/ old tls_policy=old",
                "https://secure.test:443/silent/ silent tls_policy=old",
                conflict,
            ][..],
        ),
        // One that has no terms does not decide, even if it is older.
        (
            &[[SILENT, NEW].join("\n")][..],
            &[
                "https://secure.test:443/new/ new tls_policy=modern",
                "https://secure.test:443/silent/ silent tls_policy=modern",
            ][..],
        ),
        // While its route is held, another container does not change the terms.
        (
            &[[OLD, NEW].join("\n"), NEW.to_owned()][..],
            &["https://secure.test:443/  tls_policy=old", conflict][..],
        ),
    ] {
        let stories: Vec<_> = stories.iter().map(String::as_str).collect();
        let actual = describe(&decide_in_turn(&stories));
        let actual: Vec<_> = actual.iter().map(|text| without_ids(text)).collect();
        let expected: Vec<_> = expected.iter().map(|text| without_ids(text)).collect();
        assert_eq!(actual, expected, "{stories:#?}");
    }
}

/// Ids depend on the line of a container.
fn without_ids(text: &str) -> String {
    match (text.find(" ("), text.find("): ")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &text[..from], &text[to + 1..]),
        _ => text.to_owned(),
    }
}

const PASS: &str = "pass 172.17.0.5 glue_http_8443_host=secure.test glue_http_8443_tls=pass";

#[test]
fn host_is_decrypted_or_passed_through_as_oldest_container_says() {
    let both = |first: &str, second: &str| [first, second].join("\n");
    let conflict = |waiting: &str, with: &str| {
        format!(
            "container {waiting}: container {with} has set a different tls for the HTTPS host \
             secure.test; this container waits until that one is removed or the options are equal"
        )
    };
    let decrypted = "https://secure.test:443/silent/ silent".to_owned();
    let passed = "tls://secure.test:443 pass".to_owned();
    for (stories, expected) in [
        (vec![(0, both(SILENT, PASS))], vec![decrypted.clone(), conflict("pass", "silent")]),
        (vec![(0, both(PASS, SILENT))], vec![passed.clone(), conflict("silent", "pass")]),
        // The route of the one that is gone is held for a minute.
        (
            vec![(0, both(SILENT, PASS)), (1, PASS.to_owned()), (60, PASS.to_owned())],
            vec!["https://secure.test:443/silent/ ".to_owned(), conflict("pass", "silent")],
        ),
        (
            vec![(0, both(SILENT, PASS)), (1, PASS.to_owned()), (61, PASS.to_owned())],
            vec![passed.clone()],
        ),
        (
            vec![(0, both(PASS, SILENT)), (1, SILENT.to_owned()), (61, SILENT.to_owned())],
            vec![decrypted.clone()],
        ),
    ] {
        let stories: Vec<_> = stories.iter().map(|(at, text)| (*at, text.as_str())).collect();
        let actual = describe(&decide_at(&stories));
        let actual: Vec<_> = actual.iter().map(|text| without_ids(text)).collect();
        let is_about_terms = |text: &&String| !text.contains("a hint");
        let actual: Vec<_> = actual.iter().filter(is_about_terms).collect();
        assert_eq!(actual, expected.iter().collect::<Vec<_>>(), "{stories:#?}");
    }
}

#[test]
fn terms_of_host_end_with_the_hold_of_its_routes() {
    let (both, at) = ([OLD, NEW].join("\n"), |second| (second, NEW));
    let decided = decide_at(&[(0, &both), at(1), at(61)]);
    assert_eq!(describe(&decided), ["https://secure.test:443/new/ new tls_policy=modern"]);
}

#[test]
fn port_has_one_protocol_and_keeps_it() {
    let plain = "plain 172.17.0.2 glue_http_443_host=plain.test";
    let https = "https 172.17.0.3 glue_http_80_host=secure.test glue_http_80_tls=only";
    let used = |taken: &str, by: &str| {
        format!("listener {taken} :443: its port is used by listener {by} :443")
    };
    for (stories, expected) in [
        (
            vec![[plain, https].join("\n")],
            vec!["plain.test:443/ plain".to_owned(), used("https", "http")],
        ),
        (
            vec![[https, plain].join("\n")],
            vec!["https://secure.test:443/ https".to_owned(), used("http", "https")],
        ),
        // The older container comes later.
        (
            vec![format!("\n{https}"), [plain, https].join("\n")],
            vec!["https://secure.test:443/ https".to_owned(), used("http", "https")],
        ),
    ] {
        let stories: Vec<_> = stories.iter().map(String::as_str).collect();
        let actual = describe(&decide_in_turn(&stories));
        let is_there = |start: &String| actual.iter().any(|text| text.starts_with(start.as_str()));
        let routes = actual.iter().filter(|text| !text.contains(": ")).count();
        assert!(
            expected.iter().all(is_there) && routes == 1,
            "{actual:#?}
{expected:#?}"
        );
    }
}

#[test]
fn host_without_certificate_is_reported_once() {
    let decided = decide_in_turn(&[
        "a 172.17.0.2 glue_http_80_host=none.test glue_http_80_prefix=/a,/b glue_http_80_tls=on
         b 172.17.0.3 glue_http_80_host=secure.test glue_http_80_tls=on
         c 172.17.0.4 glue_http_80_host=any.shop.test glue_http_80_tls=on
         d 172.17.0.5 glue_http_80_host=secure.test glue_http_80_prefix=/d glue_http_80_tls=on glue_http_80_cert=other",
    ]);
    let problems: Vec<_> = decided.problems.iter().map(ToString::to_string).collect();
    let missing: Vec<_> = problems.iter().filter(|text| text.contains("no certificate")).collect();
    assert_eq!(missing.len(), 2, "{problems:#?}");
    assert!(missing[0].contains("none.test has no certificate (cert is auto)"), "{missing:?}");
    assert!(missing[1].contains("secure.test has no certificate (cert is other)"), "{missing:?}");
}

/// Returns the state after some containers were started, at a fixed moment.
fn snapshot_of(story: &str) -> StateSnapshot {
    let world = story::parse_world(story);
    let at = (Instant::now(), 1_000_000);
    offline_snapshot(world, story::default_rules(), None, None, Duration::from_secs(10), at)
}

fn order(state: HostState, error: Option<&str>) -> HostStatus {
    let failure = |text: &str| Failure {
        at: 990,
        kind: FailureKind::Dns,
        text: text.to_owned(),
        staging: false,
    };
    HostStatus {
        state,
        next_order: Some(1000 + 100),
        not_after: None,
        refusal: None,
        failures: u32::from(error.is_some()),
        last_failure: error.map(failure),
        staging: error.is_some(),
    }
}

/// Returns the state of the orders at a CA.
fn orders() -> AcmeStatus {
    let hosts = [
        ("new.test", HostState::Ordering, None),
        ("bad.test", HostState::Failed, Some("no valid A records found for bad.test")),
        ("x.test", HostState::Issued, None),
    ];
    let hosts = hosts.map(|(host, state, error)| (host.parse().unwrap(), order(state, error)));
    AcmeStatus {
        directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        account: Some("https://acme-v02.api.letsencrypt.org/acme/acct/7".to_owned()),
        hosts: hosts.into(),
        ..AcmeStatus::default()
    }
}

#[test]
fn certificate_list_shows_hosts_and_orders() {
    let hosts = ["secure.test", "a.shop.test", "*.shop.test", "new.test", "bad.test", "x.test"];
    let container = |(host, at): (&str, u8)| {
        format!("c{at} 172.17.0.{at} glue_http_80_host={host} glue_http_80_tls=only\n")
    };
    let story: String = hosts.into_iter().zip(2..).map(container).collect();
    let mut snapshot = snapshot_of(&story);
    let day = 24 * 60 * 60;
    let dated = |certificate: &Arc<Certificate>| {
        let (not_before, not_after) = (1000 - 29 * day, 1000 + 61 * day);
        Arc::new(Certificate { not_before, not_after, ..Certificate::clone(certificate) })
    };
    let certificates = snapshot.rules.certificates.iter().map(dated).collect();
    snapshot.rules.certificates = Arc::new(CertificateIndex::build(certificates, 1000));
    snapshot.orders = Some(Arc::new(orders()));
    let list = CertificateList::from_snapshot(&snapshot);
    assert!(!list.is_complete());
    let text = text_report::render_certificates(&list, None);
    insta::assert_snapshot!("certificates", anstream::adapter::strip_str(&text).to_string());
    let json = serde_json::to_string_pretty(&list).unwrap();
    assert_eq!(serde_json::from_str::<CertificateList>(&json).unwrap(), list);
    insta::assert_snapshot!("certificates.json", json);

    let leader = Leader { host: "web1".to_owned(), pid: 7, id: "0123456789abcdef".repeat(2) };
    for (is_leader, leader, expected) in [
        (true, Some(leader.clone()), "; this balancer orders certificates"),
        (
            false,
            Some(leader),
            "; certificates are ordered by the balancer at web1 (pid 7, id \
             0123456789abcdef0123456789abcdef)",
        ),
        (false, None, "; no balancer orders certificates at present"),
    ] {
        let shared = Some(SharedStatus { is_leader, leader });
        snapshot.orders = Some(Arc::new(AcmeStatus { shared, ..orders() }));
        let list = CertificateList::from_snapshot(&snapshot);
        let text = text_report::render_certificates(&list, None);
        assert!(text.trim_end().ends_with(expected), "{text}");
        let status = Status::from_snapshot(&snapshot, None);
        let text = text_report::render_status(&status, None);
        assert!(text.contains(&format!("Orders   {}", &expected[2..])), "{text}");
    }

    let empty = CertificateList::from_snapshot(&snapshot_of(""));
    assert!(empty.is_complete());
    let text = text_report::render_certificates(&empty, None);
    assert!(text.starts_with("no host is served over HTTPS"), "{text}");
}
