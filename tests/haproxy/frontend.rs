//! Requests that clients may spell in more than one way, sent unchanged to a real HAProxy: which container answers, and
//! what it receives.

use crate::common::{haproxy::HAProxy, story};
use docker_glue::haproxy::config::Config;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Containers on the loopback interface. Each has its own address, and all use one port.
const CONTAINERS: [(&str, Ipv4Addr, &str); 8] = [
    ("whole", Ipv4Addr::new(127, 8, 0, 1), "host=a.test,b.test"),
    ("admin", Ipv4Addr::new(127, 8, 0, 2), "host=a.test,*.w.test prefix=/admin,/caf%c3%a9"),
    ("api", Ipv4Addr::new(127, 8, 0, 3), "host=a.test prefix=/api,/x/y/z strip_prefix=yes"),
    ("only", Ipv4Addr::new(127, 8, 0, 4), "host=only.test prefix=/public"),
    ("wild", Ipv4Addr::new(127, 8, 0, 5), "host=*.w.test"),
    ("any", Ipv4Addr::new(127, 8, 0, 6), "prefix=/any"),
    ("exact", Ipv4Addr::new(127, 8, 0, 7), "host=a.test,*.w.test path=/health,/slash/,/admin/z"),
    ("root", Ipv4Addr::new(127, 8, 0, 8), "host=b.test path=/,/in/side strip_prefix=yes"),
];

struct Scene {
    haproxy: HAProxy,
}

/// The answer: the status, and if a container answered its name and the request line and headers that it received.
struct Answer {
    status: u16,
    container: String,
    head: Vec<String>,
}

impl Scene {
    async fn set(trusted: &[&str]) -> Option<Self> {
        let port = start_server();
        let story = CONTAINERS.iter().fold(String::new(), |story, (name, address, labels)| {
            let labels = labels.split(' ').map(|label| format!("glue_http_{port}_{label}"));
            let labels = labels.collect::<Vec<_>>().join(" ");
            format!("{story}{name} {address} glue_http_{port}_bind=80 {labels}\n")
        });
        let config = story::build_config(&story::parse_routes(&story));
        Some(Self { haproxy: HAProxy::start_trusting(&config, trusted).await? })
    }

    fn port(&self) -> u16 {
        self.haproxy.bound(NonZeroU16::new(80).unwrap())
    }

    fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Texts are Latin-1 here: each character is one byte.
        let bytes: Vec<_> = request.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        stream.write_all(&bytes).unwrap();
        let mut stream = BufReader::new(stream);
        let head = read_head(&mut stream);
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        let name = head.iter().find_map(|line| line.strip_prefix("x-container: "));
        let name = name.unwrap_or_default().to_owned();
        let head = if name.is_empty() { Vec::new() } else { self::read_head(&mut stream) };
        Answer { status, container: name, head }
    }

    fn get(&self, host: &str, target: &str) -> String {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
            .to_string()
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &'_ String| line.starts_with(&format!("{name}: "));
        Some(&self.head.iter().find(|line| named(line))?[name.len() + 2..])
    }
}

/// Prints `admin GET /admin`, or the status if HAProxy answered.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.head.first() {
            None => write!(f, "{}", self.status),
            Some(line) => {
                write!(f, "{} {}", self.container, line.rsplit_once(' ').unwrap().0)
            }
        }
    }
}

/// Reads lines up to an empty one. Header names are converted to lower case.
fn read_head(stream: &mut impl std::io::BufRead) -> Vec<String> {
    let lines = stream.lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    let lower = |line: String| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line,
    };
    lines.map(lower).collect()
}

/// Starts the containers, which answer with the request that they got, and switch to a tunnel if it contains `Tunnel:
/// yes`.
fn start_server() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer_connection(stream)));
        }
    });
    port
}

/// Answers a request. HAProxy's check sends nothing and closes the connection.
fn answer_connection(stream: TcpStream) -> std::io::Result<()> {
    let address = stream.local_addr()?.ip();
    let Some((name, ..)) = CONTAINERS.iter().find(|(_, addr, _)| *addr == address) else {
        return Ok(());
    };
    let mut stream = BufReader::new(stream);
    let got = read_head(&mut stream);
    if got.is_empty() {
        return Ok(());
    }
    let body = got.join("\r\n") + "\r\n\r\n";
    let first = if got.iter().any(|line| line == "tunnel: yes") {
        "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp".to_owned()
    } else {
        format!("200 OK\r\nConnection: close\r\nContent-Length: {}", body.len())
    };
    let mut stream = stream.into_inner();
    stream
        .write_all(format!("HTTP/1.1 {first}\r\nx-container: {name}\r\n\r\n{body}").as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    std::io::copy(&mut stream.take(1 << 16), &mut std::io::sink())?;
    Ok(())
}

#[tokio::test]
async fn encoded_path_takes_the_route_of_its_decoded_form() {
    let Some(scene) = Scene::set(&[]).await else { return };
    for (host, target, expected) in [
        ("a.test", "/x", "whole GET /x"),
        ("a.test", "/admin/x?q=//y/../z;%zz", "admin GET /admin/x?q=//y/../z;%zz"),
        ("a.test", "//admin", "admin GET /admin"),
        ("a.test", "/./admin", "admin GET /admin"),
        ("a.test", "/x/../admin/u", "admin GET /admin/u"),
        ("a.test", "/x/%2e%2e/admin", "admin GET /admin"),
        ("a.test", "/x/.%2E/admin?q", "admin GET /admin?q"),
        ("a.test", "/../../admin", "admin GET /admin"),
        ("a.test", "/a/b/c/../../../admin", "admin GET /admin"),
        ("a.test", "/a//../admin", "admin GET /admin"),
        ("a.test", "/%61dmin/%75", "admin GET /%61dmin/%75"),
        ("a.test", "/%61dmin%2F%75", "admin GET /admin/u"),
        ("a.test", "/admin;x/u", "admin GET /admin/u"),
        ("a.test", "/;x/admin", "admin GET /admin"),
        ("a.test", "/x/..;/admin", "admin GET /admin"),
        ("a.test", "/admin%2fu", "admin GET /admin/u"),
        ("a.test", "/x\\..\\admin", "admin GET /admin"),
        ("a.test", "/x%5c..%5Cadmin", "admin GET /admin"),
        ("a.test", "/caf%C3%A9/x", "admin GET /caf%C3%A9/x"),
        ("a.test", "/caf%c3%A9/x", "admin GET /caf%c3%A9/x"),
        ("a.test", "/%61pi/%61", "api GET /%61"),
        ("a.test", "/ADMIN", "whole GET /ADMIN"),
        ("a.test", "/%2561dmin", "whole GET /%2561dmin"),
        ("q.w.test", "//admin", "admin GET /admin"),
        // Paths with the same route in every spelling are passed on as they were sent.
        ("a.test", "/admin//u;v=1/%2F%61", "admin GET /admin//u;v=1/%2F%61"),
        ("a.test", "/http://b.test//x", "whole GET /http://b.test//x"),
        ("a.test", "/x%20y/caf%C3%A9/caf%c3%a9", "whole GET /x%20y/caf%C3%A9/caf%c3%a9"),
        ("a.test", "/.well-known/a..b/...", "whole GET /.well-known/a..b/..."),
        ("q.w.test", "/x//y;z", "wild GET /x//y;z"),
        ("only.test", "/public/a%2Fb;c//d", "only GET /public/a%2Fb;c//d"),
        // Paths that leave the host's only prefix.
        ("only.test", "/public/../x", "404"),
        ("only.test", "/public/..;/x", "404"),
        ("only.test", "/public/..%2fx", "404"),
        ("only.test", "/public/..%5cx", "404"),
        ("only.test", "/public/a/%2e%2e/%2e%2e/x", "404"),
        ("only.test", "/public/x/..", "only GET /public/"),
        // Malformed paths are rejected.
        ("a.test", "/%", "400"),
        ("a.test", "/%zz", "400"),
        ("a.test", "/a%00", "400"),
        ("a.test", "/1/2/3/4/5/6/7/8/9/../../../../../../../../../admin", "400"),
        // Clients must write these bytes as %XX; browsers do so.
        ("a.test", "/caf\u{c3}\u{a9}", "400"),
        ("a.test", "/a#b", "400"),
        // The rest of a path after a stripped prefix cannot be read as another host.
        ("a.test", "/api", "api GET /"),
        ("a.test", "/api?q=//y", "api GET /?q=//y"),
        ("a.test", "/api//evil.test/", "api GET /evil.test/"),
        ("a.test", "/api///evil.test//x", "api GET /evil.test//x"),
        ("a.test", "//api//evil.test/", "api GET /evil.test/"),
        ("a.test", "/api/%2fevil.test/", "api GET /%2fevil.test/"),
        ("a.test", "/x/y/z//a//b", "api GET /a//b"),
        ("a.test", "/x/q/../y/z/a", "api GET /a"),
    ] {
        assert_eq!(scene.get(host, target), expected, "{host} {target}");
    }
}

/// What does not fit into HAProxy's buffers would not be normalized as a whole.
#[tokio::test]
async fn path_that_is_too_long_to_be_normalized_is_refused() {
    let Some(scene) = Scene::set(&[]).await else { return };
    let (long, short) = ("!".repeat(5600), "!".repeat(4086));
    for (target, expected) in [
        (format!("/{long}"), "whole"),
        (format!("/open/{long}\\..\\..\\admin"), "400"),
        (format!("/admin;x/{long}"), "400"),
        (format!("/admin%3bx/{long}"), "400"),
        (format!("{}/admin", "/;".repeat(6000)), "400"),
        (format!("/admin;x/{}", "/;".repeat(7000)), "400"),
        (format!("/admin;x/{short}"), "admin"),
        (format!("/open/../admin/{}", &short[6..]), "admin"),
    ] {
        let answer = scene.get("a.test", &target);
        assert!(answer.starts_with(expected), "{answer:.60} for {target:.60}");
    }
}

#[tokio::test]
async fn exact_path_takes_only_its_own_requests() {
    let Some(scene) = Scene::set(&[]).await else { return };
    for (host, target, expected) in [
        ("a.test", "/health", "exact GET /health"),
        ("a.test", "/health?q=/x", "exact GET /health?q=/x"),
        ("a.test", "/health/", "whole GET /health/"),
        ("a.test", "/health/x", "whole GET /health/x"),
        ("a.test", "/healthy", "whole GET /healthy"),
        ("a.test", "/HEALTH", "whole GET /HEALTH"),
        ("a.test", "/slash/", "exact GET /slash/"),
        ("a.test", "/slash", "whole GET /slash"),
        ("a.test", "/slash//", "exact GET /slash/"),
        ("a.test", "/%68ealth", "exact GET /%68ealth"),
        ("a.test", "//health", "exact GET /health"),
        ("a.test", "/x/../health", "exact GET /health"),
        ("a.test", "/health;v=1", "exact GET /health"),
        ("a.test", "/health#", "400"),
        ("a.test", "/health/%23", "whole GET /health/%23"),
        // An exact path below a prefix, and one of a wildcard host.
        ("a.test", "/admin/z", "exact GET /admin/z"),
        ("a.test", "/admin/z/", "admin GET /admin/z/"),
        ("q.w.test", "/health", "exact GET /health"),
        ("q.w.test", "/health/", "wild GET /health/"),
        ("b.test", "/", "root GET /"),
        ("b.test", "/?q", "root GET /?q"),
        ("b.test", "/x", "whole GET /x"),
        ("b.test", "/in/side", "root GET /"),
        ("b.test", "/in/side/", "whole GET /in/side/"),
        ("b.test", "//in/side?q=1", "root GET /?q=1"),
    ] {
        assert_eq!(scene.get(host, target), expected, "{host} {target}");
    }
}

#[tokio::test]
async fn odd_target_host_or_method_is_normalized_or_rejected() {
    let Some(scene) = Scene::set(&[]).await else { return };
    for (request, expected) in [
        ("GET http://a.test/x?q=//y HTTP/1.1\r\nHost: a.test", "whole GET /x?q=//y"),
        ("GET http://a.test HTTP/1.1\r\nHost: a.test", "whole GET /"),
        ("GET http://a.test//x HTTP/1.1\r\nHost: a.test", "whole GET //x"),
        ("GET http://u:p@a.test/x HTTP/1.1\r\nHost: a.test", "whole GET /x"),
        ("GET https://a.test/x HTTP/1.1\r\nHost: a.test", "whole GET /x"),
        ("GET ftp://a.test/x/../admin HTTP/1.1\r\nHost: a.test", "admin GET /admin"),
        ("GET http://a.test/api/x HTTP/1.1\r\nHost: a.test", "api GET /x"),
        ("GET http://b.test/x HTTP/1.1\r\nHost: a.test", "400"),
        ("GET http://a.test/x HTTP/1.1", "400"),
        ("GET a.test:80 HTTP/1.1\r\nHost: a.test:80", "400"),
        ("GET admin HTTP/1.1\r\nHost: a.test", "400"),
        ("GET * HTTP/1.1\r\nHost: a.test", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test", "whole OPTIONS *"),
        ("OPTIONS /admin HTTP/1.1\r\nHost: a.test", "admin OPTIONS /admin"),
        ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80", "405"),
        ("TRACE /x HTTP/1.1\r\nHost: a.test", "405"),
        ("GET /x HTTP/1.1\r\nHost: A.Test.:80", "whole GET /x"),
        ("GET /x HTTP/1.1\r\nHost: a.test:", "whole GET /x"),
        ("GET /any HTTP/1.1\r\nHost: [::1]:80", "any GET /any"),
        ("GET /any HTTP/1.1\r\nHost: 127.0.0.1:65535", "any GET /any"),
        ("GET /any HTTP/1.0", "any GET /any"),
        ("GET /any HTTP/1.1", "400"),
        ("GET /any HTTP/1.1\r\nHost:", "400"),
        ("GET /x HTTP/1.1\r\nHost: b.test,a.test", "400"),
        ("GET /x HTTP/1.1\r\nHost: b.test\r\nHost: a.test", "400"),
        ("GET /x HTTP/1.1\r\nHost: u@a.test", "400"),
        ("GET /x HTTP/1.1\r\nHost: a.test/admin", "400"),
        ("GET /x HTTP/1.1\r\nHost: a.test b.test", "400"),
        ("GET /x HTTP/1.1\r\nHost: a.test;b", "400"),
        ("GET /x HTTP/1.1\r\nHost: a.test:65536", "400"),
        ("GET /x HTTP/1.1\r\nHost: a.test:80:80", "400"),
        ("GET /x HTTP/1.1\r\nHost: [::1", "400"),
    ] {
        assert_eq!(scene.send(&format!("{request}\r\n\r\n")).to_string(), expected, "{request}");
    }
}

/// Headers by which a client could forge its identity. HAProxy removes or replaces them, and keeps those in `OWN`.
const CLAIMS: [&str; 40] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-User",
    "X-Forwarded-Uri",
    "X-Forwarded",
    "X-FORWARDED-BY",
    "X_Forwarded_For",
    "X_Forwarded-Proto",
    "X.Forwarded.Host",
    "X-Real-IP",
    "X_Real_IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-URL",
    "X_Original_URL",
    "X-Original-Host",
    "X-Original-Forwarded-For",
    "X-Rewrite-URL",
    "X-Scheme",
    "X-Url-Scheme",
    "X-Host",
    "X-Script-Name",
    "X-SSL-Client-Cert",
    "X-Remote-User",
    "X-Auth-Request-User",
    "Remote-User",
    "Front-End-Https",
    "FRONT_END_HTTPS",
    "Proxy",
    "Forwarded",
    "Forwarded-For",
    "True-Client-IP",
    "Client-IP",
    "CF-Connecting-IP",
];
const OWN: [&str; 9] = [
    "Cookie",
    "Authorization",
    "X-Requested-With",
    "X-Request-ID",
    "X-CSRF-Token",
    "X-API-Key",
    "X-Auth-Token",
    "X-Client-Version",
    "Via",
];

fn request_with_forged_headers(target: &str) -> String {
    let all = CLAIMS.iter().chain(&OWN).map(|name| format!("{name}: 198.51.100.66\r\n"));
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{}\r\n", all.collect::<String>())
}

#[tokio::test]
async fn forwarded_headers_of_untrusted_clients_are_replaced() {
    let Some(scene) = Scene::set(&[]).await else { return };
    let bound = scene.port().to_string();
    for (target, prefix) in [("/x", None), ("/api/x", Some("/api")), ("/x/y/z", Some("/x/y/z"))] {
        let answer = scene.send(&request_with_forged_headers(target));
        let is_forged = |line: &&String| line.contains("198.51.100.66");
        let names =
            answer.head.iter().filter(is_forged).map(|line| line.split(':').next().unwrap());
        let own = OWN.map(str::to_ascii_lowercase);
        assert_eq!(names.collect::<Vec<_>>(), own, "{target}");
        for (name, expected) in [
            ("x-forwarded-for", Some("127.0.0.1")),
            ("x-real-ip", Some("127.0.0.1")),
            ("x-forwarded-proto", Some("http")),
            ("x-forwarded-host", Some("a.test")),
            ("x-forwarded-port", Some(bound.as_str())),
            ("x-forwarded-prefix", prefix),
        ] {
            assert_eq!(answer.header(name), expected, "{target}: {name}");
        }
    }
    let answer = scene.send("GET /any HTTP/1.0\r\n\r\n");
    assert_eq!(answer.header("x-forwarded-host"), None, "{:?}", answer.head);
}

#[tokio::test]
async fn forwarded_headers_of_trusted_proxies_are_kept() {
    let Some(scene) = Scene::set(&["127.0.0.0/8", "192.0.2.0/24"]).await else { return };
    let answer = scene.send(&request_with_forged_headers("/api/x"));
    let forged = answer.head.iter().filter(|line| line.contains("198.51.100.66")).count();
    assert_eq!(forged, CLAIMS.len() + OWN.len(), "{:#?}", answer.head);
    assert_eq!(answer.header("x-real-ip"), Some("198.51.100.66"));
    assert_eq!(answer.header("x-forwarded-prefix"), Some("198.51.100.66/api"));
    for (header, expected) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 198.51.100.7\r\n", "198.51.100.7"),
        ("X-Forwarded-For: 6.6.6.6, 198.51.100.7, 192.0.2.1\r\n", "198.51.100.7"),
        ("X-Forwarded-For: nonsense\r\n", "127.0.0.1"),
    ] {
        let answer = scene.send(&format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{header}\r\n"));
        assert_eq!(answer.header("x-real-ip"), Some(expected), "{header}");
    }
}

#[tokio::test]
async fn connection_header_cannot_remove_own_headers_or_upgrade_to_http2() {
    let Some(scene) = Scene::set(&[]).await else { return };
    let upgrade = |to: &str| format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {to}\r\n");
    for (headers, expected) in [
        ("Connection: close, X-Forwarded-For, X-Real-IP\r\n".to_owned(), None),
        ("Connection: X-Forwarded-Proto\r\nConnection: X-Forwarded-Port\r\n".to_owned(), None),
        ("Upgrade: websocket\r\n".to_owned(), None),
        (upgrade("h2c"), None),
        (upgrade("H2C"), None),
        (upgrade("TLS/1.0"), None),
        (upgrade("HTTP/2.0"), None),
        (upgrade("tcp"), Some("tcp")),
        (WEBSOCKET.to_owned(), Some("websocket")),
    ] {
        let answer = scene.send(&format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n"));
        assert_eq!(answer.header("upgrade"), expected, "{headers}: {:?}", answer.head);
        assert_eq!(answer.header("http2-settings"), None, "{headers}");
        let named = answer.header("connection").unwrap_or("close").to_ascii_lowercase();
        assert!(!named.contains("x-") && !named.contains("http2"), "{headers}: {named}");
        assert_eq!(answer.header("x-forwarded-for"), Some("127.0.0.1"), "{headers}");
    }
    // HAProxy 3.0 and later remove h2c themselves and keep the other protocol.
    let both = upgrade("foo, h2c");
    let answer = scene.send(&format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{both}\r\n"));
    assert!(matches!(answer.header("upgrade"), None | Some("foo")), "{:?}", answer.head);
    let tunnel = |headers: &str| {
        let head = format!("GET /x HTTP/1.1\r\nHost: a.test\r\nTunnel: yes\r\n{headers}\r\n");
        scene.send(&head).status
    };
    assert_eq!(tunnel(&upgrade("tcp")), 101);
    assert_eq!(tunnel(&upgrade("h2c")), 502);
    assert_eq!(tunnel(""), 502);
}

/// Starts servers that close each connection after a request. Returns their port and the number of their requests.
fn start_closing_servers() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                // Until the request is counted, the connection is open.
                let mut reader = BufReader::new(stream);
                if !read_head(&mut reader).is_empty() {
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (port, requests)
}

/// The maximum numbers of requests are those in the reference of labels: each container that closes the connection uses
/// one attempt.
#[tokio::test]
async fn unanswered_request_is_retried_unless_retry_is_off() {
    for (containers, retry, most) in
        [(1, "safe", 7), (1, "all", 7), (1, "off", 1), (9, "safe", 7), (9, "all", 7), (2, "off", 1)]
    {
        let (config, requests) = ends_requests(containers, retry);
        let Some(haproxy) = HAProxy::start(&config).await else { return };
        count_requests(haproxy, &requests, most).await;
    }
}

#[tokio::test]
async fn request_that_gets_no_answer_is_sent_more_often_without_lua() {
    for (containers, retry, most) in [(1, "safe", 41), (2, "safe", 41), (2, "off", 1)] {
        let (config, requests) = ends_requests(containers, retry);
        let Some(haproxy) = HAProxy::start_without_lua(&config).await else { return };
        count_requests(haproxy, &requests, most).await;
    }
}

/// Returns the configuration of a route whose containers close the connection after each request.
fn ends_requests(containers: u8, retry: &str) -> (Config, Arc<AtomicUsize>) {
    let (port, requests) = start_closing_servers();
    let line = |at: u8| {
        format!(
            "c{at} 127.8.2.{at} glue_http_{port}_bind=80 glue_http_{port}_host=a.test glue_http_{port}_retry={retry}"
        )
    };
    let story = (1..=containers).map(line).collect::<Vec<_>>().join("\n");
    (story::build_config(&story::parse_routes(&story)), requests)
}

async fn count_requests(haproxy: HAProxy, requests: &AtomicUsize, most: usize) {
    let scene = Scene { haproxy };
    let answer = tokio::task::spawn_blocking(move || scene.get("a.test", "/kill")).await.unwrap();
    assert_eq!(answer, "502");
    assert_eq!(requests.load(Ordering::SeqCst), most);
}
