//! Changes in a container's life, as its clients see them.

use crate::{
    asker::Asker,
    common::{self, balancer::Balancer},
};
use nix::sys::signal::Signal;
use std::{
    io::{Read, Write},
    net::TcpStream,
};

const HOST: &str = "glue_http_80_host";
/// Requests to a container that has just stopped are answered soon.
const IMPATIENT: &[&str] = &["--wait-for-start", "1s"];

/// Waits until all earlier events of Docker are processed, by starting another container and waiting until it is
/// served.
fn wait_until_settled(balancer: &Balancer, name: &str) {
    let host = format!("{name}.test");
    let _probe = balancer.run(name).label(HOST, &host).start();
    balancer.wait_until_serves(&host, &format!("{name} saw /"));
}

/// Returns what was logged about `a.test` after the first `mark` bytes of the log.
fn changes_of_a_since(balancer: &Balancer, mark: usize) -> Vec<String> {
    let log = balancer.log();
    let lines = log[mark..].lines().filter(|line| line.contains(" a.test:80/"));
    let words =
        lines.filter_map(|line| line.split_once("INFO ").map(|(_, words)| words.to_owned()));
    words.collect()
}

#[test]
fn container_is_served_only_while_it_runs() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).option(IMPATIENT).start();
    let web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");

    balancer.wait_for_log(&["+ a.test:80/"]);
    let mark = balancer.log().len();
    web.docker(&["stop"]);
    balancer.wait_until_serves("a.test", "503");
    wait_until_settled(&balancer, "stopped");
    let gone = format!("~ a.test:80/: - {}", web.name);
    assert_eq!(changes_of_a_since(&balancer, mark), [gone], "{}", balancer.log());

    web.docker(&["start"]);
    balancer.wait_until_serves("a.test", "web saw /");
    web.docker(&["kill"]);
    balancer.wait_until_serves("a.test", "503");
    web.docker(&["restart"]);
    balancer.wait_until_serves("a.test", "web saw /");
    web.docker(&["pause"]);
    // A paused container still accepts connections, and its clients wait.
    balancer.wait_for_log(&["updated HAProxy over the runtime API", "pause"]);
    balancer.wait_until_serves("a.test", "503");
    web.docker(&["unpause"]);
    balancer.wait_until_serves("a.test", "web saw /");
}

/// From then on HAProxy has the container under another server name. The results of earlier checks are kept.
#[test]
fn second_container_with_check_loses_no_request() {
    const CHECK: (&str, &str) = ("glue_http_80_check", "/");
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).option(IMPATIENT).start();
    // Avoids a later reload: a new worker would use a container before the command to check it first.
    let _first = balancer.run("first").label(HOST, "first.test").start();
    balancer.wait_until_serves("first.test", "first saw /");
    let _web = balancer.run("web").label(HOST, "a.test").label(CHECK.0, CHECK.1).start();
    balancer.wait_until_serves("a.test", "web saw /");
    let asker = Asker::begin(&balancer, "a.test");
    for _ in 0..3 {
        let more = balancer.run("more").label(HOST, "a.test").label(CHECK.0, CHECK.1).start();
        balancer.wait_until_shared("a.test", &["more", "web"]);
        more.docker(&["stop"]);
        balancer.wait_until_shared("a.test", &["web"]);
    }
    assert_eq!(asker.end(), ["more saw /", "web saw /"]);
}

#[test]
fn stopping_container_is_excluded_while_another_is_ready() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).option(IMPATIENT).start();
    let deaf = balancer.run("deaf").label(HOST, "a.test").env("WHOAMI_IGNORE_TERM", 1).start();
    let _other = balancer.run("other").label(HOST, "a.test").start();
    balancer.wait_until_shared("a.test", &["deaf", "other"]);
    let asker = Asker::begin(&balancer, "a.test");
    deaf.docker(&["kill", "--signal", "TERM"]);
    balancer.wait_until_shared("a.test", &["other"]);
    assert_eq!(deaf.docker(&["inspect", "--format", "{{.State.Running}}"]), "true");
    assert_eq!(asker.end(), ["deaf saw /", "other saw /"]);
}

#[test]
fn backup_serves_while_the_other_container_is_stopped_and_no_request_is_lost() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let create = |name: &str, backup: u8| {
        let run = balancer.run(name).label(HOST, "a.test").env("WHOAMI_LISTEN_AFTER", "1s");
        run.label("glue_http_80_backup", backup).start()
    };
    let web = create("web", 0);
    balancer.wait_until_serves("a.test", "web saw /");
    let _spare = create("spare", 1);
    // Events before this one have been processed.
    wait_until_settled(&balancer, "first");
    let askers = [("GET", "a.test"), ("POST", "a.test")];
    let askers = askers.map(|(method, url)| Asker::begin_with(&balancer, method, url));
    askers[0].more(20);
    balancer.assert_serves(&[("a.test", "web saw /")]);
    for _ in 0..2 {
        web.docker(&["stop"]);
        balancer.wait_until_shared("a.test", &["spare"]);
        web.docker(&["start"]);
        balancer.wait_until_shared("a.test", &["web"]);
    }
    let outcomes = askers.map(Asker::end);
    assert_eq!(outcomes, [["spare saw /", "web saw /"]; 2], "{}", balancer.log());
}

#[test]
fn stopping_only_container_is_served_until_exit() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).option(IMPATIENT).start();
    let deaf = balancer.run("deaf").label(HOST, "a.test").env("WHOAMI_IGNORE_TERM", 1).start();
    balancer.wait_until_serves("a.test", "deaf saw /");
    let asker = Asker::begin(&balancer, "a.test");
    deaf.docker(&["kill", "--signal", "TERM"]);
    // The event of the signal has been processed.
    wait_until_settled(&balancer, "after");
    asker.more(20);
    assert_eq!(asker.end(), ["deaf saw /"]);
    let asker = Asker::begin(&balancer, "a.test");
    asker.more(1);
    deaf.docker(&["kill", "--signal", "KILL"]);
    balancer.wait_until_serves("a.test", "503");
    assert_eq!(asker.end(), ["503", "deaf saw /"]);
}

/// Compose removes the old container before it starts the new one, which listens one second later.
#[test]
fn recreated_or_restarted_only_container_loses_no_request() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let create = |name: &str| {
        balancer.run(name).label(HOST, "a.test").env("WHOAMI_LISTEN_AFTER", "1s").create()
    };
    let first = create("first");
    first.docker(&["start"]);
    balancer.wait_until_serves("a.test", "first saw /");
    let askers = [("GET", "a.test"), ("POST", "a.test")];
    let askers = askers.map(|(method, url)| Asker::begin_with(&balancer, method, url));
    first.docker(&["restart"]);
    balancer.wait_until_serves("a.test", "first saw /");

    let second = create("second");
    first.docker(&["stop"]);
    first.docker(&["rm"]);
    second.docker(&["start"]);
    balancer.wait_until_serves("a.test", "second saw /");
    for asker in askers {
        assert_eq!(asker.end(), ["first saw /", "second saw /"], "{}", balancer.log());
    }
}

#[test]
fn requests_to_a_paused_only_container_wait_for_unpause() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    web.docker(&["pause"]);
    balancer.wait_for_log(&["updated HAProxy over the runtime API", "pause"]);
    let asker = Asker::begin(&balancer, "a.test");
    common::wait_for("a request waits", || {
        // The waiting request has a backend and no server.
        let waits =
            |session: &str| session.contains("srv=<none>") && !session.contains("be=<NONE>");
        balancer.ask_haproxy("show sess").lines().any(waits).then_some(())
    });
    web.docker(&["unpause"]);
    balancer.wait_until_serves("a.test", "web saw /");
    assert_eq!(asker.end(), ["web saw /"]);
}

#[test]
fn harmless_signal_and_rename_do_not_affect_clients() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).option(IMPATIENT).start();
    let web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    let asker = Asker::begin(&balancer, "a.test");

    balancer.wait_for_log(&["+ a.test:80/"]);
    let mark = balancer.log().len();
    web.docker(&["kill", "--signal", "HUP"]);
    wait_until_settled(&balancer, "hangup");
    assert_eq!(changes_of_a_since(&balancer, mark), [""; 0], "{}", balancer.log());

    let name = common::unique_name("renamed");
    docker.run_docker(&["rename", &web.id, &name]);
    let config = balancer.state().join("haproxy.cfg");
    let is_named = || std::fs::read_to_string(&config).is_ok_and(|text| text.contains(&name));
    common::wait_for("the new name in the configuration", || is_named().then_some(()));
    asker.more(20);
    assert_eq!(asker.end(), ["web saw /"]);
    docker.run_docker(&["rename", &web.id, &web.name]);
}

/// By then another container has its former address.
#[test]
fn restart_at_another_address_is_followed() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let balancer = Balancer::plan(&docker).option(&["--wait-for-start", "1m"]).start();
    let web = balancer.run("web").label(HOST, "a.test").network(&net).start();
    balancer.wait_until_serves("a.test", "web saw /");
    let asker = Asker::begin(&balancer, "a.test");
    let before = web.address(&net);
    web.docker(&["stop"]);
    let heir = balancer.run("heir").label(HOST, "b.test").network(&net).start();
    assert_eq!(heir.address(&net), before);
    web.docker(&["start"]);
    assert_ne!(web.address(&net), before);
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test", "heir saw /")]);
    assert_eq!(asker.end(), ["web saw /"]);
}

/// A replaced worker holds the request and still tries the address, which another container has by then.
#[test]
fn request_held_through_a_reload_never_reaches_another_container() {
    // Shorter than the client's timeout.
    const PATIENT: &[&str] = &["--wait-for-start", "20s"];
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let balancer = Balancer::plan(&docker).ports(&[80, 81]).option(PATIENT).start();
    let deaf = balancer.run("deaf").label(HOST, "a.test").env("WHOAMI_LISTEN_AFTER", "1h");
    let deaf = deaf.network(&net).start();
    balancer.wait_for_log(&["+ a.test:80/"]);
    let request = balancer.request("GET", "a.test");
    let outcome = move || request.send().map_or_else(|e| e.to_string(), |reply| reply.to_string());
    let task = std::thread::spawn(outcome);
    common::wait_for("the request is held", || {
        balancer.ask_haproxy("show sess").contains(&deaf.id[..12]).then_some(())
    });

    let _other =
        balancer.run("other").label("glue_http_80_bind", "81").label(HOST, "o.test").start();
    balancer.wait_until_serves("o.test:81", "other saw /");
    let before = deaf.address(&net);
    deaf.docker(&["kill"]);
    let heir = balancer.run("heir").label(HOST, "b.test").network(&net).start();
    assert_eq!(heir.address(&net), before);
    balancer.wait_until_serves("b.test", "heir saw /");
    // The only command that ends the held request closes its connection. HAProxy 2.6 lets the request wait until its
    // end, but not at that address.
    let outcome = task.join().unwrap();
    assert!(["no HTTP answer: \"\"", "503"].contains(&outcome.as_str()), "{outcome}");
}

/// The replaced worker gets no more changes of servers, only of routes.
#[test]
fn connection_kept_through_a_reload_never_reaches_another_container() {
    let Some(docker) = common::find_docker() else { return };
    let net = docker.network("net");
    let balancer = Balancer::plan(&docker).ports(&[80, 81]).option(IMPATIENT).start();
    let web = balancer.run("web").label(HOST, "a.test").network(&net).start();
    balancer.wait_until_serves("a.test", "web saw /");
    let mut kept = TcpStream::connect(("127.0.0.1", balancer.bound_port(80))).unwrap();
    kept.set_read_timeout(Some(common::DEADLINE)).unwrap();
    let mut ask = || {
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let length = kept.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(), "HTTP/1.1 200 OK");

    let _other =
        balancer.run("other").label("glue_http_80_bind", "81").label(HOST, "o.test").start();
    balancer.wait_until_serves("o.test:81", "other saw /");
    let before = web.address(&net);
    web.docker(&["kill"]);
    let heir = balancer.run("heir").label(HOST, "b.test").network(&net).start();
    assert_eq!(heir.address(&net), before);
    balancer.wait_until_serves("b.test", "heir saw /");
    assert_eq!(ask(), "HTTP/1.1 503 Service Unavailable");
}

#[test]
fn container_is_reached_on_every_kind_of_network() {
    let Some(docker) = common::find_docker() else { return };
    let (one, two) = (docker.network("one"), docker.network("two"));
    let balancer = Balancer::plan(&docker).option(IMPATIENT).start();
    let web = balancer.run("web").label(HOST, "a.test").network(&one).start();
    balancer.wait_until_serves("a.test", "web saw /");
    let uses = |address: std::net::Ipv4Addr| {
        let config = balancer.state().join("haproxy.cfg");
        let has = || {
            std::fs::read_to_string(&config)
                .is_ok_and(|text| text.contains(&format!(" {address}:80 ")))
        };
        common::wait_for(&format!("{address} is used"), || has().then_some(()));
        balancer.wait_until_serves("a.test", "web saw /");
    };
    two.connect(&web);
    uses(web.address(&one));
    let second = web.address(&two);
    one.disconnect(&web);
    uses(second);
    two.disconnect(&web);
    balancer.wait_for_log(&[&web.name, "HAProxy cannot reach the container"]);
    balancer.wait_until_serves("a.test", "503");
    one.connect(&web);
    balancer.wait_for_log(&["resolved: ", &web.name]);
    balancer.wait_until_serves("a.test", "web saw /");
    drop(web);
}

#[test]
fn stop_is_clean_and_haproxy_ends_or_stays_as_configured() {
    let Some(docker) = common::find_docker() else { return };
    for (option, stays) in [(&[][..], false), (&["--leave-running"][..], true)] {
        let plan = Balancer::plan(&docker).option(option);
        let web = plan.run("web").label(HOST, "a.test").start();
        let mut balancer = plan.start();
        balancer.wait_until_serves("a.test", "web saw /");
        assert_eq!(balancer.stop_with(Signal::SIGTERM).code(), Some(0), "{}", balancer.log());
        assert_eq!(balancer.find_master().is_some(), stays);
        assert_eq!(balancer.try_get("a.test").is_ok(), stays);
        drop(web);
    }
}
