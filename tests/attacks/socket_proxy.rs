//! Which requests pass the examples of a socket proxy to Docker, and to a manager of a Swarm: only the reads that
//! docker-balancer uses.

use crate::common::{balancer::free_port, haproxy, wait_for};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// Paths that may arrive at Docker, whatever was sent.
const HARMLESS: &str = "/_ping /version /info /events /containers/json /networks";

/// The example, between a port and a socket that records requests.
struct Site {
    _folder: TempDir,
    haproxy: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn start(example: &str) -> Option<Self> {
        let bin = haproxy::find_haproxy()?;
        let folder = TempDir::with_prefix("glue").unwrap();
        let socket = folder.path().join("docker.sock");
        let lines = record(&socket);
        let port = free_port();
        let example = fs::read_to_string(example).unwrap();
        let config = example
            .replace("bind :2375", &format!("bind 127.0.0.1:{port}"))
            .replace("/host/run/docker.sock", socket.to_str().unwrap());
        assert!(config.contains(&port.to_string()) && config.contains(socket.to_str().unwrap()));
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let haproxy = Command::new(bin).arg("-db").arg("-f").arg(file).spawn().unwrap();
        Some(Self { _folder: folder, haproxy, port, lines })
    }

    fn send(&self, text: &[u8]) -> String {
        let at = (Ipv4Addr::LOCALHOST, self.port);
        let mut stream = wait_for("the proxy", || TcpStream::connect(at).ok());
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(text);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.haproxy.kill();
        let _ = self.haproxy.wait();
    }
}

/// Starts an engine that accepts everything and records the first line of each request.
fn record(socket: &Path) -> Arc<Mutex<Vec<String>>> {
    let (listener, lines) = (UnixListener::bind(socket).unwrap(), Arc::new(Mutex::new(Vec::new())));
    let recorded = Arc::clone(&lines);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let lines = Arc::clone(&recorded);
            thread::spawn(move || {
                let reader = BufReader::new(stream.try_clone().unwrap());
                let mut is_first = true;
                for line in reader.split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    // Otherwise the line belongs to a body.
                    if is_first && line.contains(" HTTP/") {
                        lines.lock().unwrap().push(line.clone());
                    }
                    is_first = line.is_empty();
                    if is_first {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    }
                }
            });
        }
    });
    lines
}

/// Paths that may arrive at a manager.
const HARMLESS_AT_MANAGER: [&str; 7] =
    ["/_ping", "/version", "/events", "/services", "/tasks", "/nodes", "/networks"];

fn is_harmless_at_manager(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    let [method, target, _] = words[..] else { return false };
    let path = target.split('?').next().unwrap();
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    ["GET", "HEAD"].contains(&method) && HARMLESS_AT_MANAGER.contains(&path)
}

/// Paths of a Swarm that docker-balancer does not use, with tricks that lead to them.
const REFUSED_AT_MANAGER: &[&str] = &[
    "/secrets",
    "/secrets/abc",
    "/configs",
    "/configs/abc",
    "/swarm",
    "/swarm/unlockkey",
    "/swarm/join",
    "/info",
    "/services/create",
    "/services/abc",
    "/services/abc/update",
    "/services/abc/logs",
    "/tasks/abc",
    "/tasks/abc/logs",
    "/nodes/abc",
    "/containers/json",
    "/containers/abc/json",
    "/networks/create",
    "/networks/abc",
    "/services/../secrets",
    "/services/%2e%2e/secrets",
    "/services%2f..%2fsecrets",
    "/services;/../configs",
    "/services//",
    "/services/",
    "//services",
    "//secrets",
    "/./secrets",
    "/tasks/..;/swarm",
    "/nodes%00",
    "/nodes%0a/secrets",
    "/v1.41/secrets",
    "/v1.41/swarm",
    "/v1.41/../secrets",
    "/v1.41/v1.41/services",
    "/v1.41//swarm",
    "/SERVICES",
    "/services#/../secrets",
    "http://x/secrets",
    "http://x/v1.41/configs",
    "*",
    "",
    "/",
];

#[test]
fn socket_proxy_of_managers_passes_on_lists_of_the_swarm_alone() {
    let Some(site) = Site::start("examples/swarm/socket-proxy.cfg") else { return };
    for path in
        ["/_ping", "/v1.41/services", "/tasks?filters=%7B%7D", "/nodes", "/networks", "/events"]
    {
        let answer = site.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    for path in REFUSED_AT_MANAGER {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = site.send(request.as_bytes());
        let is_refused = ["403", "400"].iter().any(|code| answer.contains(code));
        assert!(is_refused, "{path}: {answer}");
        site.send(request.replace("1.1", "1.0").as_bytes());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "GETX"] {
        for path in
            ["/services", "/services/create", "/secrets", "/swarm/leave", "/nodes", "/_ping"]
        {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
            site.send(head.as_bytes());
        }
    }
    let smuggled = "GET /secrets HTTP/1.1\r\nHost: x\r\n\r\n";
    for head in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        "\r\n",
    ] {
        site.send(format!("GET /nodes HTTP/1.1\r\nHost: x\r\n{head}{smuggled}").as_bytes());
    }
    let lines = site.lines.lock().unwrap();
    let harmful: Vec<_> = lines.iter().filter(|line| !is_harmless_at_manager(line)).collect();
    assert!(harmful.is_empty(), "{harmful:#?}");
}

fn is_harmless(line: &str) -> bool {
    let words: Vec<_> = line.split(' ').collect();
    let [method, target, _] = words[..] else { return false };
    let path = target.split('?').next().unwrap();
    let version = |path: &str| path.starts_with("/v1.").then(|| path.find('/')).flatten();
    let path = match version(path) {
        Some(_) => &path[1 + path[1..].find('/').unwrap_or(0)..],
        None => path,
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let segments: Vec<_> = path.split('/').skip(1).collect();
    let is_allowed = match segments[..] {
        ["containers", name, "json"] | ["networks", name] => is_name(name),
        ["images", id, "json"] => {
            let digits = id.strip_prefix("sha256:").unwrap_or(id);
            digits.len() == 64 && digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        }
        _ => HARMLESS.split(' ').any(|harmless| harmless == path),
    };
    ["GET", "HEAD"].contains(&method) && is_allowed
}

/// Paths that docker-balancer does not use, some of them similar to one that it uses.
const REFUSED: &[&str] = &[
    "/containers/abc/logs",
    "/containers/abc/export",
    "/containers/abc/archive?path=/",
    "/containers/abc/attach/ws",
    "/containers/abc/top",
    "/containers/abc/start",
    "/containers/../images/json",
    "/containers/%2e%2e/json",
    "/containers/..%2fimages/json",
    "/containers/a%2fb/json",
    "/containers/abc/json/",
    "/containers/abc/json/../logs",
    "/containers/abc/logs/../json",
    "/containers/abc/logs%3f/json",
    "/containers/abc/logs;/json",
    "/containers/abc;x/json",
    "/containers//json",
    "//containers/json",
    "/./containers/json",
    "/containers/json/..",
    "/containers/create",
    "/containers/json%00",
    "/containers/json%0aX",
    "/v1.41/v1.41/containers/json",
    "/v1./containers/json",
    "/v1.4x/containers/json",
    "/v2.0/containers/json",
    "/V1.41/containers/json",
    "/Containers/json",
    "/images/json",
    "/images/x/get",
    "/secrets",
    "/configs",
    "/swarm",
    "/swarm/unlockkey",
    "/services",
    "/tasks",
    "/nodes",
    "/plugins",
    "/volumes",
    "/exec/abc/json",
    "/session",
    "/grpc",
    "/build",
    "/auth",
    "/commit",
    "/distribution/x/json",
    "/system/df",
    "/networks/create",
    "/networks/a/connect",
    "/networks/../info",
    "/",
    "",
    "*",
    "http://x/secrets",
    "http://x/containers/abc/logs",
    "/_ping/../secrets",
    "/_ping#/secrets",
];

#[test]
fn socket_proxy_passes_on_questions_alone() {
    let Some(site) = Site::start("examples/socket-proxy.cfg") else { return };
    for path in
        ["/_ping", "/v1.41/containers/json?all=1", "/v1.41/containers/abc/json", "/networks/a.b"]
    {
        let answer = site.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    let passed = site.lines.lock().unwrap().len();
    assert_eq!(passed, 4);
    for path in REFUSED {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        site.send(request.as_bytes());
        site.send(request.replace("1.1", "1.0").as_bytes());
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "GETX"] {
        for path in ["/containers/create", "/containers/json", "/_ping", "/networks/create"] {
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
            site.send(head.as_bytes());
        }
    }
    let smuggled = "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let question = "GET /_ping HTTP/1.1\r\nHost: x";
    for head in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 70\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X: y\n\n",
        "X-HTTP-Method-Override: POST\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "\r\n",
    ] {
        site.send(format!("{question}\r\n{head}{smuggled}").as_bytes());
    }
    site.send(format!("GET /_ping?{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(14_000)).as_bytes());
    site.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let lines = site.lines.lock().unwrap();
    assert!(lines.len() > passed, "nothing else was passed on");
    let harmful: Vec<_> = lines.iter().filter(|line| !is_harmless(line)).collect();
    assert!(harmful.is_empty(), "{harmful:#?}");
}
