//! Public ports that come and go.

use crate::{
    common::{
        self,
        balancer::{Balancer, BalancerPlan},
        wait_for,
    },
    https::assert_no_reload,
};
use nix::sys::signal::Signal;
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

const PORT: u16 = 8081;

fn wait_until_refused(balancer: &Balancer, url: &str) {
    wait_for("the port to be closed", || {
        let error = balancer.try_get(url).err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
}

/// Whether the configuration on disk has the frontend of the port.
fn is_stored(balancer: &Balancer) -> bool {
    let config = fs::read_to_string(balancer.state().join("haproxy.cfg")).unwrap();
    config.contains(&format!("frontend http-{PORT}"))
}

#[test]
fn unused_port_is_paused_and_resumed_without_reload() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, PORT]).option(&[
        "--hold",
        "1s",
        "--wait-for-start",
        "1s",
    ]);
    let _always = plan.run("always").labels("glue_http_80_host=a.test").start();
    let start = |plan: &BalancerPlan, name: &str| {
        let labels = format!("glue_http_80_host=b.test glue_http_80_bind={PORT}");
        plan.run(name).labels(&labels).start()
    };
    let first = start(&plan, "first");
    let mut balancer = plan.start().wait_until_started();
    let url = format!("b.test:{PORT}/");
    balancer.wait_until_serves(&url, "first saw /");
    let bound = (Ipv4Addr::LOCALHOST, balancer.bound_port(PORT));

    // An open connection continues when the port closes.
    let mut open = TcpStream::connect(bound).unwrap();
    drop(first);
    wait_until_refused(&balancer, &url);
    write!(open, "GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    wait_for("the files without the port", || (!is_stored(&balancer)).then_some(()));

    let second = start(&balancer, "second");
    balancer.wait_until_serves(&url, "second saw /");
    wait_for("the files with the port", || is_stored(&balancer).then_some(()));

    // Another program can have the port while no label uses it; then the port is resumed when that program ends.
    drop(second);
    wait_until_refused(&balancer, &url);
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, bound.1)).unwrap();
    let third = start(&balancer, "third");
    balancer.wait_for_log(&["WARN", &format!("{PORT}"), "used by"]);
    balancer.assert_serves(&[("a.test/", "always saw /")]);
    drop(taken);
    balancer.wait_until_serves(&url, "third saw /");

    // A new docker-balancer knows the ports of the HAProxy that runs.
    drop(third);
    wait_until_refused(&balancer, &url);
    balancer.stop_with(Signal::SIGKILL);
    balancer.start_again();
    let _fourth = start(&balancer, "fourth");
    balancer.wait_until_serves(&url, "fourth saw /");
    assert_no_reload(&balancer);
}
