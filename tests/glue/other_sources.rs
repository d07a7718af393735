//! Handlers and containers of sources that are no engines: tasks of a Swarm, and what docker-glue publishes in etcd.

use crate::common::{
    self, Docker, build_whoami_image,
    elsewhere::RemoteEngine,
    etcd::Etcd,
    glue::{Glue, GluePlan},
    swarm::SwarmBed,
    wait_for,
};
use nix::sys::signal::Signal;
use std::fs;

const SAY: &str = "[handler]\nclass=script\nevents=all\n[params]\nscript=say.sh\n";
const SCRIPT: &str = "#!/bin/sh\necho \"$GLUE_EVENT $GLUE_CONTAINER_NAME at <$GLUE_SOURCE>\"\n";

/// Lists what a template sees of each container.
const LIST: &str = "[handler]\nclass=template\n[params]\ntarget=ROOT/out\ninterval=0\n\
    template=# {% for it in containers %}\n  \
    {{ it.name }} of {{ it.source }} on {{ it.node }} at {{ it.host }}\
    {{ ' leaving' if it.leaving }}{{ ' lost' if it.lost }}\
    {% for one in it.addresses %} {{ one.port }}={{ one.host_port or '-' }}{% endfor %} \
    <{{ it.labels.note }}>\n  {% endfor %}\n";

fn plan(docker: &Docker) -> GluePlan {
    Glue::plan(docker).file("say.ini", SAY).script("say.sh", SCRIPT).file("list.ini", LIST)
}

fn wait_until_gone(glue: &GluePlan, part: &str) {
    wait_for(&format!("no {part}"), || (!glue.read("out").contains(part)).then_some(()));
}

#[test]
fn handlers_see_the_tasks_of_a_swarm() {
    let Some(docker) = common::find_docker() else { return };
    let Some(bed) = SwarmBed::start() else { return };
    let manager = bed.manager();
    let create = |name: &str, options: &[&str]| {
        let words = ["service", "create", "--quiet", "--name", name, "--label", "note=first"];
        let publish = ["--publish", "mode=host,target=80"];
        manager.run_docker(&[&words[..], &publish, options, &[build_whoami_image()]].concat());
    };
    create("web", &["--replicas", "2"]);
    create("idle", &["--replicas", "0"]);
    let template = |more: &str| {
        let head = "[handler]\nclass=template\nevents=none\n[params]\ntemplate=# x\n";
        format!("{head}remote=yes\ntarget=ROOT/{more}\n")
    };
    let mut glue = plan(&docker)
        .option(&["--source", &bed.source()])
        .file("signal.ini", &template("signal\nsignal=web.1:HUP"))
        .file("restart.ini", &template("restart\nrestart=web@swarm"))
        .start();
    let line = glue.wait_until_written("out", &["web.1 of swarm on node", " 80=", "<first>"]);
    let node: usize = line.split("on node").nth(1).unwrap()[..1].parse().unwrap();
    assert!(line.contains(&format!(" at {} 80=", bed.node(node).address)), "{line}");
    glue.wait_until_written("out", &["web.2 of swarm"]);
    assert!(!glue.read("out").contains("idle"), "a service without tasks is no container");

    // Only a service is restarted, as a whole.
    glue.wait_for_log(&["WARN", "\"web.1\" is known from swarm only: a manager notifies no"]);
    glue.wait_for_log(&["restarted service web"]);
    let force = ["service", "inspect", "--format", "{{.Spec.TaskTemplate.ForceUpdate}}", "web"];
    assert_eq!(manager.run_docker(&force), "1");
    for event in ["kill", "die", "stop", "destroy", "create", "start"] {
        for task in ["web.1", "web.2"] {
            glue.wait_for_log(&[&format!("{event} {task} at <swarm>")]);
        }
    }

    manager.run_docker(&["service", "update", "--detach", "--label-add", "note=second", "web"]);
    glue.wait_until_written("out", &["web.1 of swarm", "<second>"]);
    glue.wait_for_log(&["update web.1 at <swarm>"]);
    manager.run_docker(&["service", "scale", "--detach", "web=1"]);
    wait_until_gone(&glue, "web.2");
    assert!(glue.read("out").contains("web.1"), "{}", glue.read("out"));

    // Silent is not gone, also over a restart.
    glue.stop_with(Signal::SIGTERM);
    (1..=3).for_each(|number| bed.cut_off(number));
    fs::remove_file(glue.path("out")).unwrap();
    glue.start_again();
    glue.wait_until_written("out", &["web.1 of swarm on node", "<second>"]);
    (1..=3).for_each(|number| bed.connect(number));
}

#[test]
fn task_of_an_engine_that_is_a_source_is_one_container() {
    let Some(docker) = common::find_docker() else { return };
    let Some(bed) = SwarmBed::start() else { return };
    let image = build_whoami_image();
    let words = ["service", "create", "--quiet", "--name", "web", "--mode", "global", image];
    bed.manager().run_docker(&words);
    let plan = plan(&docker).option(&["--source", &bed.source()]);
    let engine = format!("tcp://{}:2375?name=first", bed.node(1).address);
    let glue = plan.option(&["--source", &engine]);
    let whole = |text: &str| text.lines().filter(|line| line.contains(" of ")).count() == 3;
    let text = wait_for("three tasks", || {
        assert!(glue.run(&["--once"]).status.success());
        Some(glue.read("out")).filter(|text| whole(text))
    });
    // Its engine says more of it.
    let of_engine = text.lines().find(|line| line.contains(" of first on first at ")).unwrap();
    assert!(of_engine.starts_with("web."), "{text}");
    assert!(!text.contains("on node1"), "{text}");
    assert!(text.contains("web.node2 of swarm on node2") && text.contains("web.node3 of swarm"));
}

#[test]
fn handlers_see_what_docker_glue_publishes_in_etcd() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    let Some(there) = RemoteEngine::start() else { return };
    etcd.start();
    let publish = format!(
        "[handler]\nclass=publish\n[params]\nwhat=served\nendpoints={}\nnode=node7\nttl=3s\n\
         addresses={}\nlabels=note\n",
        etcd.url(),
        there.address
    );
    let mut publisher = Glue::plan(&there.docker()).file("publish.ini", &publish).start();
    let source = format!("etcd://{}?name=fleet&forget=5s", etcd.place());
    let mut glue = plan(&docker).option(&["--source", &source]).start();
    let remote = there.docker();
    let run = remote.run("web").label("glue_http_80_host", "a.test").label("note", "first");
    let web = run.option(&["--publish", "8080:80"]).start();
    let expected = format!("{} of fleet on node7 at {} 80=8080", web.name, there.address);
    glue.wait_until_written("out", &[&expected, "<first>"]);
    glue.wait_for_log(&[&format!("start {} at <fleet>", web.name)]);

    // What is known is kept while etcd is away, also over a restart.
    etcd.kill();
    glue.stop_with(Signal::SIGTERM);
    fs::remove_file(glue.path("out")).unwrap();
    glue.start_again();
    glue.wait_until_written("out", &[&expected, "<first>"]);
    etcd.start();
    glue.wait_for_log(&["connected to registry fleet again"]);

    publisher.stop_with(Signal::SIGKILL);
    glue.wait_until_written("out", &[&web.name, " lost "]);
    publisher.start_again();
    wait_until_gone(&glue, " lost ");
    assert!(glue.read("out").contains(&expected), "{}", glue.read("out"));

    web.docker(&["stop"]);
    for event in ["kill", "die", "stop", "destroy"] {
        glue.wait_for_log(&[&format!("{event} {} at <fleet>", web.name)]);
    }
    wait_until_gone(&glue, &web.name);

    let again = remote.run("again").label("glue_http_80_host", "a.test").start();
    glue.wait_until_written("out", &[&again.name]);
    publisher.stop_with(Signal::SIGKILL);
    wait_until_gone(&glue, &again.name);
    glue.wait_for_log(&[&format!("die {} at <fleet>", again.name)]);
}

#[test]
fn publisher_needs_an_engine() {
    let Some(docker) = common::find_docker() else { return };
    let publish = "[handler]\nclass=publish\n[params]\nendpoints=http://127.0.0.1:1\n";
    let plan = Glue::plan(&docker).file("publish.ini", publish);
    let output = plan.option(&["--source", "etcd://127.0.0.1:1?name=fleet"]).run(&["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("publish.ini:2: class=publish publishes the containers of a"), "{text}");
    assert!(!output.status.success());
}
