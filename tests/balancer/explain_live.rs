//! The command explain with a real engine: answered by the running docker-balancer, or from Docker if none runs.

use crate::common::{
    self, DEADLINE, Docker,
    balancer::{Balancer, BalancerPlan},
    find_docker, start_all, wait_for,
};
use docker_glue::report::explain::{
    AnsweredBy, ExclusionReason, Explanation, RequestOutcome, ServerState,
};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Output},
};

fn balancer_command(plan: &BalancerPlan, words: &[&str]) -> Command {
    let mut command = plan.command();
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").arg("explain").args(words);
    command
}

fn run_explain(plan: &BalancerPlan, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = balancer_command(plan, words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn explain_json(plan: &BalancerPlan, url: &str) -> Explanation {
    let (_, text, error) = run_explain(plan, &[url, "--format", "json"]);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{url}: {e}: {text}{error}"))
}

/// Checks the exit status, and that the output contains all of these texts.
fn check(plan: &BalancerPlan, words: &[&str], code: i32, parts: &[&str]) {
    let (ended, text, error) = run_explain(plan, words);
    let all = text + &error;
    assert!(ended == Some(code), "{words:?}: {ended:?} {all}");
    for part in parts {
        assert!(all.contains(part), "{words:?}: no {part:?} in {all}");
    }
}

/// Starts two containers that share a route, a paused one, one with a wildcard host, and one whose label is invalid.
fn start_containers(plan: &BalancerPlan) -> common::Fleet {
    let api = "glue_http_80_host=a.test glue_http_80_prefix=/api glue_http_80_strip_prefix=yes";
    start_all(vec![
        plan.run("web-1").labels(api),
        plan.run("web-2").labels(api).label("glue_http_80_weight", 50),
        plan.run("paused").labels(api),
        plan.run("rest").label("glue_http_80_host.all", "*.test"),
        plan.run("scheme").label("glue_http_80_host", "http://a.test/"),
    ])
}

#[test]
fn explain_asks_the_running_daemon() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 8080]);
    let fleet = start_containers(&plan);
    fleet[2].docker(&["pause"]);
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test/api/x", &["web-1", "web-2"]);

    let url = "http://A.test.:80/api/x?q=1";
    let names: Vec<_> = fleet.iter().map(|container| container.name.as_str()).collect();
    check(
        &balancer,
        &[url],
        0,
        &[
            "served",
            names[0],
            names[1],
            "66.7 %",
            "glue_http_80_prefix=/api",
            "GET /x?q=1",
            "it is paused",
            "*.test:80/",
            "\"http://a.test/\" is a URL",
        ],
    );
    // The state of each server comes from HAProxy.
    let explanation = wait_for("HAProxy has checked both", || {
        let explanation = explain_json(&balancer, url);
        explanation
            .servers
            .iter()
            .all(|step| step.haproxy.as_deref() == Some("UP"))
            .then_some(explanation)
    });
    assert_eq!(
        (explanation.answered_by, explanation.outcome, explanation.notes.as_slice()),
        (AnsweredBy::Daemon, RequestOutcome::Served, &[][..])
    );
    assert_eq!(explanation.becomes.unwrap().path, "/x?q=1");
    let absent: Vec<_> = explanation
        .absent
        .iter()
        .map(|container| (container.container.as_str(), container.why))
        .collect();
    assert_eq!(absent, [(names[2], ExclusionReason::Paused), (names[4], ExclusionReason::Label)]);
    balancer.assert_serves(&[("A.test./other", "rest saw /other")]);
    assert_eq!(explain_json(&balancer, "http://A.test./other").route.unwrap().route, "*.test:80/");

    check(&balancer, &["http://a.b.test/"], 1, &["404", "exactly one label"]);
    check(&balancer, &["http://a.test:8080/api"], 1, &["nothing listens", "http://a.test/api"]);
    check(&balancer, &["http://a.test/api", "--method", "POST"], 0, &["POST /", "did not reach"]);

    // A drained container is excluded, and a route whose containers were removed is on hold.
    let drained = Command::new(env!("CARGO_BIN_EXE_docker-balancer"))
        .args(["drain", names[0], "--runtime-dir"])
        .arg(balancer.runtime())
        .output()
        .unwrap();
    assert!(drained.status.success());
    let explanation = explain_json(&balancer, url);
    assert_eq!(explanation.servers.len(), 1, "{explanation:?}");
    assert!(
        explanation.absent.iter().any(|container| container.why == ExclusionReason::Drained
            && container.container == names[0])
    );
    for name in &names[..3] {
        docker.run_docker(&["rm", "--force", name]);
    }
    balancer.wait_until_serves("a.test/api/x", "503");
    check(&balancer, &[url], 1, &["503", "for another"]);

    check_socket_requests(&balancer);
    balancer.stop_with(nix::sys::signal::Signal::SIGTERM);
    check(
        &balancer,
        &["http://x.test/"],
        0,
        &["no docker-balancer answers", "HAProxy's state could not be read"],
    );
}

/// Requests that programs send to the control socket.
fn check_socket_requests(plan: &BalancerPlan) {
    for (method, path, status, part) in [
        ("GET", "/explain?url=http%3A%2F%2Fx.test%2F&method=PUT", 200, "\"method\":\"PUT\""),
        ("GET", "/explain?url=http://x.test/", 200, "\"outcome\":\"served\""),
        ("GET", "/explain?url=x.test", 400, "the URL has no scheme"),
        ("GET", "/explain", 400, "the parameter url is missing"),
        (
            "GET",
            "/explain?url=http://x.test/&verb=GET",
            400,
            "the parameters are url, method, from, header and user",
        ),
        ("POST", "/explain", 405, "GET"),
    ] {
        let answer = exchange(plan, method, path);
        let begins = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(begins && answer.contains(part), "{method} {path}: {answer}");
    }
}

fn exchange(plan: &BalancerPlan, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(plan.runtime().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn explain_without_daemon_asks_docker_and_changes_nothing() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let fleet = start_containers(&plan);
    fleet[2].docker(&["pause"]);
    let url = "http://a.test/api/x";
    let name = fleet[0].name.as_str();
    check(&plan, &[url], 0, &["no docker-balancer answers", name, "it is paused", "GET /x"]);
    let explanation = explain_json(&plan, url);
    assert_eq!(
        (explanation.answered_by, explanation.outcome),
        (AnsweredBy::Docker, RequestOutcome::Served)
    );
    assert_eq!(explanation.servers[0].haproxy, None);
    check(&plan, &["http://b.c.test/"], 1, &["404"]);
    check(&plan, &["http://a.test:81/"], 1, &["nothing listens"]);
    assert!(!plan.state().exists() && !plan.runtime().exists(), "something was written");

    // The output is coloured only on a terminal, or if CLICOLOR_FORCE is set.
    let mut forced = balancer_command(&plan, &[url]);
    let forced = forced.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stdout.contains(&0x1b));
    let piped = balancer_command(&plan, &[url]).env_remove("NO_COLOR").output().unwrap();
    assert!(!piped.stdout.contains(&0x1b));

    // The HAProxy that an earlier run left running provides the state of the servers.
    let once = plan.command().arg("--once").output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    wait_for("HAProxy has checked them", || {
        let explanation = explain_json(&plan, url);
        let up = |step: &docker_glue::report::explain::ServerStep| {
            step.state == ServerState::Up && step.haproxy.as_deref() == Some("UP")
        };
        (explanation.answered_by == AnsweredBy::Docker
            && explanation.notes.is_empty()
            && explanation.servers.iter().all(up))
        .then_some(())
    });
    // That HAProxy does not have later containers.
    let late = plan.run("late").label("glue_http_80_host", "late.example").start();
    check(&plan, &["http://late.example/"], 0, &["does not have this route yet"]);
    drop(late);
}

/// The running docker-balancer is queried, and then Docker with the state on disk.
#[test]
fn containers_newer_than_the_rollback_are_named() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/", "web saw /");
    let mut rollback = balancer.command();
    let generation = newest_generation(&balancer);
    let late = balancer.run("late").label("glue_http_80_host", "late.test").start();
    balancer.wait_until_serves("late.test/", "late saw /");
    let rolled = rollback.args(["rollback", &generation.to_string()]).output().unwrap();
    assert!(rolled.status.success(), "{rolled:?}");

    let text = format!("not served: rollback to generation {generation} is active since ");
    let report = |plan: &BalancerPlan, answered_by: AnsweredBy| {
        check(
            plan,
            &["http://late.test/"],
            1,
            &["404", &text, "docker-balancer rollback --release", &late.name],
        );
        let explanation = explain_json(plan, "http://late.test/");
        assert_eq!(
            (explanation.answered_by, explanation.absent[0].why),
            (answered_by, ExclusionReason::RolledBack)
        );
        check(plan, &["http://a.test/"], 0, &["served", &web.name, "is active since"]);
    };
    report(&balancer, AnsweredBy::Daemon);
    balancer.stop_with(nix::sys::signal::Signal::SIGTERM);
    report(&balancer, AnsweredBy::Docker);
}

fn newest_generation(plan: &BalancerPlan) -> u64 {
    let output = plan.command().args(["history", "--json"]).output().unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.last().unwrap()["generation"].as_u64().unwrap()
}

/// The command gets an answer from Docker, but the running docker-balancer has not.
#[test]
fn daemon_error_is_shown_before_the_docker_answer() {
    let Some(docker) = find_docker() else { return };
    let deaf = Balancer::plan(&Docker::at("unix:///nonexistent/docker.sock")).start();
    wait_for("its socket", || deaf.runtime().join("control.sock").exists().then_some(()));
    // The real engine's own options, with the runtime directory of the docker-balancer without Docker.
    let plan = Balancer::plan(&docker);
    let mut command = balancer_command(&plan, &["http://a.test/"]);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let own = plan.runtime();
    let words =
        words.iter().map(|text| if **text == own { deaf.runtime().into() } else { text.clone() });
    command = Command::new(command.get_program());
    let words = command.args(words).env("DOCKER_GLUE_SETTINGS", "/dev/null").env("NO_COLOR", "1");
    let output = words.output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let error = String::from_utf8_lossy(&error);
    let heading = "docker-balancer answered \"Docker has not answered yet";
    assert!(text.contains(heading), "{text}{error}");
    assert!(!text.contains("no docker-balancer answers"), "{text}");
}

#[test]
fn server_without_listener_is_shown_with_haproxys_state() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let labels = "glue_http_80_host=a.test glue_http_81_host=a.test glue_http_81_bind=80";
    let web = plan.run("web").labels(labels).start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test/x", "web saw /x");
    let explanation = wait_for("HAProxy sees that nobody listens on port 81", || {
        let explanation = explain_json(&balancer, "http://a.test/x");
        explanation
            .servers
            .iter()
            .any(|step| step.state == ServerState::Down)
            .then_some(explanation)
    });
    let shares: Vec<_> = explanation.servers.iter().map(|step| step.percent).collect();
    assert_eq!((explanation.outcome, &shares[..]), (RequestOutcome::Served, &[100.0, 0.0][..]));
    check(&balancer, &["http://a.test/x"], 0, &["HAProxy reports DOWN", &web.name]);
}

#[test]
fn unreachable_source_and_invalid_url_have_own_exit_codes() {
    let plan = Balancer::plan(&Docker::at("unix:///nonexistent/docker.sock"));
    let url = "http://a.test/";
    check(
        &plan,
        &[url],
        4,
        &["neither docker-balancer nor Docker answers", "control.sock", "/nonexistent/docker.sock"],
    );
    for (url, part) in [
        ("a.test/x", "start it with http://"),
        ("ftp://a.test/", "supports http://, https://, tcp:// and udp://"),
        ("http://a.test:http/", "is not a port"),
        ("http://a.test/a b", "write its bytes as %XX"),
    ] {
        check(&plan, &[url], 2, &[url, part]);
    }
    check(&plan, &[url, "--method", "GET /"], 2, &["a method must be a word such as GET"]);
}
