//! Scripts that docker-glue runs, with real containers.

use crate::common::{self, Container, Docker, glue::Glue, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{os::unix::fs::PermissionsExt, process::Output};

/// Records its arguments, environment and input in one file for each event.
const KEEP: &str = r#"#!/bin/sh
mkdir -p ROOT/kept
{
    echo "$# $1 $2"
    pwd
    env | grep ^GLUE_ | sort
    cat
} > "ROOT/kept/$3.$2.new"
mv "ROOT/kept/$3.$2.new" "ROOT/kept/$3.$2"
echo "kept $2"
"#;

fn handler_file(events: &str, params: &str) -> String {
    format!("[handler]\nclass=script\nevents={events}\n[params]\n{params}\n")
}

fn is_running(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

fn output_text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Returns the container's name as the log writes it.
fn log_name(container: &Container) -> String {
    format!("{} ({})", container.name, &container.id[..12])
}

#[test]
fn script_gets_event_as_arguments_environment_and_json() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker)
        .file("keep.ini", &handler_file("start,die,destroy", "script=keep.sh\nconcurrency=4"))
        .script("keep.sh", KEEP)
        .start();
    let web = docker.run("web").label("my.label", "a \"b\"").option(&["--network", "none"]).start();
    let (id, name) = (web.id.clone(), web.name.clone());
    let line = glue.wait_for_log(&["keep", &log_name(&web), "kept start"]);
    assert!(line.contains("INFO"), "{line}");
    glue.wait_for_log(&["done", "event=\"start\"", &log_name(&web), "took"]);

    let kept = glue.read(&format!("kept/{id}.start"));
    let lines: Vec<_> = kept.lines().collect();
    let pid = web.docker(&["inspect", "--format", "{{.State.Pid}}"]);
    let image = common::build_whoami_image();
    let root = glue.root();
    let expected = [
        format!("3 {root}/docker-glue.d/keep.ini start"),
        format!("{root}/handler-scripts"),
        format!("GLUE_CONTAINER_ID={id}"),
        format!("GLUE_CONTAINER_IMAGE={image}"),
        format!("GLUE_CONTAINER_NAME={name}"),
        "GLUE_CONTAINER_NETWORK=none".to_owned(),
        format!("GLUE_CONTAINER_PID={pid}"),
        "GLUE_EVENT=start".to_owned(),
        "GLUE_HANDLER=keep".to_owned(),
        "GLUE_PARAM_CONCURRENCY=4".to_owned(),
        "GLUE_PARAM_SCRIPT=keep.sh".to_owned(),
    ];
    assert_eq!(lines[..expected.len()], expected);
    let value: Value = serde_json::from_str(lines[expected.len()]).unwrap();
    assert_eq!(value["Id"], *id);
    assert_eq!(value["Config"]["Labels"]["my.label"], "a \"b\"");
    assert_eq!(value["State"]["Running"], true);

    drop(web);
    // A removed container is described by its last known state.
    let kept = format!("kept/{id}.destroy");
    glue.wait_until_written(&kept, &["GLUE_CONTAINER_NETWORK=none"]);
    let kept = glue.read(&kept);
    assert!(kept.contains("GLUE_CONTAINER_PID=\n"), "{kept}");
    let value: Value = serde_json::from_str(kept.lines().last().unwrap()).unwrap();
    assert_eq!(value["State"]["Running"], false);
}

#[test]
fn events_of_one_container_keep_their_order() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker)
        .file("order.ini", &handler_file("all", "script=order.sh\nconcurrency=8"))
        .script("order.sh", "#!/bin/sh\necho \"$2\" >> \"ROOT/order.$3\"\n")
        .start();
    let all = common::start_all((0..3).map(|_| docker.run("order")).collect());
    let ids: Vec<_> = all.iter().map(|container| container.id.clone()).collect();
    all.iter().for_each(|container| drop(container.docker(&["pause"])));
    all.iter().for_each(|container| drop(container.docker(&["unpause"])));
    drop(all);
    for id in ids {
        let file = format!("order.{id}");
        glue.wait_until_written(&file, &["destroy"]);
        // A network's events are not delivered as events of a container.
        assert_eq!(
            glue.read(&file).split_whitespace().collect::<Vec<_>>(),
            ["create", "start", "pause", "unpause", "kill", "die", "destroy"]
        );
    }
    wait_for("the end of all scripts", || glue.children().is_empty().then_some(()));
}

#[test]
fn hanging_script_is_killed_with_children_others_unaffected() {
    let Some(docker) = common::find_docker() else { return };
    let hang = "#!/bin/sh
        case $GLUE_CONTAINER_NAME.$2 in
        *-stuck.start)
            sleep 1000 &
            echo $! > ROOT/child
            wait
            ;;
        *-stuck.*) echo handled >> \"ROOT/$2\" ;;
        esac";
    let mut glue = Glue::plan(&docker)
        .file("hang.ini", &handler_file("start,die", "script=hang.sh\ntimeout=3s"))
        .script("hang.sh", hang)
        .file("other.ini", &handler_file("start", "script=keep.sh"))
        .script("keep.sh", KEEP)
        .start();
    let web = docker.run("stuck").start();
    let child = glue.wait_until_written("child", &[""]);
    glue.wait_for_log(&["other", "done", &log_name(&web)]);
    assert!(!glue.log().contains("killed"), "the other handler has waited");
    assert!(is_running(&child));
    web.docker(&["kill"]);
    let text = glue.wait_for_log(&["not finished after 3s; killed", &log_name(&web), "failures="]);
    assert!(text.contains("ERROR") && text.contains("hang"), "{text}");
    wait_for("the end of the child", || (!is_running(&child)).then_some(()));
    glue.wait_until_written("die", &["handled"]);
    drop(web);
    assert!(glue.stop_with(Signal::SIGTERM).success());
    glue.wait_for_log(&["hang", "1 failed (1 timed out)"]);
}

#[test]
fn script_is_killed_when_its_handler_ends() {
    let Some(docker) = common::find_docker() else { return };
    let hang = "#!/bin/sh
        case $GLUE_CONTAINER_NAME in *-stays) ;; *) exit 0 ;; esac
        sleep 1000 &
        echo $! >> ROOT/children
        wait";
    let mut glue = Glue::plan(&docker)
        .file("hang.ini", &handler_file("start,pause,die", "script=hang.sh\ntimeout=1h"))
        .script("hang.sh", hang)
        .start();
    let web = docker.run("stays").start();
    let child = glue.wait_until_written("children", &[""]);
    web.docker(&["pause"]);
    web.docker(&["unpause"]);
    let ini = glue.read("docker-glue.d/hang.ini");
    std::fs::remove_file(glue.path("docker-glue.d/hang.ini")).unwrap();
    glue.reload();
    wait_for("the end of the child", || (!is_running(&child)).then_some(()));
    glue.wait_for_log(&["WARN", "hang", " events were not handled"]);

    // A second signal ends docker-glue and all its child processes at once.
    glue.write_file("docker-glue.d/hang.ini", &ini);
    glue.reload();
    wait_for("the handler again", || {
        (2 <= glue.log().matches("INFO started").count()).then_some(())
    });
    web.docker(&["restart", "--time", "0"]);
    let second = || glue.read("children").lines().nth(1).map(str::to_owned);
    let child = wait_for("another child", second);
    glue.signal(Signal::SIGTERM);
    glue.wait_for_log(&["stopping"]);
    assert_eq!(glue.stop_with(Signal::SIGTERM).code(), Some(1));
    wait_for("the end of the child", || (!is_running(&child)).then_some(()));
}

#[test]
fn script_example_prints_events() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker).example("test", "test-handler.sh", &[]).start();
    let web = docker.run("web").start();
    let (id, name) = (&web.id, &web.name);
    let text = format!("event=[start] container_id=[{id}] name=[{name}]");
    glue.wait_for_log(&[&text, "demo-option=[some value]"]);
}

#[test]
fn failing_script_is_counted_and_its_output_logged() {
    let Some(docker) = common::find_docker() else { return };
    let fail = "#!/bin/sh
        case $GLUE_CONTAINER_NAME in *-fail) ;; *) exit 0 ;; esac
        case $2 in
        start) echo 'this is why' >&2; exit 3 ;;
        pause) kill -KILL $$ ;;
        unpause) exec 0<&-; head -c 100000 /dev/zero | tr '\\0' x; echo; sleep 1000 >&2 & ;;
        die) rm \"$0\" ;;
        esac";
    let mut glue = Glue::plan(&docker)
        .file("fail.ini", &handler_file("start,pause,unpause,die,destroy", "script=fail.sh"))
        .script("fail.sh", fail)
        .file("bare.ini", &handler_file("start", "script=bare.sh"))
        .script("bare.sh", "echo no shell runs this\n")
        .file("lost.ini", &handler_file("start", "script=lost.sh"))
        .script("lost.sh", "#!/no/such/shell\n")
        .start();
    let web = docker.run("fail").start();
    glue.wait_for_log(&["bare", &log_name(&web), "cannot start: ", "its first line has no #!"]);
    glue.wait_for_log(&[
        "lost",
        &log_name(&web),
        "cannot start: ",
        "check that the program of its #! line exists",
    ]);
    glue.wait_for_log(&["fail", &log_name(&web), "this is why"]);
    glue.wait_for_log(&["ERROR", "failures=1", &log_name(&web), "exit status 3"]);
    web.docker(&["pause"]);
    glue.wait_for_log(&["ERROR", "failures=2", &log_name(&web), "SIGKILL"]);
    web.docker(&["unpause"]);
    // A long line is truncated. A process that the script left running does not delay the handler.
    glue.wait_for_log(&["xxxx… (95904 bytes more)"]);
    glue.wait_for_log(&["done", "event=\"unpause\"", &log_name(&web)]);
    let name = log_name(&web);
    drop(web);
    // The event of another test's container may already have removed the script.
    glue.wait_for_log(&["ERROR", "event=\"destroy\"", &name, "cannot start: ", "No such file"]);
    assert!(glue.stop_with(Signal::SIGTERM).success());
    glue.wait_for_log(&["handler=\"fail\"", " done, ", " failed"]);
}

#[test]
fn handler_files_are_added_and_removed_on_sighup() {
    let Some(docker) = common::find_docker() else { return };
    let ready = "#!/bin/sh\necho $$ >> ROOT/pids\necho '{\"ready\": true}'\nwhile read -r _; do echo '{\"ok\": true}'; done\n";
    let glue = Glue::plan(&docker)
        .file("gone.ini", &handler_file("start", "script=keep.sh"))
        .script("keep.sh", KEEP)
        .file("stays.ini", "[handler]\nclass=plugin\nevents=none\n[params]\ncommand=ready.sh\n")
        .plugin("ready.sh", ready)
        .start();
    let pid = glue.wait_until_written("pids", &[""]);
    glue.wait_for_log(&["stays", "ready; pid", &pid]);

    std::fs::remove_file(glue.path("docker-glue.d/gone.ini")).unwrap();
    glue.write_file("docker-glue.d/new.ini", &handler_file("start", "script=keep.sh"));
    glue.write_file("docker-glue.d/wrong.ini", "[handler]\nclass=scrip\nevents=start\n");
    glue.reload();
    glue.wait_for_log(&["new", "started"]);
    glue.wait_for_log(&["gone", "stopped"]);
    glue.wait_for_log(&["wrong.ini:2: unknown class \"scrip\"; did you mean script?"]);
    let web = docker.run("web").start();
    glue.wait_for_log(&["new", "done", &log_name(&web)]);
    assert!(
        !glue.log().lines().any(|line| line.contains("gone") && line.contains(&log_name(&web)))
    );
    assert_eq!(glue.read("pids").trim(), pid, "the plugin was started again");
    assert!(is_running(&pid));

    // A handler whose file changed is replaced.
    let changed = glue.read("docker-glue.d/stays.ini") + "more=1\n";
    glue.write_file("docker-glue.d/stays.ini", &changed);
    glue.reload();
    wait_for("the plugin's end", || (!is_running(&pid)).then_some(()));
    wait_for("the next one", || (glue.read("pids").lines().count() == 2).then_some(()));
    let pid = glue.read("pids").lines().last().unwrap().to_owned();

    std::fs::remove_file(glue.path("docker-glue.d/stays.ini")).unwrap();
    glue.reload();
    wait_for("the plugin's end", || (!is_running(&pid)).then_some(()));
}

#[test]
fn none_event_follows_handlers_with_triggers_none() {
    let Some(docker) = common::find_docker() else { return };
    let note = "#!/bin/sh\necho \"$2 $GLUE_CONTAINER_NAME\" >> \"ROOT/$GLUE_HANDLER\"\n";
    let triggers =
        handler_file("start", "script=note.sh").replace("class=", "triggers-none=1\nclass=");
    let glue = Glue::plan(&docker)
        .file("a-none.ini", &handler_file("none", "script=note.sh"))
        .file("b-triggers.ini", &triggers)
        .script("note.sh", note)
        .start();
    // `none` is triggered at the start.
    glue.wait_until_written("a-none", &["none"]);
    let nones = || glue.read("a-none").lines().count();
    let before = nones();
    let web = docker.run("web").start();
    glue.wait_until_written("b-triggers", &[&web.name]);
    wait_for("another none", || (before < nones()).then_some(()));
    assert!(glue.read("a-none").lines().all(|line| line == "none "));
}

#[test]
fn once_runs_none_handlers_once() {
    let Some(docker) = common::find_docker() else { return };
    let note =
        "#!/bin/sh\necho \"$2 [$3]\" >> ROOT/told\n[ ! -s /dev/stdin ] && cat >> ROOT/told\n";
    let plan = Glue::plan(&docker)
        .file("a.ini", &handler_file("none,start", "script=note.sh"))
        .file("b.ini", &handler_file("all", "script=note.sh"))
        .script("note.sh", note);
    let output = plan.run(&["-1"]);
    assert!(output.status.success(), "{}", output_text(&output));
    assert_eq!(plan.read("told"), "none []\n");

    let plan = plan.script("note.sh", "#!/bin/sh\nexit 1\n");
    let output = plan.run(&["-1"]);
    assert_eq!(output.status.code(), Some(1), "{}", output_text(&output));
    assert!(output_text(&output).contains("some handlers failed"), "{}", output_text(&output));
}

/// Writes a line for each event: the event's name, the container's name, whether the event is replayed, and the
/// address.
const NOTE: &str = r#"#!/bin/sh
json=$(cat)
address=$(printf %s "$json" | grep -o '"IPAddress":"[^"]\+"' | head -n 1)
echo "$2 $GLUE_CONTAINER_NAME ${GLUE_REPLAYED-no} pid=$GLUE_CONTAINER_PID $address" >> "ROOT/seen"
"#;

fn at_start_handler(events: &str) -> String {
    handler_file(events, "script=note.sh").replace("class=", "at_start=yes\nclass=")
}

/// Returns the events of one container, each with whether it was replayed.
fn events_of(glue: &Glue, name: &str) -> Vec<String> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let seen = glue.read("seen");
    let lines = seen.lines().map(words).filter(|words| words[1] == name);
    lines.map(|words| format!("{} {}", words[0], words[2])).collect()
}

#[test]
fn at_start_handler_replays_running_and_ended_containers() {
    let Some(docker) = common::find_docker() else { return };
    let before = docker.run("before").start();
    let mut glue = Glue::plan(&docker)
        .file("note.ini", &at_start_handler("start,die,destroy"))
        .file("plain.ini", &handler_file("start,die,destroy", "script=plain.sh"))
        .script("note.sh", NOTE)
        .script("plain.sh", "#!/bin/sh\necho \"$2 $GLUE_CONTAINER_NAME\" >> \"ROOT/plain\"\n")
        .start();
    glue.wait_until_written("seen", &[&format!("start {} 1", before.name), "\"IPAddress\":\"1"]);
    let live = docker.run("live").start();
    glue.wait_until_written("seen", &[&format!("start {} no", live.name)]);
    glue.wait_until_written("plain", &[&format!("start {}", live.name)]);
    assert!(!glue.read("plain").contains(&before.name));
    assert!(glue.stop_with(Signal::SIGTERM).success());

    let (gone, stopped) = (before.name.clone(), live.name.clone());
    drop(before);
    live.docker(&["stop", "--time", "0"]);
    let young = docker.run("young").start();
    glue.start_again();
    glue.wait_until_written("seen", &[&format!("start {} 1", young.name)]);
    // The missed ends came before the events of running containers, and have the containers' last addresses.
    let lines: Vec<_> = glue.read("seen").lines().map(str::to_owned).collect();
    for name in [&gone, &stopped] {
        let die = format!("die {name} 1 pid= \"IPAddress\":\"1");
        assert!(lines.iter().any(|line| line.starts_with(&die)), "{die} in {lines:?}");
    }
    assert_eq!(events_of(&glue, &gone), ["start 1", "die 1", "destroy 1"]);
    assert_eq!(events_of(&glue, &stopped), ["start no", "die 1"]);
    assert!(glue.stop_with(Signal::SIGTERM).success());

    // docker-glue is killed, and the container restarts in the meantime.
    live.docker(&["start"]);
    glue.start_again();
    wait_for("its start", || (events_of(&glue, &stopped).len() == 3).then_some(()));
    glue.stop_with(Signal::SIGKILL);
    live.docker(&["restart", "--time", "0"]);
    glue.start_again();
    wait_for("its end and its start", || (events_of(&glue, &stopped).len() == 5).then_some(()));
    assert_eq!(events_of(&glue, &stopped), ["start no", "die 1", "start 1", "die 1", "start 1"]);
    assert!(!glue.read("plain").contains(&young.name));
}

#[test]
fn at_start_handler_added_by_sighup_replays_running_containers_once() {
    let Some(docker) = common::find_docker() else { return };
    let web = docker.run("web").start();
    let glue = Glue::plan(&docker).script("note.sh", NOTE).start();
    glue.write_file("docker-glue.d/note.ini", &at_start_handler("start"));
    glue.reload();
    glue.wait_until_written("seen", &[&format!("start {} 1", web.name)]);
    // A handler whose file is unchanged keeps running.
    glue.reload();
    let next = docker.run("next").start();
    glue.wait_until_written("seen", &[&format!("start {} no", next.name)]);
    assert_eq!(events_of(&glue, &web.name), ["start 1"]);
    let output = glue.run(&["-1"]);
    assert!(output.status.success(), "{}", output_text(&output));
    assert_eq!(events_of(&glue, &web.name), ["start 1", "start 1"]);
}

#[test]
fn forced_removal_event_keeps_the_last_address() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker)
        .file("note.ini", &handler_file("die,destroy", "script=note.sh"))
        .script("note.sh", NOTE)
        .start();
    for _ in 0..5 {
        let web = docker.run("web").start();
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = web.docker(&["inspect", "--format", format]);
        let name = web.name.clone();
        // Dropping the container runs `docker rm -f`.
        drop(web);
        let end = format!("{name} no pid= \"IPAddress\":\"{address}\"");
        glue.wait_until_written("seen", &[&format!("die {end}")]);
        glue.wait_until_written("seen", &[&format!("destroy {end}")]);
    }
}

#[test]
fn check_names_every_mistake() {
    let plan = Glue::plan(&Docker::at("unix:///nowhere"));
    let plan = plan
        .script("good.sh", "#!/bin/sh\n")
        .plugin("demo.py", "")
        .file("a-good.ini", &handler_file("start", "script=good.sh"))
        .file("b-off.ini", "[handler]\nenabled=0\n")
        .file("c-script.ini", &handler_file("start", "script=god.sh"))
        .file("d-plain.ini", &handler_file("start", "script=ROOT/handler-scripts/plain.sh"))
        .file("e-none.ini", &handler_file("start", ""))
        .file("f-time.ini", &handler_file("start", "script=good.sh\ntimeout=soon"))
        .file("g-many.ini", &handler_file("start", "script=good.sh\nconcurrency=many"))
        .file("h-event.ini", &handler_file("start,dies", "script=good.sh"))
        .file("i-events.ini", "[handler]\nclass=script\n[params]\nscript=good.sh\n")
        .file("j-class.ini", "[handler]\nclass=scripts\nevents=start\n")
        .file("k-plugin.ini", "[handler]\nclass=python:dema.Demo\nevents=start\n")
        .file("l-long.ini", "[handler]\nclass=DockerGlue.handlers.demo.DemoHandler\nevents=all\n")
        .file("m-misspelt.ini", "[handler]\nclass=DockerGlue.handlers.exec.Script\nevents=all\n")
        .file("n-command.ini", "[handler]\nclass=plugin\nevents=all\n")
        .file("o-quote.ini", "[handler]\nclass=plugin\nevents=all\n[params]\ncommand=sh 'x\n")
        .file("p-absent.ini", "[handler]\nclass=plugin\nevents=all\n[params]\ncommand=no-such-x\n")
        .file("q-none.ini", "nothing at all\n")
        .file("r-key.ini", "[handler]\nclass=script\nevent=start\n")
        .file("s-python.ini", "[handler]\nclass=python:demo.Demo\nevents=start\n")
        .file(
            "t-start.ini",
            &handler_file("die", "script=good.sh\n").replace("events", "at_start=yes\nevents"),
        )
        .file("u-start.ini", "[handler]\nclass=publish\nat_start=yes\n[params]\nendpoints=a\n");
    let template = |target: &str| {
        format!("[handler]\nclass=template\n[params]\ntemplate=# x\ntarget={target}\n")
    };
    let plan = plan
        .file("va-target.ini", &template("ROOT/out"))
        .file("vb-target.ini", &template("../docker-glue.d/../out"))
        .file("vc-target.ini", &template("ROOT/link"))
        .file("vd-folder.ini", &template("ROOT"))
        .file("ve-device.ini", &template("/dev/null"))
        .file("vf-off.ini", &template("ROOT/out").replace("class", "enabled=0\nclass"))
        .file("wa-etcd.ini", "[handler]\nclass=publish\n[params]\nendpoints=b,a\n")
        .file(
            "wb-etcd.ini",
            "[handler]\nclass=publish\n[params]\nprefix=/docker-glue\nendpoints=a, b\n",
        )
        .file("wc-etcd.ini", "[handler]\nclass=publish\n[params]\nprefix=/x\nendpoints=a, b\n")
        .file("wd-lb.ini", "[handler]\nclass=haproxy\n[params]\nstate-dir=ROOT/lb\n")
        .file("we-lb.ini", "[handler]\nclass=haproxy\n[params]\nstate-dir=ROOT/lb\n")
        .file("xa-mark.ini", &format!("\u{feff}{}", handler_file("start", "script=good.sh")))
        .file("xb-dos.ini", &handler_file("start", "script=good.sh").replace('\n', "\r\n"))
        .file("xc-mac.ini", &handler_file("start", "script=good.sh").replace('\n', "\r"))
        .file(
            "xd-default.ini",
            "[DEFAULT]\nscript=good.sh\n[handler]\nclass=script\nevents=start\n",
        )
        .file("xe-twice.ini", &handler_file("start", "script=good.sh\nscript=other.sh"))
        .file("xf-twice.ini", &handler_file("start", "script=good.sh\n[params]"));
    std::os::unix::fs::symlink("out", plan.path("link")).unwrap();
    std::fs::write(plan.path("docker-glue.d/xg-latin.ini"), b"[handler]\n# \xe9\n").unwrap();
    std::fs::write(plan.path("docker-glue.d/xh-wide.ini"), b"\xff\xfe[\0h\0").unwrap();
    plan.write_file("handler-scripts/plain.sh", "#!/bin/sh\n");
    let output = plan.run(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(output_text(&output).replace(&plan.root(), "ROOT"));
}

#[test]
fn check_without_handler_files_fails_with_message() {
    let check = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_docker-glue"));
        let folder = tempfile::tempdir().unwrap();
        for name in ["empty", "full"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let off = "[handler]\nenabled=no\n";
        std::fs::write(folder.path().join("full/off.ini"), off).unwrap();
        let output = command.arg("check").args(words).current_dir(&folder).output().unwrap();
        let string = output_text(&output).replace(&format!("{}/", folder.path().display()), "");
        (output.status.code(), string)
    };
    for (words, code, expected) in [
        (
            &["--handler-paths=empty"][..],
            1,
            "empty: note: no *.ini file in this directory\nnothing to check: no *.ini file in empty\n",
        ),
        (&["--handler-paths=absent"], 1, "absent: no such directory\n"),
        (&["--handler-paths=full/off.ini"], 1, "full/off.ini: Not a directory (os error 20)\n"),
        (&["--handler-paths=full"], 0, "full/off.ini: disabled\n"),
        (
            &["--handler-paths=full", "--handler-paths=absent"],
            1,
            "full/off.ini: disabled\nabsent: no such directory\n",
        ),
        (
            &["--handler-paths=full", "--handler-paths=empty"],
            0,
            "full/off.ini: disabled\nempty: note: no *.ini file in this directory\n",
        ),
    ] {
        assert_eq!(check(words), (Some(code), expected.to_owned()), "{words:?}");
    }
    // Without arguments the default folder is checked, which has no handler files.
    if !std::path::Path::new("/etc/docker-glue/docker-glue.d").exists() {
        let (code, text) = check(&[]);
        assert_eq!(code, Some(1));
        assert!(text.starts_with("nothing to check: no *.ini file in "), "{text}");
        assert!(text.contains("/etc/docker-glue/docker-glue.d"), "{text}");
    }
}

#[test]
fn untrusted_default_folder_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str, mode| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    put("docker-glue.d/evil.ini", &handler_file("none", "script=evil.sh"), 0o644);
    put("mine/mine.ini", &handler_file("none", "script=evil.sh"), 0o644);
    put("handler-scripts/evil.sh", "#!/bin/sh\necho evil >&2\n", 0o755);
    let others = PermissionsExt::from_mode(0o777);
    let check = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_docker-glue"));
        let string =
            output_text(&command.arg("check").args(words).current_dir(&folder).output().unwrap());
        string.replace(&format!("{}/", folder.path().display()), "")
    };
    assert!(check(&[]).contains("./docker-glue.d/evil.ini: ok\n"), "{}", check(&[]));

    std::fs::set_permissions(folder.path().join("handler-scripts"), others).unwrap();
    let text = check(&["--handler-paths=mine"]);
    let why = "./handler-scripts is ignored: it is only a default directory, and other users can \
               write to it";
    assert!(text.contains("mine/mine.ini:5: no evil.sh in "), "{text}");
    assert!(text.contains(why), "{text}");
    let named = check(&["--handler-paths=mine", "--script-paths=./handler-scripts"]);
    assert_eq!(named, "mine/mine.ini: ok\n");

    let others = PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path().join("docker-glue.d"), others).unwrap();
    let text = check(&[]);
    let why = "./docker-glue.d: note: ignored: it is only a default directory, and other users can \
         write to it\n";
    assert!(text.contains(why) && !text.contains("evil"), "{text}");
    let named = check(&["--handler-paths=./docker-glue.d", "--script-paths=./handler-scripts"]);
    assert_eq!(named, "docker-glue.d/evil.ini: ok\n");
}

/// The files of Docker Glue's manual. Only the name of the file that the script writes to differs, so that each test
/// has its own.
const TEST_INI: &str = "[handler]
class=DockerGlue.handlers.exec.ScriptHandler
events=all
enabled=1
triggers-none=0

[params]
script=test-handler.sh
demo-option=some value
";
const TEST_SCRIPT: &str = r#"#! /bin/bash

cd `dirname $0`

function error() {
    echo "$@"
    exit -1
}

[ $# -ne 3 ] && error "Usage `basename $0` config.ini status container_id"
ini="$1"
status="$2"
container_id="$3"
ini_demo_option=$( crudini --inplace --get $ini params demo-option 2>/dev/null || : )
echo "`date +%F` container_id=[$container_id] status=[$status] ini_demo_option=[$ini_demo_option]" >> /tmp/docker-glue-test.log
"#;

#[test]
fn docker_glue_script_runs_unchanged() {
    let Some(docker) = common::find_docker() else { return };
    if !common::is_installed("crudini") {
        return;
    }
    let script = TEST_SCRIPT.replace("/tmp/docker-glue-test.log", "ROOT/test.log");
    let glue =
        Glue::plan(&docker).file("test.ini", TEST_INI).script("test-handler.sh", &script).start();
    let web = docker.run("web").start();
    let id = web.id.clone();
    drop(web);
    for status in ["create", "start", "die", "destroy"] {
        let line = format!("container_id=[{id}] status=[{status}] ini_demo_option=[some value]");
        glue.wait_until_written("test.log", &[&line]);
    }
}
