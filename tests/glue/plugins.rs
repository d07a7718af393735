//! Plugins that docker-glue keeps running, with real containers.

use crate::common::{self, Container, glue::Glue, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

fn handler_file(class: &str, events: &str, params: &str) -> String {
    format!("[handler]\nclass={class}\nevents={events}\n[params]\n{params}\n")
}

/// Returns the container's name as the log writes it.
fn log_name(container: &Container) -> String {
    format!("{} ({})", container.name, &container.id[..12])
}

fn is_running(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

/// The example from Docker Glue's manual, which does not import logging.
const DEMO: &str = r"from . import BaseHandler

logger = logging.getLogger(__name__)

class DemoHandler(BaseHandler):
    def __init__(self, agent, ini_file, ini):
        BaseHandler.__init__(self, agent, ini_file, ini)
        self.custom_param=ini.get('params', 'custom_param') if ini.has_option('params', 'custom_param') else None
        
    def handle(self, event, container_id):
        logger.info('got event=%r on container=%r and custom_param=%r', event, container_id, self.custom_param)

";

#[test]
fn docker_glue_demo_plugin_runs_unchanged() {
    let Some(docker) = common::find_docker() else { return };
    let class = "DockerGlue.handlers.demo.DemoHandler";
    let glue = Glue::plan(&docker)
        .file("demo.ini", &handler_file(class, "start,die,none", "custom_param=100%"))
        .plugin("DockerGlue/handlers/demo.py", DEMO)
        .start();
    glue.wait_for_log(&["demo", "got event='none' on container='' and custom_param='100%'"]);
    let web = docker.run("web").start();
    let text = format!("got event='start' on container='{}' and custom_param='100%'", web.id);
    glue.wait_for_log(&["INFO DockerGlue.handlers.demo: ", &text]);
    glue.wait_for_log(&["done", "event=\"start\"", &log_name(&web)]);
    let id = web.id.clone();
    drop(web);
    glue.wait_for_log(&[&format!("got event='die' on container='{id}'")]);
}

/// The plugin path may include Docker Glue's own folder, whose package is for Python 2.
#[test]
fn demo_plugin_runs_from_docker_glues_own_folder() {
    let Some(docker) = common::find_docker() else { return };
    let old = "class BaseHandler(object):\n    def __init__(self):\n        print 'old'\n";
    let glue = Glue::plan(&docker)
        .file("demo.ini", &handler_file("DockerGlue.handlers.demo.DemoHandler", "none", ""))
        .plugin("DockerGlue/__init__.py", "")
        .plugin("DockerGlue/handlers/__init__.py", old)
        .plugin("DockerGlue/handlers/demo.py", DEMO)
        .start();
    glue.wait_for_log(&["got event='none' on container='' and custom_param=None"]);
}

#[test]
fn python_plugin_gets_whole_event_and_its_failure_is_isolated() {
    let Some(docker) = common::find_docker() else { return };
    let watcher = r#"
import json, os, subprocess, sys
from docker_glue import BaseHandler

class Watcher(BaseHandler):
    def handle(self, event, container_id):
        with open("ROOT/seen." + container_id + "." + event, "w") as file:
            json.dump([self.agent.event, os.getcwd(), self.events, self.triggers_none], file)
            file.write("\n")
        print("printed of", event, container_id)
        subprocess.run(["sh", "-c", "cat; echo echoed"], check=True)
        if event == "pause" and self.agent.description["Name"].endswith("-odd"):
            raise ValueError("I do not like it")
"#;
    let ini = handler_file("python:sub.watcher.Watcher", "start,pause,unpause", "x=1");
    let ini = ini.replace("events", "triggers-none=yes\nevents");
    let mut glue =
        Glue::plan(&docker).file("watch.ini", &ini).plugin("sub/watcher.py", watcher).start();
    let odd = docker.run("odd").label("my.label", "x").start();
    glue.wait_for_log(&["done", "event=\"start\"", &log_name(&odd)]);
    glue.wait_for_log(&["watch", &format!("printed of start {}", odd.id)]);
    glue.wait_for_log(&["watch", "echoed"]);
    let seen: Value = serde_json::from_str(&glue.read(&format!("seen.{}.start", odd.id))).unwrap();
    assert_eq!(seen[0]["event"], "start");
    assert_eq!(seen[0]["container_id"], *odd.id);
    assert_eq!(seen[0]["container_name"], *odd.name);
    assert_eq!(seen[0]["attributes"]["my.label"], "x");
    assert_eq!(seen[0]["description"]["State"]["Running"], true);
    assert!(1.6e9 < seen[0]["time"].as_f64().unwrap());
    assert_eq!(seen[1], format!("{}/plugins/sub", glue.root()));
    assert_eq!(seen[2], serde_json::json!(["start", "pause", "unpause"]));
    assert_eq!(seen[3], true);

    odd.docker(&["pause"]);
    glue.wait_for_log(&["ERROR", "ValueError: I do not like it", &log_name(&odd), "failures=1"]);
    glue.wait_for_log(&["watch", "Traceback"]);
    odd.docker(&["unpause"]);
    glue.wait_for_log(&["done", "event=\"unpause\"", &log_name(&odd)]);
    let ready = glue.log().lines().filter(|line| line.contains("ready; pid")).count();
    assert_eq!(ready, 1, "it was started again");
    assert!(glue.stop_with(Signal::SIGTERM).success());
    glue.wait_for_log(&["watch", "1 failed"]);
}

/// Records each event, and misbehaves as the container's name says.
const ODD: &str = r#"#!/bin/sh
echo $$ >> ROOT/pids
echo 'a word before' >&2
echo '{"ready": true}'
while read -r line; do
    case $line in
    *'"event":"start"'*) ;;
    *) echo '{"ok": true}'; continue ;;
    esac
    case $line in
    *'"container_name":"'*-hang'"'*) echo hang >> ROOT/seen; sleep 1000 & echo $! > ROOT/child; wait ;;
    *'"container_name":"'*-die'"'*) echo die >> ROOT/seen; exit 7 ;;
    *'"container_name":"'*-talk'"'*)
        echo talk >> ROOT/seen
        echo 'a word between'
        echo '{"ok": false}'
        echo '{"ok": true}'
        ;;
    *'"container_name":"'*-well'"'*) echo well >> ROOT/seen; echo '{"ok": true}' ;;
    *) echo '{"ok": true}' ;;
    esac
done
echo ended >> ROOT/seen
"#;

#[test]
fn crashed_or_hanging_plugin_is_restarted_without_repeated_events() {
    let Some(docker) = common::find_docker() else { return };
    let mut glue = Glue::plan(&docker)
        .file("odd.ini", &handler_file("plugin", "start", "command=odd.sh\ntimeout=2"))
        .plugin("odd.sh", ODD)
        .start();
    glue.wait_for_log(&["odd", "a word before"]);
    // One after the other: events of different containers may change places.
    let die = docker.run("die").start();
    glue.wait_for_log(&[
        "ERROR",
        "the plugin exited: exit status 7; restarting in 200ms",
        &log_name(&die),
    ]);
    let hang = docker.run("hang").start();
    wait_for("the hang", || glue.read("seen").ends_with("hang\n").then_some(()));
    let talk = docker.run("talk").start();
    glue.wait_for_log(&["ERROR", "no answer after 2s; killed", &log_name(&hang), "failures=2"]);
    glue.wait_for_log(&["odd", "a word between"]);
    glue.wait_for_log(&["ERROR", "the plugin gave no reason", &log_name(&talk), "failures=3"]);
    let well = docker.run("well").start();
    glue.wait_for_log(&["WARN", "unexpected answer: {\"ok\": true}"]);
    glue.wait_for_log(&["done", &log_name(&well)]);
    let child = glue.read("child");
    wait_for("the end of the child", || (!is_running(child.trim())).then_some(()));
    assert_eq!(glue.read("seen"), "die\nhang\ntalk\nwell\n");
    assert_eq!(glue.read("pids").lines().count(), 3);

    // An idle plugin that is killed is started again for the next event.
    let pid = glue.read("pids").lines().last().unwrap().to_owned();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    glue.wait_for_log(&["ERROR", "the plugin exited: SIGKILL; restarting"]);
    well.docker(&["restart", "--time", "0"]);
    wait_for("another event", || glue.read("seen").ends_with("well\nwell\n").then_some(()));

    // The plugin exits when its input ends.
    assert!(glue.stop_with(Signal::SIGTERM).success());
    assert!(glue.read("seen").ends_with("ended\n"));
    glue.wait_for_log(&["odd", "4 failed (1 timed out)"]);
}

#[test]
fn unstartable_plugin_is_retried_and_its_events_wait() {
    let Some(docker) = common::find_docker() else { return };
    let broken = "import no_such_module\n";
    let mut glue = Glue::plan(&docker)
        .file("late.ini", &handler_file("python:late.Late", "start", ""))
        .plugin("late.py", broken)
        .start();
    glue.wait_for_log(&["late", "No module named 'no_such_module'"]);
    glue.wait_for_log(&["ERROR", "the plugin exited: exit status 1; restarting in 200ms"]);
    glue.wait_for_log(&["ERROR", "the plugin exited: exit status 1; restarting in 400ms"]);
    let web = docker.run("web").start();
    let well = "from docker_glue import BaseHandler\n\
                class Late(BaseHandler):\n    def handle(self, event, container_id):\n        pass\n";
    glue.write_file("plugins/late.py", well);
    glue.wait_for_log(&["done", "event=\"start\"", &log_name(&web)]);

    // The restart delay does not delay docker-glue's exit.
    glue.write_file("plugins/late.py", broken);
    let pid = glue.wait_for_log(&["ready; pid"]);
    let pid = pid.split("pid ").nth(1).unwrap().split(' ').next().unwrap();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    glue.wait_for_log(&["restarting in 1.6s"]);
    assert!(glue.stop_with(Signal::SIGTERM).success());
    assert!(!glue.log().contains("did not exit within"));
}

#[test]
fn unready_or_silent_plugin_is_killed() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker)
        .file("mute.ini", &handler_file("plugin", "start", "command=sleep 1000\ntimeout=0.5"))
        .file("close.ini", &handler_file("plugin", "start", "command=close.sh"))
        .plugin("close.sh", "#!/bin/sh\necho '{\"ready\": true}'\nexec sleep 1000 >&-\n")
        .file("bare.ini", &handler_file("plugin", "start", "command=bare.sh"))
        .plugin("bare.sh", "no shell runs this\n")
        .start();
    glue.wait_for_log(&["ERROR", "mute", "not ready after 500ms; killed"]);
    glue.wait_for_log(&["ERROR", "close", "the plugin closed its standard output; killed"]);
    glue.wait_for_log(&["ERROR", "bare", "cannot start: ", "its first line has no #!"]);
}

#[test]
fn once_sends_none_to_a_plugin_and_ends_it() {
    let Some(docker) = common::find_docker() else { return };
    let demo = "from docker_glue import BaseHandler\n\
                class Demo(BaseHandler):\n    def handle(self, event, container_id):\n        \
                open('ROOT/seen', 'a').write(f'{event} [{container_id}]\\n')\n";
    let plan = Glue::plan(&docker)
        .file("demo.ini", &handler_file("python:demo:Demo", "none,start", ""))
        .plugin("demo.py", demo);
    let output = plan.run(&["-1"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert_eq!(plan.read("seen"), "none []\n");

    let plan = plan.plugin("demo.py", "class Other: pass\n");
    let output = plan.run(&["-1"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("has no attribute 'Demo'"), "{text}");
    assert!(text.contains("1 events were not handled"), "{text}");
}
