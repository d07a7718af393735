//! docker-balancer as a handler of docker-glue.

use crate::common::{
    self, CONSTRAINT, Docker, Run,
    balancer::{Request, free_port},
    engine::Engine,
    glue::{Glue, GluePlan},
    proxy::RecordingSocket,
    unique_name, wait_for,
};
use nix::sys::signal::Signal;
use std::{fs, net::Ipv4Addr};

/// The example handler, with its own folders, port and containers.
struct Site {
    port: u16,
    constraint: String,
}

impl Site {
    fn new() -> Self {
        Self { port: free_port(), constraint: unique_name("lb") }
    }

    fn example(&self, docker: &Docker, more: &str) -> GluePlan {
        let example = fs::read_to_string("examples/docker-glue.d/lb.ini.example").unwrap();
        let text = [
            ("/var/lib/docker-glue-handlers/lb", "ROOT/state"),
            ("/run/docker-glue-handlers", "ROOT/run"),
            ("80=8080", &format!("80={}", self.port)),
        ];
        let text = text.iter().fold(example, |text, (from, to)| text.replace(from, to));
        let own = format!("{text}constraint={CONSTRAINT}={}\n{more}", self.constraint);
        Glue::plan(docker).file("lb.ini", &own)
    }

    fn run(&self, docker: &Docker, name: &str) -> Run {
        let run = docker.run(name).label(CONSTRAINT, &self.constraint).env("WHOAMI_NAME", name);
        run.label("glue_http_80_host", format!("{name}.test"))
    }

    fn until_serves(&self, host: &str, outcome: &str) {
        let at = (Ipv4Addr::LOCALHOST, self.port).into();
        wait_for(&format!("{host}: {outcome}"), || {
            let answer = Request::new(at, "GET", host, "/").send();
            (answer.map_or_else(|e| e.to_string(), |reply| reply.to_string()) == outcome)
                .then_some(())
        });
    }
}

#[test]
fn haproxy_handler_example_serves_and_stops_with_docker_glue() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let web = site.run(&docker, "web").start();
    let mut glue = site.example(&docker, "").start();
    site.until_serves("web.test", "web saw /");
    let _late = site.run(&docker, "late").start();
    site.until_serves("late.test", "late saw /");
    drop(web);
    site.until_serves("web.test", "503");
    assert_eq!(glue.stop_with(Signal::SIGTERM).code(), Some(0), "{}", glue.log());
    let at = (Ipv4Addr::LOCALHOST, site.port).into();
    assert!(Request::new(at, "GET", "late.test", "/").send().is_err(), "HAProxy runs on");
}

#[test]
fn failing_haproxy_handler_is_retried_others_unaffected() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let say = "[handler]\nclass=script\nevents=start\n[params]\nscript=say.sh\n";
    let glue = site
        .example(&docker, "haproxy-bin=ROOT/haproxy\n")
        .file("say.ini", say)
        .script("say.sh", "#!/bin/sh\necho \"$2 $3\" >>ROOT/said\n")
        .start();
    glue.wait_for_log(&["ERROR", "no HAProxy at", "lb"]);
    let web = site.run(&docker, "web").start();
    glue.wait_until_written("said", &["start", &web.id]);
    std::os::unix::fs::symlink(find_program("haproxy"), glue.path("haproxy")).unwrap();
    site.until_serves("web.test", "web saw /");
}

fn find_program(program: &str) -> String {
    let folders = ["/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin"];
    let mut paths = folders.iter().map(|folder| format!("{folder}/{program}"));
    paths.find(|path| fs::exists(path).unwrap()).unwrap()
}

#[test]
fn once_serves_running_containers_and_leaves_haproxy_running() {
    let Some(docker) = common::find_docker() else { return };
    let site = Site::new();
    let _web = site.run(&docker, "web").start();
    let plan = site.example(&docker, "");
    let output = plan.run(&["-1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.until_serves("web.test", "web saw /");
    let pid = plan.read("run/haproxy.pid").trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}

#[test]
fn haproxy_and_script_handlers_share_one_subscription_and_one_list() {
    // An engine of its own, so that other tests' containers cause no further lists.
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    let net = docker.network("net");
    let proxy = RecordingSocket::in_front_of(&docker.socket());
    let queries = |part: &str| {
        let all = proxy.requested_paths().into_iter().filter(|path| path.contains(part));
        all.collect::<Vec<_>>()
    };
    let site = Site::new();
    let say = "[handler]\nclass=script\nevents=start,die\n[params]\nscript=say.sh\n";
    let glue = site
        .example(&Docker::at(proxy.url()), "")
        .file("say.ini", say)
        .script("say.sh", "#!/bin/sh\necho \"$2 $3\" >>ROOT/said\n")
        .start();
    let web = site.run(&docker, "web").network(&net).start();
    site.until_serves("web.test", "web saw /");
    glue.wait_until_written("said", &["start", &web.id]);
    assert_eq!(queries("/events").len(), 1, "{:#?}", proxy.requested_paths());

    // The balancer reads lists page by page. Handlers request a list of their own only before the balancer starts.
    let lists: Vec<_> =
        queries("/containers/json").into_iter().filter(|path| !path.contains("filters")).collect();
    let own = lists.iter().skip(1).filter(|path| !path.contains("limit"));
    assert!(2 <= lists.len() && own.count() == 0, "{lists:#?}");

    // A new connection again has one subscription, which starts at the last event.
    proxy.close_connections();
    glue.wait_for_log(&["connected to Docker again"]);
    let late = site.run(&docker, "late").network(&net).start();
    site.until_serves("late.test", "late saw /");
    glue.wait_until_written("said", &["start", &late.id]);
    let subscriptions = queries("/events");
    assert_eq!(subscriptions.len(), 2, "{subscriptions:#?}");
    assert!(!subscriptions[0].contains("since") && subscriptions[1].contains("since"));
    assert_eq!(glue.log().matches("lost connection to Docker").count(), 1, "{}", glue.log());
}

/// A container dies and starts again while docker-glue has no connection to Docker. docker-glue gets both events later.
#[test]
fn events_of_an_outage_reach_handlers_and_take_no_running_container_out() {
    let Some(mut engine) = Engine::new() else { return };
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    let net = docker.network("net");
    let proxy = RecordingSocket::in_front_of(&docker.socket());
    let site = Site::new();
    let say = "[handler]\nclass=script\nevents=start,die\n[params]\nscript=say.sh\n";
    let glue = site
        .example(&Docker::at(proxy.url()), "")
        .file("say.ini", say)
        .script("say.sh", "#!/bin/sh\necho \"$2 $3\" >>ROOT/said\n")
        .start();
    let web = site.run(&docker, "web").network(&net).start();
    site.until_serves("web.test", "web saw /");
    glue.wait_until_written("said", &["start", &web.id]);

    proxy.refuse(true);
    proxy.close_connections();
    glue.wait_for_log(&["lost connection to Docker"]);
    web.docker(&["restart", "--time", "0"]);
    proxy.refuse(false);
    glue.wait_for_log(&["connected to Docker again"]);
    let actions = || {
        let output = glue.read("said");
        output
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(word, _)| word.to_owned())
            .collect::<Vec<_>>()
    };
    wait_for("the events of the outage", || (actions() == ["start", "die", "start"]).then_some(()));
    site.until_serves("web.test", "web saw /");
    let log = glue.log();
    let is_end = |line: &&str| line.contains("cause=\"die ") || line.contains("cause=\"kill ");
    let updates: Vec<_> = log.lines().filter(|line| line.contains("updated HAProxy")).collect();
    assert_eq!(updates.iter().copied().find(is_end), None, "{log}");
}
