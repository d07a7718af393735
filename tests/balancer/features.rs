//! Options that act on requests and responses of HTTP routes, and policies, with a real engine and a real HAProxy.

use super::https::Site;
use crate::common::{
    self, DEADLINE, Run,
    balancer::{Answer, Balancer, BalancerPlan, Request},
    wait_for,
};
use docker_glue::{
    haproxy::features::HeaderNames,
    sources::compose::{Deployment, read_project},
};
use nix::sys::signal::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Returns a container with these labels: `host=a.test` is `glue_http_80_host=a.test`.
pub(crate) fn run(plan: &BalancerPlan, name: &str, labels: &[&str]) -> Run {
    labels.iter().fold(plan.run(name), |run, label| {
        let (key, value) = label.split_once('=').unwrap();
        run.label(&format!("glue_http_80_{key}"), value)
    })
}

/// A request (`METHOD URL`, then a line for each header), and what is expected: the outcome, then a line for each
/// header that is compared. `<` is one of the response, `>` one that the container saw, and `-` one that is absent.
pub(crate) type Row<'a> = (&'a str, &'a str);

fn parse_request(balancer: &Balancer, text: &str) -> Request {
    let mut lines = text.lines().map(str::trim);
    let (method, url) = lines.next().unwrap().split_once(' ').unwrap();
    lines.fold(balancer.request(method, url), |request, line| {
        let (name, value) = line.split_once(':').unwrap();
        request.header(name, value.trim_start())
    })
}

/// Reads an answer until its end. HAProxy 3.0 and later keeps the connection open for a body that it has refused.
fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    while !has_whole_body(&bytes) {
        match stream.read(&mut part)? {
            0 => break,
            length => bytes.extend(&part[..length]),
        }
    }
    Answer::parse(&bytes)
}

/// Whether the bytes are an answer with a length, and its whole body.
fn has_whole_body(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length <= body.len())
}

/// Describes an answer by the headers that the expected text names.
fn describe(answer: &Answer, expected: &str) -> String {
    let mut text = answer.to_string();
    for line in expected.lines().skip(1).map(str::trim) {
        let (side, name) = line.split_once(' ').unwrap();
        let name = name.split(':').next().unwrap();
        let headers = if side == "<" { &answer.headers } else { &answer.seen };
        let value = headers.get(name).unwrap_or_else(|| "-".to_owned());
        write!(text, "\n{side} {name}: {value}").unwrap();
    }
    text
}

fn plain_lines(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Sends the requests in this order and compares the answers.
pub(crate) fn check_rows(balancer: &Balancer, rows: &[Row<'_>]) {
    let wrong = |(request, expected): &Row<'_>| {
        let answer = parse_request(balancer, request).open();
        let got = match answer.and_then(|mut stream| read_answer(&mut stream)) {
            Ok(answer) => describe(&answer, expected),
            Err(error) => error.to_string(),
        };
        let expected = plain_lines(expected);
        (got != expected).then(|| format!("{request}\n-- expected\n{expected}\n-- got\n{got}\n"))
    };
    let wrong: Vec<_> = rows.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Returns the process of HAProxy's worker, which a reload replaces.
pub(crate) fn worker(balancer: &Balancer) -> String {
    let info = balancer.ask_haproxy("show info");
    info.lines().find(|line| line.starts_with("Pid: ")).unwrap().to_owned()
}

/// A settings file with policies.
pub(crate) struct Settings {
    folder: TempDir,
}

impl Settings {
    pub(crate) fn new(text: &str) -> Self {
        let settings = Self { folder: tempfile::tempdir().unwrap() };
        settings.write(text);
        settings
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("settings.toml")
    }

    /// Replaces the file as an editor does.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    pub(crate) fn plan(&self, plan: BalancerPlan) -> BalancerPlan {
        plan.option(&["--settings", self.path().to_str().unwrap()])
    }
}

#[test]
fn clients_are_allowed_and_denied_by_address() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = [
        "host=plain.test",
        "host.lan=lan.test",
        "allow.lan=127.0.0.0/8,2001:db8::/32",
        "host.private=private.test",
        "allow.private=private",
        "host.far=far.test",
        "allow.far=192.0.2.0/24",
        "host.denied=denied.test",
        "deny.denied=127.0.0.1",
        "host.hole=hole.test",
        "allow.hole=private",
        "deny.hole=127.0.0.0/16",
        // A narrower network of one route hides no wider network of another route.
        "host.wide=wide.test",
        "allow.wide=0.0.0.0/0",
        "host.loop6=loop6.test",
        "allow.loop6=::1",
        "host.moved=moved.test",
        "allow.moved=192.0.2.0/24",
        "redirect.moved=https://new.test",
    ];
    let admin = ["host=plain.test", "prefix=/admin", "allow=192.0.2.0/24"];
    let _containers = common::start_all(vec![run(&plan, "web", &web), run(&plan, "admin", &admin)]);
    let balancer = plan.start().wait_until_started();
    check_rows(
        &balancer,
        &[
            ("GET plain.test/x", "web saw /x"),
            ("GET lan.test/x", "web saw /x"),
            ("GET private.test/x", "web saw /x"),
            ("GET far.test/x", "403"),
            ("GET far.test/x\nX-Forwarded-For: 192.0.2.7", "403"),
            ("GET denied.test/x", "403"),
            ("GET hole.test/x", "403"),
            ("GET wide.test/x", "web saw /x"),
            ("GET loop6.test/x", "403"),
            ("GET moved.test/x", "403"),
            // No spelling of the path leads around the protected prefix.
            ("GET plain.test/admin", "403"),
            ("GET plain.test/admin/x", "403"),
            ("GET plain.test//admin", "400"),
            ("GET plain.test/x/../admin", "400"),
            ("GET plain.test/%61dmin", "400"),
            ("GET plain.test/x%2f..%2fadmin", "400"),
            ("GET plain.test/x\\admin", "400"),
            ("GET plain.test/admin%0a", "400"),
            ("GET plain.test/%7f", "400"),
            ("GET plain.test/%c0%ae%c0%ae/admin", "400"),
            ("GET plain.test/admin;x", "403"),
            ("GET plain.test/caf%C3%A9%20x", "web saw /caf%C3%A9%20x"),
            ("GET plain.test/administrator", "web saw /administrator"),
        ],
    );
    let six = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), balancer.bound_port(80));
    for (host, expected) in [
        ("plain.test", "web saw /x"),
        ("lan.test", "403"),
        ("loop6.test", "web saw /x"),
        ("private.test", "web saw /x"),
        ("denied.test", "web saw /x"),
        ("wide.test", "403"),
    ] {
        let answer = Request::new(six, "GET", host, "/x").send().unwrap();
        assert_eq!(answer.to_string(), expected, "[::1] at {host}");
    }
}

#[test]
fn client_behind_trusted_proxy_is_that_of_its_header() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let plan = ["127.0.0.1/32", "10.9.0.0/16"]
        .into_iter()
        .fold(plan, |plan, network| plan.option(&["--trusted-proxies", network]));
    let labels = ["host=a.test", "allow=192.0.2.0/24,2001:db8:1::/48", "deny=192.0.2.66"];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let rows = [
        ("192.0.2.7", "web saw /"),
        ("192.0.2.66", "403"),
        ("198.51.100.1", "403"),
        // The last address that is no proxy counts; what a client claims before it does not.
        ("192.0.2.7, 198.51.100.1", "403"),
        ("198.51.100.1, 192.0.2.7", "web saw /"),
        ("192.0.2.7, 10.9.1.1", "web saw /"),
        ("198.51.100.1, 10.9.1.1", "403"),
        ("2001:db8:1::5", "web saw /"),
        ("2001:db8:2::5", "403"),
        ("::ffff:192.0.2.7", "web saw /"),
        ("nonsense", "403"),
        // A member that is no address stands for the proxy; what is before it may be the client's text.
        ("192.0.2.7, unknown", "403"),
        ("192.0.2.7, [2001:db8:1::5]:443", "403"),
        ("192.0.2.7, fe80::1%eth0", "403"),
        ("192.0.2.7, ", "403"),
        ("192.0.2.7,", "403"),
        ("", "403"),
        ("192.0.2.7, unknown, 10.9.1.1", "403"),
        ("192.0.2.7, , 10.9.1.1", "403"),
        ("192.0.2.7\nX-Forwarded-For: unknown", "403"),
        ("192.0.2.7\nX-Forwarded-For: 10.9.1.1", "web saw /"),
        ("unknown, 192.0.2.7, 10.9.1.1", "web saw /"),
        (", 192.0.2.7", "web saw /"),
    ];
    let rows = rows
        .map(|(client, expected)| (format!("GET a.test/\nX-Forwarded-For: {client}"), expected));
    check_rows(
        &balancer,
        &rows.each_ref().map(|(request, expected)| (request.as_str(), *expected)),
    );
    check_rows(&balancer, &[("GET a.test/", "403")]);
}

#[test]
fn path_is_rewritten_before_the_container() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let labels = [
        "host=add.test",
        "add_prefix=/app",
        "host.swap=swap.test",
        "prefix.swap=/old",
        "strip_prefix.swap=1",
        "add_prefix.swap=/new/deep",
        "host.part=part.test",
        "prefix.part=/team/blue/app",
        "strip_prefix.part=/team/blue",
        "add_prefix.part=/",
    ];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    check_rows(
        &balancer,
        &[
            ("GET add.test/x?q=/1", "web saw /app/x?q=/1"),
            ("GET add.test/", "web saw /app/"),
            ("GET swap.test/old/x?q", "web saw /new/deep/x?q\n> X-Forwarded-Prefix: /old"),
            ("GET swap.test/old", "web saw /new/deep/"),
            (
                "GET part.test/team/blue/app/x\nX-Forwarded-Prefix: /evil",
                "web saw /app/x\n> X-Forwarded-Prefix: /team/blue",
            ),
        ],
    );
}

#[test]
fn redirect_answers_without_a_container() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let labels = [
        "host=www.new.test",
        "redirect_from=new.test,old.test,*.old.test",
        "redirect_status=301",
        "host.page=page.test",
        "redirect.page=http://other.test/a?b=%20c%[src]*",
        "redirect_status.page=303",
        "host.tls=tls.test",
        "redirect.tls=https",
        "redirect_status.tls=308",
        "response_header_X-Robots-Tag.tls=noindex",
    ];
    let site = ["host=site.test", "redirect=https://other.test:8443"];
    let _containers =
        common::start_all(vec![run(&plan, "web", &labels), run(&plan, "site", &site)]);
    let balancer = plan.start().wait_until_started();
    check_rows(
        &balancer,
        &[
            ("GET www.new.test/x", "web saw /x"),
            ("GET new.test/x/y?q=1", "301\n< Location: http://www.new.test/x/y?q=1"),
            ("GET a.old.test/", "301\n< Location: http://www.new.test/"),
            ("POST old.test//evil.test", "301\n< Location: http://www.new.test//evil.test"),
            ("GET site.test/x?q", "307\n< Location: https://other.test:8443/x?q"),
            ("GET page.test/x?q", "303\n< Location: http://other.test/a?b=%20c%[src]%2A"),
            ("GET TLS.test:80/x", "308\n< Location: https://tls.test/x\n< X-Robots-Tag: noindex"),
        ],
    );
}

#[test]
fn headers_are_set_and_removed() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    // The name with the highest bit: a sum that HAProxy did not read as a number would open the closed route.
    let is_highest = |name: &String| HeaderNames::bit("request", name) == 1 << 62;
    let highest = (0..1000).map(|number| format!("x-{number}")).find(is_highest).unwrap();
    let labels = [
        "host=a.test",
        &format!("request_header_{highest}=1"),
        "request_header_X-Tenant=acme; \"a\" 'b' %[src] \\x #1",
        "response_header_X-Odd=acme; \"a\" 'b' %[src] \\x #1",
        "drop_request_headers=Cookie,X-Debug",
        "request_header_X-Tenant-Id=7",
        "drop_response_headers=X-Whoami",
        "secure_headers=on",
        "response_header_X-Frame-Options=DENY",
        "host.closed=closed.test",
        "allow.closed=192.0.2.1",
    ];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let odd = "acme; \"a\" 'b' %[src] \\x #1";
    check_rows(
        &balancer,
        &[
            (
                "GET a.test/x\nX-Tenant: evil\nCookie: a=b\nx-debug: 1\nX-Other: 2\nX_Debug: 1\nX_Tenant: evil\nX-Tenant_Id: evil\nX_Tenant.Id: evil",
                &format!(
                    "web saw /x\n> {highest}: 1\n> X-Tenant: {odd}\n> Cookie: -\n> X-Debug: -\n> X-Other: 2\n\
                     > X_Debug: -\n> X_Tenant: -\n> X-Tenant_Id: -\n> X_Tenant.Id: -\n> X-Tenant-Id: 7\n\
                     < X-Odd: {odd}\n< X-Whoami: -\n< X-Content-Type-Options: nosniff\n\
                     < X-Frame-Options: DENY\n< Referrer-Policy: strict-origin-when-cross-origin"
                ),
            ),
            // Named routes have the options of their port, also for what HAProxy answers.
            ("GET closed.test/", &format!("403\n< X-Odd: {odd}\n< X-Frame-Options: DENY")),
        ],
    );
}

#[test]
fn cross_origin_requests_of_listed_origins_are_answered() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let labels = [
        "host=some.test",
        "cors=https://app.test,http://dev.test:3000",
        "host.any=any.test",
        "cors.any=*",
        "host.off=off.test",
        "cors.off=off",
    ];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let origin = "Access-Control-Allow-Origin";
    let credentials = "Access-Control-Allow-Credentials";
    let preflight = "Access-Control-Request-Method: PUT\nAccess-Control-Request-Headers: x-a,x-b";
    let rows = [
        (
            "GET some.test/\nOrigin: https://app.test".to_owned(),
            format!(
                "web saw /\n< {origin}: https://app.test\n< {credentials}: true\n< Vary: Origin"
            ),
        ),
        (
            "GET some.test/\nOrigin: https://evil.test".to_owned(),
            format!("web saw /\n< {origin}: -\n< {credentials}: -\n< Vary: Origin"),
        ),
        ("GET some.test/\nOrigin: null".to_owned(), format!("web saw /\n< {origin}: -")),
        ("GET some.test/".to_owned(), format!("web saw /\n< {origin}: -\n< Vary: Origin")),
        (
            format!("OPTIONS some.test/\nOrigin: http://dev.test:3000\n{preflight}"),
            format!(
                "204\n< {origin}: http://dev.test:3000\n< {credentials}: true\n\
                 < Access-Control-Allow-Methods: PUT\n< Access-Control-Allow-Headers: x-a,x-b"
            ),
        ),
        (
            format!("OPTIONS some.test/\nOrigin: http://dev.test\n{preflight}"),
            format!("403\n< {origin}: -"),
        ),
        // Not a preflight request.
        ("OPTIONS some.test/\nOrigin: https://app.test".to_owned(), "web saw /".to_owned()),
        (
            "GET any.test/\nOrigin: https://evil.test".to_owned(),
            format!("web saw /\n< {origin}: *\n< {credentials}: -"),
        ),
        ("GET off.test/\nOrigin: https://app.test".to_owned(), format!("web saw /\n< {origin}: -")),
    ];
    let rows = rows.each_ref().map(|(request, expected)| (request.as_str(), expected.as_str()));
    check_rows(&balancer, &rows);
}

/// A request of a client behind the trusted proxy.
fn get_as(url: &str, client: &str) -> String {
    format!("GET {url}\nX-Forwarded-For: {client}")
}

#[test]
fn rate_limit_counts_each_client_of_each_route() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--trusted-proxies", "127.0.0.1/32"]);
    let labels = ["host=a.test", "rate=3/h", "host.second=second.test", "rate.second=1/m"];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let limited = "429\n< Retry-After: 3600";
    for (url, client, expected) in [
        ("a.test/1", "192.0.2.1", "web saw /1"),
        ("a.test/2", "192.0.2.1", "web saw /2"),
        ("a.test/3", "192.0.2.1", "web saw /3"),
        ("a.test/4", "192.0.2.1", limited),
        ("a.test/5", "192.0.2.1", limited),
        ("a.test/6", "192.0.2.2", "web saw /6"),
        // What a client writes before its own address does not make it another client.
        ("a.test/7", "192.0.2.77, 192.0.2.1", limited),
        ("second.test/8", "192.0.2.1", "web saw /8"),
        ("second.test/9", "192.0.2.1", "429\n< Retry-After: 60"),
        // A /64 network of IPv6 is one client.
        ("second.test/10", "2001:db8::1", "web saw /10"),
        ("second.test/11", "2001:db8::ffff:1", "429"),
        ("second.test/12", "2001:db8:0:1::1", "web saw /12"),
    ] {
        check_rows(&balancer, &[(&get_as(url, client), expected)]);
    }
}

#[test]
fn requests_at_once_are_limited_for_each_client() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--trusted-proxies", "127.0.0.1/32"]);
    let labels = ["host=a.test", "at_once=1", "tunnel_timeout=1s"];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let slow = parse_request(&balancer, &get_as("a.test/slow?ms=5000", "192.0.2.1"));
    let mut slow = slow.open().unwrap();
    // Of two requests that arrive at once, either may be the first.
    wait_for("the slow request to be counted", || {
        let table = balancer.ask_haproxy("show table docker-glue-table-at-once");
        table.contains("conn_cur=1").then_some(())
    });
    wait_for("the second request gets 429", || {
        let answer = parse_request(&balancer, &get_as("a.test/x", "192.0.2.1")).send().unwrap();
        (describe(&answer, "429\n< Retry-After: 1") == "429\n< Retry-After: 1").then_some(())
    });
    check_rows(&balancer, &[(&get_as("a.test/x", "192.0.2.2"), "web saw /x")]);
    slow.read_to_end(&mut Vec::new()).unwrap();
    wait_for("the client's place to be free", || {
        let answer = parse_request(&balancer, &get_as("a.test/x", "192.0.2.1")).send().unwrap();
        (answer.status == 200).then_some(())
    });

    // A WebSocket counts until its tunnel timeout ends it.
    let stream = TcpStream::connect(("127.0.0.1", balancer.bound_port(80))).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut socket, _) = tungstenite::client("ws://a.test/ws", stream).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "name: web");
    while socket.read().is_ok() {}
    wait_for("the WebSocket's place to be free", || {
        (balancer.get("a.test/x").status == 200).then_some(())
    });
}

/// Sends a request with a body, and returns the status.
fn send_body(balancer: &Balancer, headers: &str, body: &str) -> u16 {
    let request = parse_request(balancer, &format!("POST a.test/x\n{headers}"));
    let mut stream = request.open().unwrap();
    // HAProxy may answer before the body, and close.
    let _ = stream.write_all(body.as_bytes());
    read_answer(&mut stream).unwrap().status
}

#[test]
fn body_above_limit_is_refused() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _web = run(&plan, "web", &["host=a.test", "max_body=1k"]).start();
    let balancer = plan.start().wait_until_started();
    for (headers, body, expected) in [
        ("Content-Length: 0", String::new(), 200),
        ("Content-Length: 1024", "x".repeat(1024), 200),
        ("Content-Length: 1025", "x".repeat(1025), 413),
        ("Content-Length: 99999999999", String::new(), 413),
        ("Content-Length: 999999999999999999", String::new(), 413),
        // Above the largest number of 64 bits with a sign; 2.6 reads the second one as 0.
        ("Content-Length: 9223372036854775813", "x".repeat(2000), 400),
        ("Content-Length: 18446744073709551616", "x".repeat(2000), 400),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n".to_owned(), 411),
        ("Transfer-Encoding: chunked", "0\r\n\r\n".to_owned(), 411),
        ("Content-Length: 1\nTransfer-Encoding: chunked", "0\r\n\r\n".to_owned(), 411),
    ] {
        assert_eq!(send_body(&balancer, headers, &body), expected, "{headers}");
    }
    check_rows(&balancer, &[("GET a.test/", "web saw /")]);
}

#[test]
fn requests_of_route_without_log_are_not_in_access_log() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--access-log", "stdout"]);
    let labels = ["host=quiet.test", "log=off", "host.loud=loud.test", "log.loud=on"];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    balancer
        .assert_serves(&[("quiet.test/hush", "web saw /hush"), ("loud.test/say", "web saw /say")]);
    wait_for("the request with a log", || balancer.stdout().contains("GET /say").then_some(()));
    assert!(!balancer.stdout().contains("/hush"), "{}", balancer.stdout());
}

const POLICIES: &str = r#"
    [policy.lan]
    allow = ["private"]
    [policy.far]
    allow = ["192.0.2.0/24"]
    [policy.noindex]
    response_header_X-Robots-Tag = "noindex, nofollow"
    response_header_Cache-Control = "no-store"
    [policy.strict]
    response_header_Cache-Control = "private"
    rate = "100/s"
    [[require]]
    hosts = ["*.in.test"]
    use = ["far"]
"#;

#[test]
fn policies_are_merged_in_order_and_cannot_be_taken_off() {
    let Some(docker) = common::find_docker() else { return };
    let settings = Settings::new(POLICIES);
    let plan = settings.plan(Balancer::plan(&docker));
    let labels = [
        "host=both.test",
        "use=noindex,strict",
        "host.turned=turned.test",
        "use.turned=strict, noindex",
        "host.own=own.test",
        "use.own=far",
        "allow.own=127.0.0.1",
        "host.lan=lan.test",
        "use.lan=lan",
        "host.far=far.test",
        "use.far=far",
        "host.in=a.in.test",
        "allow.in=0.0.0.0/0,::/0",
        "host.wild=*.in.test",
        "host.unknown=unknown.test",
        "use.unknown=lan,lam",
        "host.empty=empty.test",
        "use.empty= ",
    ];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    check_rows(
        &balancer,
        &[
            (
                "GET both.test/",
                "web saw /\n< X-Robots-Tag: noindex, nofollow\n< Cache-Control: private",
            ),
            (
                "GET turned.test/",
                "web saw /\n< X-Robots-Tag: noindex, nofollow\n< Cache-Control: no-store",
            ),
            ("GET own.test/", "web saw /"),
            ("GET lan.test/", "web saw /"),
            ("GET far.test/", "403"),
            ("GET a.in.test/", "403"),
            ("GET b.in.test/", "403"),
            ("GET unknown.test/", "503"),
            ("GET empty.test/", "503"),
        ],
    );
    balancer.wait_for_log(&["WARN", "lam", "did you mean lan?"]);
}

#[test]
fn changed_policy_is_served_without_a_reload() {
    let Some(docker) = common::find_docker() else { return };
    let settings = Settings::new("[policy.lan]\nallow = '192.0.2.1'\n");
    let plan = settings.plan(Balancer::plan(&docker));
    let _web = run(&plan, "web", &["host=a.test", "use=lan"]).start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("a.test/", "403")]);
    let first = worker(&balancer);

    settings.write("[policy.lan]\nallow = 'private'\nresponse_header_Cache-Control = 'no-store'\n");
    balancer.wait_until_serves("a.test/", "web saw /");
    check_rows(&balancer, &[("GET a.test/", "web saw /\n< Cache-Control: no-store")]);

    // A wrong file leaves the earlier policies in use.
    settings.write("[policy.lan]\nalow = 'private'\n");
    balancer.wait_for_log(&["WARN", "settings.toml:2", "did you mean allow?"]);
    balancer.assert_serves(&[("a.test/", "web saw /")]);

    settings.write("[policy.lan]\nallow = '192.0.2.1'\n");
    balancer.wait_until_serves("a.test/", "403");
    balancer.wait_for_log(&["resolved: ", "settings.toml:2"]);

    // Without the policy the route is closed, not open.
    settings.write("[policy.other]\nallow = 'private'\n");
    balancer.wait_until_serves("a.test/", "503");
    settings.write("[policy.lan]\nallow = 'private'\n");
    balancer.wait_until_serves("a.test/", "web saw /");

    balancer.signal(Signal::SIGHUP);
    balancer.wait_for_log(&["SIGHUP: reading the policies and error pages again"]);
    balancer.assert_serves(&[("a.test/", "web saw /")]);
    assert_eq!(worker(&balancer), first, "HAProxy was reloaded:\n{}", balancer.log());
}

#[test]
fn container_without_protection_of_route_waits() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let guarded = run(&plan, "guarded", &["host=a.test", "allow=192.0.2.0/24"]).start();
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("a.test/", "403")]);
    let _open = run(&balancer, "open", &["host=a.test"]).start();
    balancer.wait_for_log(&["WARN", "-open (", "a.test"]);
    balancer.assert_serves(&[("a.test/", "403")]);
    // A third one with the same protection shares the route.
    let _same = run(&balancer, "same", &["host=a.test", "allow=192.0.2.0/24"]).start();
    let _other = run(&balancer, "other", &["host=other.test"]).start();
    balancer.wait_until_serves("other.test/", "other saw /");
    balancer.assert_serves(&[("a.test/", "403")]);
    drop(guarded);
    balancer.assert_serves(&[("a.test/", "403")]);
}

/// Values that are invalid, or contain what is special elsewhere. Each means what it says, closes its route, or is
/// ignored.
#[test]
fn hostile_values_affect_no_other_route() {
    let Some(docker) = common::find_docker() else { return };
    let settings = Settings::new("[policy.lan]\nallow = 'private'\n");
    let plan = settings.plan(Balancer::plan(&docker));
    let long = "x".repeat(4096);
    let many: Vec<_> = (0..64).map(|n| format!("10.{n}.0.0/16")).collect();
    let many = format!("{},{}", many.join(","), "127.0.0.1");
    let full = many.strip_prefix("10.0.0.0/16,").unwrap().to_owned();
    let hostile = [
        "\"".to_owned(),
        "a\nb".to_owned(),
        "\u{1b}[31m".to_owned(),
        "'; show info".to_owned(),
        "%[src] \\".to_owned(),
        "\u{202e}\u{fffd}".to_owned(),
        ",".to_owned(),
        long,
    ];
    let options = [
        ("use", "503"),
        ("allow", "503"),
        ("deny", "503"),
        ("add_prefix", "200"),
        ("redirect", "200"),
        ("redirect_status", "200"),
        ("redirect_from", "200"),
        ("request_header_X-A", "200"),
        ("response_header_X-A", "200"),
        ("drop_request_headers", "200"),
        ("drop_response_headers", "200"),
        ("secure_headers", "200"),
        ("cors", "200"),
        ("rate", "200"),
        ("at_once", "200"),
        ("max_body", "200"),
        ("tunnel_timeout", "200"),
        ("log", "200"),
    ];
    let mut runs = Vec::new();
    let mut rows = Vec::new();
    for (option, expected) in options {
        let name = option.to_ascii_lowercase().replace('_', "-");
        let mut web = plan.run(&name);
        for (number, value) in hostile.iter().enumerate() {
            let host = format!("{name}-{number}.test");
            web = web.label(&format!("glue_http_80_host.r{number}"), &host);
            web = web.label(&format!("glue_http_80_{option}.r{number}"), value);
            rows.push((format!("{host}/"), expected));
        }
        runs.push(web);
    }
    let limits = ["host.many=many.test", &format!("allow.many={many}"), "host.full=full.test"];
    runs.push(run(&plan, "limits", &limits).label("glue_http_80_allow.full", &full));
    rows.extend([("many.test/".to_owned(), "503"), ("full.test/".to_owned(), "200")]);
    runs.push(run(&plan, "plain", &["host=plain.test"]));
    let _containers = common::start_all(runs);
    let balancer = plan.start().wait_until_started();
    balancer.assert_serves(&[("plain.test/", "plain saw /")]);
    let wrong = rows.iter().filter_map(|(url, expected)| {
        let status = balancer.get(url).status.to_string();
        (status != *expected).then(|| format!("{url}: {expected} was expected, but {status}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let output = balancer.log();
    let is_plain = |line: &&str| line.chars().all(|c| c == '\t' || !c.is_control());
    assert_eq!(output.lines().find(|line| !is_plain(line)), None);
    assert!(!output.contains("refused"), "{output}");
}

/// Returns the cookie of HAProxy that an answer sets: name and value, and the rest.
fn sticky_cookie(answer: &Answer) -> Option<(String, String)> {
    let cookies = answer.headers.get("Set-Cookie")?;
    let start = cookies.find("docker-glue-server=")?;
    let (pair, rest) = cookies[start..].split_once("; ")?;
    Some((pair.to_owned(), rest.to_owned()))
}

#[test]
fn clients_stay_at_a_container_by_a_cookie() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let labels = [
        "host=a.test",
        "sticky=cookie",
        "host.app=a.test",
        "prefix.app=app/x",
        "sticky.app=cookie",
    ];
    let (one, two) = (run(&plan, "one", &labels).start(), run(&plan, "two", &labels).start());
    let _without = run(&plan, "plain", &["host=plain.test"]).start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["one", "two"]);
    let first = balancer.get("a.test");
    let (cookie, rest) = sticky_cookie(&first).unwrap();
    assert_eq!(rest, "path=/; HttpOnly; SameSite=Lax");
    let ask = |url: &str, cookies: &str| {
        balancer.request("GET", url).header("Cookie", cookies).send().unwrap()
    };
    for number in 0..10 {
        let answer = ask("a.test", &format!("app={number}; {cookie}"));
        assert_eq!(answer.name, first.name);
        assert_eq!(sticky_cookie(&answer), None);
        assert_eq!(answer.seen.get("Cookie"), Some(format!("app={number}")));
    }
    let (_, rest) = sticky_cookie(&balancer.get("a.test/app/x")).unwrap();
    assert_eq!(rest, "path=/app/x; HttpOnly; SameSite=Lax");
    assert_eq!(sticky_cookie(&balancer.get("plain.test")), None);

    // The container goes: the client gets another one, and its cookie.
    let (went, other) = if first.name == "one" { (one, two) } else { (two, one) };
    drop(went);
    let stays = if first.name == "one" { "two" } else { "one" };
    wait_for("the other container", || (ask("a.test", &cookie).name == stays).then_some(()));
    let moved = ask("a.test", &cookie);
    assert_ne!(sticky_cookie(&moved).unwrap().0, cookie);

    // A container that comes while HAProxy runs has a cookie, too.
    let third = run(&balancer, "third", &labels).start();
    balancer.wait_until_shared("a.test", &[stays, "third"]);
    let answers = (0..20).map(|_| balancer.get("a.test")).find(|answer| answer.name == "third");
    let (cookie, _) = sticky_cookie(&answers.unwrap()).unwrap();
    for _ in 0..10 {
        assert_eq!(ask("a.test", &cookie).name, "third");
    }
    drop((third, other));
}

/// The compose files of `examples/features/` with its settings: requests of clients behind a trusted proxy.
const EXAMPLES: [(&str, &[Row<'_>]); 9] = [
    (
        "policies",
        &[
            (
                "GET wiki.example.com/\nX-Forwarded-For: 198.51.100.7",
                "wiki saw /\n< X-Robots-Tag: noindex, nofollow\n< Cache-Control: private\n< X-Frame-Options: SAMEORIGIN",
            ),
            ("GET wiki.example.com/\nX-Forwarded-For: 203.0.113.1", "403"),
            ("GET orders.example.com/\nX-Forwarded-For: 203.0.113.1", "orders saw /"),
            ("POST orders.example.com/\nContent-Length: 1048577", "413"),
            ("GET metrics.internal.example.com/\nX-Forwarded-For: 10.1.2.3", "metrics saw /"),
            ("GET metrics.internal.example.com/\nX-Forwarded-For: 203.0.113.1", "403"),
        ],
    ),
    (
        "access",
        &[
            ("GET backups.example.com/\nX-Forwarded-For: 192.168.1.2", "backups saw /"),
            ("GET backups.example.com/\nX-Forwarded-For: 2001:db8:1::2", "403"),
            ("GET blog.example.com/\nX-Forwarded-For: 203.0.113.1", "blog saw /"),
            ("GET blog.example.com/\nX-Forwarded-For: 198.51.100.1", "403"),
            ("GET blog.example.com/\nX-Forwarded-For: 2001:db8:bad:1::1", "403"),
            ("GET shop.example.com/\nX-Forwarded-For: 198.51.100.1", "shop saw /"),
            ("GET shop.example.com/admin\nX-Forwarded-For: 198.51.100.1", "403"),
            ("GET shop.example.com//admin\nX-Forwarded-For: 198.51.100.1", "400"),
            ("GET shop.example.com/admin\nX-Forwarded-For: 203.0.113.5", "shop saw /admin"),
            ("GET shop.example.com/admin\nX-Forwarded-For: 203.0.113.66", "403"),
        ],
    ),
    (
        "authelia",
        // In place of Authelia there is a server that answers 200.
        &[
            ("GET auth.example.com/", "authelia saw /"),
            ("GET wiki.example.com/x\nRemote-User: root", "wiki saw /x\n> Remote-User: -"),
            ("GET wiki.example.com//x", "400"),
        ],
    ),
    (
        "oauth2-proxy",
        &[
            ("GET login.example.com/oauth2/sign_in", "oauth2-proxy saw /oauth2/sign_in"),
            (
                "GET orders.example.com/x\nX-Auth-Request-User: root",
                "orders saw /x\n> X-Auth-Request-User: -",
            ),
        ],
    ),
    (
        "sticky",
        &[("GET cart.example.com/x\nCookie: docker-glue-server=gone", "cart saw /x\n> Cookie: -")],
    ),
    (
        "redirects",
        &[
            ("GET www.example.com/x", "site saw /x"),
            ("GET example.com/x?q=1", "308\n< Location: http://www.example.com/x?q=1"),
            ("GET shop.example.net/", "308\n< Location: http://www.example.com/"),
            ("GET old-docs.example.com/a", "308\n< Location: https://docs.example.org/a"),
            ("GET www.example.com/chat", "302\n< Location: https://chat.example.org/join?from=www"),
        ],
    ),
    (
        "headers",
        &[
            (
                "GET site.example.com/\nX-Tenant: other\nX-Debug: 1",
                "site saw /\n> X-Tenant: acme\n> X-Debug: -\n< X-Frame-Options: DENY\n\
                 < X-Content-Type-Options: nosniff\n< Server: -\n\
                 < Content-Security-Policy: default-src 'self'; frame-ancestors 'none'",
            ),
            (
                "GET data.example.com/\nOrigin: https://app.example.com",
                "data saw /\n< Access-Control-Allow-Origin: https://app.example.com",
            ),
            (
                "GET data.example.com/\nOrigin: https://other.example.com",
                "data saw /\n< Access-Control-Allow-Origin: -",
            ),
            (
                "GET data.example.com/fonts/a\nOrigin: https://other.example.com",
                "data saw /fonts/a\n< Access-Control-Allow-Origin: *",
            ),
        ],
    ),
    (
        "limits",
        &[
            ("GET forum.example.com/login", "forum saw /login"),
            ("GET forum.example.com/login", "forum saw /login"),
            ("GET forum.example.com/login", "forum saw /login"),
            ("GET forum.example.com/login", "forum saw /login"),
            ("GET forum.example.com/login", "forum saw /login"),
            ("GET forum.example.com/login", "429\n< Retry-After: 60"),
            ("GET forum.example.com/login\nX-Forwarded-For: 203.0.113.5", "forum saw /login"),
            ("GET forum.example.com/", "forum saw /"),
            ("POST forum.example.com/\nTransfer-Encoding: chunked", "411"),
            ("POST forum.example.com/\nContent-Length: 2097153", "413"),
        ],
    ),
    (
        "paths",
        &[
            (
                "GET tools.example.com/reports/may",
                "reports saw /app/v2/may\n> X-Forwarded-Prefix: /reports",
            ),
            (
                "GET tools.example.com/team/board/x",
                "board saw /board/x\n> X-Forwarded-Prefix: /team",
            ),
        ],
    ),
];

#[test]
fn examples_of_features_act_as_the_book_says() {
    let Some(docker) = common::find_docker() else { return };
    let folder = Path::new("examples/features");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).count();
    assert_eq!(files, EXAMPLES.len(), "each compose file is run");
    let settings = folder.join("settings.toml");
    for (name, rows) in EXAMPLES {
        let plan = Balancer::plan(&docker)
            .option(&["--trusted-proxies", "127.0.0.1/32"])
            .option(&["--settings", settings.to_str().unwrap()]);
        let file = folder.join(format!("{name}.yaml"));
        let project = read_project(&file, &BTreeMap::new(), Deployment::Compose).unwrap();
        assert_eq!(project.notes, BTreeSet::new());
        let services = project.services.iter().filter(|service| !service.labels.is_empty());
        let runs = services.map(|service| {
            // As docker compose names containers and their services.
            let run = plan.run(&service.name).of_compose(&service.name);
            let port = service.labels.keys().find_map(|key| key.split('_').nth(2));
            let run = run.arguments(&["--port", port.unwrap()]);
            service.labels.iter().fold(run, |run, (key, value)| run.label(key, value))
        });
        let _containers = common::start_all(runs.collect());
        let balancer = plan.start().wait_until_started();
        check_rows(&balancer, rows);
        assert!(!balancer.log().contains("WARN"), "{name}: {}", balancer.log());
    }
}

/// Returns the version of HTTP and the status of a request with curl.
fn curl_status(balancer: &Balancer, url: &str, options: &[&str]) -> String {
    let public = if url.starts_with("https") { 443 } else { 80 };
    let target = format!("::127.0.0.1:{}", balancer.bound_port(public));
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20", "--connect-to", &target])
        .args(["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"])
        .args(options)
        .arg(url)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns a frame of HTTP/2 in the first stream, or for the connection.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Sends a request over HTTP/2 without TLS, and returns the status. curl reports an answer before the end of the
/// request's body as an error at times, because HAProxy then cancels the request.
fn http2_status(balancer: &Balancer, fields: &[(&str, &str)], body: Option<&[u8]>) -> u16 {
    const HEADERS: u8 = 1;
    let own = [(":scheme", "http"), (":authority", "a.test"), (":path", "/x")];
    let literal = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let fields = own.iter().chain(fields);
    let block: Vec<_> = fields
        .flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat())
        .collect();
    let end = u8::from(body.is_none());
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frames.extend([frame(4, 0, 0, &[]), frame(HEADERS, 4 | end, 1, &block)].concat());
    frames.extend(body.map(|body| frame(0, 1, 1, body)).unwrap_or_default());
    let mut stream = TcpStream::connect(("127.0.0.1", balancer.bound_port(80))).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(&frames).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == HEADERS {
            return decode_status(&payload);
        }
    }
}

/// Returns the status in a block of headers: HAProxy writes it first, as an index of RFC 7541's table or as digits.
fn decode_status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x48, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        _ => panic!("{block:x?}"),
    }
}

#[test]
fn body_without_length_over_http2_is_refused() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _web = run(&plan, "web", &["host=a.test", "max_body=1k", "rate=100000/h"]).start();
    let balancer = plan.start().wait_until_started();
    let large = [b'x'; 1025];
    for (fields, body, expected) in [
        (vec![(":method", "GET")], None, 200),
        (vec![(":method", "POST")], None, 200),
        (vec![(":method", "POST"), ("content-length", "1024")], Some(&large[..1024]), 200),
        (vec![(":method", "POST"), ("content-length", "1025")], Some(&large[..]), 413),
        (vec![(":method", "POST")], Some(&large[..1]), 411),
        (vec![(":method", "POST")], Some(&large[..]), 411),
        (vec![(":method", "GET")], Some(&large[..1]), 411),
        // An empty body of unknown length is none.
        (vec![(":method", "POST")], Some(&[]), 200),
    ] {
        let length = body.map(<[u8]>::len);
        assert_eq!(http2_status(&balancer, &fields, body), expected, "{fields:?} {length:?}");
    }
}

#[test]
fn options_act_on_https() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    site.issue("a.pem", &["a.test", "far.test", "moved.test", "new.test", "old.test"]);
    let plan = site.plan(Balancer::plan(&docker));
    let labels = [
        "host=a.test",
        "tls=both",
        "max_body=1k",
        "rate=1000/h",
        "host.far=far.test",
        "allow.far=192.0.2.1",
        "host.moved=moved.test",
        "redirect.moved=https",
        "host.new=new.test",
        "redirect_from.new=old.test",
        "tls.new=on",
    ];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    site.wait_until(&balancer, "https://a.test/x", "web saw /x");
    let (small, large) = ("x".repeat(1024), "x".repeat(1025));
    let h2c = "--http2-prior-knowledge";
    for (url, options, expected) in [
        ("https://a.test/x", vec!["--http2"], "2 200"),
        ("https://a.test/x", vec!["--http2", "--data", &small], "2 200"),
        ("https://a.test/x", vec!["--http1.1", "--data", &large], "1.1 413"),
        ("https://far.test/", vec!["--http2"], "2 403"),
        ("http://far.test/", vec![h2c], "2 403"),
        // Only plain requests are redirected to HTTPS.
        ("http://moved.test/", vec![h2c], "2 307"),
        ("https://moved.test/", vec!["--http2"], "2 200"),
    ] {
        assert_eq!(curl_status(&balancer, url, &options), expected, "{url} {}", options[0]);
    }
    site.wait_until(&balancer, "http://old.test/x?q", "307 → https://new.test/x?q");
    site.wait_until(&balancer, "https://old.test/x?q", "307 → https://new.test/x?q");
}
