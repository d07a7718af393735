//! The command explain on a real engine: asked of the docker-balancer that runs, and of Docker where none does.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use common::{
    DEADLINE, Docker,
    balancer::{Balancer, Plan},
    docker, start, wait_for,
};
use docker_glue::view::explain::{Absence, Asked, Explanation, Outcome, ServerState};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Output},
};

fn command(plan: &Plan, words: &[&str]) -> Command {
    let mut command = plan.command();
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").arg("explain").args(words);
    command
}

fn explain(plan: &Plan, words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(plan, words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn json(plan: &Plan, url: &str) -> Explanation {
    let (_, text, error) = explain(plan, &[url, "--format", "json"]);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{url}: {e}: {text}{error}"))
}

/// Exit status, and all of these in what was said.
fn check(plan: &Plan, words: &[&str], code: i32, parts: &[&str]) {
    let (ended, text, error) = explain(plan, words);
    let all = text + &error;
    assert!(ended == Some(code), "{words:?}: {ended:?} {all}");
    for part in parts {
        assert!(all.contains(part), "{words:?}: no {part:?} in {all}");
    }
}

/// Two that share a route, one that is paused, one of a port, and one that nothing is left of.
fn world(plan: &Plan) -> common::Fleet {
    let api = "glue_http_80_host=a.test glue_http_80_prefix=/api glue_http_80_strip_prefix=yes";
    start(vec![
        plan.run("web-1").labels(api),
        plan.run("web-2").labels(api).label("glue_http_80_weight", 50),
        plan.run("paused").labels(api),
        plan.run("rest").label("glue_http_80_host.all", "*.test"),
        plan.run("scheme").label("glue_http_80_host", "http://a.test/"),
    ])
}

#[test]
fn the_docker_balancer_that_runs_is_asked() {
    let Some(docker) = docker() else { return };
    let plan = Balancer::of(&docker).ports(&[80, 8080]);
    let fleet = world(&plan);
    fleet[2].docker(&["pause"]);
    let mut balancer = plan.start().until_started();
    balancer.until_shared("a.test/api/x", &["web-1", "web-2"]);

    let url = "http://A.test.:80/api/x?q=1";
    let names: Vec<_> = fleet.iter().map(|it| it.name.as_str()).collect();
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
    // Each server is in a state that HAProxy itself has said.
    let it = wait_for("HAProxy has checked both", || {
        let it = json(&balancer, url);
        it.servers.iter().all(|it| it.haproxy.as_deref() == Some("UP")).then_some(it)
    });
    assert_eq!(
        (it.asked, it.outcome, it.notes.as_slice()),
        (Asked::Daemon, Outcome::Served, &[][..])
    );
    assert_eq!(it.becomes.unwrap().path, "/x?q=1");
    let absent: Vec<_> = it.absent.iter().map(|it| (it.container.as_str(), it.why)).collect();
    assert_eq!(absent, [(names[2], Absence::Paused), (names[4], Absence::Label)]);
    balancer.serves(&[("A.test./other", "rest saw /other")]);
    assert_eq!(json(&balancer, "http://A.test./other").route.unwrap().route, "*.test:80/");

    check(&balancer, &["http://a.b.test/"], 1, &["404", "exactly one label"]);
    check(&balancer, &["http://a.test:8080/api"], 1, &["nobody listens", "http://a.test/api"]);
    check(&balancer, &["http://a.test/api", "--method", "POST"], 0, &["POST /", "did not reach"]);

    // What was drained, and what went a moment ago.
    let drained = Command::new(env!("CARGO_BIN_EXE_docker-balancer"))
        .args(["drain", names[0], "--runtime-dir"])
        .arg(balancer.runtime())
        .output()
        .unwrap();
    assert!(drained.status.success());
    let it = json(&balancer, url);
    assert_eq!(it.servers.len(), 1, "{it:?}");
    assert!(it.absent.iter().any(|it| it.why == Absence::Drained && it.container == names[0]));
    for name in &names[..3] {
        docker.cli(&["rm", "--force", name]);
    }
    balancer.until_serves("a.test/api/x", "503");
    check(&balancer, &[url], 1, &["503", "for another"]);

    on_the_socket(&balancer);
    balancer.end(nix::sys::signal::Signal::SIGTERM);
    check(
        &balancer,
        &["http://x.test/"],
        0,
        &["no docker-balancer answers", "HAProxy does not say"],
    );
}

/// What programs ask for.
fn on_the_socket(plan: &Plan) {
    for (method, path, status, part) in [
        ("GET", "/explain?url=http%3A%2F%2Fx.test%2F&method=PUT", 200, "\"method\":\"PUT\""),
        ("GET", "/explain?url=http://x.test/", 200, "\"outcome\":\"served\""),
        ("GET", "/explain?url=x.test", 400, "it has no scheme"),
        ("GET", "/explain", 400, "it has no url"),
        ("GET", "/explain?url=http://x.test/&verb=GET", 400, "only url and method"),
        ("POST", "/explain", 405, "GET"),
    ] {
        let answer = talk(plan, method, path);
        let begins = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(begins && answer.contains(part), "{method} {path}: {answer}");
    }
}

fn talk(plan: &Plan, method: &str, path: &str) -> String {
    let mut stream = UnixStream::connect(plan.runtime().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn where_none_runs_docker_is_asked_and_nothing_is_touched() {
    let Some(docker) = docker() else { return };
    let plan = Balancer::of(&docker);
    let fleet = world(&plan);
    fleet[2].docker(&["pause"]);
    let url = "http://a.test/api/x";
    let name = fleet[0].name.as_str();
    check(&plan, &[url], 0, &["no docker-balancer answers", name, "it is paused", "GET /x"]);
    let it = json(&plan, url);
    assert_eq!((it.asked, it.outcome), (Asked::Docker, Outcome::Served));
    assert_eq!(it.servers[0].haproxy, None);
    check(&plan, &["http://b.c.test/"], 1, &["404"]);
    check(&plan, &["http://a.test:81/"], 1, &["nobody listens"]);
    assert!(!plan.state().exists() && !plan.runtime().exists(), "something was written");

    // Colours are for terminals, and for who insists.
    let mut forced = command(&plan, &[url]);
    let forced = forced.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stdout.contains(&0x1b));
    let piped = command(&plan, &[url]).env_remove("NO_COLOR").output().unwrap();
    assert!(!piped.stdout.contains(&0x1b));

    // What an earlier one has left running says how its servers are.
    let once = plan.command().arg("--once").output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    wait_for("HAProxy has checked them", || {
        let it = json(&plan, url);
        let up = |it: &docker_glue::view::explain::ServerStep| {
            it.state == ServerState::Up && it.haproxy.as_deref() == Some("UP")
        };
        (it.asked == Asked::Docker && it.notes.is_empty() && it.servers.iter().all(up))
            .then_some(())
    });
    // It has not heard of what came later.
    let late = plan.run("late").label("glue_http_80_host", "late.example").start();
    check(&plan, &["http://late.example/"], 0, &["does not have this route yet"]);
    drop(late);
}

/// Asked of the one that runs, and of Docker with what is on the disk.
#[test]
fn who_came_after_a_generation_that_is_held_is_told_so() {
    let Some(docker) = docker() else { return };
    let plan = Balancer::of(&docker);
    let web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let mut balancer = plan.start().until_started();
    balancer.until_serves("a.test/", "web saw /");
    let mut rollback = balancer.command();
    let generation = newest(&balancer);
    let late = balancer.run("late").label("glue_http_80_host", "late.test").start();
    balancer.until_serves("late.test/", "late saw /");
    let rolled = rollback.args(["rollback", &generation.to_string()]).output().unwrap();
    assert!(rolled.status.success(), "{rolled:?}");

    let held = format!("not served: generation {generation} is held since ");
    let told = |plan: &Plan, asked: Asked| {
        check(
            plan,
            &["http://late.test/"],
            1,
            &["404", &held, "docker-balancer rollback --release", &late.name],
        );
        let it = json(plan, "http://late.test/");
        assert_eq!((it.asked, it.absent[0].why), (asked, Absence::RolledBack));
        check(plan, &["http://a.test/"], 0, &["served", &web.name, "is held since"]);
    };
    told(&balancer, Asked::Daemon);
    balancer.end(nix::sys::signal::Signal::SIGTERM);
    told(&balancer, Asked::Docker);
}

fn newest(plan: &Plan) -> u64 {
    let output = plan.command().args(["history", "--json"]).output().unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.last().unwrap()["generation"].as_u64().unwrap()
}

/// Docker answers the command, and has not answered the one that runs.
#[test]
fn what_a_docker_balancer_answered_instead_is_told() {
    let Some(docker) = docker() else { return };
    let deaf = Balancer::of(&Docker::at("unix:///nonexistent/docker.sock")).start();
    wait_for("its socket", || deaf.runtime().join("control.sock").exists().then_some(()));
    // With the engine's own place, and the socket of that one.
    let plan = Balancer::of(&docker);
    let mut command = command(&plan, &["http://a.test/"]);
    let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let own = plan.runtime();
    let words = words.iter().map(|it| if **it == own { deaf.runtime().into() } else { it.clone() });
    command = Command::new(command.get_program());
    let words = command.args(words).env("DOCKER_GLUE_SETTINGS", "/dev/null").env("NO_COLOR", "1");
    let output = words.output().unwrap();
    let (text, error) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
    let error = String::from_utf8_lossy(&error);
    let heading = "docker-balancer answers \"docker has not answered yet";
    assert!(text.contains(heading), "{text}{error}");
    assert!(!text.contains("no docker-balancer answers"), "{text}");
}

#[test]
fn a_server_that_does_not_listen_is_told_as_haproxy_sees_it() {
    let Some(docker) = docker() else { return };
    let plan = Balancer::of(&docker);
    let labels = "glue_http_80_host=a.test glue_http_81_host=a.test glue_http_81_bind=80";
    let web = plan.run("web").labels(labels).start();
    let balancer = plan.start().until_started();
    balancer.until_serves("a.test/x", "web saw /x");
    let it = wait_for("HAProxy sees that nobody listens on port 81", || {
        let it = json(&balancer, "http://a.test/x");
        it.servers.iter().any(|it| it.state == ServerState::Down).then_some(it)
    });
    let shares: Vec<_> = it.servers.iter().map(|it| it.percent).collect();
    assert_eq!((it.outcome, &shares[..]), (Outcome::Served, &[100.0, 0.0][..]));
    check(&balancer, &["http://a.test/x"], 0, &["HAProxy says DOWN", &web.name]);
}

#[test]
fn who_cannot_be_asked_and_what_is_no_url_have_a_status_of_their_own() {
    let plan = Balancer::of(&Docker::at("unix:///nonexistent/docker.sock"));
    let url = "http://a.test/";
    check(
        &plan,
        &[url],
        4,
        &["neither could be asked", "control.sock", "/nonexistent/docker.sock"],
    );
    for (url, part) in [
        ("a.test/x", "begin it with http://"),
        ("https://a.test/", "plain HTTP alone"),
        ("http://a.test:http/", "is no port"),
        ("http://a.test/a b", "write its bytes as %XX"),
    ] {
        check(&plan, &[url], 2, &[url, part]);
    }
    check(&plan, &[url, "--method", "GET /"], 2, &["a method is a word such as GET"]);
}
