//! The label contract with a real engine and a real HAProxy: labels go onto containers, requests go
//! in, and what is looked at is who answered and which path it saw.

#![allow(clippy::unwrap_used)]

mod common;

use common::balancer::Balancer;

#[test]
fn a_labelled_container_is_served_while_it_lives() {
    let Some(docker) = common::docker() else { return };
    let balancer = Balancer::of(&docker).start();
    let web = balancer.run("web").label("glue_http_80_host", "a.test").start();
    balancer.until_serves("a.test/x?q=1", "web saw /x?q=1");
    drop(web);
    balancer.until_serves("a.test/x", "503");
}
