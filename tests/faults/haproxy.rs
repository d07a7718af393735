//! HAProxy crashes, is missing, is too old, or refuses its configuration.

use crate::common::{self, balancer::Balancer};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

const HOST: &str = "glue_http_80_host";

/// Writes a wrapper script that runs before the real HAProxy.
pub(crate) fn write_wrapper(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("haproxy-wrapper");
    fs::write(&path, format!("#!/bin/sh\n{script}\nexec \"${{HAPROXY_BIN:-haproxy}}\" \"$@\"\n"))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn killed_master_is_restarted() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    // A worker may serve before its master confirms the reload.
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let count = |what: &str| balancer.log().matches(what).count();
    for starts in [2, 3] {
        kill(Pid::from_raw(balancer.master_pid()), Signal::SIGKILL).unwrap();
        common::wait_for("another start", || (count("started HAProxy") == starts).then_some(()));
        balancer.wait_until_serves("a.test", "web saw /");
    }
    let died = "ERROR HAProxy exited with signal: 9 (SIGKILL); restarting";
    assert_eq!((count(died), count("ERROR")), (2, 2), "{}", balancer.log());
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
}

#[test]
fn crashing_haproxy_is_restarted_with_growing_pauses_and_logged() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (dies, starts) = (folder.path().join("dies"), folder.path().join("starts"));
    let die = format!(
        "if [ \"$1\" = -W ]; then echo >>{}; if [ -e {} ]; then (sleep 2; kill -9 $$) & fi; fi",
        starts.display(),
        dies.display()
    );
    let wrapper = write_wrapper(folder.path(), &die);
    let balancer = Balancer::plan(&docker).option(&["--haproxy-bin", wrapper.to_str().unwrap()]);
    let balancer = balancer.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    fs::write(&dies, "").unwrap();
    kill(Pid::from_raw(balancer.master_pid()), Signal::SIGKILL).unwrap();
    for pause in ["200ms", "400ms", "800ms", "1.6s", "3.2s", "5s"] {
        balancer.wait_for_log(&[&format!("restarting in {pause}")]);
    }
    let count = || fs::read_to_string(&starts).unwrap().lines().count();
    let before = count();
    common::wait_for("two more starts", || (before + 2 <= count()).then_some(()));
    let log = balancer.log();
    let pairs: Vec<_> = log.lines().filter_map(|text| text.split_once("; restarting")).collect();
    let pauses: Vec<_> = pairs.iter().map(|(_, pause)| pause.trim()).collect();
    assert_eq!(pauses, ["", "in 200ms", "in 400ms", "in 800ms", "in 1.6s", "in 3.2s", "in 5s"]);
    fs::remove_file(&dies).unwrap();
    balancer.wait_until_serves("a.test", "web saw /");
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
}

#[test]
fn lost_stats_socket_causes_no_reload_per_change() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).ports(&[80, 81]).option(&["--wait-for-start", "1s"]);
    let balancer = balancer.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    fs::remove_file(balancer.runtime().join("haproxy.sock")).unwrap();
    let late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    balancer.wait_for_log(&["stats socket", "is missing", "using the master socket"]);
    drop(late);
    balancer.wait_until_serves("b.test", "503");
    assert_eq!(balancer.log().matches("reloaded HAProxy").count(), 1, "{}", balancer.log());
    // A change that needs a reload works as well.
    let wide = balancer.run("wide").label(HOST, "c.test").label("glue_http_80_bind", "81");
    let _wide = wide.start();
    balancer.wait_until_serves("c.test:81", "wide saw /");
    assert!(!balancer.log().contains("ERROR"), "{}", balancer.log());
}

/// The files are generated for the version of HAProxy that reads them.
#[test]
fn upgraded_haproxy_gets_files_for_its_version() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let newer = "[ \"$1\" = -v ] && echo 'HAProxy version 3.9.1 2026/08/21' && exit";
    let path = write_wrapper(folder.path(), newer);
    let plan = Balancer::plan(&docker).ports(&[80, 81]);
    let balancer = plan.option(&["--haproxy-bin", path.to_str().unwrap()]).start();
    balancer.wait_for_log(&["started HAProxy"]);
    write_wrapper(folder.path(), "");
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["is now installed; generating the configuration for it"]);
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    assert!(!balancer.log().contains("ERROR"), "{}", balancer.log());
}

/// The files that the new worker has read lack the runtime changes of the previous worker.
#[test]
fn foreign_reload_before_files_are_written_is_detected() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let slow = folder.path().join("slow");
    let wait = format!("[ \"$1\" = -c ] && while [ -e {} ]; do sleep 0.01; done", slow.display());
    let wrapper = write_wrapper(folder.path(), &wait);
    let balancer = Balancer::plan(&docker).option(&["--haproxy-bin", wrapper.to_str().unwrap()]);
    let balancer = balancer.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_for_log(&["reloaded HAProxy"]);
    fs::write(&slow, "").unwrap();
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    kill(Pid::from_raw(balancer.master_pid()), Signal::SIGUSR2).unwrap();
    balancer.wait_until_serves("b.test", "404");
    fs::remove_file(&slow).unwrap();
    balancer.wait_for_log(&[
        "updated HAProxy over the runtime API",
        "HAProxy was reloaded by another program",
    ]);
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test", "late saw /")]);
}

#[test]
fn missing_or_too_old_haproxy_is_an_error_at_start() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let old = "[ \"$1\" = -v ] && echo 'HAProxy version 2.4.22-f8e3218 2023/02/14' && exit";
    let old = write_wrapper(folder.path(), old);
    for (bin, reason) in [
        (Path::new("/nonexistent/haproxy"), "no HAProxy at /nonexistent/haproxy; install it"),
        (&old, "is too old; install 2.6 or later"),
    ] {
        for verb in ["--once", "--watch"] {
            let plan = Balancer::plan(&docker);
            let plan = plan.option(&["--haproxy-bin", bin.to_str().unwrap()]);
            let output = plan.command().arg(verb).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.starts_with("docker-balancer: ") && text.contains(reason), "{text}");
        }
    }
}

/// Checks a rejection of a configuration with `bad.test`. `naming` is HAProxy's message, about line `$line` of file
/// `$3`.
fn check_rejected_route_is_excluded(naming: &str) {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let refuse = format!(
        "line=$(grep -n '^# bad.test' \"$3\" | cut -d: -f1)\n\
         [ \"$line\" ] && line=$((line + 1))\n\
         [ \"$1\" = -c ] && [ \"$line\" ] && echo \"[ALERT]    ($$) : config : {naming}\" >&2 && exit 1"
    );
    let wrapper = write_wrapper(folder.path(), &refuse);
    let balancer = Balancer::plan(&docker)
        .option(&["--haproxy-bin", wrapper.to_str().unwrap()])
        .option(&["--wait-for-start", "1s"])
        .start();
    let fleet = ["a", "b", "c"].map(|name| balancer.run(name).label(HOST, format!("{name}.test")));
    let _fleet = common::start_all(fleet.into());
    let bad = balancer.run("bad").label(HOST, "bad.test").start();
    let texts = [
        bad.name.as_str(),
        &bad.id[..12],
        "HAProxy refused bad.test:80/",
        "the route is ignored: no such thing",
    ];
    balancer.wait_for_log(&texts);
    let late = balancer.run("late").label(HOST, "late.test").start();
    balancer.wait_until_all_serve(&[
        ("late.test", "late saw /"),
        ("a.test", "a saw /"),
        ("b.test", "b saw /"),
        ("c.test", "c saw /"),
        ("bad.test", "404"),
    ]);
    assert_eq!(balancer.log().matches("HAProxy refused bad.test").count(), 1, "{}", balancer.log());
    drop(bad);
    balancer.wait_for_log(&["resolved: ", "HAProxy refused bad.test:80/"]);
    drop(late);
    balancer.wait_until_all_serve(&[("late.test", "503"), ("a.test", "a saw /")]);
}

#[test]
fn rejected_route_is_excluded_when_haproxy_names_its_line() {
    check_rejected_route_is_excluded("parsing [$3:$line] : no such thing");
}

#[test]
fn rejected_route_is_found_when_haproxy_names_no_line() {
    check_rejected_route_is_excluded("no such thing");
}

/// `haproxy -c` with all sections would take more time than the rest of the change.
#[test]
fn added_container_has_only_its_section_checked() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let checks = folder.path().join("checks");
    fs::write(&checks, "").unwrap();
    let note = format!("[ \"$1\" = -c ] && grep -c '^# .*test:80/' \"$3\" >>{}", checks.display());
    let wrapper = write_wrapper(folder.path(), &note);
    let plan = Balancer::plan(&docker).option(&["--haproxy-bin", wrapper.to_str().unwrap()]);
    let fleet = ["a", "b", "c"].map(|name| plan.run(name).label(HOST, format!("{name}.test")));
    let _fleet = common::start_all(fleet.into());
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("a.test", "a saw /");
    let checked = || fs::read_to_string(&checks).unwrap();
    let until_file = |what: &str, is_so: &dyn Fn(&str) -> bool| {
        let file = balancer.state().join("haproxy.cfg");
        let is_so = || is_so(&fs::read_to_string(&file).ok()?).then_some(());
        common::wait_for(what, is_so);
    };
    let before = checked();
    let late = balancer.run("late").label(HOST, "late.test").start();
    balancer.wait_until_serves("late.test", "late saw /");
    until_file("the file has it", &|text| text.contains("# late.test:80/"));
    assert_eq!(checked().strip_prefix(&before), Some("1\n"), "{before}");

    late.docker(&["stop"]);
    until_file("the file has its server no more", &|text| !text.contains(&late.name));
    let since = checked();
    let since: Vec<_> = since.strip_prefix(&before).unwrap().lines().collect();
    assert!(since.iter().all(|routes| ["0", "1"].contains(routes)), "{before}then {since:?}");
}

/// A process group, which is killed when it is dropped.
struct Group(i32);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-self.0), Signal::SIGKILL);
    }
}

fn remove_sockets(balancer: &Balancer) {
    for socket in ["haproxy.sock", "master.sock"] {
        fs::remove_file(balancer.runtime().join(socket)).unwrap();
    }
}

#[test]
fn haproxy_whose_sockets_are_removed_gets_changes_without_restart() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let master = balancer.master_pid();
    remove_sockets(&balancer);
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    balancer.wait_for_log(&["WARN", "its sockets in", "are missing; sending a signal"]);
    balancer.wait_for_log(&["created its master socket again"]);
    balancer.assert_serves(&[("a.test/", "web saw /")]);
    assert_eq!(balancer.master_pid(), master);
    assert!(!balancer.log().contains("ERROR"), "{}", balancer.log());
}

#[test]
fn haproxy_whose_folder_is_emptied_is_adopted_by_the_next_balancer() {
    let Some(docker) = common::find_docker() else { return };
    let mut balancer = Balancer::plan(&docker).start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let master = balancer.master_pid();
    let _group = Group(master);
    balancer.stop_with(Signal::SIGKILL);
    fs::remove_dir_all(balancer.runtime()).unwrap();
    balancer.start_again();
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    balancer.wait_for_log(&["WARN", "its master socket", "sending a signal"]);
    balancer.wait_for_log(&[&format!("adopted the running HAProxy (pid {master})")]);
    assert_eq!(balancer.master_pid(), master);
}

/// A master that executes another program has no socket any more, but its workers continue to serve.
#[test]
fn haproxy_that_does_not_create_its_sockets_again_is_replaced_while_it_serves() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("haproxy-copy");
    let found = Command::new("sh").args(["-c", "command -v \"${HAPROXY_BIN:-haproxy}\""]).output();
    let real = PathBuf::from(String::from_utf8(found.unwrap().stdout).unwrap().trim());
    fs::copy(&real, &program).unwrap();
    let balancer = Balancer::plan(&docker).option(&["--haproxy-bin", program.to_str().unwrap()]);
    let balancer = balancer.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let master = balancer.master_pid();
    let _group = Group(master);
    let script = folder.path().join("script");
    let lost = "[ -n \"$HAPROXY_MWORKER_REEXEC\" ] && [ ! -e \"$0.found\" ] && exec sleep 1000";
    let text = format!("#!/bin/sh\n{lost}\nexec {} \"$@\"\n", real.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&script, &program).unwrap();
    remove_sockets(&balancer);
    let late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    balancer.wait_for_log(&["ERROR", "did not create its sockets again", "replaced by HAProxy"]);
    balancer.assert_serves(&[("a.test/", "web saw /")]);
    assert_ne!(balancer.master_pid(), master);
    drop(late);
    balancer.wait_until_serves("b.test", "503");
}
