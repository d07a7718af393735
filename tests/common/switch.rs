//! Machines on a network of their own: each is a process in a network namespace, a bridge in another one connects them
//! and this machine. All of it ends with the processes.

#![allow(dead_code, reason = "each test takes what it needs")]

use super::wait_for;
use std::{
    fs::File,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

/// A bridge without the rules of this machine's firewall, which would drop its frames.
const SCRIPT: &str =
    "ip link set lo up; ip link add switch type bridge; ip link set switch up; exec sleep infinity";

/// It is removed with its cables when it is dropped.
#[derive(Debug)]
pub struct Switch {
    process: Child,
    link: String,
    /// The network of its addresses: the first is this machine's, the others are those of the cables.
    network: Ipv4Addr,
}

impl Switch {
    /// Starts it, with its log in this folder, and connects this machine. `letters` begin the names of its cables.
    ///
    /// # Panics
    /// If that fails.
    pub fn start(folder: &Path, letters: &str) -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let child = spawn_apart(folder, "switch", &["--net"], &[SCRIPT]);
        // Addresses of the range for measurements between networks (RFC 2544), which no machine uses.
        let [_, _, high, low] = process.to_be_bytes();
        let network = Ipv4Addr::new(198, 18 + (high & 1), low, 104 + 8 * number);
        let switch = Self { process: child, link: format!("{letters}{process}{number}"), network };
        let there = switch.process.id().to_string();
        wait_for_namespace(&there);
        wait_for("the switch", || {
            let words = ["--target", &there, "--net", "ip", "link", "show", "switch"];
            let shown = Command::new("nsenter").args(words).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("UP").then_some(())
        });
        switch.connect_host(&there);
        switch
    }

    fn connect_host(&self, there: &str) {
        let far = format!("{}h", self.link);
        run(
            "ip",
            &["link", "add", &self.link, "type", "veth", "peer", "name", &far, "netns", there],
        );
        run("ip", &["address", "add", &format!("{}/29", self.address(0)), "dev", &self.link]);
        run("ip", &["link", "set", &self.link, "up"]);
        self.run_inside(&["ip", "link", "set", &far, "master", "switch", "up"]);
    }

    /// Returns the address of a machine, which are counted from 1; 0 is this machine.
    pub fn address(&self, machine: u8) -> Ipv4Addr {
        let [a, b, c, d] = self.network.octets();
        Ipv4Addr::new(a, b, c, d + 1 + machine)
    }

    /// Returns the name of a machine's end of its cable.
    pub fn cable(&self, machine: u8) -> String {
        format!("{}n{machine}", self.link)
    }

    fn port(&self, machine: u8) -> String {
        format!("{}p{machine}", self.link)
    }

    /// Lays a cable to the namespace of a process, which takes its address itself.
    pub fn connect_process(&self, machine: u8, pid: u32) {
        let (there, port, cable) = (pid.to_string(), self.port(machine), self.cable(machine));
        wait_for_namespace(&there);
        self.run_inside(&[
            "ip", "link", "add", &port, "type", "veth", "peer", "name", &cable, "netns", &there,
        ]);
        self.run_inside(&["ip", "link", "set", &port, "master", "switch", "up"]);
    }

    /// Unplugs a machine's cable.
    pub fn cut_off(&self, machine: u8) {
        self.run_inside(&["ip", "link", "set", &self.port(machine), "down"]);
    }

    /// Plugs a machine's cable in.
    pub fn reconnect(&self, machine: u8) {
        self.run_inside(&["ip", "link", "set", &self.port(machine), "up"]);
    }

    fn run_inside(&self, words: &[&str]) {
        let process = self.process.id().to_string();
        run("nsenter", &[&["--target", &process, "--net"], words].concat());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = Command::new("ip").args(["link", "delete", &self.link]).output();
    }
}

/// Starts a shell in namespaces of its own. Its output is `name.log` in the folder.
pub fn spawn_apart(folder: &Path, name: &str, namespaces: &[&str], script: &[&str]) -> Child {
    let log = File::create(folder.join(format!("{name}.log"))).unwrap();
    let words = [namespaces, &["sh", "-euc"], script].concat();
    Command::new("unshare")
        .args(words)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Until then, the far end of a cable would stay on this machine.
fn wait_for_namespace(pid: &str) {
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    wait_for("a network of its own", || (network(pid)? != network("self")?).then_some(()));
}

/// # Panics
/// If the program fails.
pub fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {text}", words.join(" "));
}
