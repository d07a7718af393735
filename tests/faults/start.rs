//! Starts of docker-balancer: once, next to another instance, with a base file, and with an HAProxy of another service.

use crate::{
    common::{
        self,
        balancer::{Balancer, BalancerPlan, free_port},
    },
    crash::worker_pid,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

const HOST: &str = "glue_http_80_host";

fn output_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn second_balancer_on_the_same_state_does_not_start() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    let holder = format!("another docker-balancer (pid {}) has locked ", balancer.pid());
    for verb in ["--once", "--watch"] {
        let second = balancer.command().arg(verb).output().unwrap();
        let text = output_text(&second);
        assert_eq!(second.status.code(), Some(1), "{text}");
        assert!(text.contains(&holder) && text.contains("--state-dir"), "{text}");
    }
    assert_eq!(balancer.get("a.test").to_string(), "web saw /");
}

fn apply_once(plan: &BalancerPlan) -> String {
    let output = plan.command().arg("--once").output().unwrap();
    let text = output_text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

#[test]
fn once_leaves_haproxy_running_and_repeats_without_change() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let web = plan.run("web").label(HOST, "a.test").start();
    let first = apply_once(&plan);
    assert!(first.contains("started HAProxy"), "{first}");
    let pids = (plan.master_pid(), worker_pid(&plan));
    let second = apply_once(&plan);
    assert!(second.contains("adopted") && !second.contains("loaded HAProxy"), "{second}");
    assert_eq!((plan.master_pid(), worker_pid(&plan)), pids);

    let nowhere = "unix:///nonexistent/docker.sock";
    let failed = plan.command().args(["--once", "--docker-url", nowhere]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", output_text(&failed));
    assert!(output_text(&failed).contains(nowhere), "{}", output_text(&failed));
    let neither = plan.command().output().unwrap();
    assert_eq!(neither.status.code(), Some(2), "{}", output_text(&neither));

    let other = plan.run("other").label(HOST, "b.test").start();
    let balancer = plan.start();
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test", "other saw /")]);
    assert_eq!(balancer.master_pid(), pids.0, "it is adopted");
    drop((web, other));
}

#[test]
fn rejected_base_file_is_reported_and_last_good_one_serves() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.cfg");
    let good = fs::read_to_string("examples/base.cfg").unwrap();
    let good = good.replace(":5000", &format!(":{}", free_port()));
    fs::write(&base, &good).unwrap();
    let mut balancer =
        Balancer::plan(&docker).option(&["--base-file", base.to_str().unwrap()]).start();
    let _web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    balancer.stop_with(Signal::SIGKILL);
    fs::write(&base, good.replace("hard-stop-after", "hard-coffee-after")).unwrap();
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.start_again();
    let named = [
        "ERROR",
        base.to_str().unwrap(),
        "hard-coffee-after",
        "the previous configuration is still served",
    ];
    balancer.wait_for_log(&named);
    assert_eq!(balancer.get("a.test").to_string(), "web saw /");
    // The new route needs no reload.
    balancer.wait_until_serves("b.test", "late saw /");
    balancer.stop_with(Signal::SIGKILL);
    fs::write(&base, good).unwrap();
    balancer.start_again();
    balancer.wait_until_all_serve(&[("a.test", "web saw /"), ("b.test", "late saw /")]);
}

/// An HAProxy that docker-balancer does not start but only reloads.
struct Service(Child);

impl Service {
    fn start(folder: &Path, config: &str) -> Self {
        fs::write(folder.join("haproxy.cfg"), config).unwrap();
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-W").arg("-S").arg(folder.join("master.sock"));
        haproxy.arg("-f").arg(folder.join("haproxy.cfg"));
        Self(haproxy.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let group = Pid::from_raw(-i32::try_from(self.0.id()).unwrap());
        let _ = kill(group, Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

#[test]
fn service_is_reloaded_and_its_own_configuration_kept() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let config = format!(
        "# Written by hand.\ndefaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  \
         timeout connect 1s\nfrontend mine\n  bind 127.0.0.1:{}\n",
        free_port()
    );
    let (config_file, master) = (file("haproxy.cfg"), file("master.sock"));
    let _service = Service::start(folder.path(), &config);
    let mut balancer = Balancer::plan(&docker)
        .option(&["--haproxy", "service", "--config-file", &config_file])
        .option(&["--master-socket", &master, "--wait-for-start", "1s"])
        .start();
    let web = balancer.run("web").label(HOST, "a.test").start();
    balancer.wait_until_serves("a.test", "web saw /");
    let _late = balancer.run("late").label(HOST, "b.test").start();
    balancer.wait_until_serves("b.test", "late saw /");
    let backup = file("haproxy.cfg.before-docker-glue");
    assert_eq!(fs::read_to_string(&backup).unwrap(), config);
    balancer.wait_for_log(&["WARN", "it was saved as", &backup]);
    assert_eq!(balancer.log().matches("it was saved as").count(), 1, "{}", balancer.log());
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    assert_eq!(balancer.get("a.test").to_string(), "web saw /");
    balancer.start_again();
    drop(web);
    balancer.wait_until_serves("a.test", "503");
    assert_eq!(balancer.log().matches("it was saved as").count(), 1, "{}", balancer.log());
}
