//! Connections to containers with TLS and HTTP/2, with real servers on the host's network.

use crate::common::{
    self, Container,
    balancer::{Balancer, free_port},
    tls_server::{Protocol, TestCa, start_server},
    wait_for,
};
use nix::sys::signal::Signal;
use std::{fs, process::Command};

/// Protocol of the server, the labels without their prefix, and the outcome of a request to the host `N.test`, where N
/// is the row's number. The server's certificate is for `N.test`, except where a row says otherwise.
const ROWS: &[(Protocol, &str, &str)] = &[
    (Protocol::Https, "scheme=https", "http/1.1/0.test saw /x"),
    (Protocol::Https, "scheme=https verify=internal", "http/1.1/1.test saw /x"),
    (Protocol::Https, "scheme=https verify=other", "503"),
    (Protocol::Https, "scheme=https verify=system", "503"),
    (Protocol::Https, "scheme=https verify=missing", "503"),
    (Protocol::Https, "scheme=https verify=internal server_name=wrong.test", "503"),
    (Protocol::Https, "scheme=https server_name=sni.test", "http/1.1/sni.test saw /x"),
    (Protocol::Https, "scheme=https verify=internal check=/health", "http/1.1/7.test saw /x"),
    (Protocol::Https, "scheme=https verify=internal check=off", "http/1.1/8.test saw /x"),
    (Protocol::Https, "scheme=https verify=other check=off", "503"),
    (Protocol::Https, "scheme=h2 verify=internal", "http/1.1/10.test saw /x"),
    (Protocol::H2, "scheme=h2", "h2/11.test saw /x"),
    (Protocol::H2, "scheme=h2 verify=internal check=/health", "h2/12.test saw /x"),
    (Protocol::H2, "scheme=h2 verify=other check=/health", "503"),
    (Protocol::H2c, "scheme=h2c", "h2/ saw /x"),
    (Protocol::H2c, "scheme=h2c check=/health", "h2/ saw /x"),
    (Protocol::H2c, "scheme=h2c check=off", "h2/ saw /x"),
];

/// Starts a container on the host's network; the server in the test has its port.
fn start_container(balancer: &Balancer, name: &str, port: u16, labels: &str) -> Container {
    let run = balancer.run(name).option(&["--network", "host"]).env("WHOAMI_PORT", free_port());
    let label = |run: common::Run, label: &str| {
        let (option, value) = label.split_once('=').unwrap();
        run.label(&format!("glue_http_{port}_{option}"), value)
    };
    let run = run.label(&format!("glue_http_{port}_bind"), 80);
    labels.split(' ').fold(run, label).start()
}

fn assert_never_reloaded(balancer: &Balancer) {
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
}

#[test]
fn container_is_reached_by_its_scheme_and_verified() {
    let Some(docker) = common::find_docker() else { return };
    let cas = tempfile::tempdir().unwrap();
    let (internal, other) = (TestCa::new("internal"), TestCa::new("other"));
    fs::write(cas.path().join("internal.pem"), &internal.pem).unwrap();
    fs::write(cas.path().join("other.crt"), &other.pem).unwrap();
    let directory = cas.path().display().to_string();
    let plan = Balancer::plan(&docker);
    let plan = plan.option(&["--backend-ca", &directory, "--wait-for-start", "2s"]);
    let _first = plan.run("first").label("glue_http_80_host", "first.test").start();
    let mut balancer = plan.start().wait_until_started();

    let start = |(number, (protocol, labels, _)): (usize, &(Protocol, &str, &str))| {
        let certificate = internal.issue(&format!("{number}.test"));
        let port = start_server(*protocol, &certificate);
        let labels = format!("host={number}.test {labels}");
        start_container(&balancer, &format!("web{number}"), port, &labels)
    };
    let containers: Vec<_> = ROWS.iter().enumerate().map(start).collect();
    let urls: Vec<_> = (0..ROWS.len()).map(|number| format!("{number}.test/x")).collect();
    let expected: Vec<_> =
        urls.iter().zip(ROWS).map(|(url, (.., outcome))| (url.as_str(), *outcome)).collect();
    let is_applied = || balancer.ask_haproxy("show map routes.map").contains("16.test:80/");
    wait_for("the routes", || is_applied().then_some(()));
    balancer.wait_until_all_serve(&expected);
    balancer.assert_serves(&expected);
    balancer.wait_for_log(&["there is no CA with this name; add missing.pem", "--backend-ca"]);
    balancer.wait_for_log(&["the TLS handshake with", "verify is other"]);
    assert_never_reloaded(&balancer);

    // The same from the files, in a new HAProxy.
    balancer.stop_with(Signal::SIGTERM);
    balancer.start_again();
    balancer.wait_until_all_serve(&expected);
    balancer.assert_serves(&expected);
    drop(containers);
}

#[test]
fn replaced_ca_takes_effect_without_reload() {
    let Some(docker) = common::find_docker() else { return };
    let cas = tempfile::tempdir().unwrap();
    let file = cas.path().join("internal.pem");
    let (internal, other) = (TestCa::new("internal"), TestCa::new("other"));
    fs::write(&file, &internal.pem).unwrap();
    let directory = cas.path().display().to_string();
    let plan = Balancer::plan(&docker);
    let plan = plan.option(&["--backend-ca", &directory, "--wait-for-start", "1s"]);
    let _first = plan.run("first").label("glue_http_80_host", "first.test").start();
    let balancer = plan.start().wait_until_started();
    let port = start_server(Protocol::Https, &internal.issue("a.test"));
    let _web = start_container(&balancer, "web", port, "host=a.test scheme=https verify=internal");
    let served = "http/1.1/a.test saw /";
    balancer.wait_until_serves("a.test/", served);
    for (text, outcome) in [
        (Some(other.pem.clone()), "503"),
        (Some(format!("{}{}", other.pem, internal.pem)), served),
        (None, "503"),
        (Some(internal.pem.clone()), served),
    ] {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        balancer.wait_until_serves("a.test/", outcome);
    }
    wait_for("one CA in HAProxy", || {
        let cas = balancer.ask_haproxy("show ssl ca-file");
        (cas.matches(".ca.pem - 1 certificate(s)").count() == 1).then_some(())
    });
    assert_never_reloaded(&balancer);
}

#[test]
fn grpc_call_passes_with_its_trailer() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _first = plan.run("first").label("glue_http_80_host", "first.test").start();
    let balancer = plan.start().wait_until_started();
    let ca = TestCa::new("internal");
    let port = start_server(Protocol::H2c, &ca.issue("grpc.test"));
    let _web = start_container(&balancer, "grpc", port, "host=grpc.test scheme=h2c");
    balancer.wait_until_serves("grpc.test/", "h2/ saw /");
    let url = format!("http://127.0.0.1:{}/pkg.Service/Call", balancer.bound_port(80));
    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--http2-prior-knowledge", "-D", "-", "-d", "x"])
        .args(["-H", "Host: grpc.test", "-H", "content-type: application/grpc", &url])
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&curl.stdout);
    assert!(curl.status.success() && answer.starts_with("HTTP/2 200"), "{answer} {curl:?}");
    assert!(answer.contains("path: /pkg.Service/Call"), "{answer}");
    assert!(answer.contains("grpc-status: 0"), "{answer}");
    assert_never_reloaded(&balancer);
}
