//! What an operator asks the daemon that runs, on a real engine with a real HAProxy: status, routes,
//! problems and history, and the way back to what was served before.

use crate::common::{
    Run,
    balancer::{Balancer, BalancerPlan},
    find_docker, wait_for,
};
use docker_glue::report::{
    history::GenerationStatus,
    status::{ProblemStatus, RouteStatus, ServerState, Status},
};
use nix::{
    pty::openpty,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;
use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

fn run_web(plan: &BalancerPlan, name: &str) -> Run {
    plan.run(name).label("glue_http_80_host", "a.test")
}

fn balancer_command(plan: &BalancerPlan, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").args(words);
    command.arg("--runtime-dir").arg(plan.runtime()).stdin(Stdio::null());
    command
}

/// The exit status, and all that was said.
fn run_command(plan: &BalancerPlan, words: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = balancer_command(plan, words).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn check(plan: &BalancerPlan, words: &[&str], code: i32, parts: &[&str]) -> String {
    let (ended, text) = run_command(plan, words);
    let all = parts.iter().all(|part| text.contains(part));
    assert!(ended == code && all, "{words:?} {parts:?}: {ended}\n{text}");
    text
}

fn run_json<T: DeserializeOwned>(plan: &BalancerPlan, verb: &str) -> T {
    serde_json::from_str(&run_command(plan, &[verb, "--json"]).1).unwrap()
}

/// The last generation there is.
fn last_generation(plan: &BalancerPlan) -> u64 {
    run_json::<Vec<GenerationStatus>>(plan, "history").last().unwrap().generation
}

#[test]
fn status_shows_routes_and_haproxy_counts() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    check(&plan, &["status"], 4, &["no docker-balancer answers on "]);
    for verb in ["routes", "problems", "history"] {
        check(&plan, &[verb, "--json"], 4, &["no docker-balancer answers on "]);
    }
    check(&plan, &["status", "--watch"], 4, &["no docker-balancer answers on "]);
    let one = run_web(&plan, "one").label("glue_http_80_wieght", "7").start();
    let balancer = plan.start().wait_until_started();
    for _ in 0..5 {
        balancer.wait_until_serves("a.test/x", "one saw /x");
    }
    let status: Status = run_json(&balancer, "status");
    let [route] = &status.routes[..] else { panic!("{status:?}") };
    let [server] = &route.servers[..] else { panic!("{status:?}") };
    assert_eq!((server.container.as_str(), server.weight()), (one.name.as_str(), 100));
    assert!(5 <= server.load.unwrap().requests && 5 <= route.load.unwrap().requests, "{route:?}");
    assert!(5 <= status.listeners[0].load.unwrap().requests, "{:?}", status.listeners);
    let paused = run_web(&balancer, "two").start();
    balancer.wait_until_shared("a.test", &["one", "two"]);
    paused.docker(&["pause"]);
    let status = wait_for("two is out", || {
        let status: Status = run_json(&balancer, "status");
        let out = |status: &RouteStatus| {
            status.servers.iter().any(|status| status.state == ServerState::Excluded)
        };
        status.routes.iter().any(out).then_some(status)
    });
    assert!(status.docker.connected && status.haproxy.answers && status.haproxy.managed);
    let [route] = &status.routes[..] else { panic!("{status:?}") };
    assert_eq!((route.route.as_str(), route.host.as_str()), ("a.test:80/", "a.test"));
    let server = route.servers.iter().find(|status| status.container == one.name).unwrap();
    assert_eq!(server.state, ServerState::Up);
    assert_eq!(status.last.unwrap().cause, format!("pause {}", paused.name));

    let shown = check(&balancer, &["status"], 0, &["a.test:80/", &one.name, "connected", "up"]);
    assert!(!shown.contains('\x1b'), "nobody sees colours there: {shown}");
    let coloured =
        balancer_command(&balancer, &["status"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(coloured.stdout.contains(&0x1b), "colours for who wants them");
    check(&balancer, &["routes"], 0, &["a.test:80/", "1 route, 2 servers"]);
    let hint = format!("container {} (", one.name);
    check(&balancer, &["problems"], 1, &[&hint, "glue_http_80_weight", "1 problem"]);
    let problems: Vec<ProblemStatus> = run_json(&balancer, "problems");
    assert_eq!(problems[0].label.as_deref(), Some("glue_http_80_wieght"));
    drop(one);
    wait_for("no problems is left", || {
        (run_command(&balancer, &["problems"]).0 == 0).then_some(())
    });
}

#[test]
fn status_watch_runs_until_ctrl_c() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _one = run_web(&plan, "one").start();
    let balancer = plan.start().wait_until_started();
    let size = nix::pty::Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).unwrap();
    let mut watch = balancer_command(&balancer, &["status", "--watch"]);
    watch.env("TERM", "xterm").env_remove("NO_COLOR").stdout(terminal.slave);
    let mut watching = watch.spawn().unwrap();
    drop(watch);
    let seen = Arc::new(Mutex::new(String::new()));
    let listener = {
        let (seen, mut from) = (Arc::clone(&seen), File::from(terminal.master));
        std::thread::spawn(move || {
            let mut room = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut room) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&room[..length]));
            }
        })
    };
    let pages = |number| {
        wait_for("pages", || {
            let seen = seen.lock().unwrap().clone();
            (number <= seen.matches("\x1b[?2026l").count()).then_some(seen)
        })
    };
    let first = pages(1);
    assert!(first.starts_with("\x1b[?1049h\x1b[?25l"), "{first:?}");
    assert!(first.contains("a.test:80/") && first.contains("\x1b[32mup"), "{first:?}");
    let _two = run_web(&balancer, "two").label("glue_http_80_host.b", "b.test").start();
    wait_for("the new route is seen", || seen.lock().unwrap().contains("b.test:80/").then_some(()));
    // Each page in place of the one before, and no wider or longer than the terminal.
    let text = pages(3);
    assert!(!text.contains("\x1b[2J"), "{text:?}");
    for page in text.split("\x1b[?2026h").skip(1) {
        let page = anstream::adapter::strip_str(page).to_string();
        assert!(page.lines().count() <= 24, "{page}");
        assert!(page.lines().all(|line| line.trim_end().chars().count() <= 60), "{page}");
    }
    kill(Pid::from_raw(watching.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let status = wait_for("its end", || watching.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    listener.join().unwrap();
    assert!(seen.lock().unwrap().ends_with("\x1b[?25h\x1b[?1049l"));
}

#[test]
fn history_names_causes_and_survives_restarts() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let one = run_web(&plan, "one").start();
    let mut balancer = plan.start().wait_until_started();
    let two = run_web(&balancer, "two").label("glue_http_80_weight", "50").start();
    balancer.wait_until_shared("a.test", &["one", "two"]);
    let cause = format!("start {}", two.name);
    let change = format!("~ a.test:80/: + {}", two.name);
    let shown =
        check(&balancer, &["history"], 0, &[&cause, &change, "updated HAProxy with ", "started"]);
    assert!(shown.lines().next().unwrap().starts_with('1'), "{shown}");
    check(&balancer, &["history", "-n", "1"], 0, &["before; --last shows more", &change]);

    let before: Vec<GenerationStatus> = run_json(&balancer, "history");
    let file = balancer.state().join("history.jsonl");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    balancer.stop_with(Signal::SIGTERM);
    // What nobody saw go is one change when somebody looks again.
    drop(one);
    balancer.start_again();
    // What the last run left serves until the engine has answered.
    let after = wait_for("a further generation", || {
        let (code, text) = run_command(&balancer, &["history", "--json"]);
        let all: Vec<GenerationStatus> = serde_json::from_str(&text).ok().filter(|_| code == 0)?;
        (before.len() < all.len()).then_some(all)
    });
    assert_eq!(after[..before.len()], before[..], "and the numbers go on");
    let new = &after[before.len()..];
    assert_eq!(new[0].generation, before.last().unwrap().generation + 1);
    assert!(
        new.iter().any(|status| status.changes.iter().any(|text| text.contains(": - "))),
        "{new:?}"
    );

    // A crash while a line was written: what is whole counts.
    wait_for("all of it is on disk", || {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        (after.len() < lines).then_some(())
    });
    balancer.stop_with(Signal::SIGKILL);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 20]).unwrap();
    balancer.start_again();
    balancer.wait_for_log(&["history.jsonl, line ", "the line is incomplete"]);
    balancer.wait_until_shared("a.test", &["two"]);
    let torn: Vec<GenerationStatus> = run_json(&balancer, "history");
    assert_eq!(torn[..after.len() - 1], after[..after.len() - 1]);
}

#[test]
fn once_writes_history() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--leave-running"]);
    let _one = run_web(&plan, "one").start();
    let once = plan.command().arg("-1").output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let two = run_web(&plan, "two").start();
    let once = plan.command().arg("-1").output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let mut balancer = plan.start();
    wait_for("it answers", || (run_command(&balancer, &["status"]).0 == 0).then_some(()));
    balancer.wait_until_shared("a.test", &["one", "two"]);
    let all: Vec<GenerationStatus> = run_json(&balancer, "history");
    assert_eq!((all[0].cause.as_str(), all[1].cause.as_str()), ("once", "once"));
    assert_eq!(all[1].changes, [format!("~ a.test:80/: + {}", two.name)]);

    // A rollback holds for it as well.
    check(&balancer, &["rollback", "1"], 0, &["rolled back to generation 1:"]);
    balancer.stop_with(Signal::SIGTERM);
    let _three = run_web(&balancer, "three").start();
    let once = balancer.command().arg("-1").output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    assert_served_only_by(&balancer, &["one"]);
}

#[test]
fn rollback_excludes_new_container_until_released() {
    let Some(docker) = find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let one = run_web(&plan, "one").start();
    let mut balancer = plan.start().wait_until_started();
    let two = run_web(&balancer, "two").start();
    balancer.wait_until_shared("a.test", &["one", "two"]);
    let good = last_generation(&balancer);

    // It answers as if it were well, and is not.
    let bad = run_web(&balancer, "bad").start();
    balancer.wait_until_shared("a.test", &["one", "two", "bad"]);
    let wrong =
        format!("no generation 999 in the history; it has 1 to {}", last_generation(&balancer));
    check(&balancer, &["rollback", "999"], 1, &[&wrong]);
    check(&balancer, &["rollback", "--release"], 1, &["no rollback is active"]);
    let done = format!("rolled back to generation {good}:");
    check(&balancer, &["rollback", &good.to_string()], 0, &[&done, "--release"]);
    balancer.wait_for_log(&[&format!("rollback to generation {good} is active")]);
    assert_served_only_by(&balancer, &["one", "two"]);

    // Whatever comes and goes.
    let other = balancer.run("other").label("glue_http_80_host", "b.test").start();
    let third = run_web(&balancer, "third").start();
    wait_for_containers(&balancer, 5);
    balancer.assert_serves(&[("b.test/", "404")]);
    assert_served_only_by(&balancer, &["one", "two"]);
    two.docker(&["kill"]);
    balancer.wait_until_shared("a.test", &["one"]);
    two.docker(&["start"]);
    balancer.wait_until_shared("a.test", &["one", "two"]);
    check(&balancer, &["drain", &two.name], 0, &["is drained"]);
    assert_served_only_by(&balancer, &["one"]);
    check(&balancer, &["undrain", &two.name], 0, &["gets new requests again"]);
    assert_served_only_by(&balancer, &["one", "two"]);
    let string = format!("rollback to generation {good} active");
    check(&balancer, &["status"], 0, &[&string]);

    // And over restarts, with the engine's word that all of them are there.
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        balancer.stop_with(signal);
        balancer.start_again();
        wait_for("it answers", || (run_command(&balancer, &["status"]).0 == 0).then_some(()));
        wait_for_containers(&balancer, 5);
        balancer.wait_until_shared("a.test", &["one", "two"]);
        assert_served_only_by(&balancer, &["one", "two"]);
        let status: Status = run_json(&balancer, "status");
        assert_eq!(status.rollback.unwrap().generation, good);
    }
    // While it is down its address becomes another one's.
    two.docker(&["stop", "--time", "0"]);
    let in_between = docker.run("between").start();
    two.docker(&["start"]);
    balancer.wait_until_shared("a.test", &["one", "two"]);
    drop(in_between);
    drop(one);
    balancer.wait_until_shared("a.test", &["two"]);
    drop(two);
    balancer.wait_until_serves("a.test/", "503");

    check(&balancer, &["rollback", "--release"], 0, &["following containers again"]);
    balancer.wait_until_shared("a.test", &["bad", "third"]);
    balancer.wait_until_serves("b.test/x", "other saw /x");
    assert!(!balancer.state().join("rollback.json").exists());
    balancer.stop_with(Signal::SIGTERM);
    balancer.start_again();
    balancer.wait_until_shared("a.test", &["bad", "third"]);
    let causes: Vec<_> = run_json::<Vec<GenerationStatus>>(&balancer, "history")
        .into_iter()
        .map(|status| status.cause)
        .collect();
    let rolled = causes.iter().filter(|text| *text == &format!("rollback {good}")).count();
    assert_eq!(
        (rolled, causes.iter().filter(|text| *text == "release").count()),
        (1, 1),
        "{causes:?}"
    );
    drop((bad, third, other));
}

/// Nobody else answers.
fn assert_served_only_by(balancer: &Balancer, names: &[&str]) {
    let who: std::collections::BTreeSet<_> =
        balancer.count_answers("a.test", 20).into_keys().collect();
    assert_eq!(who, names.iter().map(ToString::to_string).collect());
}

/// The balancer knows so many.
fn wait_for_containers(balancer: &Balancer, containers: usize) {
    wait_for("they are known", || {
        let status: Status = run_json(balancer, "status");
        status.docker.containers.filter(|n| containers <= *n)
    });
}
