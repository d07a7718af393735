//! An engine over ssh: its containers are served and followed, and a failed connection is reported with its reason.

use crate::common::{
    self, DEADLINE,
    balancer::{Balancer, BalancerPlan},
    sshd::Sshd,
    wait_for,
};
use std::{
    ffi::OsStr,
    net::TcpListener,
    process::{Command, Stdio},
    time::Instant,
};

/// Returns a balancer whose engine is reached only over ssh.
fn plan_over_ssh(sshd: &Sshd) -> Option<BalancerPlan> {
    let plan = Balancer::plan(&common::find_docker()?).env("PATH", sshd.path());
    Some(plan.option(&["--docker-url", &sshd.url()]))
}

#[test]
fn containers_over_ssh_are_followed_after_lost_connection() {
    let Some(sshd) = Sshd::start() else { return };
    let Some(plan) = plan_over_ssh(&sshd) else { return };
    let first = plan.run("first").labels("glue_http_80_host=first.test").start();
    let balancer = plan.option(&["-v"]).start().wait_until_started();
    balancer.assert_serves(&[("first.test/x", "first saw /x")]);

    let second = balancer.run("second").labels("glue_http_80_host=second.test").start();
    balancer.wait_until_serves("second.test/", "second saw /");

    sshd.close_connections();
    balancer.wait_for_log(&["lost connection to Docker", &sshd.url()]);
    balancer.wait_for_log(&["ssh ", "closed by remote host"]);
    balancer.wait_for_log(&["connected to Docker again"]);
    balancer.assert_serves(&[("first.test/", "first saw /"), ("second.test/", "second saw /")]);
    let third = balancer.run("third").labels("glue_http_80_host=third.test").start();
    balancer.wait_until_serves("third.test/", "third saw /");
    drop((first, second));
    balancer.wait_until_all_serve(&[("first.test/", "503"), ("second.test/", "503")]);
    drop(third);
}

#[test]
fn engine_that_is_reached_again_at_another_address_has_its_containers_there() {
    let Some(sshd) = Sshd::start() else { return };
    let Some(docker) = common::find_docker() else { return };
    sshd.place_host("127.0.0.1");
    let plan = Balancer::plan(&docker).env("PATH", sshd.path());
    let plan = plan.option(&["--docker-url", &sshd.url_by_name(), "--address", "published"]);
    let web = plan.run("web").option(&["--publish", "80"]).labels("glue_http_80_host=web.test");
    let _web = web.start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("web.test/", "web saw /");
    let has = |address: &str| {
        let state = balancer.ask_haproxy("show servers state web.test:80");
        state.lines().any(|line| line.contains("-web-") && line.contains(address))
    };
    assert!(has(" 127.0.0.1 "));
    sshd.place_host("127.0.0.2");
    sshd.close_connections();
    balancer.wait_for_log(&["connected to Docker again"]);
    balancer.wait_for_log(&["has another address now"]);
    wait_for("the other address", || has(" 127.0.0.2 ").then_some(()));
    balancer.wait_until_serves("web.test/", "web saw /");
}

#[test]
fn many_containers_open_few_ssh_connections() {
    // One more concurrent login than docker-balancer uses. With further ones sshd would drop all of them.
    let Some(sshd) = Sshd::start_with("MaxStartups 5:100:5\n") else { return };
    let Some(plan) = plan_over_ssh(&sshd) else { return };
    let run = |number: u32| plan.run("web").labels(&format!("glue_http_80_host={number}.test"));
    let _fleet = common::start_all((0..8).map(run).collect());
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_all_serve(&[("0.test/", "web saw /"), ("7.test/", "web saw /")]);
    assert!(!balancer.log().contains("away"), "{}", balancer.log());
}

#[test]
fn docker_host_accepts_an_ssh_url() {
    let Some(sshd) = Sshd::start() else { return };
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _web = plan.run("web").labels("glue_http_80_host=a.test").start();
    let balancer = plan.env("PATH", sshd.path()).env("DOCKER_HOST", sshd.url()).start();
    balancer.wait_until_started().assert_serves(&[("a.test/", "web saw /")]);
}

/// Runs `-1`, which must fail soon with all of these texts.
fn assert_start_fails(plan: &BalancerPlan, path: &OsStr, url: &str, words: &[&str]) {
    let mut command: Command = plan.command();
    command.args(["-1", "--docker-url", url]).env("PATH", path);
    let begin = Instant::now();
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(begin.elapsed() < DEADLINE, "it hung: {text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
    for word in words.iter().chain(&[url]) {
        assert!(text.contains(word), "{word:?} is not said: {text}");
    }
}

#[test]
fn ssh_failure_reports_its_cause() {
    let Some(sshd) = Sshd::start() else { return };
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let (path, url) = (sshd.path(), sshd.url());

    sshd.know_host("none");
    assert_start_fails(
        &plan,
        &path,
        &url,
        &["Host key verification failed", "log in once manually"],
    );
    sshd.know_host("stranger.pub");
    assert_start_fails(
        &plan,
        &path,
        &url,
        &["Host key verification failed", "log in once manually"],
    );
    sshd.know_host("host.pub");
    sshd.use_key("stranger");
    assert_start_fails(&plan, &path, &url, &["Permission denied", "without a password"]);
    sshd.use_key("user");

    assert_start_fails(&plan, OsStr::new("/nonexistent"), &url, &["ssh is not in PATH"]);
    assert_start_fails(&plan, &path, "ssh://127.0.0.1:1", &["Connection refused"]);
    assert_start_fails(&plan, &path, "ssh://nowhere.invalid", &["Could not resolve"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ssh://{}", silent.local_addr().unwrap());
    assert_start_fails(&plan, &path, &url, &["timed out"]);
}

#[test]
fn ssh_host_without_docker_is_reported() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let Some(sshd) = Sshd::start_with("ForceCommand /nonexistent/docker system dial-stdio\n")
    else {
        return;
    };
    assert_start_fails(&plan, &sshd.path(), &sshd.url(), &["/nonexistent/docker"]);
    let Some(sshd) =
        Sshd::start_with("ForceCommand docker -H unix:///none.sock system dial-stdio\n")
    else {
        return;
    };
    assert_start_fails(&plan, &sshd.path(), &sshd.url(), &["/none.sock"]);
    // An account whose command answers with text that is not HTTP.
    let Some(sshd) = Sshd::start_with("ForceCommand echo this account is not for logins\n") else {
        return;
    };
    assert_start_fails(&plan, &sshd.path(), &sshd.url(), &["invalid HTTP"]);
}
