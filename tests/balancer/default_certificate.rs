//! The default certificate, which clients get that no certificate matches. It changes without a reload.

use crate::{
    common::{
        self,
        balancer::{Balancer, BalancerPlan},
        wait_for,
    },
    https::{Site, assert_no_reload, https_run, run_command},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::process::{Command, Stdio};

const NO_NAME: &[&str] = &["-noservername"];
const UNKNOWN_NAME: &[&str] = &["-servername", "unknown.test"];

fn plan(site: &Site, plan: BalancerPlan) -> BalancerPlan {
    site.plan(plan).option(&["--default-certificate", "www.test"])
}

/// Returns what openssl prints about a connection.
fn connect(balancer: &BalancerPlan, options: &[&str]) -> String {
    let address = format!("127.0.0.1:{}", balancer.bound_port(443));
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-connect", &address]).args(options);
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the first certificate of a text.
fn leaf(text: &str) -> Option<&str> {
    let (_, remainder) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    Some(remainder.split_once("-----END CERTIFICATE-----")?.0)
}

fn presents(balancer: &BalancerPlan, options: &[&str], pem: &str) -> bool {
    leaf(&connect(balancer, options)) == leaf(pem)
}

fn wait_until_default_is(balancer: &BalancerPlan, pem: &str) {
    for options in [NO_NAME, UNKNOWN_NAME] {
        wait_for(&format!("the default certificate with {options:?}"), || {
            presents(balancer, options, pem).then_some(())
        });
    }
}

#[test]
fn client_without_matching_certificate_gets_default_which_changes_without_reload() {
    let Some(docker) = common::find_docker() else { return };
    for options in [&[][..], &["--passthrough"]] {
        let site = Site::new();
        let own = site.issue("a.pem", &["a.test"]);
        let plan = plan(&site, Balancer::plan(&docker)).option(options);
        let _container = https_run(&plan, "a", "a.test").start();
        let balancer = plan.start().wait_until_started();
        site.wait_until(&balancer, "https://a.test/", "a saw /");

        // A self-signed certificate, until there is one of the host.
        balancer.wait_for_log(&["--default-certificate", "there is no certificate of www.test"]);
        assert!(connect(&balancer, NO_NAME).contains("docker-balancer default"), "{options:?}");
        for _ in 0..3 {
            wait_until_default_is(&balancer, &site.issue("www.pem", &["www.test"]));
        }
        assert!(presents(&balancer, &["-servername", "a.test"], &own), "{options:?}");
        // Clients do not send addresses as names. The host of the request selects the route.
        let default = ["--insecure", "--header", "host: a.test"];
        assert_eq!(site.outcome(&balancer, "https://127.0.0.1/x", &default), "a saw /x");
        assert_eq!(site.outcome(&balancer, "https://127.0.0.1/x", &["--insecure"]), "404");
        // Other clients still verify the name.
        assert_eq!(site.outcome(&balancer, "https://unknown.test/", &[]), "refused");
        let (_, text) = run_command(&balancer, &["explain", "https://unknown.test/"]);
        assert!(text.contains("www.test (ECDSA)") && !text.contains("refuses"), "{text}");
        let (status, text) = run_command(&balancer, &["plan"]);
        assert_eq!(status, Some(0), "{text}");
        assert_no_reload(&balancer);
    }
}

#[test]
fn default_certificate_survives_restarts_and_changes_meanwhile() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test"]);
    let first = site.issue("www.pem", &["www.test"]);
    let plan = plan(&site, Balancer::plan(&docker)).option(&["--leave-running"]);
    let _container = https_run(&plan, "a", "a.test").start();
    let mut balancer = plan.start().wait_until_started();
    wait_until_default_is(&balancer, &first);
    balancer.stop_with(Signal::SIGTERM);
    assert!(presents(&balancer, NO_NAME, &first));
    let second = site.issue("www.pem", &["www.test"]);
    balancer.start_again();
    balancer.wait_for_log(&["adopted the running HAProxy"]);
    wait_until_default_is(&balancer, &second);
    assert_no_reload(&balancer);

    // HAProxy reads the file when it starts.
    let master = balancer.master_pid();
    kill(Pid::from_raw(-master), Signal::SIGKILL).unwrap();
    wait_for("another HAProxy", || balancer.find_master().filter(|pid| *pid != master));
    wait_until_default_is(&balancer, &second);
    let third = site.issue("www.pem", &["www.test"]);
    wait_until_default_is(&balancer, &third);
    site.wait_until(&balancer, "https://a.test/", "a saw /");
    assert_no_reload(&balancer);
}

/// Requests that need the TLS options of a host do not reach it over other connections.
#[test]
fn default_connection_does_not_reach_host_with_options() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("www.pem", &["www.test"]);
    site.issue("modern.pem", &["modern.test"]);
    let plan = plan(&site, Balancer::plan(&docker));
    let run = |name: &str, host: &str| {
        let labels = format!("glue_http_80_host={host} glue_http_80_tls=on");
        plan.run(name).labels(&format!("{labels} glue_http_80_tls_policy=modern"))
    };
    let _containers = common::start_all(vec![
        https_run(&plan, "plain", "plain.test"),
        run("modern", "modern.test"),
        run("new", "new.test"),
    ]);
    let balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://modern.test/", "modern saw /");
    for (url, host, expected) in [
        // Without a certificate of their own.
        ("https://plain.test/", "plain.test", "plain saw /"),
        ("https://new.test/", "new.test", "421"),
        ("https://127.0.0.1/", "plain.test", "plain saw /"),
        ("https://127.0.0.1/", "new.test", "421"),
        ("https://127.0.0.1/", "modern.test", "421"),
    ] {
        let header = format!("host: {host}");
        let options = ["--insecure", "--header", &header];
        assert_eq!(site.outcome(&balancer, url, &options).trim(), expected, "{url} {host}");
    }
    // With a certificate, its connections have its policy.
    site.issue("new.pem", &["new.test"]);
    site.wait_until(&balancer, "https://new.test/", "new saw /");
    assert_eq!(site.outcome(&balancer, "https://new.test/", &["--tls-max", "1.2"]), "refused");
    assert_no_reload(&balancer);
}
