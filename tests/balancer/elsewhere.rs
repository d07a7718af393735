//! An engine on another machine: its published ports are served, and never ports of this machine instead.

use crate::common::{balancer::Balancer, elsewhere::RemoteEngine};
use std::process::Command;

/// Returns the output of a docker-balancer command about a running docker-balancer.
fn run_command(balancer: &Balancer, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
    command.args(words).arg("--runtime-dir").arg(balancer.runtime());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn remote_engine_defaults_to_published_ports() {
    let Some(there) = RemoteEngine::start() else { return };
    let plan = Balancer::plan(&there.docker());
    let run = |name: &str| plan.run(name).label("glue_http_80_host", format!("{name}.test"));
    // All containers are on the default bridge, whose addresses are the same on both machines.
    let _web = run("web").option(&["--publish", "8080:80"]).start();
    let at_home = run("home").option(&["--publish", "127.0.0.1:8081:80"]).start();
    let hidden = run("hidden").start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&["is on another machine", "using published ports"]);
    balancer.wait_until_all_serve(&[("web.test/x", "web saw /x"), ("home.test/", "404")]);

    let problems = run_command(&balancer, &["problems", "--json"]);
    let problems: Vec<serde_json::Value> = serde_json::from_str(&problems).unwrap();
    for (container, words) in [
        (&at_home, "its port 80 is published only on 127.0.0.1 of another machine"),
        (&hidden, "publish its port 80, as in -p 80:80"),
    ] {
        let of_container = |value: &&serde_json::Value| value.to_string().contains(&container.name);
        let text = problems.iter().find(of_container).unwrap().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn remote_engine_with_address_container_uses_container_addresses() {
    let Some(there) = RemoteEngine::start() else { return };
    let plan = Balancer::plan(&there.docker()).option(&["--address", "container"]);
    let web = plan.run("web").labels("glue_http_80_host=web.test").start();
    let balancer = plan.start().wait_until_started();
    let own = web.docker(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}"]);
    let status = run_command(&balancer, &["status", "--json"]);
    assert!(status.contains(&format!("{own}:80")), "{status}");
}
