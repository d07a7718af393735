//! docker-glue's templates with a real engine: when a file is written, and which notifications follow.

use crate::common::{self, CONSTRAINT, glue::Glue, unique_name, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, os::unix::fs::MetadataExt, process::Stdio};

/// Returns a handler file that selects only this test's containers, with more parameters.
fn handler_file(mark: &str, more: &str) -> String {
    format!(
        "[handler]\nclass=template\n[params]\ntarget=ROOT/out\nfilter=label={CONSTRAINT}={mark}\n{more}\n"
    )
}

/// Prints the containers' names, one in a line.
const NAMES: &str = "template=# {% for container in containers|sort(attribute='name') %}\n  \
                     {{ container.name }} {{ container.labels.say }}\n  {% endfor %}\n  -";

fn count_matches(text: &str, part: &str) -> usize {
    text.lines().filter(|line| line.contains(part)).count()
}

#[test]
fn file_is_written_only_when_its_text_changes() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, NAMES)).start();
    glue.wait_until_written("out", &["-"]);
    let web = docker.run("web").label(CONSTRAINT, &mark).start();
    glue.wait_until_written("out", &[&web.name]);
    let inode = fs::metadata(glue.path("out")).unwrap().ino();
    // The file does not mention the other container, so it is not written again.
    let other = docker.run("other").start();
    other.docker(&["stop", "--time", "0"]);
    assert_eq!(fs::metadata(glue.path("out")).unwrap().ino(), inode);
    web.docker(&["stop", "--time", "0"]);
    wait_for("the container's line to go", || (glue.read("out") == "-\n").then_some(()));
    // The file exists shortly before its log line.
    wait_for("the third line", || (3 <= count_matches(&glue.log(), "wrote")).then_some(()));
    assert_eq!(count_matches(&glue.log(), "wrote"), 3);
    let left: Vec<_> =
        fs::read_dir(glue.path("")).unwrap().map(|result| result.unwrap().path()).collect();
    assert!(
        !left.iter().any(|path| path.display().to_string().contains(".docker-glue-")),
        "{left:?}"
    );
}

#[test]
fn file_rejected_by_check_keeps_the_old_one() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let check = format!("{NAMES}\ncheck=sh -c 'if grep bad \"$0\"; then exit 3; fi' {{}}");
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, &check)).start();
    glue.wait_until_written("out", &["-"]);
    let good = docker.run("good").label(CONSTRAINT, &mark).start();
    glue.wait_until_written("out", &[&good.name]);
    let before = glue.read("out");
    let bad = docker.run("bad").label(CONSTRAINT, &mark).label("say", "bad").start();
    glue.wait_for_log(&[
        "the check of the new file failed",
        "exit status: 3",
        &bad.name,
        "was not changed",
    ]);
    assert_eq!(glue.read("out"), before);
    let next = docker.run("next").label(CONSTRAINT, &mark).start();
    bad.docker(&["stop", "--time", "0"]);
    glue.wait_until_written("out", &[&next.name]);
    glue.wait_for_log(&["recovered"]);
    assert!(!glue.read("out").contains(&bad.name));
}

#[test]
fn close_changes_are_notified_once() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let notify = format!("{NAMES}\nnotify=sh -c 'wc -l < ROOT/out >> ROOT/told'\ninterval=4 120");
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, &notify)).start();
    glue.wait_until_written("told", &["1"]);
    let runs = ["a", "b", "c"].map(|name| docker.run(name).label(CONSTRAINT, &mark));
    let _fleet = common::start_all(runs.into());
    glue.wait_until_written("told", &["4"]);
    assert_eq!(glue.read("told"), "1\n4\n");
}

#[test]
fn slow_notification_does_not_delay_writing() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let slow =
        "notify=sh -c 'while ! [ -e ROOT/go ]; do sleep 0.05; done; wc -l < ROOT/out >> ROOT/told'";
    let params = format!("{NAMES}\n{slow}\ninterval=0");
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, &params)).start();
    glue.wait_until_written("out", &["-"]);
    let web = docker.run("web").label(CONSTRAINT, &mark).start();
    glue.wait_until_written("out", &[&web.name]);
    assert_eq!(glue.read("told"), "");
    glue.write_file("go", "");
    wait_for("both to be told", || (glue.read("told") == "2\n2\n").then_some(()));
}

#[test]
fn template_is_rendered_again_after_repeat_interval() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker)
        .file(
            "flag.ini",
            "[handler]\nclass=template\n[params]\ntarget=ROOT/out\nrepeat=1\nnotify=false\n\
             template=# {{ exists('ROOT/flag') }}\n",
        )
        .start();
    glue.wait_until_written("out", &["False"]);
    glue.write_file("flag", "");
    glue.wait_until_written("out", &["True"]);
    glue.wait_for_log(&["WARN", "false exited with exit status: 1"]);
}

#[test]
fn signal_and_restart_reach_matching_containers_only() {
    let Some(docker) = common::find_docker() else { return };
    let (mark, target) = (unique_name("mark"), unique_name("target"));
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
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, &others)).start();
    for report in [&by_label, &by_env, &by_service, &by_id] {
        wait_for(&report.name, || state(report).ends_with(" false 137").then_some(()));
    }
    glue.wait_for_log(&[
        &format!("restarted {}", by_name.name),
        &format!("sent SIGKILL to {}", by_id.name),
    ]);
    glue.wait_for_log(&["no running container is called", "nobody-at-all"]);
    assert_ne!(state(&by_name), before[0]);
    assert_eq!(state(&bystander), before[1]);
}

#[test]
fn file_mounted_alone_is_written_in_place() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, NAMES)).start();
    glue.wait_until_written("out", &["-"]);
    let inode = || fs::metadata(glue.path("out")).unwrap().ino();
    let mount = format!("{}:/mounted", glue.path("out").display());
    // An open file keeps its number, which another one would get otherwise.
    let first = fs::File::open(glue.path("out")).unwrap();
    let before = first.metadata().unwrap().ino();
    let web = docker.run("web").label(CONSTRAINT, &mark).option(&["-v", &mount]).start();
    glue.wait_until_written("out", &[&web.name]);
    glue.wait_for_log(&["WARN", &web.name, "mounts the file", "mount its directory"]);
    assert_eq!(inode(), before);
    web.docker(&["stop", "--time", "0"]);
    wait_for("the container's line to go", || (glue.read("out") == "-\n").then_some(()));
    let other = docker.run("other").label(CONSTRAINT, &mark).start();
    glue.wait_until_written("out", &[&other.name]);
    assert_ne!(inode(), before);
}

#[test]
fn repeated_render_or_write_error_is_logged_once_and_retried() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let wrong = "template=# {% for container in containers %}\n  {{ container.labels.say|parse_json }}\n  \
                 {% endfor %}\n  -";
    let missing = handler_file(&mark, NAMES).replace("ROOT/out", "ROOT/absent/out");
    let glue = Glue::plan(&docker)
        .file("wrong.ini", &handler_file(&mark, wrong))
        .file("missing.ini", &missing)
        .start();
    glue.wait_until_written("out", &["-"]);
    glue.wait_for_log(&["cannot write", "absent/out", "No such file"]);
    fs::create_dir(glue.path("absent")).unwrap();
    glue.wait_until_written("absent/out", &["-"]);
    let _web = docker.run("web").label(CONSTRAINT, &mark).label("say", "no json").start();
    glue.wait_for_log(&["template:2: invalid JSON", "was not changed"]);
    let second = docker.run("second").label(CONSTRAINT, &mark).label("say", "no json").start();
    glue.wait_until_written("absent/out", &[&second.name]);
    assert_eq!(count_matches(&glue.log(), "invalid JSON"), 1);
    assert_eq!(glue.read("out"), "-\n");
}

/// A notification that fails until the file `up` exists.
const STUBBORN: &str =
    "notify=sh -c 'echo try >>ROOT/tries; test -e ROOT/up && echo told >>ROOT/told'";

#[test]
fn failed_notification_is_retried_and_delivered_once() {
    let Some(docker) = common::find_docker() else { return };
    let params = format!("template=# x\n{STUBBORN}\ninterval=0");
    let glue = Glue::plan(&docker).file("x.ini", &handler_file("none", &params)).start();
    glue.wait_for_log(&["WARN", "sh exited with exit status: 1", "retrying in 1s"]);
    glue.wait_until_written("tries", &["try"]);
    glue.write_file("up", "");
    glue.wait_until_written("told", &["told"]);
    glue.wait_for_log(&["all notifications succeeded"]);
    let tries = glue.read("tries");
    // Neither a change that writes nothing nor a SIGHUP repeats the notification.
    drop(docker.run("bystander").start());
    glue.reload();
    glue.wait_for_log(&["reloading the handler files"]);
    let mut glue = glue;
    assert!(glue.stop_with(Signal::SIGTERM).success());
    glue.start_again();
    assert!(glue.stop_with(Signal::SIGTERM).success());
    assert_eq!((glue.read("tries"), glue.read("told").as_str()), (tries, "told\n"));
}

#[test]
fn pending_notification_survives_restart_and_crash() {
    let Some(docker) = common::find_docker() else { return };
    for (signal, interval) in
        [(Signal::SIGTERM, "0"), (Signal::SIGKILL, "0"), (Signal::SIGKILL, "600")]
    {
        let ini = |interval: &str| {
            handler_file("none", &format!("template=# x\n{STUBBORN}\ninterval={interval}"))
        };
        let mut glue = Glue::plan(&docker).file("x.ini", &ini(interval)).start();
        if interval == "0" {
            glue.wait_for_log(&["retrying in"]);
        } else {
            // docker-glue is killed after it wrote the file and before it sent the notification.
            glue.wait_for_log(&["wrote"]);
        }
        glue.stop_with(signal);
        assert_eq!(glue.read("told"), "", "{signal} {interval}");
        glue.write_file("docker-glue.d/x.ini", &ini("0"));
        glue.write_file("up", "");
        glue.start_again();
        glue.wait_until_written("told", &["told"]);
        glue.wait_for_log(&["ran sh"]);
        glue.stop_with(Signal::SIGTERM);
        assert_eq!(glue.read("told"), "told\n", "{signal} {interval}");
    }
}

#[test]
fn signal_and_restart_without_target_stay_pending() {
    let Some(docker) = common::find_docker() else { return };
    let (early, late) = (unique_name("early"), unique_name("late"));
    let others = format!("template=# x\nrestart={early}, {late}\nsignal={late}:USR1\ninterval=0");
    let label = |target: &str| docker.run("told").label("pygen.target", target);
    let started = |container: &common::Container| {
        container.docker(&["inspect", "-f", "{{.State.StartedAt}}"])
    };
    let there = label(&early).option(&["--stop-timeout", "0"]).start();
    let before = started(&there);
    let mut glue = Glue::plan(&docker).file("x.ini", &handler_file("none", &others)).start();
    glue.wait_for_log(&["restarted", &there.name]);
    glue.wait_for_log(&["no running container is called", &late, "retrying in"]);
    glue.stop_with(Signal::SIGTERM);
    let restarted = started(&there);
    assert_ne!(before, restarted);
    let second = label(&late).option(&["--stop-timeout", "0"]).start();
    glue.start_again();
    glue.wait_for_log(&["restarted", &second.name]);
    glue.wait_for_log(&["sent USR1 to", &second.name]);
    glue.stop_with(Signal::SIGTERM);
    // A container that was restarted already is not restarted again.
    assert_eq!(started(&there), restarted);
}

#[test]
fn pending_notifications_file_is_private_and_removed_when_delivered() {
    use std::os::unix::fs::PermissionsExt;
    let Some(docker) = common::find_docker() else { return };
    let params = format!("template=# x\n{STUBBORN}\ninterval=0");
    let glue = Glue::plan(&docker).file("x.ini", &handler_file("none", &params)).start();
    glue.wait_for_log(&["retrying in"]);
    let folders = fs::read_dir(glue.path("state/handlers")).unwrap();
    let folders: Vec<_> = folders.map(|result| result.unwrap().path()).collect();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let owed = folder.join("owed.json");
    assert_eq!((mode(folder), mode(&owed)), (0o700, 0o600));
    assert_eq!(fs::read_to_string(&owed).unwrap(), "[]");
    glue.write_file("up", "");
    wait_for("the debt to go", || (!owed.exists()).then_some(()));
}

#[test]
fn unwritable_state_dir_loses_pending_notifications_only() {
    let Some(docker) = common::find_docker() else { return };
    let params = format!("template=# x\n{STUBBORN}\ninterval=0");
    let plan = Glue::plan(&docker).file("x.ini", &handler_file("none", &params));
    plan.write_file("state", "no folder");
    let glue = plan.start();
    glue.wait_for_log(&["WARN", "cannot write", "state/handlers", "--state-dir"]);
    glue.wait_for_log(&["retrying in"]);
    glue.write_file("up", "");
    glue.wait_until_written("told", &["told"]);
    assert_eq!(count_matches(&glue.log(), "cannot write"), 1);
}

#[test]
fn once_writes_notifies_and_exits() {
    let Some(docker) = common::find_docker() else { return };
    let mark = unique_name("mark");
    let web = docker.run("web").label(CONSTRAINT, &mark).start();
    let notify = format!("{NAMES}\nnotify=cp ROOT/out ROOT/told");
    let glue = Glue::plan(&docker).file("names.ini", &handler_file(&mark, &notify));
    let ended = glue.run(&["--once"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(glue.read("told").contains(&web.name));
    // A notification that failed in one run is sent in the next one.
    let params = format!("template=# x\n{STUBBORN}");
    let glue = Glue::plan(&docker).file("x.ini", &handler_file(&mark, &params));
    assert_eq!(glue.run(&["--once"]).status.code(), Some(1));
    glue.write_file("up", "");
    assert!(glue.run(&["--once"]).status.success());
    assert!(glue.run(&["--once"]).status.success());
    assert_eq!(glue.read("told"), "told\n");
    let glue = Glue::plan(&docker)
        .file("names.ini", &handler_file(&mark, NAMES).replace("ROOT/out", "ROOT/absent/out"));
    assert_eq!(glue.run(&["--once"]).status.code(), Some(1));
}

/// Loops that would take hours to render.
const LONG: &str = "# {% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}";

#[test]
fn long_render_stops_on_a_signal() {
    let Some(docker) = common::find_docker() else { return };
    let glue = Glue::plan(&docker);
    let mut command = glue.command();
    command.args(["render", LONG]).stderr(Stdio::piped());
    let process = command.spawn().unwrap();
    let pid = process.id();
    wait_for("a second of work", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let ticks: u64 = stat.rsplit(") ").next()?.split(' ').nth(11)?.parse().ok()?;
        (100 < ticks).then_some(())
    });
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    let output = process.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.ends_with("docker-glue: interrupted by a signal\n"), "{error}");
}

#[test]
fn render_prints_text_and_exits_by_outcome() {
    let Some(docker) = common::find_docker() else { return };
    let web = docker.run("web").start();
    let glue = Glue::plan(&docker);
    let file = glue.write_file(
        "web.tmpl",
        "{{ containers.matching(env.WEB).first.id }}\n\n\n.{{ services|length }}\n",
    );
    let wrong = glue.write_file("wrong.tmpl", "a\n{{ b c }}\n");
    let run = |words: &[&str]| {
        let output =
            glue.command().arg("render").args(words).env("WEB", &web.name).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&[file.to_str().unwrap()]);
    assert_eq!((code, out, err.as_str()), (0, format!("{}\n\n\n.0\n", web.id), ""));
    let (code, out, _) = run(&["--keep-blank-lines=no", file.to_str().unwrap()]);
    assert_eq!((code, out), (0, format!("{}\n.0\n", web.id)));
    let (code, out, _) = run(&[file.to_str().unwrap(), "--keep-blank-lines"]);
    assert_eq!((code, out), (0, format!("{}\n\n\n.0\n", web.id)));
    let (code, out, err) = run(&["# a{{ contianers }}"]);
    assert_eq!((code, out.as_str()), (0, "a\n"));
    assert!(err.contains("template:1: undefined value: `contianers` is undefined"), "{err}");
    let (code, out, _) = run(&["# {{ 1 + 1 }}"]);
    assert_eq!((code, out.as_str()), (0, "2\n"));
    let (code, out, err) = run(&[wrong.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("docker-glue: wrong.tmpl:2: unexpected"), "{err}");
    let (code, _, err) = run(&["# {{ a.b.c }}"]);
    assert_eq!(code, 1);
    assert!(err.contains("template:1: undefined value: `a` is undefined"), "{err}");
    let (code, out, err) = run(&["# {{ 1 }}", "--docker-url", "unix:///nonexistent.sock"]);
    assert_eq!((code, out.as_str()), (4, ""));
    assert!(err.contains("nonexistent.sock"), "{err}");
}
