//! What features of HTTP routes cost HAProxy: user-space instructions per request, counted by cachegrind.
//!
//! Instructions are the same on a busy machine, CPU time is not. Each kind of route is counted in a HAProxy with one
//! thread and ROUTES routes (1,000 by default, `ROUTES=10000` takes minutes): once with few and once with many requests,
//! so that the start of HAProxy does not count. Needs valgrind.
//!
//! `cargo bench --bench features --profile dev`; `FEATURES=plain,allow` limits it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]

#[path = "../tests/common/story.rs"]
mod story;

use docker_glue::{
    haproxy::render::{RenderContext, render_files},
    routing::decide::{DecideState, decide},
};
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Kinds of routes: a name, labels for each of them (`N` is its number), and headers of the requests.
const KINDS: [(&str, &str, &str); 18] = [
    ("plain", "", ""),
    ("strip", "strip_prefix=1", ""),
    ("add_prefix", "add_prefix=/app", ""),
    ("allow", "allow=127.0.0.1,10.N", ""),
    (
        "response headers",
        "response_header_X-Robots-Tag=n:N response_header_X-Frame-Options=DENY drop_response_headers=server",
        "",
    ),
    ("request header", "request_header_X-Forwarded-Proto=https:N", ""),
    ("secure_headers", "secure_headers=1", ""),
    ("cors", "cors=https://a.test", "Origin: https://a.test\r\n"),
    ("rate", "rate=1000000/h", ""),
    ("at_once", "at_once=1000", ""),
    ("max_body", "max_body=1m", ""),
    ("tunnel_timeout", "tunnel_timeout=2h", ""),
    ("allow, rate", "allow=127.0.0.1,10.N rate=1000000/h", ""),
    (
        "five",
        "allow=127.0.0.1,10.N rate=1000000/h max_body=1m response_header_X-Robots-Tag=n:N response_header_X-Frame-Options=DENY request_header_X-Forwarded-Proto=https:N",
        "",
    ),
    ("redirect", "redirect=https://new.test", ""),
    ("path", "path=/p/x", ""),
    ("sticky", "sticky=cookie", ""),
    ("forward_auth", "forward_auth=http://auth:PORT/check", ""),
];

const FEW: usize = 500;
const MANY: usize = 4_500;

fn main() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is missing");
        return;
    }
    let routes = env::var("ROUTES").map_or(1_000, |text| text.parse().unwrap());
    let chosen = env::var("FEATURES").unwrap_or_default();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.split(',').any(|one| one == name);
    let server = TcpListener::bind(("0.0.0.0", 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    println!("{:<18} {:>12} {:>10}", "route with", "instructions", "over plain");
    let mut plain = None;
    for (name, labels, headers) in KINDS.iter().filter(|(name, ..)| is_chosen(name)) {
        let cost = cost_per_request((routes, port), labels, headers);
        let base = *plain.get_or_insert(cost);
        println!("{name:<18} {cost:>12.0} {:>+10.0}", cost - base);
    }
}

fn cost_per_request(scene: (usize, u16), labels: &str, headers: &str) -> f64 {
    let [few, many] =
        [FEW, MANY].map(|requests| count_instructions(scene, labels, headers, requests));
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let cost = (many - few) as f64 / (MANY - FEW) as f64;
    cost
}

/// Returns the instructions of a HAProxy that starts, answers the requests, and ends.
fn count_instructions(
    (routes, server): (usize, u16),
    labels: &str,
    headers: &str,
    requests: usize,
) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    // Answers questions about requests.
    let auth = format!(
        "auth 127.0.0.1 glue_http_{server}_bind={free} glue_http_{server}_host=auth.test\n"
    );
    let story = (0..routes).fold(auth, |story, number| {
        let place = format!("{}.{}", number / 250, 1 + number % 250);
        let labels = labels.split_whitespace().map(|label| {
            let label = label.replace(":N", &number.to_string()).replace(".N", &format!(".0.{place}"));
            let label = label.replace(":PORT", &format!(":{server}"));
            format!(" glue_http_{server}_{label}")
        });
        let labels: String = labels.collect();
        let start = format!("glue_http_{server}_bind={free} glue_http_{server}_check=off");
        format!("{story}c{number} 127.9.{place} {start} glue_http_{server}_host=h{number}.test glue_http_{server}_prefix=/p{labels}\n")
    });
    let world = story::parse_world(&story);
    let decided = decide(&world, DecideState::default(), Instant::now(), &story::default_rules());
    let mut config = story::build_config(&decided.routes);
    config.maps.auth_servers = decided.auth_servers;
    let context = RenderContext {
        generations: folder.path().join("gen"),
        stats_socket: folder.path().join("socket"),
        log: None,
        ..story::default_frame()
    };
    let files = render_files(&config, &context);
    let generation = folder.path().join("gen").join(&files.generation.name);
    fs::create_dir_all(&generation).unwrap();
    for (name, text) in &files.generation.files {
        fs::write(generation.join(name), text).unwrap();
    }
    let path = folder.path().join("haproxy.cfg");
    fs::write(&path, files.config + "\nglobal\n  nbthread 1\n").unwrap();
    let mut haproxy = start(&path);
    send_requests(free, routes, headers, requests);
    haproxy.kill_softly();
    haproxy.instructions()
}

struct Haproxy(Child);

/// Starts HAProxy under cachegrind, as `HAPROXY_BIN` names it.
fn start(config: &Path) -> Haproxy {
    let program = env::var("HAPROXY_BIN").unwrap_or_else(|_| "haproxy".to_owned());
    let child = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .args([&program, "-db", "-f", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Haproxy(child)
}

impl Haproxy {
    /// Ends HAProxy by SIGTERM, at which cachegrind prints its counts.
    fn kill_softly(&self) {
        let id = i32::try_from(self.0.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM)
            .unwrap();
    }

    fn instructions(&mut self) -> u64 {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.wait().unwrap();
        let line = text.lines().find(|line| line.contains("I   refs:") || line.contains("I refs:"));
        let digits = line.unwrap_or_else(|| panic!("{text}")).rsplit(':').next().unwrap();
        digits.trim().replace(',', "").parse().unwrap()
    }
}

/// Sends the requests on one connection, to the routes in turn.
fn send_requests(port: u16, routes: usize, headers: &str, requests: usize) {
    let end = Instant::now() + Duration::from_mins(5);
    let stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        thread::sleep(Duration::from_millis(50));
    };
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream);
    for request in 0..requests {
        let host = request * 7919 % routes;
        let head = format!(
            "GET /p/x HTTP/1.1\r\nHost: h{host}.test\r\nUser-Agent: bench\r\nAccept: */*\r\n{headers}\r\n"
        );
        answers.get_mut().write_all(head.as_bytes()).unwrap();
        let (mut line, mut length, mut first) = (String::new(), 0, String::new());
        loop {
            line.clear();
            assert_ne!(answers.read_line(&mut line).unwrap(), 0, "HAProxy closed the connection");
            if first.is_empty() {
                first.clone_from(&line);
            }
            let lower = line.trim_end().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            if let Some(text) = lower.strip_prefix("content-length: ") {
                length = text.parse().unwrap();
            }
        }
        assert!(first.contains(" 200 ") || first.contains(" 307 "), "{first}");
        answers.read_exact(&mut vec![0; length]).unwrap();
    }
}

fn answer(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while matches!(stream.read_line(&mut line), Ok(bytes) if 0 < bytes) {
        if line.trim_end().is_empty() {
            let head = "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Length: 2\r\n\r\nok";
            if stream.get_mut().write_all(head.as_bytes()).is_err() {
                return;
            }
        }
        line.clear();
    }
}
