//! Certificates of clients, with curl as the client.

use crate::common::{
    self,
    balancer::{Balancer, BalancerPlan},
    tls_server::TestCa,
    wait_for,
};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A directory with the certificate for all hosts, and CAs and certificates of clients.
struct Files {
    folder: tempfile::TempDir,
    server_ca: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for directory in ["certificates", "cas", "clients"] {
            fs::create_dir(path(directory)).unwrap();
        }
        let server = TestCa::new("server");
        fs::write(path("server.pem"), &server.pem).unwrap();
        server.issue("*.secure.test").write(&path("certificates/secure.pem"));
        for name in ["staff", "other"] {
            let ca = TestCa::new(name);
            ca.issue("client.test").write(&path(&format!("clients/{name}.pem")));
            let file = if name == "staff" { "staff.pem" } else { "partner.crt" };
            fs::write(path("cas").join(file), &ca.pem).unwrap();
        }
        let server_ca = path("server.pem");
        Self { folder, server_ca }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self, docker: &common::Docker) -> BalancerPlan {
        let [certificates, cas] =
            ["certificates", "cas"].map(|name| self.path(name).display().to_string());
        let plan = Balancer::plan(docker).ports(&[80, 443]);
        plan.option(&["--certificates", &certificates, "--client-ca", &cas])
    }

    /// Runs curl for these URLs, one after the other on one connection if possible. Returns its output.
    fn run_curl(&self, balancer: &Balancer, options: &[&str], urls: &[&str]) -> String {
        let connect = |public: u16| format!("::127.0.0.1:{}", balancer.bound_port(public));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(&self.server_ca);
        curl.args(["--connect-to", &connect(443)]);
        let output =
            curl.args(["-w", "\n=%{http_code} %{num_connects}\n"]).args(options).args(urls);
        let output = output.current_dir(self.path("clients")).output().unwrap();
        let (text, error) = (output.stdout, output.stderr);
        format!("{}{}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&error))
    }

    /// Returns the status of a request; 000 if the connection was refused.
    fn status(&self, balancer: &Balancer, options: &[&str], url: &str) -> String {
        let output = self.run_curl(balancer, options, &[url]);
        let status = output.lines().find_map(|line| line.strip_prefix('='));
        status.and_then(|line| line.split(' ').next()).unwrap_or(&output).to_owned()
    }
}

/// Returns the header that the container gets, by RFC 9440: the certificate's DER in base64 between colons.
fn client_cert_header(file: &Path) -> String {
    let pem = fs::read_to_string(file).unwrap();
    let lines = pem.lines().skip_while(|line| !line.contains("BEGIN CERTIFICATE")).skip(1);
    format!(":{}:", lines.take_while(|line| !line.starts_with('-')).collect::<String>())
}

#[test]
fn client_certificate_is_verified_and_passed_on() {
    let Some(docker) = common::find_docker() else { return };
    let files = Files::new();
    let plan = files.plan(&docker);
    let _first =
        plan.run("first").labels("glue_http_80_host=open.secure.test glue_http_80_tls=on").start();
    let balancer = plan.start().wait_until_started();
    let open = "https://open.secure.test/x";
    wait_for("the certificate", || (files.status(&balancer, &[], open) == "200").then_some(()));
    let labels = |name: &str, more: &str| {
        format!("glue_http_80_host={name}.secure.test glue_http_80_tls=on {more}")
    };
    let run = |name: &str, client_cert: &str| {
        let run = balancer.run(name).labels(&labels(name, ""));
        run.label("glue_http_80_client_cert", client_cert).start()
    };
    let _containers = [
        run("required", "staff"),
        run("optional", "staff optional"),
        run("missing", "nothing"),
        run("invalid", "../staff"),
    ];
    balancer.wait_for_log(&["there is no CA with this name; add nothing.pem", "--client-ca"]);
    balancer.wait_for_log(&["port 80 is not served, because the value of client_cert is invalid"]);
    let [required, optional, missing, invalid] = ["required", "optional", "missing", "invalid"]
        .map(|name| format!("https://{name}.secure.test/x"));
    let staff: &[&str] = &["--cert", "staff.pem"];
    wait_for("the routes", || {
        let all = [&required, &optional].map(|url| files.status(&balancer, staff, url));
        all.iter().all(|status| status == "200").then_some(())
    });
    let header = client_cert_header(&files.path("clients/staff.pem"));
    let forged: &[&str] = &["-H", "Client-Cert: :forged:", "-H", "client_cert: :forged:"];
    let with = |options: &[&'static str]| [options, forged].concat();
    for (options, url, status, expected) in [
        (with(staff), &required, "200", Some(header.as_str())),
        (with(&[]), &required, "000", None),
        (with(&["--cert", "other.pem"]), &required, "000", None),
        (with(&["--http1.1", "--cert", "staff.pem"]), &required, "200", Some(header.as_str())),
        (with(&["--tls-max", "1.2", "--cert", "staff.pem"]), &required, "200", Some(&header)),
        (with(&["--tls-max", "1.2"]), &required, "000", None),
        (with(staff), &optional, "200", Some(header.as_str())),
        (with(&[]), &optional, "200", None),
        (with(&["--cert", "other.pem"]), &optional, "000", None),
        (with(staff), &missing, "421", None),
        (with(&[]), &invalid, "404", None),
        (with(staff), &open.to_owned(), "200", None),
    ] {
        let output = files.run_curl(&balancer, &options, &[url]);
        assert!(output.contains(&format!("={status} ")), "{options:?} {url}: {output}");
        let seen = output.lines().find_map(|line| line.strip_prefix("header: client-cert: "));
        let seen =
            seen.or(output.lines().find_map(|line| line.strip_prefix("header: Client-Cert: ")));
        assert_eq!(seen, expected, "{options:?} {url}: {output}");
        assert!(!output.contains("forged"), "{options:?} {url}: {output}");
    }
    // Plain requests are redirected as ever, without a certificate.
    let redirect = balancer.get("required.secure.test/x");
    assert_eq!(redirect.status, 308);
    assert!(!balancer.log().contains("reloaded HAProxy"), "{}", balancer.log());
}

#[test]
fn host_with_client_certificate_is_not_reached_over_another_connection() {
    let Some(docker) = common::find_docker() else { return };
    let files = Files::new();
    let plan = files.plan(&docker);
    let host = |name: &str| format!("glue_http_80_host={name}.secure.test glue_http_80_tls=on");
    let _open = plan.run("open").labels(&host("open")).start();
    let _optional = plan
        .run("optional")
        .labels(&host("optional"))
        .label("glue_http_80_client_cert", "staff optional")
        .start();
    let _required = plan
        .run("required")
        .labels(&host("required"))
        .label("glue_http_80_client_cert", "staff")
        .start();
    let balancer = plan.start().wait_until_started();
    let open = "https://open.secure.test/";
    wait_for("the certificate", || (files.status(&balancer, &[], open) == "200").then_some(()));
    for (version, name, host, status) in [
        ("--http2", "open", "required", "421"),
        ("--http1.1", "open", "required", "421"),
        ("--http2", "open", "optional", "421"),
        ("--http2", "optional", "required", "421"),
        ("--http2", "required", "optional", "421"),
        ("--http2", "required", "required", "200"),
        ("--http2", "required", "REQUIRED", "200"),
        ("--http2", "required", "open", "200"),
    ] {
        let header = format!("Host: {host}.secure.test");
        let options = [version, "--cert", "staff.pem", "-H", &header];
        let url = format!("https://{name}.secure.test/");
        let output = files.run_curl(&balancer, &options, &[&url]);
        assert!(output.contains(&format!("={status} ")), "{version} {name} {host}: {output}");
        assert!(host != "open" || !output.to_lowercase().contains("client-cert"), "{output}");
    }
}

/// HAProxy does not verify the client again when a session is resumed.
#[test]
fn session_of_host_with_another_ca_is_not_resumed() {
    let Some(docker) = common::find_docker() else { return };
    let files = Files::new();
    let plan = files.plan(&docker);
    let run = |name: &str| {
        let host = format!("glue_http_80_host={name}.secure.test glue_http_80_tls=on");
        plan.run(name).labels(&host).label("glue_http_80_client_cert", name).start()
    };
    let _containers = ["staff", "partner"].map(run);
    let balancer = plan.start().wait_until_started();
    let own = |name: &str, file: &'static str| {
        let url = format!("https://{name}.secure.test/");
        wait_for(name, || {
            (files.status(&balancer, &["--cert", file], &url) == "200").then_some(())
        });
    };
    own("staff", "staff.pem");
    own("partner", "other.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let session = files.path("session");
        let get = |name: &str, options: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(["s_client", "-quiet", version, "-connect"]);
            command.arg(format!("127.0.0.1:{}", balancer.bound_port(443)));
            command
                .args(["-servername", &format!("{name}.secure.test")])
                .args(options)
                .arg(&session);
            let request =
                format!("GET / HTTP/1.1\r\nHost: {name}.secure.test\r\nConnection: close\r\n\r\n");
            command.current_dir(files.path("clients"));
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut client = Connection(command.spawn().unwrap());
            // A refused connection ends the client, which then reads nothing.
            let _ = client.0.stdin.as_mut().unwrap().write_all(request.as_bytes());
            let mut text = String::new();
            client.0.stdout.as_mut().unwrap().read_to_string(&mut text).unwrap();
            text.lines().next().unwrap_or_default().to_owned()
        };
        let staff = ["-cert", "staff.pem", "-key", "staff.pem", "-sess_out"];
        assert_eq!(get("staff", &staff), "HTTP/1.1 200 OK", "{version}");
        assert_eq!(get("staff", &["-sess_in"]), "", "{version}");
        assert_eq!(get("partner", &["-sess_in"]), "", "{version}");
    }
}

/// A client that has connected before a certificate was required has to connect again.
#[test]
fn earlier_connection_gets_421_once_certificates_are_required() {
    let Some(docker) = common::find_docker() else { return };
    let files = Files::new();
    let plan = files.plan(&docker).option(&["--hold", "0s"]);
    let host = "glue_http_80_host=a.secure.test glue_http_80_tls=on";
    let before = plan.run("before").labels(host).start();
    let _other = plan.run("other").labels(&host.replace("a.secure", "b.secure")).start();
    let balancer = plan.start().wait_until_started();
    let url = "https://a.secure.test/";
    wait_for("the certificate", || (files.status(&balancer, &[], url) == "200").then_some(()));
    let mut connection = Connection::open(balancer.bound_port(443), "a.secure.test");
    assert_eq!(connection.get("a.secure.test"), "HTTP/1.1 200 OK");
    drop(before);
    let after = balancer.run("after").labels(host).label("glue_http_80_client_cert", "staff");
    let _after = after.start();
    let staff = ["--cert", "staff.pem"];
    wait_for("the container", || (files.status(&balancer, &staff, url) == "200").then_some(()));
    assert_eq!(connection.get("a.secure.test"), "HTTP/1.1 421 Misdirected Request");
    assert_eq!(files.status(&balancer, &[], url), "000");
}

/// A connection by `openssl s_client`, which verifies nothing.
struct Connection(Child);

impl Connection {
    fn open(port: u16, name: &str) -> Self {
        let connect = format!("127.0.0.1:{port}");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &connect, "-servername", name]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Returns the status line of the response to a GET.
    fn get(&mut self, host: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.0.stdin.as_mut().unwrap().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        let stdout = self.0.stdout.as_mut().unwrap();
        while !head.ends_with("\r\n\r\n") {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            head.push(byte[0].into());
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        stdout.read_exact(&mut vec![0; length.unwrap()]).unwrap();
        head.lines().next().unwrap().to_owned()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
