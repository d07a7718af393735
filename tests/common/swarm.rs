//! A Swarm of three managers on machines of their own: each engine runs in its own namespaces, and a bridge in another
//! one connects them and this machine. All of it ends with its processes.
//!
//! Services use `--endpoint-mode dnsrr` where they are on an overlay network, because a kernel without IPVS has no
//! virtual addresses.

use super::{CONSTRAINT, Docker, balancer::BalancerPlan, is_installed, wait_for};
use std::{
    fs::File,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct SwarmBed {
    folder: TempDir,
    nodes: Vec<Node>,
    switch: Child,
    link: String,
}

#[derive(Debug)]
pub struct Node {
    engine: Child,
    /// Its own address, which ports are published on.
    pub address: Ipv4Addr,
    /// Its end of the cable, in the namespace of the switch.
    port: String,
}

const NODES: usize = 3;

/// A bridge without the rules of this machine's firewall, which would drop its frames.
const SWITCH: &str =
    "ip link set lo up; ip link add switch type bridge; ip link set switch up; exec sleep infinity";

/// It has its own folders, because the machine's dockerd uses the usual ones. It waits for its end of the cable. Without
/// the variable, each task would wait for a registry.
const START: &str = r#"
for folder in /run /var/lib/docker /var/lib/containerd; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
hostname "$3"
ip link set lo up
until ip link set "$1" up 2>/dev/null; do sleep 0.01; done
ip address add "$2/29" dev "$1"
echo '{}' > /run/daemon.json
export DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
exec dockerd --config-file /run/daemon.json --host "tcp://$2:2375" --host unix:///run/docker.sock --tls=false
"#;

impl SwarmBed {
    /// Starts the Swarm, with whoami's image on each node. Returns `None` and records the skip if that is not possible.
    ///
    /// # Panics
    /// If an engine does not answer in time.
    pub fn start() -> Option<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        super::find_docker_as_root()?;
        if !["dockerd", "ip", "unshare", "nsenter"].into_iter().all(is_installed) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("docker-glue-swarm-").tempdir().unwrap();
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let switch = spawn_apart(&folder, "switch", &["--net"], &[SWITCH]);
        let mut bed =
            Self { folder, nodes: Vec::new(), switch, link: format!("gs{process}{number}") };
        let switch = bed.switch.id().to_string();
        wait_for_namespace(&switch);
        wait_for("the switch", || {
            let words = ["--target", &switch, "--net", "ip", "link", "show", "switch"];
            let shown = Command::new("nsenter").args(words).output().unwrap();
            String::from_utf8_lossy(&shown.stdout).contains("UP").then_some(())
        });
        // Addresses of the range for measurements between networks (RFC 2544), which no machine uses.
        let [_, _, high, low] = process.to_be_bytes();
        let ip = |host: usize| {
            let host = 105 + 8 * number + u8::try_from(host).unwrap();
            Ipv4Addr::new(198, 18 + (high & 1), low, host)
        };
        for node in 1..=NODES {
            bed.add_node(node, ip(node));
        }
        let far = format!("{}h", bed.link);
        run(
            "ip",
            &["link", "add", &bed.link, "type", "veth", "peer", "name", &far, "netns", &switch],
        );
        run("ip", &["address", "add", &format!("{}/29", ip(0)), "dev", &bed.link]);
        run("ip", &["link", "set", &bed.link, "up"]);
        bed.in_switch(&["ip", "link", "set", &far, "master", "switch", "up"]);
        bed.join_nodes(ip(1));
        Some(bed)
    }

    fn add_node(&mut self, number: usize, address: Ipv4Addr) {
        let (name, cable) = (format!("node{number}"), format!("{}n{number}", self.link));
        let port = format!("{}p{number}", self.link);
        let apart =
            ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let script = [START, "sh", &cable, &address.to_string(), &name];
        let engine = spawn_apart(&self.folder, &name, &apart, &script);
        let there = engine.id().to_string();
        wait_for_namespace(&there);
        self.nodes.push(Node { engine, address, port: port.clone() });
        self.in_switch(&[
            "ip", "link", "add", &port, "type", "veth", "peer", "name", &cable, "netns", &there,
        ]);
        self.in_switch(&["ip", "link", "set", &port, "master", "switch", "up"]);
    }

    fn join_nodes(&self, first: Ipv4Addr) {
        thread::scope(|scope| {
            for (number, node) in self.nodes.iter().enumerate() {
                let folder = self.folder.path().join((number + 1).to_string());
                std::fs::create_dir(&folder).unwrap();
                scope.spawn(move || node.docker().wait_until_ready(&folder));
            }
        });
        let address = first.to_string();
        self.manager().run_docker(&[
            "swarm",
            "init",
            "--advertise-addr",
            &address,
            "--default-addr-pool",
            "10.215.0.0/16",
        ]);
        let token = self.manager().run_docker(&["swarm", "join-token", "--quiet", "manager"]);
        for node in &self.nodes[1..] {
            node.docker().run_docker(&[
                "swarm",
                "join",
                "--token",
                &token,
                &format!("{first}:2377"),
            ]);
        }
        wait_for("all nodes are ready", || {
            let shown = self.manager().command(&["node", "ls", "--format", "{{.Status}}"]);
            let output = { shown }.output().unwrap().stdout;
            (String::from_utf8_lossy(&output).matches("Ready").count() == NODES).then_some(())
        });
    }

    /// Returns the first node's engine, a manager.
    pub fn manager(&self) -> Docker {
        self.nodes[0].docker()
    }

    /// Loads an image of the machine's engine on each node.
    pub fn load(&self, image: &str) {
        let archive = self.folder.path().join("image.tar");
        let file = archive.to_str().unwrap();
        Docker { host: None }.run_docker(&["save", "--output", file, image]);
        for node in &self.nodes {
            node.docker().run_docker(&["load", "--input", file]);
        }
        std::fs::remove_file(file).unwrap();
    }

    /// Returns a node, counted from 1 as in its name: `node1`.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// Returns a value of `--source` with all managers.
    pub fn source(&self) -> String {
        let places = self.nodes.iter().map(|node| format!("{}:2375", node.address));
        format!("swarm+tcp://{}?name=swarm", places.collect::<Vec<_>>().join(","))
    }

    /// Creates a service of whoami that the balancer serves, with the options of `docker service create`, and waits
    /// until its tasks run. It answers with its name and slot: `web.1`.
    pub fn create_service(&self, plan: &BalancerPlan, name: &str, options: &[&str]) {
        let label = format!("{CONSTRAINT}={}", plan.constraint());
        let host = format!("glue_http_80_host={name}.test");
        let words = ["service", "create", "--quiet", "--name", name, "--label", &label];
        let environment = "WHOAMI_NAME={{.Service.Name}}.{{.Task.Slot}}";
        let words = [&words, &["--label", &host, "--env", environment][..], options];
        let image = super::build_whoami_image();
        self.manager().run_docker(&[&words.concat()[..], &[image]].concat());
    }

    /// Unplugs a node's cable.
    pub fn cut_off(&self, number: usize) {
        self.in_switch(&["ip", "link", "set", &self.node(number).port, "down"]);
    }

    /// Plugs a node's cable in.
    pub fn connect(&self, number: usize) {
        self.in_switch(&["ip", "link", "set", &self.node(number).port, "up"]);
    }

    fn in_switch(&self, words: &[&str]) {
        let switch = self.switch.id().to_string();
        run("nsenter", &[&["--target", &switch, "--net"], words].concat());
    }
}

impl Node {
    pub fn docker(&self) -> Docker {
        Docker::at(format!("tcp://{}:2375", self.address))
    }
}

impl Drop for SwarmBed {
    fn drop(&mut self) {
        let processes = self.nodes.iter_mut().map(|node| &mut node.engine);
        for process in processes.chain([&mut self.switch]) {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = Command::new("ip").args(["link", "delete", &self.link]).output();
    }
}

/// Starts a shell in namespaces of its own. Its output is `log` in a folder of this name.
fn spawn_apart(folder: &TempDir, name: &str, namespaces: &[&str], script: &[&str]) -> Child {
    let log = File::create(folder.path().join(format!("{name}.log"))).unwrap();
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

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {text}", words.join(" "));
}
