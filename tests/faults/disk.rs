//! Writes to disk fail. Existing routes are still served, and changes are written later.

use crate::{
    asker::Asker,
    common::{self, balancer::Balancer},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, io::Write, path::PathBuf, process::Command};

const HOST: &str = "glue_http_80_host";

/// A small file system, which is unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Mounts the file system. Returns `None` and records the skip if that is not possible.
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=512k,mode=700", "tmpfs"]).arg(&at);
        if nix::unistd::geteuid().is_root() && mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        crate::common::record_skip("no file system can be mounted (needs root)");
        None
    }

    fn remount(&self, how: &str) {
        let how = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &how]).arg(&self.0).status().unwrap();
        assert!(done.success(), "{how}");
    }

    /// Fills the file system.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        // The balancer could not remove its folder while the file system was mounted in it.
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

#[test]
fn disk_full_or_read_only_is_reported_and_serving_continues() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let etc = plan.state().with_file_name("etc");
    let config = etc.join("haproxy.cfg").display().to_string();
    let Some(state) = Disk::mount(plan.state()) else { return };
    let Some(etc) = Disk::mount(etc) else { return };
    let balancer = plan.option(&["--config-file", &config]).start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let asker = Asker::begin(&balancer, "a.test");

    let filler = state.fill();
    let _late = balancer.run("late").label(HOST, "b.test").start();
    let named = format!("cannot write {}", balancer.state().join("gen").display());
    balancer.wait_for_log(&[
        "ERROR",
        "could not be written to disk",
        &named,
        "free some disk space there",
    ]);
    balancer.wait_until_serves("b.test", "late saw /");
    asker.more(10);
    fs::remove_file(filler).unwrap();
    balancer.wait_for_log(&["configuration written to disk again"]);

    etc.remount("ro");
    let _last = balancer.run("last").label(HOST, "c.test").start();
    let named = format!("cannot write {config}");
    balancer.wait_for_log(&["ERROR", "could not be written to disk", &named, "make it writable"]);
    balancer.wait_until_serves("c.test", "last saw /");
    asker.more(10);
    etc.remount("rw");
    let again = || balancer.log().matches("written to disk again").nth(1).map(|_| ());
    common::wait_for("the second file on disk", again);
    assert_eq!(asker.end(), ["web saw /"]);
    // The history's last page may have had room or not.
    let log = balancer.log();
    let errors = log.lines().filter(|text| text.contains("ERROR") && !text.contains("the history"));
    assert_eq!(errors.count(), 2, "{log}");
}

#[test]
fn runtime_changes_continue_while_full_disk_prevents_reload() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 81]).option(&["--wait-for-start", "1s"]);
    let Some(state) = Disk::mount(plan.state()) else { return };
    let balancer = plan.start().wait_until_started();
    let web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);

    let filler = state.fill();
    let wide = balancer.run("wide").label(HOST, "b.test").label("glue_http_80_bind", "80,81");
    let _wide = wide.start();
    balancer.wait_for_log(&[
        "ERROR reload of HAProxy failed",
        "is still served: cannot write",
        "free some disk space",
    ]);
    let _late = balancer.run("late").label(HOST, "c.test").start();
    drop(web);
    balancer.wait_until_all_serve(&[
        ("b.test", "wide saw /"),
        ("c.test", "late saw /"),
        ("a.test", "503"),
    ]);
    fs::remove_file(filler).unwrap();
    balancer.wait_until_serves("b.test:81", "wide saw /");
    balancer.wait_for_log(&["apply succeeded after earlier failures"]);
    assert_eq!(balancer.log().matches("reload of HAProxy failed").count(), 1, "{}", balancer.log());
}

/// The configuration that HAProxy was running when it crashed could not be written.
#[test]
fn haproxy_crash_on_full_disk_recovers_stored_and_new_routes() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let Some(state) = Disk::mount(plan.state()) else { return };
    let balancer = plan.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    let _filler = state.fill();
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    balancer.wait_for_log(&["could not be written to disk"]);
    kill(Pid::from_raw(balancer.master_pid()), Signal::SIGKILL).unwrap();
    balancer.wait_for_log(&["HAProxy exited with signal: 9"]);
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test", "late saw /")]);
}

#[test]
fn unwritten_history_is_logged_once_and_written_later() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let Some(state) = Disk::mount(plan.state()) else { return };
    let web = plan.run("web").label(HOST, "a.test").start();
    let other = plan.run("other").label(HOST, "a.test").start();
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_until_shared("a.test", &["web", "other"]);
    let history = |balancer: &Balancer| run_command(balancer, &["history", "--json"]).1;

    let filler = state.fill();
    let failed = "could not write the history to disk: cannot write";
    // The history's last page still has room for some entries.
    common::wait_for("an error", || {
        for verb in ["drain", "undrain"] {
            assert_eq!(run_command(&balancer, &[verb, &other.name]).0, Some(0));
        }
        balancer.log().contains(failed).then_some(())
    });
    balancer.wait_until_shared("a.test", &["web", "other"]);
    // A rollback still works.
    let (code, text) = run_command(&balancer, &["rollback", "1"]);
    assert!(code == Some(0) && text.contains("could not be saved to disk"), "{code:?} {text}");
    fs::remove_file(filler).unwrap();
    balancer.wait_for_log(&["history written to disk again"]);
    assert_eq!(balancer.log().matches(failed).count(), 1, "{}", balancer.log());

    let before = history(&balancer);
    balancer.stop_with(Signal::SIGKILL);
    balancer.start_again();
    balancer.wait_for_log(&["rollback to generation 1 is active"]);
    common::wait_for("the history", || {
        history(&balancer).starts_with(before.trim_end_matches("]\n")).then_some(())
    });
    drop(web);
}

fn run_command(balancer: &Balancer, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.env("DOCKER_GLUE_SETTINGS", "/dev/null").args(words);
    let output = command.arg("--runtime-dir").arg(balancer.runtime()).output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn read_only_state_dir_at_start_serves_stored_state() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let Some(state) = Disk::mount(plan.state()) else { return };
    let mut balancer = plan.start().wait_until_started();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.wait_for_log(&["reloaded HAProxy"]);
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    state.remount("ro");
    balancer.start_again();
    balancer.wait_until_serves("a.test", "web saw /");
    let named = balancer.state().display().to_string();
    balancer.wait_for_log(&["WARN", &named, "is not writable"]);
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    // A second docker-balancer is still refused.
    let second = balancer.command().arg("--once").output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains("another docker-balancer"), "{text}");
}

#[test]
fn unwritable_state_dir_is_an_error_at_start() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let Some(disk) = Disk::mount(plan.state()) else { return };
    disk.remount("ro");
    for verb in ["--once", "--watch"] {
        let output = plan.command().arg(verb).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("docker-balancer: "), "{text}");
        assert!(text.contains(&plan.state().display().to_string()), "{text}");
    }
}
