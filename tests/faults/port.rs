//! Ports that another program or a container uses.

use crate::common::{self, balancer::Balancer};
use std::net::TcpListener;

#[test]
fn port_of_another_program_is_reported_and_served_when_free() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, 81]);
    let other = TcpListener::bind(("0.0.0.0", plan.bound_port(81))).unwrap();
    let _web = plan
        .run("web")
        .label("glue_http_80_host", "a.test")
        .label("glue_http_80_bind", "80,81")
        .start();
    let balancer = plan.start();
    balancer.wait_until_serves("a.test", "web saw /");
    let me = format!("(pid {})", std::process::id());
    balancer.wait_for_log(&["WARN", ":81", "used by", &me, "retrying every few seconds"]);
    drop(other);
    balancer.wait_until_serves("a.test:81", "web saw /");
    balancer.wait_for_log(&["resolved: ", ":81", &me]);
    balancer.wait_until_serves("a.test", "web saw /");
}

#[test]
fn port_published_by_a_container_is_reported_and_served_when_free() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).ports(&[80, 81]).start();
    let publish = format!("127.0.0.1:{}:80", balancer.bound_port(81));
    // The label only makes docker-balancer notice the end of this container at once.
    let other = docker.run("other").label("glue_network", "none");
    let other = other.option(&["--publish", &publish]).start();
    let _web = balancer
        .run("web")
        .label("glue_http_80_host", "a.test")
        .label("glue_http_80_bind", "80,81")
        .start();
    balancer.wait_until_serves("a.test", "web saw /");
    let named = ["WARN", ":81", &other.name, &other.id[..12], "published by container"];
    balancer.wait_for_log(&named);
    drop(other);
    balancer.wait_until_serves("a.test:81", "web saw /");
    balancer.wait_for_log(&["resolved: ", ":81", "published by container"]);
}
