//! Problems of servers that are down, and of malformed HTTP, as the operator sees them, with a real engine and a real
//! HAProxy.

#![allow(clippy::print_stdout, reason = "it prints what was measured")]

use crate::common::{
    self, Docker, Run,
    balancer::{Balancer, BalancerPlan, free_port},
    find_docker, wait_for,
};
use docker_glue::report::status::ProblemStatus;
use nix::sys::signal::Signal;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

fn run_command(plan: &BalancerPlan, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").env("NO_COLOR", "1").args(words);
    command.arg("--runtime-dir").arg(plan.runtime()).stdin(Stdio::null());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn list_problems(plan: &BalancerPlan) -> Vec<ProblemStatus> {
    serde_json::from_str(&run_command(plan, &["problems", "--json"])).unwrap()
}

/// Waits until there is a problem whose text contains this.
fn until_problem(plan: &BalancerPlan, part: &str) -> ProblemStatus {
    let mut last = Vec::new();
    wait_for(&format!("the problem {part:?}"), || {
        last = list_problems(plan);
        last.iter().find(|status| status.text.contains(part)).cloned()
    })
}

fn until_no_problem(plan: &BalancerPlan, part: &str) {
    wait_for(&format!("the end of the problem {part:?}"), || {
        (!list_problems(plan).iter().any(|status| status.text.contains(part))).then_some(())
    });
}

fn run_container(plan: &BalancerPlan, name: &str) -> Run {
    plan.run(name).label("glue_http_80_host", format!("{name}.test"))
}

fn metrics_plan(docker: &Docker) -> (BalancerPlan, u16) {
    let port = free_port();
    let plan = Balancer::plan(docker).option(&["--metrics", &port.to_string()]);
    (plan, port)
}

/// Returns the number of problems of a kind in the metrics.
fn problem_count(port: u16, kind: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = format!("docker_glue_problems{{kind=\"{kind}\"}} ");
    text.lines().find_map(|text| text.strip_prefix(&line)).unwrap().to_owned()
}

#[test]
fn failing_check_cause_is_shown_everywhere_until_recovery() {
    let Some(docker) = find_docker() else { return };
    let (plan, port) = metrics_plan(&docker);
    let balancer = plan.start().wait_until_started();
    // The image exposes port 80.
    let _elsewhere = balancer
        .run("elsewhere")
        .labels("glue_http_8080_host=elsewhere.test glue_http_8080_bind=80")
        .start();
    let _local = run_container(&balancer, "local").arguments(&["--port", "8081"]).start();
    let late = run_container(&balancer, "late").arguments(&["--listen-after", "9s"]).start();
    let sick = run_container(&balancer, "sick").label("glue_http_80_check", "/healthz");
    let sick = sick.arguments(&["--healthy-after", "9s"]).start();
    let lost = run_container(&balancer, "lost").label("glue_http_80_check", "/status/404").start();

    let problem_status = until_problem(&balancer, "did you mean glue_http_80_…?");
    assert!(
        problem_status.container.as_deref().unwrap().ends_with("-elsewhere"),
        "{problem_status:?}"
    );
    assert!(
        !problem_status.hint && problem_status.reason.contains("connection refused at "),
        "{problem_status:?}"
    );
    let text = until_problem(&balancer, "listens only on 127.0.0.1").text;
    assert!(text.contains(":80; nothing listens on port 80 of the container"), "{text}");
    until_problem(&balancer, "GET /status/404 got status 404");
    until_problem(&balancer, &format!("container {} ", late.name));
    until_problem(&balancer, "GET /healthz got status 503");

    balancer.wait_for_log(&["WARN", &lost.name, "GET /status/404 got status 404"]);
    assert_eq!(problem_count(port, "check_status"), "2");
    let explained = run_command(&balancer, &["explain", "http://lost.test/"]);
    let why = format!("HAProxy's check of {} fails: GET /status/404 got status 404", lost.name);
    assert!(explained.contains(&why), "{explained}");
    assert!(run_command(&balancer, &["problems"]).contains("! GET /status/404 got status 404"));

    until_no_problem(&balancer, &format!("container {} ", late.name));
    until_no_problem(&balancer, "GET /healthz");
    balancer.wait_for_log(&[&format!("resolved: container {} ", late.name)]);
    balancer.wait_until_serves("sick.test/x", "sick saw /x");
    assert_eq!(problem_count(port, "check_status"), "1");
    drop(sick);
}

/// A program that answers with any given bytes and closes the connection.
struct Program {
    port: u16,
    answer: Arc<Mutex<&'static [u8]>>,
}

const WELL: &[u8] = b"HTTP/1.1 200 OK\r\nX-Whoami: program\r\nContent-Length: 0\r\n\r\n";

impl Program {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(WELL));
        let now = Arc::clone(&answer);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let answer = *now.lock().unwrap();
                // HAProxy's check sends nothing and closes the connection.
                thread::spawn(move || {
                    if 0 < stream.read(&mut [0; 4096]).unwrap_or(0) {
                        let _ = stream.write_all(answer);
                    }
                });
            }
        });
        Self { port, answer }
    }

    fn answers(&self, answer: &'static [u8]) {
        *self.answer.lock().unwrap() = answer;
    }
}

/// Starts a container on the host's network whose label refers to the program's port.
fn run_stand_in(plan: &BalancerPlan, port: u16) -> Run {
    let run = plan.run("program").bare().option(&["--network", "host"]);
    run.arguments(&["--port", "0"])
        .label(&format!("glue_http_{port}_host"), "program.test")
        .label(&format!("glue_http_{port}_bind"), 80)
}

#[test]
fn non_http_container_is_reported_until_it_answers() {
    let Some(docker) = find_docker() else { return };
    let (plan, port) = metrics_plan(&docker);
    let program = Program::start();
    let container = run_stand_in(&plan, program.port).start();
    let balancer = plan.start().wait_until_started();
    let well = || balancer.wait_until_serves("program.test/", "program saw ");
    well();
    for (answer, kind, text) in [
        // SETTINGS and the end of the connection, as nghttpd and gRPC servers answer.
        (
            &b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"[..],
            "bad_response",
            "the container supports only HTTP/2",
        ),
        (b"\x15\x03\x01\0\x02\x02\x46", "bad_response", "the container uses TLS"),
        (b"SSH-2.0-x\r\n", "bad_response", "the response starts with \"SSH-2.0-x\""),
        (
            b"HTTP/1.1 200 OK\r\nSet Cookie: secret\r\n\r\n",
            "bad_response",
            "its header field \"Set\" is malformed",
        ),
        (b"", "no_response", "got 502 or 504"),
    ] {
        program.answers(answer);
        // For a server that has answered before, a missing answer counts from the second time on.
        let status = wait_for(text, || {
            assert_eq!(balancer.request_outcome("program.test/"), "502");
            list_problems(&balancer).into_iter().find(|status| status.text.contains(text))
        });
        assert!(
            !status.hint && status.container.as_deref() == Some(&*container.name),
            "{status:?}"
        );
        balancer.wait_for_log(&["WARN", &container.name, text]);
        assert_eq!(problem_count(port, kind), "1");
        let explained = run_command(&balancer, &["explain", "http://program.test/"]);
        assert!(explained.contains("\nserved") && explained.contains(text), "{explained}");
        program.answers(WELL);
        wait_for(&format!("the end of {text:?}"), || {
            well();
            (!list_problems(&balancer).iter().any(|status| status.text.contains(text)))
                .then_some(())
        });
        assert_eq!(problem_count(port, kind), "0");
    }
    assert!(!balancer.log().contains("secret"), "{}", balancer.log());
}

#[test]
fn non_http_client_is_a_hint_on_the_listener() {
    let Some(docker) = find_docker() else { return };
    let (plan, port) = metrics_plan(&docker);
    let _web = run_container(&plan, "web").start();
    let balancer = plan.start().wait_until_started();
    for (bytes, text) in [
        (&b"\x16\x03\x01\x02\0\x01\0\x01\xfc"[..], "it uses TLS"),
        (b"GET /a b HTTP/1.1\r\nHost: web.test\r\n\r\n", "its path has a character"),
    ] {
        let bound = (Ipv4Addr::LOCALHOST, balancer.bound_port(80));
        let mut stream = TcpStream::connect(bound).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let status = until_problem(&balancer, text);
        assert!(status.hint && status.listener.as_deref() == Some("http :80"), "{status:?}");
        assert!(status.text.contains("127.0.0.1"), "{status:?}");
        balancer.wait_for_log(&["INFO", "listener http :80: a request got 400", text]);
    }
    assert_eq!(problem_count(port, "bad_request"), "2");
    // The listener's port itself is fine.
    let status = run_command(&balancer, &["status"]);
    assert!(!status.contains("taken"), "{status}");
    balancer.wait_until_serves("web.test/x", "web saw /x");
}

/// Takes the container's network down, like a machine without power: nothing refuses connections and nothing answers.
fn disconnect_network(container: &common::Container) {
    let pid = container.docker(&["inspect", "--format", "{{.State.Pid}}"]);
    let words = ["--net", "--target", pid.trim(), "ip", "link", "set", "eth0", "down"];
    assert!(Command::new("nsenter").args(words).status().unwrap().success());
}

/// Returns the status of the answer, or the error.
fn request_outcome(mut request: TcpStream) -> String {
    let mut answer = String::new();
    match request.read_to_string(&mut answer) {
        Ok(_) => answer.get(..12).unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn requests_to_a_vanished_host_end_before_timeout() {
    let Some(docker) = common::find_docker_as_root() else { return };
    if !common::is_installed("nsenter") || !common::is_installed("ip") {
        return;
    }
    let plan = Balancer::plan(&docker).ports(&[80, 8080]);
    let gone = run_container(&plan, "gone").start();
    let _stays = run_container(&plan, "stays").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("gone.test/x", "gone saw /x");
    balancer.wait_until_serves("stays.test/x", "stays saw /x");
    // Must be shorter than the client's timeout.
    let slow = |name: &str, ms: u32| {
        let slow = balancer.request("GET", &format!("{name}.test/slow?ms={ms}")).open().unwrap();
        wait_for("the request to be under way", || {
            let stat = balancer.ask_haproxy("show stat -1 4 -1");
            let line = stat.lines().find(|text| text.contains(&format!("-{name}-")))?;
            (line.split(',').nth(4)? == "1").then_some(())
        });
        slow
    };
    // One request in an old worker, one in the current worker, and one to an unaffected container.
    let old = slow("gone", 50_000);
    let other = balancer.run("other").labels("glue_http_80_bind=8080 glue_http_ports=80").start();
    balancer.wait_for_log(&["reloaded HAProxy"]);
    balancer.wait_until_serves("gone.test/x", "gone saw /x");
    let (young, unconcerned) = (slow("gone", 50_000), slow("stays", 12_000));
    disconnect_network(&gone);
    // The request waits for another container, at most as long as a container may take to start.
    let late = balancer.request("GET", "gone.test/late").open().unwrap();
    for (whose, request) in [("old worker's", old), ("young one's", young), ("late", late)] {
        let end = request_outcome(request);
        assert!(end.starts_with("HTTP/1.1 50") || end.is_empty(), "{whose}: {end}");
    }
    balancer.wait_for_log(&["WARN", "connections to server ", "time out; closing its requests"]);
    balancer.wait_for_log(&["WARN", &gone.name, "time out or have no route to it"]);
    assert_eq!(request_outcome(unconcerned), "HTTP/1.1 200");
    drop(other);
}

/// Drops the container's packets in both directions, like a machine that is cut off: its own interface stays up.
fn drop_packets(container: &common::Container) {
    let namespace = format!("--net={}", container.network_namespace().display());
    for chain in ["INPUT", "OUTPUT"] {
        let words = [namespace.as_str(), "iptables", "-w", "5", "-A", chain, "-j", "DROP"];
        assert!(Command::new("nsenter").args(words).status().unwrap().success());
    }
}

#[test]
fn requests_to_one_of_several_servers_that_is_cut_off_end_before_timeout() {
    let Some(docker) = common::find_docker_as_root() else { return };
    if !common::is_installed("nsenter") || !common::is_installed("iptables") {
        return;
    }
    let plan = Balancer::plan(&docker);
    let run = |name: &str| plan.run(name).label("glue_http_80_host", "pool.test").start();
    let (gone, _stays) = (run("gone"), run("stays"));
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("pool.test", &["gone", "stays"]);
    // HAProxy takes turns, so each container has two of them. It sends no POST to another container.
    let open = |_| balancer.request("POST", "pool.test/slow?ms=15000").open().unwrap();
    let requests: Vec<_> = (0..4).map(open).collect();
    wait_for("requests to both containers", || {
        let stat = balancer.ask_haproxy("show stat -1 4 -1");
        let busy = |line: &&str| line.split(',').nth(4) == Some("2");
        (stat.lines().filter(busy).count() == 2).then_some(())
    });
    let begin = Instant::now();
    drop_packets(&gone);
    // Its first failed connection takes the server out of use.
    balancer.wait_until_shared("pool.test", &["stays"]);
    let wait = |request| thread::spawn(move || (request_outcome(request), begin.elapsed()));
    let ends: Vec<_> = requests.into_iter().map(wait).collect();
    let ends = ends.into_iter().map(|end| end.join().unwrap());
    let (whole, cut): (Vec<_>, Vec<_>) = ends.partition(|(end, _)| end == "HTTP/1.1 200");
    assert_eq!((whole.len(), cut.len()), (2, 2), "{whole:?} {cut:?}");
    println!("cut off: the requests ended after {cut:?}");
    balancer.wait_for_log(&["WARN", "connections to server ", "time out; closing its requests"]);
}

#[test]
fn running_request_completes_while_server_refuses_new_ones() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
    let _container = run_stand_in(&plan, listener.local_addr().unwrap().port()).start();
    let balancer = plan.start().wait_until_started();
    let request = balancer.request("GET", "program.test/").open().unwrap();
    let mut accepted = loop {
        let (mut stream, _) = listener.accept().unwrap();
        // HAProxy's checks connect without sending anything.
        if 0 < stream.read(&mut [0; 4096]).unwrap_or(0) {
            break stream;
        }
    };
    drop(listener);
    until_problem(&balancer, "connection refused at 127.0.0.1:");
    accepted.write_all(WELL).unwrap();
    drop(accepted);
    assert_eq!(request_outcome(request), "HTTP/1.1 200");
}

#[test]
fn adopted_haproxy_reports_check_failures() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--leave-running"]);
    let web = run_container(&plan, "web").label("glue_http_80_check", "/healthz").start();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/x", "web saw /x");
    balancer.stop_with(Signal::SIGTERM);
    balancer.start_again();
    balancer.wait_for_log(&["adopted the running HAProxy"]);
    let ask = |path: &str| {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = web.docker(&["inspect", "--format", format]);
        let mut stream = TcpStream::connect((address.trim(), 80)).unwrap();
        write!(stream, "POST /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    };
    ask("unhealthy");
    // docker-balancer queries HAProxy on its own, without a reader.
    balancer.wait_for_log(&["WARN", "GET /healthz got status 503"]);
    ask("healthy");
    balancer.wait_for_log(&["resolved: ", "GET /healthz got status 503"]);
}
