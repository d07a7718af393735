//! Networks with IPv6 only, for engines whose own drivers give every network IPv4 too (before 28): a network driver as
//! a plugin of the engine.
//!
//! It serves one container with a veth pair: one end in the container, the other on the host.

use super::{Docker, Network, unique_name};
use std::{
    io::{self, Read, Write},
    net::Ipv6Addr,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::Command,
};

/// The folder in which engines look for plugins.
const FOLDER: &str = "/run/docker/plugins";

/// The driver. It must live as long as its engine may call it.
#[derive(Debug)]
pub struct Ipv6Driver {
    name: String,
    socket: PathBuf,
    number: u16,
}

impl Ipv6Driver {
    pub fn start() -> Self {
        let name = unique_name("six");
        std::fs::create_dir_all(FOLDER).unwrap();
        let socket = PathBuf::from(format!("{FOLDER}/{name}.sock"));
        let listener = UnixListener::bind(&socket).unwrap();
        let number = u16::try_from(std::process::id() % 0xffff).unwrap();
        let six = Self { name, socket, number };
        six.run_ip("link add HOST type veth peer name GUEST");
        six.run_ip("address add PREFIX::1/64 dev HOST nodad");
        six.run_ip("link set HOST up");
        let answers = six.answers();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer_request(stream, &answers);
            }
        });
        six
    }

    /// Creates a network of this driver. The engine must not assign addresses itself.
    pub fn network(&self, docker: &Docker) -> Network {
        docker.network_with("six", &["--driver", &self.name, "--ipam-driver", "null"])
    }

    /// Returns the container's address.
    pub fn address(&self) -> Ipv6Addr {
        self.fill_in("PREFIX::2").parse().unwrap()
    }

    /// Returns the answer to each request of an engine; all others get `{}`.
    fn answers(&self) -> [(&'static str, String); 4] {
        [
            ("/Plugin.Activate", r#"{"Implements": ["NetworkDriver"]}"#),
            ("/NetworkDriver.GetCapabilities", r#"{"Scope": "local"}"#),
            ("/NetworkDriver.CreateEndpoint", r#"{"Interface": {"AddressIPv6": "PREFIX::2/64"}}"#),
            (
                "/NetworkDriver.Join",
                r#"{"InterfaceName": {"SrcName": "GUEST", "DstPrefix": "eth"}, "GatewayIPv6": "PREFIX::1"}"#,
            ),
        ]
        .map(|(question, answer)| (question, self.fill_in(answer)))
    }

    fn run_ip(&self, line: &str) {
        let line = self.fill_in(line);
        let done = Command::new("ip").args(line.split(' ')).output().unwrap();
        assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn fill_in(&self, text: &str) -> String {
        let number = format!("{:x}", self.number);
        let text = text.replace("HOST", &format!("glue-six-{number}h"));
        text.replace("GUEST", &format!("glue-six-{number}g"))
            .replace("PREFIX", &format!("fd67:6c75:{number}"))
    }
}

impl Drop for Ipv6Driver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        // The other end is removed with it, in any namespace.
        let _ = Command::new("ip").args(["link", "delete", &self.fill_in("HOST")]).output();
    }
}

/// Answers the one request of a connection.
fn answer_request(mut stream: UnixStream, answers: &[(&str, String)]) -> io::Result<()> {
    let mut request = vec![0; 64 * 1024];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]);
    let question = request.split(' ').nth(1).unwrap_or_default();
    let answer = answers.iter().find(|(text, _)| *text == question);
    let answer = answer.map_or("{}", |(_, answer)| answer);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.plugins.v1+json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )
}
