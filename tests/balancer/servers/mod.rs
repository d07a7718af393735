//! Real servers of TCP and UDP in containers: databases, name servers and others of `docs/src/guide/tcp-udp-examples.md`.
//! The tests that are ignored take minutes or more packages; `make servers` runs all of them.

mod database;
mod database_by_name;
mod dns;
mod proxy_protocol;
mod uses;

use crate::common::{
    self, Container, Docker,
    balancer::{Balancer, BalancerPlan},
    wait_for,
};
use docker_glue::report::explain::Explanation;
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, UdpSocket},
    process::{Child, Command},
    thread,
    time::Duration,
};

/// The image with PostgreSQL, dnsmasq and dnsdist.
const SERVERS: &str = "test";
/// The image with the servers of the tests that are ignored.
const MORE_SERVERS: &str = "more";
/// The image with the next release of PostgreSQL.
const NEXT_SERVERS: &str = "next";

/// Builds an image of `tests/servers-image.sh`. Returns `None` and records the skip if it cannot be had.
fn servers_image(tag: &str) -> Option<String> {
    let made = Command::new("sh").args(["tests/servers-image.sh", tag]).output().unwrap();
    if made.status.success() {
        return Some(format!("docker-glue-servers:{tag}"));
    }
    common::record_skip(&format!("no servers: {}", String::from_utf8_lossy(&made.stderr)));
    None
}

/// Returns the engine and the image.
fn docker_and_image(tag: &str) -> Option<(Docker, String)> {
    Some((common::find_docker()?, servers_image(tag)?))
}

/// A docker-glue-udp of the test, which ends with it.
#[derive(Debug)]
struct UdpPlane {
    process: Child,
    folder: tempfile::TempDir,
}

impl UdpPlane {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-glue-udp"));
        let socket = folder.path().join("control.sock");
        let process = command.arg("--socket").arg(&socket).spawn().unwrap();
        Self { process, folder }
    }

    /// Lets a balancer use it.
    fn plan(&self, plan: BalancerPlan) -> BalancerPlan {
        plan.option(&["--udp-socket", self.folder.path().join("control.sock").to_str().unwrap()])
    }
}

impl Drop for UdpPlane {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn explain(balancer: &Balancer, url: &str) -> Explanation {
    let output = balancer.command().args(["explain", url, "--format", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}

/// Waits until exactly these containers get new connections or flows.
fn wait_until_servers(balancer: &Balancer, url: &str, containers: &[&Container]) {
    let mut expected: Vec<_> = containers.iter().map(|container| container.name.clone()).collect();
    expected.sort();
    wait_for(&format!("{url} served by {expected:?}"), || {
        let servers = explain(balancer, url).servers.into_iter();
        let mut names: Vec<_> = servers.map(|server| server.container).collect();
        names.sort();
        (names == expected).then_some(())
    });
}

/// Returns a socket of a client on this machine that is connected to a public port.
fn udp_client(port: u16) -> UdpSocket {
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    client
}

/// Sends a datagram until there is an answer.
fn ask_udp(client: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    wait_for("an answer", || {
        let mut answer = [0; 2048];
        client.send(datagram).ok()?;
        match client.recv(&mut answer) {
            Ok(length) => Some(answer[..length].to_vec()),
            Err(error) => {
                // A refused datagram is reported at once.
                if error.kind() == ErrorKind::ConnectionRefused {
                    thread::sleep(Duration::from_millis(10));
                }
                None
            }
        }
    })
}
