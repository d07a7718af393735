//! docker-glue's publisher with a real engine and a real etcd.

use crate::common::{
    self, Container, Docker,
    etcd::Etcd,
    glue::{Glue, GluePlan},
    unique_name, wait_for,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::ExitStatus;

/// A publisher with its etcd and its own node name.
struct Node {
    name: String,
    glue: GluePlan,
}

impl Node {
    fn new(docker: &Docker, etcd: &Etcd, params: &str) -> Self {
        let name = unique_name("node");
        let url = etcd.url();
        let text =
            format!("[handler]\nclass=publish\n[params]\nendpoints={url}\nnode={name}\n{params}\n");
        Self { glue: Glue::plan(docker).file("publish.ini", &text), name }
    }

    fn key_prefix(&self) -> String {
        key_prefix(&self.name)
    }

    fn start(self) -> (Glue, String) {
        let prefix = self.key_prefix();
        (self.glue.start(), prefix)
    }
}

/// Publishes once, and returns the exit status and the log.
fn publish_once(glue: &GluePlan) -> (ExitStatus, String) {
    let output = glue.run(&["-1"]);
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn key_prefix(node: &str) -> String {
    format!("/docker-glue/{node}/containers/")
}

/// Waits until the container's key has a value that satisfies the condition, and returns the value.
fn wait_for_value(
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
    wait_for_value(etcd, prefix, container, |_| true)
}

fn until_gone(etcd: &Etcd, prefix: &str, container: &Container) {
    let key = format!("{prefix}{}", container.id);
    wait_for(&format!("{} is gone", container.name), || etcd.get(&key).is_empty().then_some(()));
}

/// Waits for a record of the container that satisfies the condition.
fn wait_for_record(
    etcd: &Etcd,
    node: &str,
    container: &Container,
    is: impl Fn(&Value) -> bool,
) -> Value {
    wait_for_value(etcd, &format!("/docker-glue/{node}/served/"), container, is)
}

fn read_alive(etcd: &Etcd, node: &str) -> Value {
    serde_json::from_str(&etcd.get(&format!("/docker-glue/{node}/alive"))).unwrap_or_default()
}

fn until_empty(etcd: &Etcd, prefix: &str) {
    wait_for(&format!("{prefix} is empty"), || etcd.keys(prefix).is_empty().then_some(()));
}

fn has_name(container: &str) -> impl Fn(&Value) -> bool + '_ {
    move |value| value["Name"] == format!("/{container}")
}

#[test]
fn running_containers_are_keys_of_their_node() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let before = docker.run("before").env("SECRET", "hidden").label("a", "b").start();
    let created = docker.run("created").create();
    let (mut one, first) = Node::new(&docker, &etcd, "").start();
    let stopped_too = Node::new(&docker, &etcd, "include_stopped=yes\nomit=none");
    let (mut two, second) = stopped_too.start();

    let value = until_published(&etcd, &first, &before);
    assert_eq!(value["Config"]["Labels"]["a"], "b");
    assert_eq!(value["State"]["Running"], true);
    assert!(value["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].is_string(), "{value}");
    assert!(!value.to_string().contains("hidden"), "{value}");
    let all = until_published(&etcd, &second, &before);
    assert!(all["Config"]["Env"].to_string().contains("SECRET=hidden"), "{all}");
    until_published(&etcd, &second, &created);
    assert_eq!(etcd.get(&format!("{first}{}", created.id)), "");

    let later = docker.run("later").start();
    until_published(&etcd, &first, &later);
    let renamed = unique_name("renamed");
    docker.run_docker(&["rename", &later.name, &renamed]);
    wait_for_value(&etcd, &first, &later, has_name(&renamed));
    docker.run_docker(&["rename", &renamed, &later.name]);
    wait_for_value(&etcd, &first, &later, has_name(&later.name));
    later.docker(&["kill"]);
    until_gone(&etcd, &first, &later);
    wait_for_value(&etcd, &second, &later, |value| value["State"]["Running"] == false);
    later.docker(&["start"]);
    until_published(&etcd, &first, &later);

    // A clean stop removes the publisher's own keys, but not those of other nodes.
    assert!(one.stop_with(Signal::SIGTERM).success(), "{}", one.log());
    assert_eq!(etcd.keys(&first), [] as [String; 0]);
    assert!(etcd.keys(&second).contains(&format!("{second}{}", before.id)));
    // After a restart the publisher's containers are published again, and containers that stopped in the meantime are
    // removed.
    one.start_again();
    until_published(&etcd, &first, &before);
    two.stop_with(Signal::SIGKILL);
    drop(later);
    let gone = format!("{second}{}", before.id);
    assert!(!etcd.get(&gone).is_empty(), "the lease lasts for 30s");
    two.start_again();
    two.wait_for_log(&["wrote"]);
    until_published(&etcd, &second, &before);
    drop(before);
    wait_for("a removed container's key goes", || etcd.get(&gone).is_empty().then_some(()));
}

#[test]
fn stopping_container_is_published_as_leaving() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    // Only SIGKILL ends this container.
    let web =
        docker.run("web").option(&["--stop-signal", "SIGWINCH", "--stop-timeout", "5"]).start();
    let (_glue, prefix) = Node::new(&docker, &etcd, "").start();
    let value = until_published(&etcd, &prefix, &web);
    assert_eq!(value.get("leaving"), None);
    web.docker(&["kill", "--signal", "SIGCONT"]);
    web.docker(&["kill", "--signal", "SIGWINCH"]);
    let value = wait_for_value(&etcd, &prefix, &web, |value| value["leaving"] == true);
    assert_eq!(value["State"]["Running"], true);
    // The container does not stop, and `leaving` is removed.
    wait_for_value(&etcd, &prefix, &web, |value| value.get("leaving").is_none());
    web.docker(&["kill", "--signal", "SIGWINCH"]);
    wait_for_value(&etcd, &prefix, &web, |value| value["leaving"] == true);
    web.docker(&["restart", "--time", "0"]);
    wait_for_value(&etcd, &prefix, &web, |value| value.get("leaving").is_none());
    web.docker(&["kill", "--signal", "SIGWINCH"]);
    wait_for_value(&etcd, &prefix, &web, |value| value["leaving"] == true);
    web.docker(&["kill"]);
    until_gone(&etcd, &prefix, &web);
}

#[test]
fn lease_survives_restart_without_rewriting_keys() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (mut glue, prefix) = Node::new(&docker, &etcd, "on_stop=keep").start();
    until_published(&etcd, &prefix, &web);
    let key = format!("{prefix}{}", web.id);
    let current = || {
        let json = etcd.run_etcdctl(&["get", "--write-out=json", &key]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let value = &json["kvs"][0];
        [&value["lease"], &value["version"], &value["mod_revision"]].map(ToString::to_string)
    };
    let before = current();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        glue.stop_with(signal);
        glue.start_again();
        // Once docker-glue publishes another key, it has read the existing ones.
        let next = docker.run("next").start();
        until_published(&etcd, &prefix, &next);
        assert_eq!(current(), before, "{signal}");
    }
    // A different ttl needs a new lease.
    let text = glue.read("docker-glue.d/publish.ini");
    glue.write_file("docker-glue.d/publish.ini", &(text + "ttl=20s\n"));
    glue.reload();
    wait_for("another lease", || (current()[0] != before[0]).then_some(()));
}

#[test]
fn keys_of_a_dead_node_or_single_run_expire_with_the_lease() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (mut dead, prefix) = Node::new(&docker, &etcd, "ttl=2s").start();
    let (_alive, other) = Node::new(&docker, &etcd, "ttl=2s").start();
    let (mut kept, keeps) = Node::new(&docker, &etcd, "ttl=3s\non_stop=keep").start();
    for prefix in [&prefix, &other, &keeps] {
        until_published(&etcd, prefix, &web);
    }
    dead.stop_with(Signal::SIGKILL);
    assert!(kept.stop_with(Signal::SIGTERM).success());
    assert!(kept.log().contains("keeping the keys for up to 3s"), "{}", kept.log());
    until_empty(&etcd, &prefix);
    until_empty(&etcd, &keeps);
    assert!(!etcd.keys(&other).is_empty(), "a living one's lease is kept alive");

    let single = Node::new(&docker, &etcd, "ttl=3s");
    let (status, log) = publish_once(&single.glue);
    assert!(status.success(), "{log}");
    until_published(&etcd, &single.key_prefix(), &web);
    until_empty(&etcd, &single.key_prefix());
}

#[test]
fn keys_are_restored_after_etcd_outage_with_or_without_data() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    let web = docker.run("web").start();
    // Nothing listens at the first endpoint.
    let string = format!("http://127.0.0.1:{}", common::balancer::free_port());
    let name = unique_name("node");
    let text = format!(
        "[handler]\nclass=publish\n[params]\nendpoints={string},{}\nnode={name}\nttl=60s\n",
        etcd.url()
    );
    let other = "[handler]\nclass=script\nevents=start\n[params]\nscript=/bin/true\n";
    let plan = Glue::plan(&docker).file("publish.ini", &text).file("script.ini", other);
    let (status, log) = publish_once(&plan);
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("could not publish: ") && log.contains(&etcd.url()), "{log}");

    let glue = plan.start();
    let prefix = key_prefix(&name);
    glue.wait_for_log(&["could not publish: ", &string, &etcd.url()]);
    etcd.start();
    glue.wait_for_log(&["connected to etcd again"]);
    until_published(&etcd, &prefix, &web);

    // Changes during an outage of etcd are published afterwards.
    let lease = |etcd: &Etcd| etcd.run_etcdctl(&["lease", "list"]);
    let before = lease(&etcd);
    etcd.kill();
    let late = docker.run("late").start();
    let key = format!("{prefix}{}", web.id);
    drop(web);
    glue.wait_for_log(&["could not publish", &etcd.url(), "(os error"]);
    etcd.start();
    until_published(&etcd, &prefix, &late);
    wait_for("the key goes", || etcd.get(&key).is_empty().then_some(()));
    assert_eq!(lease(&etcd), before, "it is the same lease");

    etcd.kill();
    etcd.delete_data();
    etcd.start();
    let next = docker.run("next").start();
    until_published(&etcd, &prefix, &next);
    until_published(&etcd, &prefix, &late);
    assert_ne!(lease(&etcd), before);
    assert!(glue.log().contains("the lease has expired"), "{}", glue.log());
    let loud = glue.log().matches("could not publish: ").count();
    assert!((1..=3).contains(&loud), "each outage is told once:\n{}", glue.log());
}

#[test]
fn foreign_key_changes_are_reverted_and_too_large_container_is_skipped() {
    let Some(docker) = common::find_docker() else { return };
    let Some(etcd) = Etcd::new() else { return };
    let mut etcd = etcd.option(&["--max-request-bytes", "65536"]);
    etcd.start();
    let web = docker.run("web").start();
    let huge = docker.run("huge").label("huge", "x".repeat(70_000)).start();
    let (glue, prefix) = Node::new(&docker, &etcd, "ttl=2s").start();
    let value = until_published(&etcd, &prefix, &web);
    let short = &huge.id[..12];
    glue.wait_for_log(&["container", short, "is not published: etcd refuses"]);

    let key = |name: &str| format!("{prefix}{name}");
    etcd.run_etcdctl(&["put", &key(&web.id), "nonsense"]);
    etcd.run_etcdctl(&["put", &key("stranger"), "nonsense"]);
    wait_for("the stranger goes", || etcd.get(&key("stranger")).is_empty().then_some(()));
    assert_eq!(until_published(&etcd, &prefix, &web)["Id"], value["Id"]);
    glue.wait_for_log(&["another writer uses", "2 keys"]);
    etcd.run_etcdctl(&["del", &key(&web.id)]);
    until_published(&etcd, &prefix, &web);

    // An administrator revokes the lease.
    let leases = etcd.run_etcdctl(&["lease", "list"]);
    etcd.run_etcdctl(&["lease", "revoke", leases.lines().last().unwrap()]);
    glue.wait_for_log(&["the lease has expired"]);
    until_published(&etcd, &prefix, &web);
    assert_eq!(glue.log().matches("is not published: etcd refuses").count(), 1, "{}", glue.log());
    assert!(!glue.log().contains("could not publish"), "{}", glue.log());
}

#[test]
fn tls_and_a_restricted_user_suffice() {
    let Some(docker) = common::find_docker() else { return };
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
    let allowed = Node::new(&docker, &etcd, &format!("{certificates}{who}"));
    let wrong = Node::new(&docker, &etcd, &format!("{certificates}user=glue\npassword=guessed\n"));
    let forbidden = Node::new(&docker, &etcd, &format!("{certificates}{who}"));
    let stranger = Node::new(&docker, &etcd, &who);
    for words in [
        &["role", "add", "root"][..],
        &["user", "add", "root:admin"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "glue"],
        &["role", "grant-permission", "glue", "readwrite", "--prefix", &allowed.key_prefix()],
        &["user", "add", "glue:hidden"],
        &["user", "grant-role", "glue", "glue"],
        &["auth", "enable"],
    ] {
        etcd.run_etcdctl(words);
    }
    etcd.add_etcdctl_option("--user=root:admin");

    let web = docker.run("web").start();
    for (node, text) in [
        (wrong, "invalid user ID or password"),
        (forbidden, "permission denied"),
        (stranger, "nown"),
    ] {
        let (status, log) = publish_once(&node.glue);
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(text) && log.contains(&etcd.url()), "{log}");
        assert!(!log.contains("hidden") && !log.contains("guessed"), "{log}");
        assert_eq!(etcd.keys(&node.key_prefix()), [] as [String; 0]);
    }
    let (mut glue, prefix) = allowed.start();
    until_published(&etcd, &prefix, &web);

    // etcd forgets its tokens when it restarts.
    etcd.kill();
    etcd.start();
    let late = docker.run("late").start();
    until_published(&etcd, &prefix, &late);
    assert!(glue.stop_with(Signal::SIGTERM).success(), "{}", glue.log());
    assert_eq!(etcd.keys(&prefix), [] as [String; 0]);
    assert!(!glue.log().contains("hidden"), "{}", glue.log());
}

#[test]
fn hanging_etcd_does_not_delay_shutdown() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (mut glue, prefix) = Node::new(&docker, &etcd, "").start();
    until_published(&etcd, &prefix, &web);
    etcd.pause_server();
    let late = docker.run("late").start();
    glue.wait_for_log(&["could not publish", "within 5s"]);
    assert!(glue.stop_with(Signal::SIGTERM).success(), "{}", glue.log());
    glue.wait_for_log(&["could not remove the keys, which remain for up to 30s: etcd"]);
    drop(late);
}

#[test]
fn changed_handler_file_moves_keys_removed_file_deletes_them() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let (glue, prefix) = Node::new(&docker, &etcd, "").start();
    until_published(&etcd, &prefix, &web);
    let other = unique_name("node");
    let moved =
        format!("[handler]\nclass=publish\n[params]\nendpoints={}\nnode={other}\n", etcd.url());
    glue.write_file("docker-glue.d/publish.ini", &moved);
    glue.reload();
    until_published(&etcd, &self::key_prefix(&other), &web);
    until_empty(&etcd, &prefix);

    // A changed handler publishes the same keys. When the previous handler ends, these keys are not removed.
    glue.write_file("docker-glue.d/publish.ini", &format!("{moved}ttl=20s\n"));
    glue.reload();
    glue.wait_for_log(&["removed the keys"]);
    until_published(&etcd, &self::key_prefix(&other), &web);
    glue.write_file("docker-glue.d/publish.ini", "[handler]\nclass=publish\nenabled=0\n");
    glue.reload();
    until_empty(&etcd, &self::key_prefix(&other));
}

#[test]
fn publish_example_uses_the_engines_host_name() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").start();
    let example = include_str!("../../examples/docker-glue.d/publish.ini.example");
    let text = example.replace("http://127.0.0.1:2379", &etcd.url());
    let mut glue = Glue::plan(&docker).file("publish.ini", &text).start();
    let node = key_prefix(&docker.run_docker(&["info", "--format", "{{.Name}}"]));
    until_published(&etcd, &node, &web);
    glue.stop_with(Signal::SIGTERM);

    // The notation of Docker Glue's own example.
    let url = etcd.url();
    let (host, port) = url.trim_start_matches("http://").split_once(':').unwrap();
    let old = format!(
        "[handler]\nclass=DockerGlue.handlers.publishers.distconfig.Publisher\nevents=all,none\nenabled=1\n\n\
         [params]\nclass=distconfig.backends.etcd.EtcdBackend\nclientParams={{\"host\": ((\"{host}\", {port}),)}}\n"
    );
    let _glue = Glue::plan(&docker).file("publisher.ini", &old).start();
    until_published(&etcd, &node, &web);
}

#[test]
fn records_are_published_with_a_sign_of_life() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").label("glue_http_80_host", "a.test").label("other", "x").start();
    let plain = docker.run("plain").start();
    let guest = format!("container:{}", plain.id);
    let guest = docker
        .run("guest")
        .bare()
        .option(&["--network", &guest])
        .label("glue_http_81_host", "b.test")
        .env("WHOAMI_PORT", "81")
        .start();
    let served =
        Node::new(&docker, &etcd, "what=served\naddresses=192.0.2.7\non_stop=delete\nttl=3s");
    let (served_node, both) = (served.name.clone(), Node::new(&docker, &etcd, "what=both"));
    let (mut one, _) = served.start();
    let both_node = both.name.clone();
    let (mut two, inspections) = both.start();

    let record = wait_for_record(&etcd, &served_node, &web, |_| true);
    assert_eq!(record["name"], web.name.as_str());
    assert_eq!(record["labels"]["glue_http_80_host"], "a.test");
    assert_eq!(record["labels"].get("other"), None);
    assert!(record["networks"]["bridge"]["ipv4"].is_string(), "{record}");
    let record = wait_for_record(&etcd, &served_node, &guest, |_| true);
    assert_eq!(record["mode"], format!("container:{}", plain.id));
    // It lends its network.
    wait_for_record(&etcd, &served_node, &plain, |_| true);
    let alive = wait_for("a sign of life", || {
        Some(read_alive(&etcd, &served_node)).filter(|alive| alive["state"] == "up")
    });
    assert_eq!(alive["addresses"], serde_json::json!(["192.0.2.7"]));
    assert_eq!(alive["engine"], docker.run_docker(&["info", "--format", "{{.ID}}"]));
    assert_eq!(etcd.keys(&key_prefix(&served_node)), [] as [String; 0]);
    // By default, the address from which it connects.
    let alive = wait_for("a sign of life", || {
        Some(read_alive(&etcd, &both_node)).filter(|alive| alive["state"] == "up")
    });
    assert_eq!(alive["addresses"], serde_json::json!(["127.0.0.1"]));
    two.wait_for_log(&["other machines cannot reach this one at 127.0.0.1; set addresses="]);
    until_published(&etcd, &inspections, &web);
    wait_for_record(&etcd, &both_node, &web, |_| true);

    web.docker(&["pause"]);
    wait_for_record(&etcd, &served_node, &web, |record| record["state"] == "paused");
    web.docker(&["unpause"]);
    wait_for_record(&etcd, &served_node, &web, |record| record["state"] == "running");

    // A stop that deletes says that the node leaves, in the history of etcd before the keys go.
    let history = etcd.watch(&format!("/docker-glue/{served_node}/"));
    assert!(one.stop_with(Signal::SIGTERM).success(), "{}", one.log());
    wait_for("the end of the keys", || {
        etcd.keys(&format!("/docker-glue/{served_node}/")).is_empty().then_some(())
    });
    let text =
        wait_for("the history", || Some(history.read()).filter(|text| text.contains("DELETE")));
    let left = text.find(r#""state":"left""#).unwrap_or_else(|| panic!("{text}"));
    assert!(left < text.find("DELETE").unwrap(), "{text}");
    // Without that, the keys are kept for the next start.
    let before = read_alive(&etcd, &both_node);
    assert!(two.stop_with(Signal::SIGTERM).success(), "{}", two.log());
    assert_eq!(read_alive(&etcd, &both_node), before);
    two.start_again();
    two.wait_for_log(&["watching Docker"]);
    let late = docker.run("late").label("glue_http_80_host", "a.test").start();
    wait_for_record(&etcd, &both_node, &late, |_| true);
    assert_eq!(read_alive(&etcd, &both_node), before);
}

#[test]
fn reloaded_handler_does_not_say_that_the_node_leaves() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker.run("web").label("glue_http_80_host", "a.test").start();
    let node = Node::new(&docker, &etcd, "what=served\non_stop=delete\nttl=20s");
    let name = node.name.clone();
    let (glue, _) = node.start();
    wait_for_record(&etcd, &name, &web, |_| true);
    let text = glue.read("docker-glue.d/publish.ini");
    glue.write_file("docker-glue.d/publish.ini", &text.replace("ttl=20s", "ttl=30s"));
    glue.reload();
    glue.wait_for_log(&["removed the keys"]);
    wait_for("a sign of life", || (read_alive(&etcd, &name)["state"] == "up").then_some(()));
    wait_for_record(&etcd, &name, &web, |_| true);
}

/// The stop signal is written before Docker answers any question about the container: here, Docker cannot answer for
/// five seconds.
#[test]
fn stop_signal_is_published_before_docker_is_asked() {
    let Some(docker) = common::find_docker() else { return };
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    let web = docker
        .run("web")
        .label("glue_http_80_host", "a.test")
        .option(&["--stop-signal", "SIGWINCH", "--stop-timeout", "30"])
        .start();
    let node = Node::new(&docker, &etcd, "what=served");
    let name = node.name.clone();
    let (_glue, _) = node.start();
    wait_for_record(&etcd, &name, &web, |record| record.get("leaving").is_none());
    // Docker holds the container's lock until the stop is over, so an inspection waits for it.
    let mut stop = docker.command(&["stop", &web.id]).spawn().unwrap();
    wait_for_record(&etcd, &name, &web, |record| record["leaving"] == true);
    web.docker(&["kill"]);
    let key = format!("/docker-glue/{name}/served/{}", web.id);
    wait_for("the key goes", || etcd.get(&key).is_empty().then_some(()));
    stop.wait().unwrap();
}
