//! Two balancers with HAProxy that share a store, and pebble, which reaches only one of them.

use crate::{
    common::{
        self,
        balancer::{Balancer, BalancerPlan},
        certificates::whoami_outcome,
        wait_for,
    },
    pebble::{Options, Pebble},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

const HOST: &str = "a.example.com";

fn plan(pebble: &Pebble, store: &Path) -> Option<BalancerPlan> {
    let docker = common::find_docker()?;
    let ca_file = pebble.path("ca.pem");
    let plan = Balancer::plan(&docker).ports(&[80, 443]);
    let plan = plan.option(&["--acme", &pebble.url(), "--acme-ca-file", ca_file.to_str().unwrap()]);
    Some(plan.option(&["--acme-store", store.to_str().unwrap()]))
}

fn run(balancer: &Balancer, words: &[&str]) -> (Option<i32>, String) {
    let output = balancer.command().args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn certificates(balancer: &Balancer) -> Option<Value> {
    serde_json::from_str(&run(balancer, &["certificates", "--json"]).1).ok()
}

/// Returns the digest of the certificate that the host has.
fn digest(balancer: &Balancer) -> Option<String> {
    let list = certificates(balancer)?;
    let found = &list["hosts"][0]["certificates"][0]["digest"];
    found.as_str().map(str::to_owned)
}

fn is_leader(balancer: &Balancer) -> Option<bool> {
    certificates(balancer)?["acme"]["shared"]["is_leader"].as_bool()
}

/// Returns the answer of the host's container over HTTPS. The certificate is not checked.
fn https_answer(balancer: &Balancer) -> Option<String> {
    let target = format!("{HOST}:443:127.0.0.1:{}", balancer.bound_port(443));
    let url = format!("https://{HOST}/x");
    let options = ["--silent", "--fail", "--insecure", "--max-time", "20"];
    let output =
        Command::new("curl").args(options).args(["--connect-to", &target, &url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| whoami_outcome(&text))
}

#[test]
fn host_is_proven_by_another_balancer_and_served_by_both() {
    for (challenge, port) in [("http", 80), ("tls-alpn", 443)] {
        let Some(pebble) = Pebble::start(Options::default()) else { return };
        let store = tempfile::tempdir().unwrap();
        let (Some(first), Some(second)) =
            (plan(&pebble, store.path()), plan(&pebble, store.path()))
        else {
            return;
        };
        let challenge = ["--acme-challenge", challenge];
        let reached = if port == 80 { pebble.http_port } else { pebble.tls_port };
        let (first, second) = (first.option(&challenge), second.option(&challenge));
        let second = second.bind(port, reached);
        let labels = format!("glue_http_80_host={HOST} glue_http_80_tls=on");
        let first_run = first.run("first").labels(&labels);
        let _second_container = second.run("second").labels(&labels).start();
        let mut first = first.start().wait_until_started();
        wait_for("the first one orders", || is_leader(&first).filter(|leads| *leads));
        let second = second.start().wait_until_started();
        wait_for("the second one knows", || is_leader(&second).filter(|leads| !leads));
        let _first_container = first_run.start();
        for (balancer, name) in [(&first, "first"), (&second, "second")] {
            wait_for(&format!("a certificate at the {name} one"), || {
                (https_answer(balancer)? == format!("{name} saw /x")).then_some(())
            });
        }
        let issued = digest(&first);
        assert_eq!(digest(&second), issued);
        let (_, text) = run(&second, &["certificates"]);
        assert!(text.contains("certificates are ordered by the balancer at "), "{text}");
        let (_, text) = run(&first, &["status"]);
        assert!(text.contains("this balancer orders certificates"), "{text}");

        // The one that does not order passes a renewal on.
        let (status, text) = run(&second, &["certificate", "renew", HOST]);
        assert_eq!(status, Some(0), "{text}");
        let renewed = wait_for("another certificate", || {
            digest(&second).filter(|present| Some(present) != issued.as_ref())
        });
        wait_for("it at the first one", || (digest(&first)? == renewed).then_some(()));
        let (status, text) = run(&second, &["certificate", "replace-account-key"]);
        assert_eq!(status, Some(1), "{text}");
        assert!(text.contains("run the command there"), "{text}");

        // After a crash of the one that orders, the other one does.
        first.stop_with(Signal::SIGKILL);
        // It waits 15 s for a sign of the first one, which is half of the usual deadline.
        let end = Instant::now() + 4 * common::DEADLINE;
        while is_leader(&second) != Some(true) {
            assert!(Instant::now() < end, "waited in vain: the second one orders");
            thread::sleep(Duration::from_millis(100));
        }
        let (status, text) = run(&second, &["certificate", "renew", HOST]);
        assert_eq!(status, Some(0), "{text}");
        wait_for("a third certificate", || (digest(&second)? != renewed).then_some(()));
        first.start_again();
        wait_for("it at the first one", || (digest(&first)? == digest(&second)?).then_some(()));
        for balancer in [&first, &second] {
            let log = balancer.log();
            assert!(!log.contains("reloaded HAProxy"), "{log}");
        }
    }
}
