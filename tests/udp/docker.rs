//! The nft engine and the firewall of a real Docker engine: the client is on another machine.

use crate::{
    common::find_docker_as_root,
    site::{Client, Container, bind_in, wait_until},
};
use std::{
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

const MACHINE: &str = "10.98.77.1:5300";
const CLIENT: &str = "10.98.77.7";

/// A client behind a network interface of this machine, and docker-glue-udp on it. Only rules of docker-glue-udp are
/// deleted at the end.
struct Outside {
    prefix: String,
    directory: tempfile::TempDir,
    plane: Mutex<Option<Child>>,
}

impl Outside {
    fn new() -> Self {
        let prefix = format!("gd{}", std::process::id());
        let outside =
            Self { prefix, directory: tempfile::tempdir().unwrap(), plane: Mutex::new(None) };
        let name = &outside.prefix;
        for line in [
            format!("netns add {name}"),
            format!("link add {name}m type veth peer name {name}c netns {name}"),
            format!("addr add 10.98.77.1/24 dev {name}m"),
            format!("link set {name}m up"),
            format!("-n {name} addr add {CLIENT}/24 dev {name}c"),
            format!("-n {name} link set {name}c up"),
        ] {
            run(&format!("ip {line}"));
        }
        outside
    }

    fn start_plane(&self, engine: &str) {
        let socket = self.directory.path().join("control.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-glue-udp"));
        command.args(["--engine", engine, "--socket"]).arg(&socket).stderr(Stdio::null());
        *self.plane.lock().unwrap() = Some(command.spawn().unwrap());
        wait_until("the plane answers", || UnixStream::connect(&socket).is_ok());
        // After it has restored its listeners.
        self.command_line("totals");
    }

    fn end_plane(&self) {
        if let Some(mut child) = self.plane.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn command_line(&self, line: &str) -> String {
        crate::site::command_line(&self.directory.path().join("control.sock"), line)
    }

    fn ask(&self, port: u16, within: Duration) -> Option<Vec<u8>> {
        let socket = bind_in(format!("/run/netns/{}", self.prefix), &format!("{CLIENT}:{port}"));
        let client = Client::new(socket);
        client.send(MACHINE, "x");
        client.receive_within(within).map(|(answer, _)| answer)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.end_plane();
        let rule = "-p udp -m connmark --mark 0x67000000/0xff000000 -m comment --comment docker-glue-udp -j ACCEPT";
        for line in [
            format!("iptables -w 5 -D DOCKER-USER {rule}"),
            format!("ip6tables -w 5 -D DOCKER-USER {rule}"),
            "nft delete table inet docker-glue".to_owned(),
            format!("ip netns delete {}", self.prefix),
            format!("ip link delete {}m", self.prefix),
        ] {
            let words: Vec<_> = line.split_whitespace().collect();
            let _ = Command::new(words[0]).args(&words[1..]).output();
        }
    }
}

fn run(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let done = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn rules() -> String {
    run("iptables -w 5 -S DOCKER-USER")
}

#[test]
fn client_outside_passes_dockers_firewall_and_is_seen_by_the_container() {
    let Some(docker) = find_docker_as_root() else { return };
    let outside = Outside::new();
    let before = rules();
    let (network, closed) = (docker.network("udp"), docker.network_with("closed", &["--internal"]));
    let container = docker.run("udp").network(&network).start();
    let inside = docker.run("closed").network(&closed).start();
    let pid = container.docker(&["inspect", "--format", "{{.State.Pid}}"]);
    let socket = bind_in(format!("/proc/{}/ns/net", pid.trim()), "0.0.0.0:53");
    let echo = Container::start(socket, |request| vec![request.to_vec()]);

    outside.start_plane("nft");
    let set = |address| {
        format!(
            r#"set {{"bind":"{MACHINE}","endpoints":[{{"id":"a","name":"a","address":"{address}:53"}}]}}"#
        )
    };
    let answer = outside.command_line(&set(container.address(&network)));
    assert!(answer.starts_with(r#"{"listener""#), "{answer}");
    let deadline = crate::site::DEADLINE;
    assert_eq!(outside.ask(4000, deadline).as_deref(), Some(b"x".as_slice()));
    assert_eq!(echo.datagrams()[0].1.to_string(), format!("{CLIENT}:4000"));

    // Without the rule Docker drops the datagrams; docker-glue-udp inserts it again.
    let rule = rules().lines().find(|line| line.contains("docker-glue-udp")).unwrap().to_owned();
    run(&rule.replace("-A DOCKER-USER", "iptables -w 5 -D DOCKER-USER"));
    assert_eq!(outside.ask(4001, Duration::from_millis(500)), None);
    outside.end_plane();
    outside.start_plane("nft");
    assert_eq!(outside.ask(4002, deadline).as_deref(), Some(b"x".as_slice()));

    let answer = outside.command_line(&set(inside.address(&closed)));
    assert!(answer.contains("is on an internal network"), "{answer}");

    outside.end_plane();
    outside.start_plane("user");
    assert_eq!(rules(), before);
    assert!(!run("nft list tables inet").contains("docker-glue"));
    assert_eq!(outside.ask(4003, deadline).as_deref(), Some(b"x".as_slice()));
}
