//! A Swarm of three managers on machines of their own: each engine runs in its own namespaces, and a bridge in another
//! one connects them and this machine. All of it ends with its processes.
//!
//! Services use `--endpoint-mode dnsrr` where they are on an overlay network, because a kernel without IPVS has no
//! virtual addresses.

use super::{
    CONSTRAINT, Docker,
    balancer::BalancerPlan,
    is_installed,
    switch::{Switch, spawn_apart},
    wait_for,
};
use nix::unistd::Pid;
use std::{net::Ipv4Addr, process::Child, thread};
use tempfile::TempDir;

#[derive(Debug)]
pub struct SwarmBed {
    folder: TempDir,
    nodes: Vec<Node>,
    switch: Switch,
}

#[derive(Debug)]
pub struct Node {
    engine: Child,
    /// Its own address, which ports are published on.
    pub address: Ipv4Addr,
}

const NODES: u8 = 3;

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
        super::find_docker_as_root()?;
        if !["dockerd", "ip", "unshare", "nsenter"].into_iter().all(is_installed) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("docker-glue-swarm-").tempdir().unwrap();
        let switch = Switch::start(folder.path(), "gs");
        let mut bed = Self { folder, nodes: Vec::new(), switch };
        for node in 1..=NODES {
            bed.add_node(node);
        }
        bed.join_nodes();
        Some(bed)
    }

    fn add_node(&mut self, number: u8) {
        let (name, address) = (format!("node{number}"), self.switch.address(number));
        let apart =
            ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let script = [START, "sh", &self.switch.cable(number), &address.to_string(), &name];
        let engine = spawn_apart(self.folder.path(), &name, &apart, &script);
        let pid = engine.id();
        self.nodes.push(Node { engine, address });
        self.switch.connect_process(number, pid);
    }

    fn join_nodes(&self) {
        thread::scope(|scope| {
            for (number, node) in self.nodes.iter().enumerate() {
                let folder = self.folder.path().join((number + 1).to_string());
                std::fs::create_dir(&folder).unwrap();
                scope.spawn(move || node.docker().wait_until_ready(&folder));
            }
        });
        let first = self.switch.address(1);
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
            (String::from_utf8_lossy(&output).matches("Ready").count() == usize::from(NODES))
                .then_some(())
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
    pub fn cut_off(&self, number: u8) {
        self.switch.cut_off(number);
    }

    /// Plugs a node's cable in.
    pub fn connect(&self, number: u8) {
        self.switch.reconnect(number);
    }
}

impl Node {
    /// Returns its dockerd.
    pub fn dockerd(&self) -> Pid {
        let pid = self.engine.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap())
    }

    pub fn docker(&self) -> Docker {
        Docker::at(format!("tcp://{}:2375", self.address))
    }
}

impl Drop for SwarmBed {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.engine.kill();
            let _ = node.engine.wait();
        }
    }
}
