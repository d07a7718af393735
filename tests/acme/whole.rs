//! docker-balancer, HAProxy and pebble together: a container with one label gets a certificate.

use crate::{
    common::{
        self,
        balancer::{Balancer, BalancerPlan},
        certificates::whoami_outcome,
        wait_for,
    },
    pebble::{Options, Pebble},
};
use docker_glue::sources::acme::AcmeSettings;
use nix::sys::signal::Signal;
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

/// Returns the plan of a balancer that orders from this CA, which validates on its port 80.
fn plan(pebble: &Pebble) -> Option<BalancerPlan> {
    let docker = common::find_docker()?;
    let ca_file = pebble.path("ca.pem");
    let plan = Balancer::plan(&docker).ports(&[80, 443]).bind(80, pebble.http_port);
    Some(plan.option(&["--acme", &pebble.url(), "--acme-ca-file", ca_file.to_str().unwrap()]))
}

/// Returns the answer of the host's container over HTTPS. The certificate is not checked.
fn https_answer(balancer: &Balancer, host: &str) -> Option<String> {
    let target = format!("{host}:443:127.0.0.1:{}", balancer.bound_port(443));
    let url = format!("https://{host}/x");
    let options = ["--silent", "--fail", "--insecure", "--max-time", "20"];
    let output =
        Command::new("curl").args(options).args(["--connect-to", &target, &url]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| whoami_outcome(&text))
}

/// Renews a certificate by command, and waits for the new one.
fn assert_renewal(balancer: &Balancer, pebble: &Pebble, host: &str) {
    let run = |words: &[&str]| {
        let output = balancer.command().args(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let digest = || {
        let (_, json) = run(&["certificates", "--json"]);
        let list: serde_json::Value = serde_json::from_str(&json).unwrap();
        let hosts = list["hosts"].as_array().unwrap().iter();
        let found = hosts.filter(|entry| entry["host"] == host);
        found.map(|entry| entry["certificates"][0]["digest"].to_string()).next()
    };
    let before = digest();
    let (status, text) = run(&["certificate", "renew", host]);
    assert_eq!(status, Some(0), "{text}");
    wait_for("another certificate", || (digest() != before).then_some(()));
    wait_for("its answer", || https_answer(balancer, host));
    let (status, text) = run(&["certificates"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains(&format!("CA {}", pebble.url())), "{text}");
    let (status, text) = run(&["certificate", "replace-account-key"]);
    assert_eq!(status, Some(0), "{text}");
    let (status, text) = run(&["certificate", "renew", "unknown.example.com"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("no certificate is ordered for \"unknown.example.com\""), "{text}");
    let (status, text) = run(&["certificate", "record", "*.example.com"]);
    assert_eq!(status, Some(0), "{text}");
    let expected = "_validation-persist.example.com. IN TXT \"pebble.letsencrypt.org; accounturi=";
    assert!(text.starts_with(expected) && text.contains("policy=wildcard"), "{text}");
}

fn count_orders(pebble: &Pebble) -> usize {
    pebble.log().matches("There are now").count()
}

#[test]
fn container_gets_certificate_and_restarts_order_nothing() {
    let Some(pebble) = Pebble::start(Options { nonce_reject: 20, ..Options::default() }) else {
        return;
    };
    let Some(plan) = plan(&pebble) else { return };
    let run = |name: &str, host: &str| {
        plan.run(name).labels(&format!("glue_http_80_host={host} glue_http_80_tls=on"))
    };
    let first = run("first", "a.example.com").start();
    let mut balancer = plan.start().wait_until_started();
    wait_for("a certificate", || {
        (https_answer(&balancer, "a.example.com").as_deref() == Some("first saw /x")).then_some(())
    });
    // A second container, while HAProxy runs.
    let _second = balancer
        .run("second")
        .labels("glue_http_80_host=b.example.com glue_http_80_tls=on")
        .start();
    wait_for("a second certificate", || {
        (https_answer(&balancer, "b.example.com").as_deref() == Some("second saw /x")).then_some(())
    });
    let log = balancer.log();
    assert!(!log.contains("reloaded HAProxy"), "{log}");
    // The answers to the challenges are removed.
    wait_for("no token", || {
        balancer.ask_haproxy("show map acme.map").trim().is_empty().then_some(())
    });

    assert_renewal(&balancer, &pebble, "a.example.com");

    let orders = count_orders(&pebble);
    for _ in 0..3 {
        balancer.stop_with(Signal::SIGTERM);
        balancer.start_again();
        wait_for("the same certificate", || https_answer(&balancer, "a.example.com"));
    }
    drop(first);
    let _again =
        balancer.run("again").labels("glue_http_80_host=a.example.com glue_http_80_tls=on").start();
    wait_for("the container that replaces it", || {
        (https_answer(&balancer, "a.example.com").as_deref() == Some("again saw /x")).then_some(())
    });
    assert_eq!(count_orders(&pebble), orders, "{}", pebble.log());

    // The keys are in the store only, and nobody else can read them.
    let keys = Command::new("find")
        .arg(balancer.state())
        .args(["-type", "f", "-exec", "grep", "-lE", "PRIVATE KEY", "{}", "+"])
        .output()
        .unwrap();
    let files = String::from_utf8(keys.stdout).unwrap();
    assert!(0 < files.lines().count());
    for file in files.lines() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        assert!(file.contains("/certs/") || file.contains("/acme/"), "{file}");
    }
    assert!(!balancer.log().contains("PRIVATE KEY"));
}

/// Returns the algorithm of the certificate's key that a client gets if it supports only these signatures.
fn presented_key(balancer: &Balancer, host: &str, signatures: &str) -> Option<String> {
    let connect = format!("127.0.0.1:{}", balancer.bound_port(443));
    let mut client = Command::new("openssl");
    client.args(["s_client", "-tls1_2", "-connect", &connect, "-servername", host]);
    client.args(["-sigalgs", signatures]).stdin(Stdio::null());
    let pem = client.output().unwrap().stdout;
    let certificate = String::from_utf8_lossy(&pem);
    let begin = certificate.find("-----BEGIN CERTIFICATE")?;
    let mut decode = Command::new("openssl");
    decode.args(["x509", "-noout", "-text"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut decode = decode.spawn().unwrap();
    decode.stdin.take().unwrap().write_all(&pem[begin..]).unwrap();
    let text = decode.wait_with_output().unwrap().stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Public Key Algorithm: ").map(str::to_owned))
}

#[test]
fn client_gets_certificate_of_key_type_that_it_supports() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let Some(plan) = plan(&pebble) else { return };
    let plan = plan.option(&["--acme-key", "both"]);
    let labels = "glue_http_80_host=a.example.com glue_http_80_tls=on";
    let _container = plan.run("a").labels(labels).start();
    let balancer = plan.start().wait_until_started();
    for (signatures, expected) in [
        ("ECDSA+SHA256", "id-ecPublicKey"),
        ("RSA+SHA256", "rsaEncryption"),
        ("ECDSA+SHA256:RSA+SHA256", "id-ecPublicKey"),
    ] {
        wait_for(&format!("{signatures}: {expected}"), || {
            let key = presented_key(&balancer, "a.example.com", signatures);
            (key.as_deref() == Some(expected)).then_some(())
        });
    }
    let output = balancer.command().args(["certificates"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for key in ["ECDSA", "RSA"] {
        assert!(text.contains(key), "{text}");
    }
    let log = pebble.log();
    assert_eq!(log.matches("orders in the db").count(), 2, "{log}");
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
}

#[test]
fn host_is_proven_by_certificate_on_its_https_port() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let Some(plan) = plan(&pebble) else { return };
    let plan = plan.bind(443, pebble.tls_port).option(&["--acme-challenge", "tls-alpn"]);
    let run = |name: &str, host: &str| {
        plan.run(name).labels(&format!("glue_http_80_host={host} glue_http_80_tls=on"))
    };
    let _first = run("first", "a.example.com").start();
    let second = run("second", "b.example.com");
    let balancer = plan.start().wait_until_started();
    let expect = |host: &str, expected: &str| {
        wait_for(&format!("a certificate for {host}"), || {
            (https_answer(&balancer, host)? == expected).then_some(())
        });
    };
    expect("a.example.com", "first saw /x");
    let _second = second.start();
    expect("b.example.com", "second saw /x");
    // No challenge is on the port of HTTP.
    assert!(!pebble.log().contains("acme-challenge"), "{}", pebble.log());
    wait_for("no certificate for a challenge", || {
        let lines = balancer.ask_haproxy("show ssl crt-list -n tls-acme.list");
        (!lines.contains("example.com")).then_some(())
    });
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());

    // HAProxy 3.3 and later refuse a frontend and a backend of one name.
    let config = fs::read_to_string(balancer.state().join("haproxy.cfg")).unwrap();
    let names = |section: &str| -> BTreeSet<String> {
        let names = config.lines().filter_map(|line| line.strip_prefix(section));
        names.map(|name| name.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let (frontends, backends) = (names("frontend "), names("backend "));
    assert!(frontends.contains("acme-challenge"), "{frontends:?}");
    assert_eq!(&frontends & &backends, BTreeSet::new());
}

#[test]
fn host_that_ca_cannot_reach_is_reported_and_others_get_certificates() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let Some(plan) = plan(&pebble) else { return };
    pebble.set_dns(
        "add-a",
        &serde_json::json!({ "host": "away.example.com", "addresses": ["127.0.0.9"] }),
    );
    let _containers = common::start_all(vec![
        plan.run("away").labels("glue_http_80_host=away.example.com glue_http_80_tls=on"),
        plan.run("here").labels("glue_http_80_host=here.example.com glue_http_80_tls=on"),
        plan.run("wild").labels("glue_http_80_host=*.example.com glue_http_80_tls=on"),
    ]);
    let plan = plan.option(&["--bind-address", "127.0.0.1"]);
    let balancer = plan.start().wait_until_started();
    wait_for("a certificate", || {
        (https_answer(&balancer, "here.example.com").as_deref() == Some("here saw /x"))
            .then_some(())
    });
    balancer.wait_for_log(&["no certificate was issued for away.example.com: "]);
    balancer.wait_for_log(&["no certificate was issued for *.example.com: a wildcard needs"]);
    assert_eq!(https_answer(&balancer, "away.example.com"), None);
}

#[test]
fn direct_subdomains_share_one_wildcard_certificate() {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    let Some(plan) = plan(&pebble) else { return };
    let plan = plan.option(&["--acme-challenge", "dns-persist", "--wildcard", "example.com"]);
    let run = |name: &str, host: &str| {
        plan.run(name).labels(&format!("glue_http_80_host={host} glue_http_80_tls=on"))
    };
    // The order for this host fails, and registers the account.
    let _other = run("other", "a.example.net").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&["no certificate was issued for a.example.net: "]);
    let mut find = Command::new("find");
    let found = find.arg(balancer.state()).args(["-name", "account.json"]).output().unwrap();
    let account = fs::read_to_string(String::from_utf8(found.stdout).unwrap().trim()).unwrap();
    let account: serde_json::Value = serde_json::from_str(&account).unwrap();
    let (name, value) = AcmeSettings::persist_record(
        &"*.example.com".parse().unwrap(),
        "pebble.letsencrypt.org",
        account["id"].as_str().unwrap(),
    );
    pebble.set_dns("set-txt", &serde_json::json!({ "host": name, "value": value }));

    let hosts = [("a", "a.example.com"), ("b", "b.example.com"), ("apex", "example.com")];
    let runs = hosts.map(|(name, host)| {
        balancer.run(name).labels(&format!("glue_http_80_host={host} glue_http_80_tls=on"))
    });
    let _containers = common::start_all(runs.into());
    for (name, host) in hosts {
        wait_for(&format!("a certificate for {host}"), || {
            (https_answer(&balancer, host)? == format!("{name} saw /x")).then_some(())
        });
    }
    let log = pebble.log();
    assert!(log.contains("There are now 2 orders in the db"), "{log}");
    assert!(!log.contains("There are now 3 orders in the db"), "{log}");
}
