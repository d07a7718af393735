//! HTTP/3 with curl as the client. An HAProxy without it serves everything else, and a problem says so: each test
//! expects one or the other, by what `haproxy -vv` prints.

use crate::common::{
    self, Run,
    balancer::{Balancer, BalancerPlan},
    haproxy::find_haproxy,
    tls_server::TestCa,
    wait_for,
};
use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::OnceLock,
};

/// A directory with the certificate of all hosts, a CA of clients and a certificate by it.
struct Site {
    folder: tempfile::TempDir,
    /// A curl with HTTP/3.
    curl: PathBuf,
    server: TestCa,
}

impl Site {
    /// Returns `None` and records the skip if there is no curl with HTTP/3.
    fn new() -> Option<Self> {
        let (folder, curl) = (tempfile::tempdir().unwrap(), find_curl()?);
        let site = Self { folder, curl, server: TestCa::new("server") };
        for directory in ["certificates", "cas"] {
            fs::create_dir(site.path(directory)).unwrap();
        }
        let staff = TestCa::new("staff");
        fs::write(site.path("server.pem"), &site.server.pem).unwrap();
        fs::write(site.path("cas/staff.pem"), &staff.pem).unwrap();
        staff.issue("client.test").write(&site.path("staff.pem"));
        site.issue("*.secure.test", "secure.pem");
        Some(site)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a certificate to a file, and returns it as PEM.
    fn issue(&self, host: &str, file: &str) -> String {
        let certificate = self.server.issue(host);
        certificate.write(&self.path("certificates").join(file));
        certificate.pem
    }

    fn plan(&self, docker: &common::Docker) -> BalancerPlan {
        let [certificates, cas] =
            ["certificates", "cas"].map(|name| self.path(name).display().to_string());
        let plan = Balancer::plan(docker).ports(&[80, 443]);
        plan.option(&["--http3", "--certificates", &certificates, "--client-ca", &cas])
    }

    /// Returns `STATUS VERSION`, and the response's head and body. The status is 000 if there is no connection.
    fn request(&self, balancer: &Balancer, url: &str, options: &[&str]) -> (String, String) {
        let target = format!("::127.0.0.1:{}", balancer.bound_port(443));
        let output = Command::new(&self.curl)
            .args(["--silent", "--include", "--max-time", "20", "--connect-to", &target])
            .args(["--cacert", "server.pem", "--write-out", "\n%{http_code} %{http_version}"])
            .args(options)
            .arg(url)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let (response, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.to_owned(), response.to_owned())
    }

    fn outcome(&self, balancer: &Balancer, url: &str, options: &[&str]) -> String {
        self.request(balancer, url, options).0
    }

    /// Returns the certificate that a client of HTTP/3 gets that does not verify it, as PEM; empty without a connection.
    fn presented(&self, balancer: &Balancer, url: &str) -> String {
        let target = format!("::127.0.0.1:{}", balancer.bound_port(443));
        let output = Command::new(&self.curl)
            .args(["--silent", "--insecure", "--http3-only", "--max-time", "20"])
            .args([
                "--connect-to",
                &target,
                "--output",
                "/dev/null",
                "--write-out",
                "%{certs}",
                url,
            ])
            .output()
            .unwrap();
        // Lines about the certificate come first.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.find("-----BEGIN").map(|begin| text[begin..].to_owned()).unwrap_or_default()
    }

    fn wait_until(&self, balancer: &Balancer, url: &str, options: &[&str], expected: &str) {
        wait_for(&format!("{url} {options:?}: {expected}"), || {
            (self.outcome(balancer, url, options) == expected).then_some(())
        });
    }
}

/// Returns the program that `tests/curl.sh` unpacks.
fn find_curl() -> Option<PathBuf> {
    static CURL: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let curl = CURL.get_or_init(|| {
        let unpack = Command::new("sh").arg("tests/curl.sh").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if unpack.status.success() {
            Ok(text(&unpack.stdout).into())
        } else {
            Err(text(&unpack.stderr))
        }
    });
    let skip = |error: &String| common::record_skip(&format!("no curl with HTTP/3: {error}"));
    curl.as_ref().map_err(skip).ok().cloned()
}

fn has_quic() -> bool {
    common::haproxy::has_quic(&find_haproxy().expect("an HAProxy runs already"))
}

fn https_run(plan: &BalancerPlan, name: &str) -> Run {
    plan.run(name).labels(&format!("glue_http_80_host={name}.secure.test glue_http_80_tls=on"))
}

/// The value of Alt-Svc.
fn alternative(response: &str) -> Option<&str> {
    response.lines().find_map(|line| line.strip_prefix("alt-svc: "))
}

const HTTP3: &[&str] = &["--http3-only"];
const HTTP2: &[&str] = &["--http2"];

#[test]
fn https_port_serves_http3_if_haproxy_has_it() {
    let Some(docker) = common::find_docker() else { return };
    let Some(site) = Site::new() else { return };
    let plan = site.plan(&docker);
    let _containers = common::start_all(vec![https_run(&plan, "a"), https_run(&plan, "b")]);
    let balancer = plan.start().wait_until_started();
    let url = "https://a.secure.test/x";
    site.wait_until(&balancer, url, HTTP2, "200 2");
    let (_, response) = site.request(&balancer, url, HTTP2);
    if !has_quic() {
        balancer.wait_for_log(&["option --http3: this HAProxy has no HTTP/3"]);
        assert_eq!(alternative(&response), None, "{response}");
        assert_eq!(site.outcome(&balancer, url, HTTP3), "000 0");
        return;
    }
    assert_eq!(alternative(&response), Some("h3=\":443\"; ma=86400"), "{response}");
    let (status, response) = site.request(&balancer, url, HTTP3);
    assert_eq!(status, "200 3");
    for part in ["name: a", "path: /x", "x-forwarded-proto: https"] {
        assert!(response.to_lowercase().contains(part), "{part}: {response}");
    }
    for (url, options, expected) in [
        ("https://b.secure.test/", &["--http3-only", "--data", "x=1"][..], "200 3"),
        ("https://b.secure.test/", &["--http3-only", "--ipv4"], "200 3"),
        ("https://a.secure.test/", &["--http3-only", "-H", "Host: b.secure.test"], "200 3"),
        ("https://none.secure.test/", HTTP3, "404 3"),
        ("https://new.test/", HTTP3, "000 0"),
    ] {
        assert_eq!(site.outcome(&balancer, url, options), expected, "{url} {options:?}");
    }
    // A host and its certificate are added while HAProxy runs.
    let labels = "glue_http_80_host=new.test glue_http_80_tls=on";
    let _new = balancer.run("new").labels(labels).start();
    site.issue("new.test", "new.pem");
    site.wait_until(&balancer, "https://new.test/", HTTP3, "200 3");
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
    assert!(!balancer.log().contains("--http3"), "{}", balancer.log());
}

/// HAProxy resumes TLS sessions over QUIC whatever its configuration is, so such hosts have no HTTP/3.
#[test]
fn host_with_client_certificate_is_not_reached_over_http3() {
    let Some(docker) = common::find_docker() else { return };
    let Some(site) = Site::new() else { return };
    let plan = site.plan(&docker);
    let run =
        |name: &str, value: &str| https_run(&plan, name).label("glue_http_80_client_cert", value);
    let _containers = common::start_all(vec![
        https_run(&plan, "open"),
        run("required", "staff"),
        run("optional", "staff optional"),
        run("missing", "nothing"),
    ]);
    let balancer = plan.start().wait_until_started();
    let staff: &[&str] = &["--cert", "staff.pem"];
    let url = |name: &str| format!("https://{name}.secure.test/");
    for name in ["open", "required", "optional"] {
        site.wait_until(&balancer, &url(name), staff, "200 2");
    }
    let (open, closed) = if has_quic() { ("200 3", "421 3") } else { ("000 0", "000 0") };
    for (name, host, options, expected) in [
        ("open", "open", &[][..], open),
        ("open", "open", staff, open),
        ("required", "required", &[], "000 0"),
        ("required", "required", staff, "000 0"),
        ("optional", "optional", &[], "000 0"),
        ("optional", "optional", staff, "000 0"),
        ("open", "required", &[], closed),
        ("open", "required", staff, closed),
        ("open", "REQUIRED", staff, closed),
        ("open", "optional", staff, closed),
        ("open", "missing", staff, closed),
        ("missing", "missing", staff, closed),
    ] {
        let header = format!("Host: {host}.secure.test");
        let options = [HTTP3, options, &["-H", &header]].concat();
        assert_eq!(site.outcome(&balancer, &url(name), &options), expected, "{options:?} {name}");
    }
    // A client that prefers HTTP/3 uses HTTP/2 instead.
    let either = [staff, &["--http3"]].concat();
    assert_eq!(site.outcome(&balancer, &url("required"), &either), "200 2");
    for (name, expected) in [("required", false), ("optional", false), ("open", has_quic())] {
        let (_, response) = site.request(&balancer, &url(name), staff);
        assert_eq!(alternative(&response).is_some(), expected, "{name}: {response}");
    }
}

#[test]
fn udp_port_of_another_program_leaves_https_without_http3() {
    let Some(docker) = common::find_docker() else { return };
    let Some(site) = Site::new() else { return };
    let plan = site.plan(&docker);
    let _container = https_run(&plan, "a").start();
    let other = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, plan.bound_port(443))).unwrap();
    let balancer = plan.start().wait_until_started();
    let url = "https://a.secure.test/";
    site.wait_until(&balancer, url, HTTP2, "200 2");
    if !has_quic() {
        balancer.wait_for_log(&["option --http3: this HAProxy has no HTTP/3"]);
        return;
    }
    let port = balancer.bound_port(443);
    balancer.wait_for_log(&[&format!("option --http3: UDP port {port} is used by")]);
    assert_eq!(alternative(&site.request(&balancer, url, HTTP2).1), None);
    drop(other);
    site.wait_until(&balancer, url, HTTP3, "200 3");
}

/// The default certificate is that of QUIC connections, too, and changes there without a reload.
#[test]
fn client_without_matching_certificate_gets_default_over_http3() {
    let Some(docker) = common::find_docker() else { return };
    let Some(site) = Site::new() else { return };
    let mut default = site.issue("www.test", "www.pem");
    let plan = site.plan(&docker).option(&["--default-certificate", "www.test"]);
    let labels = "glue_http_80_host=new.test glue_http_80_tls=on";
    let policy = "glue_http_80_host=strict.test glue_http_80_tls=on glue_http_80_tls_policy=modern";
    let _containers = common::start_all(vec![
        https_run(&plan, "a"),
        plan.run("new").labels(labels),
        plan.run("strict").labels(policy),
    ]);
    let balancer = plan.start().wait_until_started();
    let url = "https://a.secure.test/";
    site.wait_until(&balancer, url, HTTP2, "200 2");
    let unverified = ["--http3-only", "--insecure"];
    if !has_quic() {
        balancer.wait_for_log(&["option --http3: this HAProxy has no HTTP/3"]);
        assert_eq!(site.outcome(&balancer, "https://unknown.test/", &unverified), "000 0");
        return;
    }
    for round in 0..2 {
        wait_for("the default certificate", || {
            let presented = site.presented(&balancer, "https://unknown.test/");
            (presented.trim() == default.trim()).then_some(())
        });
        for (url, options, expected) in [
            ("https://unknown.test/", &unverified[..], "404 3"),
            // A host without a certificate of its own, and one whose TLS options such a connection does not have.
            ("https://new.test/", &unverified, "200 3"),
            ("https://strict.test/", &unverified, "421 3"),
            // Without a server name: addresses are not sent as names.
            (
                "https://127.0.0.1/",
                &["--http3-only", "--insecure", "-H", "Host: new.test"],
                "200 3",
            ),
            // Other clients still verify the name.
            ("https://unknown.test/", HTTP3, "000 0"),
            ("https://new.test/", HTTP3, "000 0"),
            ("https://a.secure.test/", HTTP3, "200 3"),
        ] {
            let outcome = site.outcome(&balancer, url, options);
            assert_eq!(outcome, expected, "{round}: {url} {options:?}");
        }
        default = site.issue("www.test", "www.pem");
    }
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
}
