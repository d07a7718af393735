//! TLS that containers decrypt themselves, next to HTTPS on the same port.

use crate::{
    common::{
        self, Container, Run,
        balancer::{Balancer, BalancerPlan, free_port},
        tls_server::{Protocol, TestCa, start_server},
        wait_for,
    },
    https::{Site, assert_no_reload},
};
use docker_glue::report::explain::{Explanation, RequestOutcome};
use nix::sys::signal::Signal;
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Hosts with the outcome of a request over HTTPS. `DECRYPTED` has its certificate from docker-balancer, the others have
/// that of their server, which answers `PROTOCOL/SNI saw PATH`.
const EXPECTED: [(&str, &str); 6] = [
    ("https://pass.test/x", "http/1.1/pass.test saw /x"),
    ("https://a.wild.test/", "http/1.1/a.wild.test saw /"),
    // A wildcard is exactly one label.
    ("https://wild.test/", "refused"),
    ("https://a.b.wild.test/", "refused"),
    ("https://decrypted.test/y", "decrypted saw /y"),
    // An exact host has a higher priority than a wildcard.
    ("https://decrypted.wild.test/z", "exact saw /z"),
];

/// A site, and the CA of servers in containers, which clients trust as well.
fn site() -> (Site, TestCa) {
    let (site, ca) = (Site::new(), TestCa::new("containers"));
    fs::write(site.ca_file(), format!("{}{}", site.ca.pem(), ca.pem)).unwrap();
    site.issue("decrypted.pem", &["decrypted.test", "decrypted.wild.test"]);
    (site, ca)
}

/// A container on the host's network; a TLS server of this process has its port.
pub(crate) fn passed_run(run: Run, ca: &TestCa, certificate: &str, host: &str) -> Run {
    let port = start_server(Protocol::Https, &ca.issue(certificate));
    let run = run.option(&["--network", "host"]).env("WHOAMI_PORT", free_port());
    run.labels(&format!("glue_http_{port}_host={host} glue_http_{port}_tls=pass"))
}

fn decrypted_run(plan: &BalancerPlan) -> Run {
    plan.run("decrypted").labels("glue_http_80_host=decrypted.test glue_http_80_tls=on")
}

fn explain(balancer: &Balancer, url: &str) -> Explanation {
    let output = balancer.command().args(["explain", url, "--format", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

fn count_reloads(balancer: &Balancer) -> usize {
    balancer.log().matches("reloaded HAProxy").count()
}

#[test]
fn host_with_pass_is_decrypted_by_its_container() {
    let Some(docker) = common::find_docker() else { return };
    let (site, ca) = site();
    let plan = site.plan(Balancer::plan(&docker));
    let _decrypted = decrypted_run(&plan).start();
    let mut balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://decrypted.test/y", "decrypted saw /y");

    // The first such host on the port takes a reload, further ones do not.
    let pass = passed_run(balancer.run("pass"), &ca, "pass.test", "pass.test").start();
    site.wait_until(&balancer, "https://pass.test/x", "http/1.1/pass.test saw /x");
    balancer.wait_for_log(&["reloaded HAProxy", "passing TLS through begins on port 443"]);
    assert_eq!(count_reloads(&balancer), 1);
    let _wild = passed_run(balancer.run("wild"), &ca, "a.wild.test", "*.wild.test").start();
    site.wait_until(&balancer, "https://a.wild.test/", "http/1.1/a.wild.test saw /");
    let run =
        balancer.run("exact").labels("glue_http_80_host=decrypted.wild.test glue_http_80_tls=only");
    let _exact = run.start();
    site.wait_until(&balancer, "https://decrypted.wild.test/z", "exact saw /z");
    for (url, expected) in EXPECTED {
        assert_eq!(site.outcome(&balancer, url, &[]), expected, "{url}");
    }
    // A request over a connection for another host, as browsers send them if the certificate has both.
    let options = ["--header", "Host: pass.test"];
    assert_eq!(site.outcome(&balancer, "https://decrypted.test/", &options), "421");
    // Nothing is served in the clear.
    assert_eq!(site.outcome(&balancer, "http://pass.test/", &[]), "404");
    assert_eq!(count_reloads(&balancer), 1);

    for (url, outcome, why) in [
        ("https://pass.test/x", RequestOutcome::PassedThrough, "TLS is passed through to "),
        ("https://pass.test/../x", RequestOutcome::PassedThrough, "TLS is passed through to "),
        ("https://a.wild.test/", RequestOutcome::PassedThrough, "TLS is passed through to "),
        ("https://decrypted.test/y", RequestOutcome::Served, "served by "),
        ("https://wild.test/", RequestOutcome::TlsRefused, "there is no certificate"),
    ] {
        let explanation = explain(&balancer, url);
        assert_eq!(explanation.outcome, outcome, "{url}: {}", explanation.why);
        assert!(explanation.why.starts_with(why), "{url}: {}", explanation.why);
    }

    // The same for a new docker-balancer with the HAProxy that runs, and from the files in a new one.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        balancer.stop_with(signal);
        balancer.start_again();
        for (url, expected) in EXPECTED {
            site.wait_until(&balancer, url, expected);
        }
        assert_eq!(count_reloads(&balancer), 1, "{}", balancer.log());
    }
    drop(pass);
    wait_for("the container to be out", || {
        let outcome = explain(&balancer, "https://pass.test/").outcome;
        (outcome == RequestOutcome::Closed).then_some(())
    });
    assert_eq!(site.outcome(&balancer, "https://a.wild.test/", &[]), EXPECTED[1].1);
}

#[test]
fn prepared_port_passes_tls_without_reload() {
    let Some(docker) = common::find_docker() else { return };
    let (site, ca) = site();
    let plan = site.plan(Balancer::plan(&docker)).option(&["--passthrough"]);
    let _decrypted = decrypted_run(&plan).start();
    let balancer = plan.start().wait_until_started();
    let run = |name: &str| passed_run(balancer.run(name), &ca, "pass.test", "pass.test");
    let mut serving: Container = run("one").start();
    let url = "https://pass.test/";
    site.wait_until(&balancer, url, "http/1.1/pass.test saw /");

    // Deployments lose no connection.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut outcomes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                outcomes.push(site.outcome(&balancer, url, &[]));
            }
            outcomes
        });
        for name in ["two", "three", "four"] {
            let next = run(name).start();
            wait_for("the new container", || {
                let servers = explain(&balancer, url).servers;
                (servers.len() == 2).then_some(())
            });
            let old = std::mem::replace(&mut serving, next);
            // A connection that a killed container has accepted could not be sent to another one.
            old.docker(&["stop"]);
            drop(old);
            wait_for("the old container to be out", || {
                let servers = explain(&balancer, url).servers;
                (servers.len() == 1).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        let outcomes = client.join().unwrap();
        let lost = outcomes.iter().filter(|outcome| *outcome != "http/1.1/pass.test saw /");
        assert_eq!(lost.count(), 0, "{outcomes:?}");
    });
    assert_no_reload(&balancer);
}

#[test]
fn host_is_either_decrypted_or_passed() {
    let Some(docker) = common::find_docker() else { return };
    let (site, ca) = site();
    let plan = site.plan(Balancer::plan(&docker)).option(&["--hold", "1s"]);
    let first = decrypted_run(&plan).start();
    let balancer = plan.start().wait_until_started();
    let url = "https://decrypted.test/";
    site.wait_until(&balancer, url, "decrypted saw /");
    let _second =
        passed_run(balancer.run("second"), &ca, "decrypted.test", "decrypted.test").start();
    balancer.wait_for_log(&["has set a different tls for the HTTPS host decrypted.test"]);
    assert_eq!(site.outcome(&balancer, url, &[]), "decrypted saw /");
    drop(first);
    site.wait_until(&balancer, url, "http/1.1/decrypted.test saw /");
}
