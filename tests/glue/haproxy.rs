//! docker-balancer as a handler of docker-glue.

use crate::common::{
    self, CONSTRAINT, Docker, Run,
    balancer::{Request, free_port},
    glue::{Glue, Plan},
    unique, wait_for,
};
use nix::sys::signal::Signal;
use std::{fs, net::Ipv4Addr};

/// The example, with folders, a port and containers of its own.
struct Site {
    port: u16,
    constraint: String,
}

impl Site {
    fn new() -> Self {
        Self { port: free_port(), constraint: unique("lb") }
    }

    fn example(&self, docker: &Docker, more: &str) -> Plan {
        let example = fs::read_to_string("examples/docker-glue.d/lb.ini.example").unwrap();
        let text = [
            ("/var/lib/docker-glue/lb", "ROOT/state"),
            ("/run/docker-glue-handlers", "ROOT/run"),
            ("80=8080", &format!("80={}", self.port)),
        ];
        let text = text.iter().fold(example, |text, (from, to)| text.replace(from, to));
        let own = format!("{text}constraint={CONSTRAINT}={}\n{more}", self.constraint);
        Glue::of(docker).file("lb.ini", &own)
    }

    fn run(&self, docker: &Docker, name: &str) -> Run {
        let run = docker.run(name).label(CONSTRAINT, &self.constraint).env("WHOAMI_NAME", name);
        run.label("glue_http_80_host", format!("{name}.test"))
    }

    fn until_serves(&self, host: &str, outcome: &str) {
        let at = (Ipv4Addr::LOCALHOST, self.port).into();
        wait_for(&format!("{host}: {outcome}"), || {
            let answer = Request::to(at, "GET", host, "/").send();
            (answer.map_or_else(|e| e.to_string(), |reply| reply.to_string()) == outcome)
                .then_some(())
        });
    }
}

#[test]
fn haproxy_handler_example_serves_and_stops_with_docker_glue() {
    let Some(docker) = common::docker() else { return };
    let site = Site::new();
    let web = site.run(&docker, "web").start();
    let mut glue = site.example(&docker, "").start();
    site.until_serves("web.test", "web saw /");
    let _late = site.run(&docker, "late").start();
    site.until_serves("late.test", "late saw /");
    drop(web);
    site.until_serves("web.test", "503");
    assert_eq!(glue.end(Signal::SIGTERM).code(), Some(0), "{}", glue.log());
    let at = (Ipv4Addr::LOCALHOST, site.port).into();
    assert!(Request::to(at, "GET", "late.test", "/").send().is_err(), "HAProxy runs on");
}

#[test]
fn failing_haproxy_handler_is_retried_others_unaffected() {
    let Some(docker) = common::docker() else { return };
    let site = Site::new();
    let say = "[handler]\nclass=script\nevents=start\n[params]\nscript=say.sh\n";
    let glue = site
        .example(&docker, "haproxy-bin=ROOT/haproxy\n")
        .file("say.ini", say)
        .script("say.sh", "#!/bin/sh\necho \"$2 $3\" >>ROOT/said\n")
        .start();
    glue.until_said(&["ERROR", "there is no HAProxy at", "lb"]);
    let web = site.run(&docker, "web").start();
    glue.until_written("said", &["start", &web.id]);
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
    let Some(docker) = common::docker() else { return };
    let site = Site::new();
    let _web = site.run(&docker, "web").start();
    let plan = site.example(&docker, "");
    let output = plan.run(&["-1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.until_serves("web.test", "web saw /");
    let pid = plan.read("run/haproxy.pid").trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}
