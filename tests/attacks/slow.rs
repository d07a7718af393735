//! Clients that hold their connections: without a request, or with requests for a container that never answers.

use crate::common::{self, balancer::Balancer, wait_for};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

const CLIENTS: usize = 600;

fn connect(balancer: &Balancer, text: &str) -> TcpStream {
    let at = (Ipv4Addr::LOCALHOST, balancer.bound_port(80));
    let mut stream = wait_for("a connection", || TcpStream::connect(at).ok());
    stream.write_all(text.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn unfinished_requests_do_not_exclude_other_clients() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let _web = balancer.run("web").label("glue_http_80_host", "web.test").start();
    balancer.wait_until_serves("web.test/", "web saw /");
    let head = "POST / HTTP/1.1\r\nHost: web.test\r\nX: ";
    let mut slow: Vec<_> = (0..CLIENTS).map(|_| connect(&balancer, head)).collect();
    balancer.assert_serves(&[("web.test/", "web saw /")]);
    // New containers are served in the meantime, and clients without a complete head are disconnected.
    let _late = balancer.run("late").label("glue_http_80_host", "late.test").start();
    balancer.wait_until_serves("late.test/", "late saw /");
    for stream in &mut slow {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

#[test]
fn waiting_requests_do_not_exclude_other_clients() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let _web = balancer.run("web").label("glue_http_80_host", "web.test").start();
    // Nothing listens in the only container of this route.
    let evil = balancer.run("evil").arguments(&["--port", "8081"]);
    let _evil = evil.label("glue_http_80_host", "evil.test").start();
    balancer.wait_until_serves("web.test/", "web saw /");
    balancer.wait_for_log(&["+ evil.test:80/"]);
    let request = "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    let _waiting: Vec<_> = (0..CLIENTS).map(|_| connect(&balancer, request)).collect();
    balancer.assert_serves(&[("web.test/", "web saw /")]);
    let late = balancer.run("late").label("glue_http_80_host", "late.test").start();
    balancer.wait_until_serves("late.test/", "late saw /");
    drop(late);
    balancer.wait_until_serves("late.test/", "503");
}
