//! A Docker engine on another machine: in its own namespaces at the far end of a veth pair, reached by TCP. Its
//! containers, networks, mounts and firewall rules end with its last process.

#![allow(dead_code, reason = "each test takes what it needs")]

use super::{Docker, is_installed};
use std::{
    fs::File,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct RemoteEngine {
    folder: TempDir,
    engine: Child,
    link: String,
    /// Its own address, which containers' ports are published on.
    pub address: Ipv4Addr,
}

/// It has its own folders, because the machine's dockerd uses the usual ones. It waits for its end of the veth pair.
const START: &str = r#"
for folder in /run /var/lib/docker /var/lib/containerd; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
ip link set lo up
until ip link set "$1" up 2>/dev/null; do sleep 0.01; done
ip address add "$2/30" dev "$1"
echo '{}' > /run/daemon.json
exec dockerd --config-file /run/daemon.json --storage-driver vfs --host "tcp://$2:2375" --tls=false
"#;

impl RemoteEngine {
    /// Starts the engine and loads whoami's image. Returns `None` and records the skip if that is not possible.
    ///
    /// # Panics
    /// If the engine does not answer in time.
    pub fn start() -> Option<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        super::find_docker_as_root()?;
        if !is_installed("dockerd") || !is_installed("ip") || !is_installed("unshare") {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("docker-glue-elsewhere-").tempdir().unwrap();
        // Addresses of the range for measurements between networks (RFC 2544), which no machine uses.
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let [_, _, high, low] = process.to_be_bytes();
        let ip = |host| Ipv4Addr::new(198, 18 + (high & 1), low, 4 * number + host);
        let (own, address) = (ip(1), ip(2));
        let link = format!("glue{process}{number}");
        let far = format!("{link}f");
        let log = File::create(folder.path().join("log")).unwrap();
        let engine = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc", START, "sh", &far, &address.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let there = Self { folder, engine, link, address };
        there.connect(&far, own);
        there.docker().wait_until_ready(there.folder.path());
        Some(there)
    }

    pub fn docker(&self) -> Docker {
        Docker::at(format!("tcp://{}:2375", self.address))
    }

    /// Pulls the cable: what is sent to the machine is lost, and nothing comes back.
    pub fn cut_off(&self) {
        self.set_far_link("down");
    }

    pub fn reconnect(&self) {
        self.set_far_link("up");
    }

    fn set_far_link(&self, state: &str) {
        let network = format!("--net=/proc/{}/ns/net", self.engine.id());
        let far = format!("{}f", self.link);
        let output = Command::new("nsenter")
            .args([&network, "ip", "link", "set", &far, state])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Creates the veth pair between this machine and the engine.
    fn connect(&self, far: &str, own: Ipv4Addr) {
        let there = self.engine.id().to_string();
        // The process may not have its own namespace yet: the far end would stay on this machine.
        let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        super::wait_for("a network of its own", || {
            (network(&there)? != network("self")?).then_some(())
        });
        run_ip(&["link", "add", &self.link, "type", "veth", "peer", "name", far, "netns", &there]);
        run_ip(&["address", "add", &format!("{own}/30"), "dev", &self.link]);
        run_ip(&["link", "set", &self.link, "up"]);
    }
}

/// The veth pair is removed with the engine's namespace.
impl Drop for RemoteEngine {
    fn drop(&mut self) {
        let _ = self.engine.kill();
        let _ = self.engine.wait();
        let _ = Command::new("ip").args(["link", "delete", &self.link]).output();
    }
}

fn run_ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
