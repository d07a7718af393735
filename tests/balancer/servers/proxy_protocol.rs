//! The PROXY protocol, read by servers that know it: nginx for TCP, dnsdist for UDP.

use super::{SERVERS, UdpPlane, ask_udp, dns, docker_and_image, udp_client};
use crate::common::{
    self,
    balancer::{Balancer, BalancerPlan, Request, free_port},
    wait_for,
};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    time::Duration,
};

const PORT: u16 = 5432;

/// Each answer is the client's address and port of the header.
const NGINX: &str = "server {
    listen 80 proxy_protocol;
    location / { return 200 '$proxy_protocol_addr:$proxy_protocol_port'; }
}";

/// Each answer to a query of type TXT is the client's address and port of the header.
const DNSDIST: &str = "setLocal('0.0.0.0:53')
setACL('0.0.0.0/0')
setProxyProtocolACL({'0.0.0.0/0'})
addAction(AllRule(), LuaAction(function(query)
    local client = query.remoteaddr:toStringWithPort()
    return DNSAction.SpoofRaw, string.char(#client) .. client
end))";

fn nginx_image() -> Option<&'static str> {
    if !common::is_installed("nginx") {
        return None;
    }
    let made = Command::new("sh").args(["tests/nginx-image.sh", "test"]).status().unwrap();
    assert!(made.success());
    Some("docker-glue-nginx:test")
}

/// Starts nginx behind a public port.
fn start_nginx(plan: &BalancerPlan, image: &str, labels: &str) -> common::Container {
    let folder = plan.state().with_file_name("nginx");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("proxy.conf"), NGINX).unwrap();
    let volume = format!("{}:/etc/nginx/conf.d:ro", folder.display());
    plan.run("nginx").image(image).labels(labels).option(&["--volume", &volume]).start()
}

/// Sends a request after these bytes. Returns the body, and the client's own address.
fn ask(port: u16, header: &[u8]) -> Option<(String, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(header).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: any.test\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body = answer.starts_with("HTTP/1.1 200").then(|| answer.split("\r\n\r\n").nth(1))??;
    Some((body.to_owned(), stream.local_addr().unwrap().to_string()))
}

#[test]
fn nginx_reads_clients_address_from_header() {
    let Some(docker) = common::find_docker() else { return };
    let Some(image) = nginx_image() else { return };
    for version in ["v1", "v2"] {
        let plan = Balancer::plan(&docker).ports(&[80, PORT]);
        let labels = format!("glue_tcp_80_bind={PORT} glue_tcp_80_proxy={version}");
        let _nginx = start_nginx(&plan, image, &labels);
        let balancer = plan.start().wait_until_started();
        let port = balancer.bound_port(PORT);
        let (seen, client) = wait_for("an answer", || ask(port, b""));
        assert_eq!(seen, client, "proxy={version}");
    }
}

/// A proxy in front of docker-balancer sends a header; its client's address reaches the server.
#[test]
fn nginx_reads_address_from_header_of_proxy_in_front() {
    let Some(docker) = common::find_docker() else { return };
    let Some(image) = nginx_image() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, PORT]);
    let plan = plan.option(&["--proxy-protocol-from", "127.0.0.0/8"]);
    let _nginx =
        start_nginx(&plan, image, &format!("glue_tcp_80_bind={PORT} glue_tcp_80_proxy=v2"));
    let _web = plan.run("web").label("glue_http_80_host", "a.test").start();
    let balancer = plan.start().wait_until_started();
    let port = balancer.bound_port(PORT);
    let header = b"PROXY TCP4 198.51.100.7 203.0.113.9 4444 443\r\n";
    let (seen, _) = wait_for("an answer", || ask(port, header));
    assert_eq!(seen, "198.51.100.7:4444");
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::9 4445 443\r\n";
    let (seen, _) = ask(port, six).unwrap();
    assert_eq!(seen, "2001:db8::7:4445");
    // Version 2: the signature, PROXY and TCP over IPv4, the addresses and ports.
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    binary.extend([198, 51, 100, 8, 203, 0, 113, 9]);
    binary.extend([4446_u16.to_be_bytes(), 443_u16.to_be_bytes()].concat());
    assert_eq!(ask(port, &binary).unwrap().0, "198.51.100.8:4446");
    // Without a header the connection is closed, and HTTP needs none.
    assert_eq!(ask(port, b""), None);
    let web =
        Request::new((Ipv4Addr::LOCALHOST, balancer.bound_port(80)).into(), "GET", "a.test", "/");
    assert_eq!(web.send().unwrap().to_string(), "web saw /");
}

#[test]
fn dnsdist_reads_clients_address_from_header_of_each_datagram() {
    let Some((docker, image)) = docker_and_image(SERVERS) else { return };
    let plane = UdpPlane::start();
    let plan = plane.plan(Balancer::plan(&docker));
    let port = free_port();
    let folder = plan.state().with_file_name("dnsdist");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("dnsdist.conf"), DNSDIST).unwrap();
    let volume = format!("{}:/etc/dnsdist:ro", folder.display());
    let run = plan.run("dnsdist").image(&image).option(&["--volume", &volume]);
    let run = run.labels(&format!("glue_udp_53_bind={port} glue_udp_53_proxy=v2"));
    let words =
        ["dnsdist", "--supervised", "--disable-syslog", "--config", "/etc/dnsdist/dnsdist.conf"];
    let _dnsdist = run.arguments(&words).start();
    let _balancer = plan.start().wait_until_started();
    for _ in 0..2 {
        let client = udp_client(port);
        let expected = client.local_addr().unwrap().to_string();
        for id in 0..3 {
            let answer = ask_udp(&client, &dns::query(id, dns::TXT, "who.test"));
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.contains(&expected), "{expected}: {answer:?}");
        }
    }
}
