//! A container is drained before it is stopped, with a real engine and a real HAProxy.

use crate::{
    common::{
        DEADLINE, Run,
        balancer::{Balancer, BalancerPlan, free_port},
        find_docker, start_all,
        udp_echo::{UdpClient, UdpEcho},
        wait_for,
    },
    tcp_udp::echo_container,
};
use nix::sys::signal::Signal;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// A container that aborts all requests when it is stopped.
fn run_aborting_on_stop(plan: &BalancerPlan, name: &str) -> Run {
    plan.run(name).label("glue_http_80_host", "a.test").arguments(&["--drop-on-term"])
}

fn control_socket(plan: &BalancerPlan) -> PathBuf {
    plan.runtime().join("control.sock")
}

fn balancer_command(plan: &BalancerPlan, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").args(words);
    command.arg("--runtime-dir").arg(plan.runtime()).stdin(Stdio::null());
    command
}

/// Returns the exit status and the whole output.
fn status_and_text(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn run_command(plan: &BalancerPlan, words: &[&str]) -> (Option<i32>, String) {
    status_and_text(&balancer_command(plan, words).output().unwrap())
}

fn check(plan: &BalancerPlan, words: &[&str], code: i32, part: &str) {
    let (ended, text) = run_command(plan, words);
    assert!(ended == Some(code) && text.contains(part), "{words:?}: {ended:?} {text}");
}

#[test]
fn drained_container_that_stops_abruptly_causes_no_client_error() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--access-log", "off"]);
    let two =
        start_all(vec![run_aborting_on_stop(&plan, "web-1"), run_aborting_on_stop(&plan, "web-2")]);
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["web-1", "web-2"]);

    let (over, usize) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = |path: &str| {
        let mut wrong = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let outcome = balancer.request_outcome(&format!("a.test/{path}"));
            if !["web-1", "web-2"].iter().any(|name| outcome == format!("{name} saw /{path}")) {
                wrong.push(outcome);
            }
            usize.fetch_add(1, Ordering::Relaxed);
        }
        wrong
    };
    let another_hundred = || {
        let before = usize.load(Ordering::Relaxed);
        wait_for("a hundred requests", || {
            (before + 100 < usize.load(Ordering::Relaxed)).then_some(())
        });
    };
    let wrong = std::thread::scope(|scope| {
        let client = &client;
        let paths = ["x", "x", "slow?ms=50", "slow?ms=200"];
        let clients = paths.map(|path| scope.spawn(move || client(path)));
        // The clients also end if something fails here.
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            another_hundred();
            check(&balancer, &["drain", &two[0].name], 0, "is drained");
            two[0].docker(&["stop"]);
            another_hundred();
        }));
        over.store(true, Ordering::Relaxed);
        let wrong = clients.map(|handle| handle.join().unwrap()).concat();
        work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        wrong
    });
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), usize.into_inner());
    balancer.wait_until_shared("a.test", &["web-2"]);
}

#[test]
fn drain_waits_for_a_running_request() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = run_aborting_on_stop(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");

    let slow = start_slow_request(&balancer, "a.test/slow?ms=1000");
    // The container is named by the beginning of its id.
    check(&balancer, &["drain", &web.id[..12]], 0, "is drained");
    web.docker(&["kill"]);
    assert_whole(slow);
}

#[test]
fn drain_waits_for_requests_of_an_old_worker() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 8080]);
    let web = run_aborting_on_stop(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");

    let slow = start_slow_request(&balancer, "a.test/slow?ms=5000");
    let other = balancer.run("other").label("glue_http_80_bind", "8080");
    let other = other.label("glue_http_ports", "80").start();
    balancer.wait_for_log(&["reloaded HAProxy"]);
    check(&balancer, &["drain", &web.name], 0, "is drained");
    web.docker(&["kill"]);
    assert_whole(slow);
    drop(other);
}

#[test]
fn drained_container_serves_after_undrain_or_restart() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = run_aborting_on_stop(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");

    check(&balancer, &["drain", &web.name], 0, "is drained");
    balancer.assert_serves(&[("a.test/x", "503")]);
    check(&balancer, &["undrain", &web.name], 0, "gets new requests again");
    balancer.assert_serves(&[("a.test/x", "web saw /x")]);

    check(&balancer, &["drain", &web.name], 0, "is drained");
    web.docker(&["restart", "--time", "0"]);
    balancer.wait_until_serves("a.test/x", "web saw /x");
}

#[test]
fn drain_waits_for_flows() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let (public, echo) = (free_port(), UdpEcho::start());
    let container = echo_container(&echo, &plan, "echo", public);
    let container = container.label(&format!("glue_udp_{}_idle", echo.port()), "3s").start();
    let balancer = plan.start().wait_until_started();
    let (old, late) = (UdpClient::of_port(public), UdpClient::of_port(public));
    old.wait_for_answer();

    let name = &container.name;
    check(&balancer, &["drain", name, "--wait", "0s"], 1, "but 1 flow is still open after 0s");
    assert!(old.is_answered() && !late.is_answered());
    check(&balancer, &["drain", name, "--wait", "1m"], 0, "is drained");
    assert!(!old.is_answered());
    check(&balancer, &["undrain", name], 0, "gets new requests again");
    late.wait_for_answer();
}

/// A connection that its container keeps open, and whose first line was read.
fn open_connection(port: u16, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    assert!(0 < stream.read(&mut [0; 512]).unwrap());
    stream
}

/// Whether the stream is open but silent.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let result = stream.read(&mut [0; 512]);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn wait_for_end(mut stream: TcpStream) {
    wait_for("the end of the connection", || match stream.read(&mut [0; 512]) {
        Ok(0) => Some(()),
        // The beginning of an answer may have come before.
        Ok(_) => None,
        Err(error) => (error.kind() == ErrorKind::ConnectionReset).then_some(()),
    });
}

const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn drain_with_cut_ends_connections_requests_and_flows() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 5432]);
    let (public, echo) = (free_port(), UdpEcho::start());
    let (tcp, http) = (free_port(), free_port());
    let web = echo_container(&echo, &plan, "web", public)
        .env("WHOAMI_PORT", http)
        .env("WHOAMI_ECHO", tcp);
    let web = web.labels(&format!(
        "glue_http_{http}_host=a.test glue_http_{http}_bind=80 glue_tcp_{tcp}_bind=5432"
    ));
    let web = web.start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");
    let flow = UdpClient::of_port(public);
    flow.wait_for_answer();
    let mut connection = open_connection(balancer.bound_port(5432), "");
    let websocket = open_connection(balancer.bound_port(80), WEBSOCKET);
    let request = balancer.request("GET", "a.test/slow?ms=60000").open().unwrap();
    wait_for("the request is in flight", || {
        let left = "3 requests are still in flight and 1 flow is still open after 0s";
        run_command(&balancer, &["drain", &web.name, "--wait", "0s"]).1.contains(left).then_some(())
    });
    assert!(is_open(&mut connection) && flow.is_answered());

    let words = ["drain", &web.name, "--wait", "1s", "--cut"];
    check(&balancer, &words, 0, "is drained; ended 3 requests and 1 flow after 1s");
    [connection, websocket, request].into_iter().for_each(wait_for_end);
    assert!(!flow.is_answered(), "the program in the container would answer");
    check(&balancer, &words, 0, "is drained;");
    check(&balancer, &["undrain", &web.name], 0, "gets new requests again");
    flow.wait_for_answer();
    assert!(is_open(&mut open_connection(balancer.bound_port(5432), "")));
}

#[test]
fn drain_with_cut_ends_connections_of_an_old_worker() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 5432, 8080]);
    let web = plan.run("web").env("WHOAMI_ECHO", "7").labels("glue_tcp_7_bind=5432");
    let web = web.start();
    let balancer = plan.start().wait_until_started();
    let connect = || open_connection(balancer.bound_port(5432), "");
    let (mut old, label) = (connect(), "glue_http_80_bind=8080 glue_http_80_host=b.test");
    let other = balancer.run("other").labels(label).start();
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let new = connect();
    assert!(is_open(&mut old));

    let words = ["drain", &web.name, "--wait", "0s", "--cut"];
    check(&balancer, &words, 0, "is drained; ended 2 requests after 0s");
    [old, new].into_iter().for_each(wait_for_end);
    drop(other);
}

/// Starts a request that is in progress when this returns.
fn start_slow_request(balancer: &Balancer, url: &str) -> TcpStream {
    let stream = balancer.request("GET", url).open().unwrap();
    wait_for("the slow request is under way", || {
        balancer.ask_haproxy("show stat -1 4 -1").lines().any(has_one_session).then_some(())
    });
    stream
}

fn assert_whole(mut slow: TcpStream) {
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Whether a line of `show stat` has one current session: its fifth column.
fn has_one_session(line: &str) -> bool {
    line.split(',').nth(4) == Some("1")
}

#[test]
fn balancer_applies_changes_during_a_drain() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = run_aborting_on_stop(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");

    let _slow = start_slow_request(&balancer, "a.test/slow?ms=60000");
    check(
        &balancer,
        &["drain", &web.name, "--wait", "0s"],
        1,
        "but 1 request is still in flight after 0s",
    );
    assert_eq!(balancer.request_outcome("a.test/x"), "503");
    let mut drain = balancer_command(&balancer, &["drain", &web.name, "--wait", "1m"]);
    let mut drain = drain.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let other = balancer.run("other").label("glue_http_80_host", "b.test").start();
    balancer.wait_until_serves("b.test/x", "other saw /x");
    assert!(drain.try_wait().unwrap().is_none(), "it waits");

    // A request that its container aborts is no longer in progress.
    web.docker(&["stop"]);
    let drained = status_and_text(&drain.wait_with_output().unwrap());
    assert_eq!(drained.0, Some(0), "{drained:?}");
    drop(other);
}

#[test]
fn unknown_container_or_path_is_rejected() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = run_aborting_on_stop(&plan, "web").start();
    let foreign = docker.run("foreign").label("glue_http_80_host", "f.test").start();
    check(&plan, &["drain", &web.name], 4, "no docker-balancer answers on ");
    check(&plan, &["undrain", &web.name], 4, "control.sock: No such file");

    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");
    let socket = control_socket(&balancer);
    let mode = socket.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let near = format!("did you mean {}?", web.name);
    check(&balancer, &["drain", &format!("{}x", web.name)], 1, &near);
    check(
        &balancer,
        &["undrain", "nobody"],
        1,
        "no container \"nobody\" with labels for this docker-balancer",
    );
    check(&balancer, &["drain", &foreign.name], 1, "with labels for this docker-balancer");

    let name = &web.name;
    for (method, path, body, status, part) in [
        ("POST", "/drain", r#"{"container": "nobody"}"#, 404, "{\"error\":\"no container"),
        ("POST", "/drain", r#"{"container": "nobody", "wait": 1}"#, 400, "wait_ms"),
        ("POST", "/drain", "", 400, "invalid request body"),
        ("GET", "/drain", "", 405, "POST"),
        ("GET", "/", "", 404, "docs/control.yaml"),
    ] {
        let answer = exchange(&balancer, method, path, body);
        let starts = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(starts && answer.contains(part), "{method} {path} {body}: {answer}");
    }
    let body = format!("{{\"container\": \"{name}\", \"wait_ms\": 30000}}");
    let answer = exchange(&balancer, "POST", "/drain", &body);
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let expected = serde_json::json!({
        "container": name, "id": web.id, "sessions": 0, "drained": true, "unserved": ["a.test:80/"],
    });
    assert_eq!(json, expected);

    // A killed daemon leaves its socket. Nothing answers there until the next daemon replaces the socket.
    balancer.stop_with(Signal::SIGKILL);
    check(&balancer, &["drain", name], 4, "control.sock: Connection refused");
    balancer.start_again();
    wait_for("the next one drains", || {
        (run_command(&balancer, &["drain", name]).0 == Some(0)).then_some(())
    });
    balancer.stop_with(Signal::SIGTERM);
    assert!(!socket.exists());
}

/// Sends a request to the control socket and returns the answer.
fn exchange(plan: &BalancerPlan, method: &str, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(control_socket(plan)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {length}\r\n"
    );
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
