//! What a container can do to another container's route, with a real engine and a real HAProxy.

use crate::common::{
    self, Container, Docker,
    balancer::{Balancer, BalancerPlan, free_port},
    unique_name, wait_for,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

const HOST: &str = "glue_http_80_host=victim.test";

fn run_victim(plan: &BalancerPlan, name: &str, more: &str) -> Container {
    let service = "com.docker.compose.project=bank com.docker.compose.service=web";
    let container = plan.run(name).labels(&format!("{HOST} {service} {more}")).start();
    // A list gives the creation time in seconds only. The next container must be younger from its first list on.
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let then = second();
    wait_for("another second", || (then < second()).then_some(()));
    container
}

fn run_attacker(plan: &BalancerPlan, more: &str) -> Container {
    plan.run("evil").labels(&format!("com.docker.compose.project=evil {more}")).start()
}

/// Checks that this container serves all requests, and that the attacker never was in the route.
fn assert_served_by(balancer: &Balancer, name: &str) {
    balancer.wait_until_shared("victim.test/", &[name]);
    let spread = balancer.count_answers("victim.test/", 20);
    assert_eq!(spread, BTreeMap::from([(name.to_owned(), 20)]));
    let log = balancer.log();
    let is_evil = |line: &&str| line.contains("victim.test:80/ →") && line.contains("-evil");
    assert_eq!(log.lines().find(is_evil), None, "{log}");
}

#[test]
fn waiting_attacker_gets_no_request_during_redeployment() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let first = run_victim(&plan, "first", "");
    let _evil = run_attacker(&plan, &format!("{HOST} glue_http_80_timeout=61s"));
    let mut balancer = plan.start().wait_until_started();
    assert_served_by(&balancer, "first");

    // The victim is recreated.
    drop(first);
    balancer.wait_for_log(&["-evil (", "victim.test:80/ was last served by service bank/web"]);
    let second = run_victim(&balancer, "second", "");
    assert_served_by(&balancer, "second");

    // The victim is replaced by a rolling update with other options.
    let _third = run_victim(&balancer, "third", "glue_http_80_timeout=2m");
    balancer.wait_for_log(&["-third (", "is served by the older container", "-second ("]);
    drop(second);
    assert_served_by(&balancer, "third");

    // docker-balancer is restarted.
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    balancer.start_again();
    assert_served_by(&balancer, "third");
}

#[test]
fn container_with_30_ports_gets_8_servers() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let _victim = run_victim(&plan, "victim", "");
    let port = |port: u16| format!("glue_http_{port}_host=victim.test glue_http_{port}_bind=80");
    let ports: Vec<_> = (8001..8031).map(port).collect();
    let _evil = run_attacker(&plan, &ports.join(" "));
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&[
        "WARN",
        "-evil (",
        "30 ports of the container request victim.test:80/",
    ]);
    let servers = balancer.ask_haproxy("show servers state victim.test:80");
    assert_eq!(servers.lines().filter(|line| line.contains("-evil-")).count(), 8, "{servers}");
}

#[test]
fn owned_host_admits_no_foreign_server_or_path() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let plan = plan.option(&["--own-hosts-by", "com.docker.compose.project"]);
    let first = run_victim(&plan, "first", "");
    let _evil = run_attacker(&plan, &format!("{HOST} glue_http_80_weight=256"));
    let _path = run_attacker(&plan, &format!("{HOST} glue_http_80_prefix=login"));
    let mut balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&["WARN", "-evil (", "victim.test:80/login/", "project=bank"]);
    assert_served_by(&balancer, "first");
    balancer.assert_serves(&[("victim.test/login", "first saw /login")]);

    let _second = run_victim(&balancer, "second", "");
    balancer.wait_until_shared("victim.test/", &["first", "second"]);
    drop(first);
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    balancer.start_again();
    assert_served_by(&balancer, "second");
    balancer.assert_serves(&[("victim.test/login", "second saw /login")]);
}

#[test]
fn reserved_host_requires_its_label() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let reservation = "victim.test if com.docker.compose.project=bank";
    let plan = plan.option(&["--allow-hosts", "*", "--allow-hosts", reservation]);
    let _evil = run_attacker(&plan, "glue_http_80_host=victim.test,evil.test");
    let _victim = run_victim(&plan, "victim", "");
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&["WARN", "-evil (", "\"victim.test\" is reserved by --allow-hosts"]);
    balancer.assert_serves(&[("evil.test/", "evil saw /")]);
    assert_served_by(&balancer, "victim");
}

#[test]
fn host_network_container_cannot_publish_the_dashboard_port() {
    let Some(docker) = common::find_docker() else { return };
    let (dashboard, own) = (free_port(), free_port());
    let at = dashboard.to_string();
    let plan = Balancer::plan(&docker).option(&["--dashboard", &at]);
    let label =
        |port: u16, host: &str| format!("glue_http_{port}_host={host} glue_http_{port}_bind=80");
    let labels = format!("{} {}", label(dashboard, "localhost"), label(own, "own.test"));
    let run = plan.run("evil").labels(&labels).env("WHOAMI_PORT", own);
    let _evil = run.bare().option(&["--network", "host"]).start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&["WARN", "-evil (", &format!("port {dashboard} is not served")]);
    balancer.wait_until_serves("own.test/", "evil saw /");
    balancer.assert_serves(&[("localhost/", "404")]);
}

/// An image of whoami with its own labels, which is removed when it is dropped.
struct Image {
    docker: Docker,
    name: String,
}

impl Image {
    fn with_labels(docker: &Docker, labels: &str) -> Self {
        let image = Self { docker: docker.clone(), name: unique_name("image") };
        let base = docker.run("base").create();
        let changes = labels.split_whitespace().map(|label| format!("--change=LABEL {label}"));
        let changes: Vec<_> = changes.collect();
        let words = changes.iter().map(String::as_str).chain([base.id.as_str(), &image.name]);
        docker.run_docker(&[&["commit"], &*words.collect::<Vec<_>>()].concat());
        image
    }

    fn remove(&self) {
        let _ = self.docker.command(&["rmi", "--force", &self.name]).output();
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        self.remove();
    }
}

const PROJECT: &str = "com.docker.compose.project=bank com.docker.compose.service=web";

#[test]
fn image_does_not_forge_the_owner_of_a_host_where_its_labels_do_not_count() {
    let Some(docker) = common::find_docker() else { return };
    let image = Image::with_labels(&docker, &format!("{PROJECT} {HOST}"));
    let all = Image::with_labels(&docker, "glue_http_80_host=image.test");
    let plan = Balancer::plan(&docker);
    let plan = plan.option(&["--own-hosts-by", "com.docker.compose.project"]);
    let _victim = run_victim(&plan, "victim", "");
    let forged = |name: &str, plan: &BalancerPlan| {
        plan.run(name).image(&image.name).labels("glue_http_80_weight=256").start()
    };
    let _evil = forged("evil", &plan);
    let _all = plan.run("all").image(&all.name).start();
    let mut balancer = plan.start().wait_until_started();
    // Labels of images apply by default.
    balancer.wait_until_shared("victim.test/", &["victim", "evil"]);
    balancer.assert_serves(&[("image.test/", "all saw /")]);
    assert!(balancer.stop_with(Signal::SIGTERM).success());

    let state = balancer.state();
    drop(balancer);
    assert!(!state.exists());
    let plan = Balancer::plan(&docker).option(&["--image-labels", "off"]);
    let plan = plan.option(&["--own-hosts-by", "com.docker.compose.project"]);
    let _victim = run_victim(&plan, "victim", "");
    let _first = forged("evil", &plan);
    let balancer = plan.start().wait_until_started();
    assert_served_by(&balancer, "victim");
    // A container of a known image, one of a new image, and one with its own label.
    let _second = forged("second-evil", &balancer);
    let _all = balancer.run("all").image(&all.name).start();
    let host = "glue_http_80_host=own.test";
    let _own = balancer.run("own").image(&all.name).labels(host).start();
    balancer.wait_until_serves("own.test/", "own saw /");
    balancer.wait_until_serves("image.test/", "404");
    assert_served_by(&balancer, "victim");
    let _waits = balancer
        .run("waits")
        .image(&image.name)
        .label("glue_http_80_host", "victim.test,x.test")
        .start();
    balancer.wait_for_log(&["WARN", "-waits (", "victim.test:80/", "project=bank"]);
    assert_served_by(&balancer, "victim");

    let plan = balancer.command().arg("plan").output().unwrap();
    let text = String::from_utf8_lossy(&plan.stdout);
    assert!(text.contains("Nothing would change"), "{text}");
}

#[test]
fn container_whose_image_is_gone_is_not_served_and_reported() {
    let Some(docker) = common::find_docker() else { return };
    let image = Image::with_labels(&docker, "a=b");
    let plan = Balancer::plan(&docker).option(&["--image-labels", "off"]);
    let lost = plan.run("lost").image(&image.name).labels("glue_http_80_host=lost.test").create();
    image.remove();
    let _there = plan.run("there").labels("glue_http_80_host=there.test").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("there.test/", "there saw /");
    lost.docker(&["start"]);
    balancer.wait_for_log(&[
        "WARN",
        "-lost (",
        "all labels are ignored",
        "Docker no longer has image sha256:",
    ]);
    balancer.assert_serves(&[("lost.test/", "404"), ("there.test/", "there saw /")]);
}

#[test]
fn owner_and_reservation_go_by_any_label() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).option(&["--own-hosts-by", "team"]);
    let plan = plan.option(&["--allow-hosts", "*", "--allow-hosts", "vault.test if team=a"]);
    let labels = |host: &str, team: &str| format!("glue_http_80_host={host}.test team={team}");
    let _first = plan.run("first").labels(&labels("app", "a")).start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_until_serves("app.test/", "first saw /");
    let _second = balancer.run("second").labels(&labels("app", "a")).start();
    let _vault = balancer.run("vault").labels(&labels("vault", "a")).start();
    let _third = balancer.run("third").labels(&labels("app", "b")).start();
    let _fourth = balancer.run("fourth").labels(&labels("vault", "b")).start();
    balancer.wait_until_shared("app.test/", &["first", "second"]);
    balancer.wait_until_serves("vault.test/", "vault saw /");
    balancer.wait_for_log(&["WARN", "-third (", "app.test:80/", "team=a"]);
    balancer.wait_for_log(&["WARN", "-fourth (", "\"vault.test\" is reserved by --allow-hosts"]);
}
