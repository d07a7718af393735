//! docker-glue's templates with a real engine: what is written when, and who is told of it.

#![allow(clippy::unwrap_used, reason = "this is a test")]

mod common;

use common::{CONSTRAINT, glue::Glue, unique, wait_for};
use std::{fs, os::unix::fs::MetadataExt};

/// A handler that sees this test's containers only, and what more it says.
fn handler(mark: &str, more: &str) -> String {
    format!(
        "[handler]\nclass=template\n[params]\ntarget=ROOT/out\nfilter=label={CONSTRAINT}={mark}\n{more}\n"
    )
}

/// Their names, one in a line.
const NAMES: &str = "template=# {% for container in containers|sort(attribute='name') %}\n  \
                     {{ container.name }} {{ container.labels.say }}\n  {% endfor %}\n  -";

fn count(text: &str, part: &str) -> usize {
    text.lines().filter(|line| line.contains(part)).count()
}

#[test]
fn a_file_follows_containers_and_is_written_when_it_is_another_one_only() {
    let Some(docker) = common::docker() else { return };
    let mark = unique("mark");
    let glue = Glue::of(&docker).file("names.ini", &handler(&mark, NAMES)).start();
    glue.until_written("out", &["-"]);
    let web = docker.run("web").label(CONSTRAINT, &mark).start();
    glue.until_written("out", &[&web.name]);
    let inode = fs::metadata(glue.path("out")).unwrap().ino();
    // Nothing of it is in the file; what is started next is looked at after it.
    let other = docker.run("other").start();
    other.docker(&["stop", "--time", "0"]);
    assert_eq!(fs::metadata(glue.path("out")).unwrap().ino(), inode);
    web.docker(&["stop", "--time", "0"]);
    wait_for("the container's line to go", || (glue.read("out") == "-\n").then_some(()));
    // The file is there a moment before the line that says so.
    wait_for("the third line", || (3 <= count(&glue.log(), "wrote")).then_some(()));
    assert_eq!(count(&glue.log(), "wrote"), 3);
    let left: Vec<_> = fs::read_dir(glue.path("")).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(!left.iter().any(|it| it.display().to_string().contains(".docker-glue-")), "{left:?}");
}

#[test]
fn a_file_that_is_refused_does_not_take_the_old_ones_place() {
    let Some(docker) = common::docker() else { return };
    let mark = unique("mark");
    let check = format!("{NAMES}\ncheck=sh -c 'if grep bad \"$0\"; then exit 3; fi' {{}}");
    let glue = Glue::of(&docker).file("names.ini", &handler(&mark, &check)).start();
    glue.until_written("out", &["-"]);
    let good = docker.run("good").label(CONSTRAINT, &mark).start();
    glue.until_written("out", &[&good.name]);
    let before = glue.read("out");
    let bad = docker.run("bad").label(CONSTRAINT, &mark).label("say", "bad").start();
    glue.until_said(&["the new file is refused", "exit status: 3", &bad.name, "stays as it is"]);
    assert_eq!(glue.read("out"), before);
    let next = docker.run("next").label(CONSTRAINT, &mark).start();
    bad.docker(&["stop", "--time", "0"]);
    glue.until_written("out", &[&next.name]);
    glue.until_said(&["well again"]);
    assert!(!glue.read("out").contains(&bad.name));
}

#[test]
fn changes_that_follow_closely_are_told_once() {
    let Some(docker) = common::docker() else { return };
    let mark = unique("mark");
    let notify = format!("{NAMES}\nnotify=sh -c 'wc -l < ROOT/out >> ROOT/told'\ninterval=4 120");
    let glue = Glue::of(&docker).file("names.ini", &handler(&mark, &notify)).start();
    glue.until_written("told", &["1"]);
    let runs = ["a", "b", "c"].map(|name| docker.run(name).label(CONSTRAINT, &mark));
    let _fleet = common::start(runs.into());
    glue.until_written("told", &["4"]);
    assert_eq!(glue.read("told"), "1\n4\n");
}

#[test]
fn who_is_slow_to_be_told_holds_up_no_file() {
    let Some(docker) = common::docker() else { return };
    let mark = unique("mark");
    let slow =
        "notify=sh -c 'while ! [ -e ROOT/go ]; do sleep 0.05; done; wc -l < ROOT/out >> ROOT/told'";
    let params = format!("{NAMES}\n{slow}\ninterval=0");
    let glue = Glue::of(&docker).file("names.ini", &handler(&mark, &params)).start();
    glue.until_written("out", &["-"]);
    let web = docker.run("web").label(CONSTRAINT, &mark).start();
    glue.until_written("out", &[&web.name]);
    assert_eq!(glue.read("told"), "");
    glue.put("go", "");
    wait_for("both to be told", || (glue.read("told") == "2\n2\n").then_some(()));
}

#[test]
fn it_looks_again_after_a_while_where_that_is_said() {
    let Some(docker) = common::docker() else { return };
    let glue = Glue::of(&docker)
        .file(
            "flag.ini",
            "[handler]\nclass=template\n[params]\ntarget=ROOT/out\nrepeat=1\nnotify=false\n\
             template=# {{ exists('ROOT/flag') }}\n",
        )
        .start();
    glue.until_written("out", &["False"]);
    glue.put("flag", "");
    glue.until_written("out", &["True"]);
    glue.until_said(&["WARN", "false ended with exit status: 1"]);
}

#[test]
fn a_signal_and_a_restart_reach_those_that_are_meant() {
    let Some(docker) = common::docker() else { return };
    let (mark, target) = (unique("mark"), unique("target"));
    let state = |container: &common::Container| {
        let what = "{{.State.StartedAt}} {{.State.Running}} {{.State.ExitCode}}";
        container.docker(&["inspect", "--format", what])
    };
    let by_label = docker.run("by-label").label("pygen.target", &target).start();
    let by_env = docker.run("by-env").env("PYGEN_TARGET", &target).start();
    let by_service = docker.run("by-service").label("com.docker.compose.service", &target).start();
    let by_id = docker.run("by-id").start();
    let by_name = docker.run("by-name").option(&["--stop-timeout", "0"]).start();
    let bystander = docker.run("bystander").start();
    let before = [&by_name, &bystander].map(state);
    let others = format!(
        "{NAMES}\nsignal={target}:KILL, {}:SIGKILL, nobody-at-all\nrestart={}\ninterval=0",
        &by_id.id[..20],
        by_name.name
    );
    let glue = Glue::of(&docker).file("names.ini", &handler(&mark, &others)).start();
    for told in [&by_label, &by_env, &by_service, &by_id] {
        wait_for(&told.name, || state(told).ends_with(" false 137").then_some(()));
    }
    glue.until_said(&[
        &format!("restarted {}", by_name.name),
        &format!("sent SIGKILL to {}", by_id.name),
    ]);
    glue.until_said(&["no container that runs is", "nobody-at-all"]);
    assert_ne!(state(&by_name), before[0]);
    assert_eq!(state(&bystander), before[1]);
}

#[test]
fn what_is_wrong_is_told_once_and_tried_again() {
    let Some(docker) = common::docker() else { return };
    let mark = unique("mark");
    let wrong = "template=# {% for container in containers %}\n  {{ container.labels.say|parse_json }}\n  \
                 {% endfor %}\n  -";
    let missing = handler(&mark, NAMES).replace("ROOT/out", "ROOT/absent/out");
    let glue = Glue::of(&docker)
        .file("wrong.ini", &handler(&mark, wrong))
        .file("missing.ini", &missing)
        .start();
    glue.until_written("out", &["-"]);
    glue.until_said(&["cannot write", "absent/out", "No such file"]);
    fs::create_dir(glue.path("absent")).unwrap();
    glue.until_written("absent/out", &["-"]);
    let _web = docker.run("web").label(CONSTRAINT, &mark).label("say", "no json").start();
    glue.until_said(&["template:2: no JSON", "stays as it is"]);
    let second = docker.run("second").label(CONSTRAINT, &mark).label("say", "no json").start();
    glue.until_written("absent/out", &[&second.name]);
    assert_eq!(count(&glue.log(), "no JSON"), 1);
    assert_eq!(glue.read("out"), "-\n");
}

#[test]
fn once_it_writes_tells_and_ends() {
    let Some(docker) = common::docker() else { return };
    let mark = unique("mark");
    let web = docker.run("web").label(CONSTRAINT, &mark).start();
    let notify = format!("{NAMES}\nnotify=cp ROOT/out ROOT/told");
    let glue = Glue::of(&docker).file("names.ini", &handler(&mark, &notify));
    let ended = glue.run(&["--once"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(glue.read("told").contains(&web.name));
    let glue = Glue::of(&docker)
        .file("names.ini", &handler(&mark, NAMES).replace("ROOT/out", "ROOT/absent/out"));
    assert_eq!(glue.run(&["--once"]).status.code(), Some(1));
}

#[test]
fn render_prints_and_says_by_its_status_what_is_wrong() {
    let Some(docker) = common::docker() else { return };
    let web = docker.run("web").start();
    let glue = Glue::of(&docker);
    let file = glue.put(
        "web.tmpl",
        "{{ containers.matching(env.WEB).first.id }}\n\n\n.{{ services|length }}\n",
    );
    let wrong = glue.put("wrong.tmpl", "a\n{{ b c }}\n");
    let run = |words: &[&str]| {
        let output =
            glue.command().arg("render").args(words).env("WEB", &web.name).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&[file.to_str().unwrap()]);
    assert_eq!((code, out, err.as_str()), (0, format!("{}\n.0\n", web.id), ""));
    let (code, out, _) = run(&["--keep-blank-lines", file.to_str().unwrap()]);
    assert_eq!((code, out), (0, format!("{}\n\n\n.0\n", web.id)));
    let (code, out, _) = run(&["# {{ 1 + 1 }}"]);
    assert_eq!((code, out.as_str()), (0, "2\n"));
    let (code, out, err) = run(&[wrong.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("docker-glue: wrong.tmpl:2: unexpected"), "{err}");
    let (code, _, err) = run(&["# {{ a.b.c }}"]);
    assert_eq!(code, 1);
    assert!(err.contains("template:1: undefined value"), "{err}");
    let (code, out, err) = run(&["# {{ 1 }}", "--docker-url", "unix:///nonexistent.sock"]);
    assert_eq!((code, out.as_str()), (4, ""));
    assert!(err.contains("nonexistent.sock"), "{err}");
}
