//! docker-glue's publisher with a real engine and a real etcd.
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Container, Docker,
    etcd::Etcd,
    glue::{Glue, Plan},
    unique, wait_for,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::ExitStatus;

/// A publisher, its etcd and a node of the test's own.
struct Node {
    name: String,
    glue: Plan,
}

impl Node {
    fn of(docker: &Docker, etcd: &Etcd, params: &str) -> Self {
        let name = unique("node");
        let url = etcd.url();
        let text =
            format!("[handler]\nclass=publish\n[params]\nendpoints={url}\nnode={name}\n{params}\n");
        Self { glue: Glue::of(docker).file("publish.ini", &text), name }
    }

    fn prefix(&self) -> String {
        prefix(&self.name)
    }

    fn start(self) -> (Glue, String) {
        let prefix = self.prefix();
        (self.glue.start(), prefix)
    }
}

/// Publishes once, and says how that ended, and what was said.
fn once(glue: &Plan) -> (ExitStatus, String) {
    let output = glue.run(&["-1"]);
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn prefix(node: &str) -> String {
    format!("/docker-glue/{node}/containers/")
}

/// Waits until the container's key holds something for which this is true, and returns it.
fn until_holds(
    etcd: &Etcd,
    prefix: &str,
    container: &Container,
    is: impl Fn(&Value) -> bool,
) -> Value {
    let key = format!("{prefix}{}", container.id);
    wait_for(&format!("what {} holds", container.name), || {
        serde_json::from_str(&etcd.get(&key)).ok().filter(&is)
    })
}

fn until_published(etcd: &Etcd, prefix: &str, container: &Container) -> Value {
    until_holds(etcd, prefix, container, |_| true)
}

fn until_gone(etcd: &Etcd, prefix: &str, container: &Container) {
    let key = format!("{prefix}{}", container.id);
    wait_for(&format!("{} is gone", container.name), || etcd.get(&key).is_empty().then_some(()));
}

fn until_empty(etcd: &Etcd, prefix: &str) {
    wait_for(&format!("{prefix} is empty"), || etcd.keys(prefix).is_empty().then_some(()));
}

fn is_called(container: &str) -> impl Fn(&Value) -> bool + '_ {
    move |said| said["Name"] == format!("/{container}")
}

#[test]
fn containers_are_keys_while_they_run_on_two_nodes() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let before = docker.run("before").env("SECRET", "hidden").label("a", "b").start();
    let created = docker.run("created").create();
    let (mut one, first) = Node::of(&docker, &etcd, "").start();
    let stopped_too = Node::of(&docker, &etcd, "include_stopped=yes\nomit=none");
    let (mut two, second) = stopped_too.start();

    let said = until_published(&etcd, &first, &before);
    assert_eq!(said["Config"]["Labels"]["a"], "b");
    assert_eq!(said["State"]["Running"], true);
    assert!(said["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].is_string(), "{said}");
    assert!(!said.to_string().contains("hidden"), "{said}");
    let all = until_published(&etcd, &second, &before);
    assert!(all["Config"]["Env"].to_string().contains("SECRET=hidden"), "{all}");
    until_published(&etcd, &second, &created);
    assert_eq!(etcd.get(&format!("{first}{}", created.id)), "");

    let later = docker.run("later").start();
    until_published(&etcd, &first, &later);
    let renamed = unique("renamed");
    docker.cli(&["rename", &later.name, &renamed]);
    until_holds(&etcd, &first, &later, is_called(&renamed));
    docker.cli(&["rename", &renamed, &later.name]);
    until_holds(&etcd, &first, &later, is_called(&later.name));
    later.docker(&["kill"]);
    until_gone(&etcd, &first, &later);
    until_holds(&etcd, &second, &later, |said| said["State"]["Running"] == false);
    later.docker(&["start"]);
    until_published(&etcd, &first, &later);

    // A clean stop takes its own, and nobody else's.
    assert!(one.end(Signal::SIGTERM).success(), "{}", one.log());
    assert_eq!(etcd.keys(&first), [] as [String; 0]);
    assert!(etcd.keys(&second).contains(&format!("{second}{}", before.id)));
    // One that was there before is as if it had not been away, and knows what went meanwhile.
    one.start_again();
    until_published(&etcd, &first, &before);
    two.end(Signal::SIGKILL);
    drop(later);
    let gone = format!("{second}{}", before.id);
    assert!(!etcd.get(&gone).is_empty(), "the lease lasts for 30s");
    two.start_again();
    two.until_said(&["wrote"]);
    until_published(&etcd, &second, &before);
    drop(before);
    wait_for("a removed container's key goes", || etcd.get(&gone).is_empty().then_some(()));
}

#[test]
fn a_container_that_is_being_stopped_says_so_until_it_has_ended() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    // Nothing ends it but SIGKILL.
    let web =
        docker.run("web").option(&["--stop-signal", "SIGWINCH", "--stop-timeout", "5"]).start();
    let (_glue, prefix) = Node::of(&docker, &etcd, "").start();
    let said = until_published(&etcd, &prefix, &web);
    assert_eq!(said.get("leaving"), None);
    web.docker(&["kill", "--signal", "SIGCONT"]);
    web.docker(&["kill", "--signal", "SIGWINCH"]);
    let said = until_holds(&etcd, &prefix, &web, |said| said["leaving"] == true);
    assert_eq!(said["State"]["Running"], true);
    // It stays after all.
    until_holds(&etcd, &prefix, &web, |said| said.get("leaving").is_none());
    web.docker(&["kill", "--signal", "SIGWINCH"]);
    until_holds(&etcd, &prefix, &web, |said| said["leaving"] == true);
    web.docker(&["restart", "--time", "0"]);
    until_holds(&etcd, &prefix, &web, |said| said.get("leaving").is_none());
    web.docker(&["kill", "--signal", "SIGWINCH"]);
    until_holds(&etcd, &prefix, &web, |said| said["leaving"] == true);
    web.docker(&["kill"]);
    until_gone(&etcd, &prefix, &web);
}

#[test]
fn a_lease_outlives_a_restart_and_nothing_is_written_anew() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (mut glue, prefix) = Node::of(&docker, &etcd, "on_stop=keep").start();
    until_published(&etcd, &prefix, &web);
    let key = format!("{prefix}{}", web.id);
    let held = || {
        let json = etcd.ctl(&["get", "--write-out=json", &key]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let held = &json["kvs"][0];
        [&held["lease"], &held["version"], &held["mod_revision"]].map(ToString::to_string)
    };
    let before = held();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        glue.end(signal);
        glue.start_again();
        // It has looked at its keys when it publishes another one.
        let next = docker.run("next").start();
        until_published(&etcd, &prefix, &next);
        assert_eq!(held(), before, "{signal}");
    }
    // With another ttl it is another lease.
    let text = glue.read("docker-glue.d/publish.ini");
    glue.put("docker-glue.d/publish.ini", &(text + "ttl=20s\n"));
    glue.reload();
    wait_for("another lease", || (held()[0] != before[0]).then_some(()));
}

#[test]
fn a_dead_node_s_keys_end_with_their_lease_and_those_of_a_single_run_too() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (mut dead, prefix) = Node::of(&docker, &etcd, "ttl=2s").start();
    let (_alive, other) = Node::of(&docker, &etcd, "ttl=2s").start();
    let (mut kept, keeps) = Node::of(&docker, &etcd, "ttl=3s\non_stop=keep").start();
    for prefix in [&prefix, &other, &keeps] {
        until_published(&etcd, prefix, &web);
    }
    dead.end(Signal::SIGKILL);
    assert!(kept.end(Signal::SIGTERM).success());
    assert!(kept.log().contains("the keys stay for up to 3s"), "{}", kept.log());
    until_empty(&etcd, &prefix);
    until_empty(&etcd, &keeps);
    assert!(!etcd.keys(&other).is_empty(), "a living one's lease is kept alive");

    let single = Node::of(&docker, &etcd, "ttl=3s");
    let (status, log) = once(&single.glue);
    assert!(status.success(), "{log}");
    until_published(&etcd, &single.prefix(), &web);
    until_empty(&etcd, &single.prefix());
}

#[test]
fn etcd_may_be_away_and_come_back_with_its_data_or_without() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    let web = docker.run("web").start();
    // The first endpoint never answers.
    let nobody = format!("http://127.0.0.1:{}", common::balancer::free_port());
    let name = unique("node");
    let text = format!(
        "[handler]\nclass=publish\n[params]\nendpoints={nobody},{}\nnode={name}\nttl=60s\n",
        etcd.url()
    );
    let other = "[handler]\nclass=script\nevents=start\n[params]\nscript=/bin/true\n";
    let plan = Glue::of(&docker).file("publish.ini", &text).file("script.ini", other);
    let (status, log) = once(&plan);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("not published: ") && log.contains(&etcd.url()), "{log}");

    let glue = plan.start();
    let prefix = prefix(&name);
    glue.until_said(&["not published: ", &nobody, &etcd.url()]);
    etcd.start();
    glue.until_said(&["etcd is back"]);
    until_published(&etcd, &prefix, &web);

    // What happens while it is away is there when it is back.
    let lease = |etcd: &Etcd| etcd.ctl(&["lease", "list"]);
    let before = lease(&etcd);
    etcd.kill();
    let late = docker.run("late").start();
    let key = format!("{prefix}{}", web.id);
    drop(web);
    glue.until_said(&["not published", &etcd.url(), "(os error"]);
    etcd.start();
    until_published(&etcd, &prefix, &late);
    wait_for("the key goes", || etcd.get(&key).is_empty().then_some(()));
    assert_eq!(lease(&etcd), before, "it is the same lease");

    etcd.kill();
    etcd.forget();
    etcd.start();
    let next = docker.run("next").start();
    until_published(&etcd, &prefix, &next);
    until_published(&etcd, &prefix, &late);
    assert_ne!(lease(&etcd), before);
    assert!(glue.log().contains("the lease has ended"), "{}", glue.log());
    let loud = glue.log().matches("trying again until it is").count();
    assert!((1..=3).contains(&loud), "each outage is told once:\n{}", glue.log());
}

#[test]
fn what_others_do_to_the_keys_is_put_right_and_what_is_too_large_costs_itself() {
    let Some(docker) = common::docker() else { return };
    let Some(etcd) = Etcd::new() else { return };
    let mut etcd = etcd.option(&["--max-request-bytes", "65536"]);
    etcd.start();
    let web = docker.run("web").start();
    let huge = docker.run("huge").label("huge", "x".repeat(70_000)).start();
    let (glue, prefix) = Node::of(&docker, &etcd, "ttl=2s").start();
    let said = until_published(&etcd, &prefix, &web);
    let short = &huge.id[..12];
    glue.until_said(&["container", short, "is left out"]);

    let key = |name: &str| format!("{prefix}{name}");
    etcd.ctl(&["put", &key(&web.id), "nonsense"]);
    etcd.ctl(&["put", &key("stranger"), "nonsense"]);
    wait_for("the stranger goes", || etcd.get(&key("stranger")).is_empty().then_some(()));
    assert_eq!(until_published(&etcd, &prefix, &web)["Id"], said["Id"]);
    glue.until_said(&["somebody else writes under", "2 keys"]);
    etcd.ctl(&["del", &key(&web.id)]);
    until_published(&etcd, &prefix, &web);

    // A lease that an administrator revokes.
    let leases = etcd.ctl(&["lease", "list"]);
    etcd.ctl(&["lease", "revoke", leases.lines().last().unwrap()]);
    glue.until_said(&["the lease has ended"]);
    until_published(&etcd, &prefix, &web);
    assert_eq!(glue.log().matches("is left out").count(), 1, "{}", glue.log());
    assert!(!glue.log().contains("not published"), "{}", glue.log());
}

#[test]
fn tls_and_a_user_with_few_rights_are_enough() {
    let Some(docker) = common::docker() else { return };
    let Some(etcd) = Etcd::new() else { return };
    let mut etcd = etcd.with_tls();
    etcd.start();
    let file = |name: &str| etcd.file(name).display().to_string();
    let certificates = format!(
        "ca_file={}\ncert_file={}\nkey_file={}\n",
        file("ca.pem"),
        file("cert.pem"),
        file("key.pem")
    );
    std::fs::write(file("password"), "hidden\n").unwrap();
    let who = format!("user=glue\npassword_file={}\n", file("password"));
    let allowed = Node::of(&docker, &etcd, &format!("{certificates}{who}"));
    let wrong = Node::of(&docker, &etcd, &format!("{certificates}user=glue\npassword=guessed\n"));
    let forbidden = Node::of(&docker, &etcd, &format!("{certificates}{who}"));
    let stranger = Node::of(&docker, &etcd, &who);
    for words in [
        &["role", "add", "root"][..],
        &["user", "add", "root:admin"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "glue"],
        &["role", "grant-permission", "glue", "readwrite", "--prefix", &allowed.prefix()],
        &["user", "add", "glue:hidden"],
        &["user", "grant-role", "glue", "glue"],
        &["auth", "enable"],
    ] {
        etcd.ctl(words);
    }
    etcd.speak("--user=root:admin");

    let web = docker.run("web").start();
    for (node, told) in [
        (wrong, "invalid user ID or password"),
        (forbidden, "permission denied"),
        (stranger, "nown"),
    ] {
        let (status, log) = once(&node.glue);
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(told) && log.contains(&etcd.url()), "{log}");
        assert!(!log.contains("hidden") && !log.contains("guessed"), "{log}");
        assert_eq!(etcd.keys(&node.prefix()), [] as [String; 0]);
    }
    let (mut glue, prefix) = allowed.start();
    until_published(&etcd, &prefix, &web);

    // A restart forgets tokens.
    etcd.kill();
    etcd.start();
    let late = docker.run("late").start();
    until_published(&etcd, &prefix, &late);
    assert!(glue.end(Signal::SIGTERM).success(), "{}", glue.log());
    assert_eq!(etcd.keys(&prefix), [] as [String; 0]);
    assert!(!glue.log().contains("hidden"), "{}", glue.log());
}

#[test]
fn a_hanging_etcd_holds_no_stop_up() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (mut glue, prefix) = Node::of(&docker, &etcd, "").start();
    until_published(&etcd, &prefix, &web);
    etcd.hang();
    let late = docker.run("late").start();
    glue.until_said(&["not published", "within 5s"]);
    assert!(glue.end(Signal::SIGTERM).success(), "{}", glue.log());
    glue.until_said(&["the keys stay for up to 30s"]);
    drop(late);
}

#[test]
fn a_file_that_changes_moves_the_keys_and_one_that_goes_takes_them_along() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (glue, prefix) = Node::of(&docker, &etcd, "").start();
    until_published(&etcd, &prefix, &web);
    let other = unique("node");
    let moved =
        format!("[handler]\nclass=publish\n[params]\nendpoints={}\nnode={other}\n", etcd.url());
    glue.put("docker-glue.d/publish.ini", &moved);
    glue.reload();
    until_published(&etcd, &self::prefix(&other), &web);
    until_empty(&etcd, &prefix);

    // The same keys, by another handler: those of before it do not go with the one before it.
    glue.put("docker-glue.d/publish.ini", &format!("{moved}ttl=20s\n"));
    glue.reload();
    glue.until_said(&["the keys are removed"]);
    until_published(&etcd, &self::prefix(&other), &web);
    glue.put("docker-glue.d/publish.ini", "[handler]\nclass=publish\nenabled=0\n");
    glue.reload();
    until_empty(&etcd, &self::prefix(&other));
}

#[test]
fn the_example_publishes_under_the_engine_s_own_name() {
    let Some(docker) = common::docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let example = include_str!("../examples/docker-glue.d/publish.ini.example");
    let text = example.replace("http://127.0.0.1:2379", &etcd.url());
    let mut glue = Glue::of(&docker).file("publish.ini", &text).start();
    let node = prefix(&docker.cli(&["info", "--format", "{{.Name}}"]));
    until_published(&etcd, &node, &web);
    glue.end(Signal::SIGTERM);

    // As Docker Glue's own example is written.
    let url = etcd.url();
    let (host, port) = url.trim_start_matches("http://").split_once(':').unwrap();
    let old = format!(
        "[handler]\nclass=DockerGlue.handlers.publishers.distconfig.Publisher\nevents=all,none\nenabled=1\n\n\
         [params]\nclass=distconfig.backends.etcd.EtcdBackend\nclientParams={{\"host\": ((\"{host}\", {port}),)}}\n"
    );
    let _glue = Glue::of(&docker).file("publisher.ini", &old).start();
    until_published(&etcd, &node, &web);
}
