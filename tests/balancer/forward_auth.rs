//! Authentication servers that judge requests: what they are asked, what clients and containers get, and what happens
//! when a server is away, silent, slow, or answers nonsense. The servers are in the test's process and behave as the
//! documentation of Authelia (`/api/authz/forward-auth`) and of oauth2-proxy (`/`, with a static upstream) says.

use super::features::{Row, Settings, check_rows, run, worker};
use crate::common::{
    DEADLINE,
    balancer::{Balancer, free_port},
    find_docker,
    tls_server::{Protocol, TestCa, start_server},
    wait_for,
};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// An authentication server that answers by the path of the question.
pub(super) struct AuthServer {
    address: SocketAddr,
    questions: Arc<Mutex<Vec<String>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AuthServer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (questions, ends): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let (asked, ended) = (Arc::clone(&questions), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let asked = Arc::clone(&asked);
                held.push(thread::spawn(move || drop(answer(stream, &asked))));
            }
        });
        Self { address, questions, ends, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the last question.
    fn question(&self) -> String {
        self.questions.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Reads one question and answers it.
fn answer(mut stream: TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut question = String::new();
        while !question.ends_with("\r\n\r\n") {
            if reader.read_line(&mut question)? == 0 {
                return Ok(());
            }
        }
        let path = question.split(' ').nth(1).unwrap_or_default().to_owned();
        asked.lock().unwrap().push(question);
        let text = match path.split('?').next().unwrap_or_default() {
            "/ok" => {
                "HTTP/1.1 200 OK\r\nRemote-User: alice\r\nRemote-Groups: staff\r\nRemote-Groups: admins\r\n\
                 Set-Cookie: session=2; Path=/\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nok"
            }
            "/accepted" => {
                "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            }
            "/login" => {
                "HTTP/1.1 302 Found\r\nLocation: https://auth.test/?rd=x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                 Transfer-Encoding: chunked\r\n\r\n6\r\nplease\r\n0\r\n\r\n"
            }
            "/deny" => {
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"auth\"\r\nContent-Length: 3\r\n\r\nno\n"
            }
            "/error" => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            "/close" => "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nuntil the end",
            "/lying" => "HTTP/1.1 200 OK\r\nRemote-User: al\0ice\r\n\r\n",
            "/nonsense" => "no HTTP at all\r\n\r\n",
            "/longer" => "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
            "/twice" => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
            "/early" => {
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
            }
            "/cookies" => {
                "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nSet-Cookie: c=3\r\nSet-Cookie: d=4\r\n\
                 Content-Length: 0\r\n\r\n"
            }
            "/huge" => {
                let body = "x".repeat(20_000);
                write!(
                    stream,
                    "HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )?;
                continue;
            }
            "/half" => {
                write!(stream, "HTTP/1.1 200 OK\r\nRemote-User: ali")?;
                return Ok(());
            }
            // Until the client gives up.
            "/silent" => {
                let mut rest = String::new();
                reader.read_line(&mut rest)?;
                return Ok(());
            }
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        };
        stream.write_all(text.as_bytes())?;
        if path == "/close" {
            return Ok(());
        }
    }
}

/// Returns settings with a policy for each path of the server, and for a port on which nothing listens.
pub(super) fn policies(server: &AuthServer, paths: &[&str]) -> String {
    let policy = |path: &&str| {
        let url = server.url(&format!("/{path}?x=1"));
        format!(
            "[policy.{path}]\nforward_auth = \"{url}\"\nforward_auth_headers = \"Remote-User,Remote-Groups\"\n"
        )
    };
    paths.iter().map(policy).collect()
}

#[test]
fn server_judges_each_request_of_its_routes() {
    let Some(docker) = find_docker() else { return };
    let server = AuthServer::start();
    let paths = [
        "ok", "accepted", "login", "deny", "error", "close", "lying", "nonsense", "longer",
        "twice", "early", "cookies", "huge", "half", "silent",
    ];
    let away = format!("[policy.away]\nforward_auth = \"http://127.0.0.1:{}/\"\n", free_port());
    let settings = Settings::new(&(policies(&server, &paths) + &away));
    let plan = settings.plan(Balancer::plan(&docker));
    let mut labels = vec!["host=plain.test".to_owned()];
    for path in paths.iter().chain(&["away"]) {
        labels.extend([format!("host.{path}={path}.test"), format!("use.{path}={path}")]);
    }
    labels.extend(
        [
            "host.part=ok.test",
            "prefix.part=part",
            "strip_prefix.part=on",
            "add_prefix.part=/new",
            "use.part=ok",
            "cors.part=https://page.test",
            // Of the container's answer, not of the authentication server's.
            "drop_response_headers.cookies=Set-Cookie",
        ]
        .map(str::to_owned),
    );
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let rows: &[Row<'_>] = &[
        ("GET plain.test/", "web saw /\n> Remote-User: -"),
        (
            "GET ok.test/a?b=c\nRemote-User: root\nRemote_User: root\nRemote.User: root\nRemote-Groups: root\nX-Other: 2",
            "web saw /a?b=c\n> Remote-User: alice\n> Remote_User: -\n> Remote.User: -\n> Remote-Groups: staff, admins\n> X-Other: 2\n\
             < Set-Cookie: session=2; Path=/",
        ),
        ("GET accepted.test/\nRemote-User: root", "web saw /\n> Remote-User: -\n< Set-Cookie: -"),
        (
            "GET login.test/",
            "302\n< Location: https://auth.test/?rd=x\n< Set-Cookie: a=1, b=2\n< docker-glue-answer: -",
        ),
        ("GET deny.test/", "401\n< WWW-Authenticate: Basic realm=\"auth\""),
        ("GET error.test/", "500"),
        ("GET close.test/", "403"),
        ("GET early.test/", "403"),
        ("GET huge.test/", "403"),
        ("GET cookies.test/", "web saw /\n< Set-Cookie: a=1, b=2, c=3, d=4"),
        ("GET lying.test/", "503"),
        ("GET nonsense.test/", "503"),
        ("GET longer.test/", "503"),
        ("GET twice.test/", "503"),
        ("GET half.test/", "503"),
        ("GET away.test/", "503"),
        ("GET silent.test/", "503"),
        // Preflight requests have no credentials.
        (
            "OPTIONS ok.test/part/x\nOrigin: https://page.test\nAccess-Control-Request-Method: GET",
            "204\n< Access-Control-Allow-Origin: https://page.test",
        ),
        ("GET ok.test/part/x?y", "web saw /new/x?y\n> Remote-User: alice"),
        ("GET ok.test//part/x", "400"),
        ("POST plain.test/\nContent-Length: 0", "web saw /"),
    ];
    check_rows(&balancer, rows);
    assert_eq!(balancer.get("deny.test").body, "no\n");
    assert_eq!(balancer.get("close.test").body, "until the end");
    assert_eq!(balancer.get("login.test").body, "please");
}

#[test]
fn question_has_the_request_as_the_client_sent_it() {
    let Some(docker) = find_docker() else { return };
    let server = AuthServer::start();
    let settings = Settings::new(&policies(&server, &["ok"]));
    let plan = settings.plan(Balancer::plan(&docker)).option(&["--trusted-proxies", "127.0.0.1"]);
    let labels = ["host=a.test", "prefix=app", "strip_prefix=on", "use=ok"];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let request = balancer.request("POST", "a.test/app/x?y=%20z");
    let request = [
        ("Cookie", "session=1"),
        ("Authorization", "Bearer t"),
        ("Authorization", "Bearer u"),
        ("Authorization", "Bearer v"),
        ("Content-Length", "2"),
        ("If-None-Match", "*"),
        ("Accept-Encoding", "gzip"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Host", "public.test"),
        ("X-Forwarded-Uri", "/public"),
        ("X_Forwarded_Uri", "/public"),
        ("X-Original-URL", "https://public.test/"),
        ("X-Forwarded-Method", "GET"),
        ("docker-glue-server", "http://127.0.0.1:1"),
        ("docker-glue-answer", "1"),
    ]
    .iter()
    .fold(request, |request, (name, value)| request.header(name, value));
    let mut stream = request.open().unwrap();
    stream.write_all(b"hi").unwrap();
    wait_for("a question", || (!server.question().is_empty()).then_some(()));
    let question = server.question();
    let mut lines: Vec<_> = question.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.remove(0), "GET /ok?x=1 HTTP/1.1");
    // Repeated headers are in the order in which the container gets them.
    let values = |name: &str| -> Vec<_> {
        lines.iter().filter_map(|line| line.strip_prefix(name)).collect()
    };
    assert_eq!(values("authorization: Bearer "), ["t", "u", "v"]);
    assert_eq!(values("x-forwarded-for: "), ["192.0.2.7", "127.0.0.1"]);
    lines.sort_unstable();
    let port = balancer.bound_port(80);
    let expected = [
        "authorization: Bearer t".to_owned(),
        "authorization: Bearer u".to_owned(),
        "authorization: Bearer v".to_owned(),
        "cookie: session=1".to_owned(),
        "docker-glue-answer: 1".to_owned(),
        format!("host: {}", server.address),
        "x-forwarded-for: 192.0.2.7".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        "x-forwarded-host: a.test".to_owned(),
        "x-forwarded-method: POST".to_owned(),
        format!("x-forwarded-port: {port}"),
        "x-forwarded-proto: http".to_owned(),
        "x-forwarded-uri: /app/x?y=%20z".to_owned(),
        "x-original-method: POST".to_owned(),
        "x-original-url: http://a.test/app/x?y=%20z".to_owned(),
        "x-real-ip: 192.0.2.7".to_owned(),
    ];
    for line in &expected {
        assert!(lines.contains(&line.as_str()), "{line} is not in\n{question}");
    }
    let others: Vec<_> =
        lines.iter().filter(|line| !expected.iter().any(|other| other == *line)).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn question_of_a_request_without_host_has_an_empty_one() {
    let Some(docker) = find_docker() else { return };
    let server = AuthServer::start();
    let settings = Settings::new(&policies(&server, &["ok"]));
    let plan = settings.plan(Balancer::plan(&docker));
    let _web = run(&plan, "web", &["host=*", "use=ok"]).start();
    let balancer = plan.start().wait_until_started();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, balancer.bound_port(80))).unwrap();
    stream.write_all(b"GET /x HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
    let question = server.question();
    for line in ["x-forwarded-host: \r\n", "x-original-url: http:///x\r\n"] {
        assert!(question.contains(line), "{line} is not in\n{question}");
    }
}

/// Labels may name containers that everyone can reach, and policies any container.
#[test]
fn server_in_container_is_found_by_name_and_followed() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let auth = |labels: &[&str]| run(&plan, "auth", labels).start();
    let first = auth(&["host=auth.test"]);
    let name = first.name.clone();
    let settings = Settings::new(&format!("[policy.sso]\nforward_auth = \"http://{name}\"\n"));
    let by_label = format!("forward_auth=http://{name}/check");
    let web = [
        "host=a.test",
        by_label.as_str(),
        "host.unknown=unknown.test",
        "forward_auth.unknown=http://no-such-container:9091",
        "host.address=address.test",
        "forward_auth.address=http://127.0.0.1:9091",
    ];
    let _web = run(&plan, "web", &web).start();
    let _other = run(&plan, "other", &["host=policy.test", "use=sso"]).start();
    let balancer = settings.plan(plan).start().wait_until_started();
    let before = worker(&balancer);
    check_rows(
        &balancer,
        &[
            ("GET a.test/x", "web saw /x"),
            ("GET policy.test/x", "other saw /x"),
            ("GET unknown.test/", "503"),
            ("GET address.test/", "503"),
        ],
    );
    balancer.wait_for_log(&["WARN", "no running container is called no-such-container"]);
    balancer.wait_for_log(&["WARN", "only a policy of the settings file may have an address"]);

    // A port that nobody can reach is only for policies.
    drop(first);
    balancer.wait_until_serves("a.test", "503");
    let closed = run(&balancer, "auth", &["host=auth.test", "allow=192.0.2.1"]);
    let closed = closed.named(&name).start();
    balancer.wait_until_serves("policy.test/x", "other saw /x");
    assert_eq!(balancer.get("a.test").status, 503);
    balancer.wait_for_log(&["WARN", "a label may only name a path that is served to everyone"]);

    // A new container has another address.
    drop(closed);
    let _third = run(&balancer, "third", &["host=third.test"]).start();
    let again = run(&balancer, "auth", &["host=auth.test"]).named(&name).start();
    balancer.wait_until_serves("a.test/x", "web saw /x");
    drop(again);
    balancer.wait_until_serves("a.test/x", "503");
    assert_eq!(worker(&balancer), before, "HAProxy was reloaded");
}

/// A server that does not answer costs its own routes only.
#[test]
fn silent_server_affects_no_other_route() {
    let Some(docker) = find_docker() else { return };
    let server = AuthServer::start();
    let silent = AuthServer::start();
    let policies = policies(&server, &["ok"]) + &policies(&silent, &["silent"]);
    let settings = Settings::new(&policies);
    let plan = settings.plan(Balancer::plan(&docker));
    let labels = [
        "host=plain.test",
        "host.silent=silent.test",
        "use.silent=silent",
        "host.ok=ok.test",
        "use.ok=ok",
    ];
    let _web = run(&plan, "web", &labels).start();
    let balancer = plan.start().wait_until_started();
    let held: Vec<_> =
        (0..300).map(|_| balancer.request("GET", "silent.test").open().unwrap()).collect();
    wait_for("the limit of questions", || {
        let table = balancer.ask_haproxy("show table docker-glue-table-auth");
        let (_, count) = table.split_once("conn_cur=")?;
        let count = count.split_whitespace().next()?.parse::<usize>().ok()?;
        (256 <= count).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(balancer.request_outcome("plain.test/x"), "web saw /x");
        assert_eq!(balancer.request_outcome("ok.test/x"), "web saw /x");
    }
    drop(held);
}

#[test]
fn server_over_tls_with_another_ca_is_not_asked() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    // The server in the test has a port of the host, as the container with this name.
    let run = plan.run("auth").option(&["--network", "host"]).env("WHOAMI_PORT", free_port());
    let auth = run.start();
    let port = start_server(Protocol::Https, &TestCa::new("unknown").issue(&auth.name));
    let url = format!("https://{}:{port}/check", auth.name);
    let settings = Settings::new(&format!("[policy.sso]\nforward_auth = \"{url}\"\n"));
    let labels = ["host=plain.test", "host.sso=sso.test", "use.sso=sso"];
    let _web = super::features::run(&plan, "web", &labels).start();
    let balancer = settings.plan(plan).start().wait_until_started();
    check_rows(&balancer, &[("GET plain.test/x", "web saw /x"), ("GET sso.test/x", "503")]);
}
