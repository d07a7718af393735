//! The example for Open vSwitch, with a real switch. Its datapath is in user space, because the kernel module is not
//! available everywhere.

use crate::common::{self, engine::Engine, glue::Glue, wait_for};
use nix::sys::signal::Signal;
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// A switch of the test, with one bridge on which the host has an address.
struct Switch {
    /// The folder that the switch's programs were unpacked to.
    home: PathBuf,
    folder: TempDir,
    daemons: Vec<Child>,
    bridge: String,
}

impl Switch {
    fn start() -> Self {
        let made = Command::new("sh").arg("tests/ovs.sh").output().unwrap();
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "tests/ovs.sh: {error}");
        let home = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
        let folder = tempfile::Builder::new().prefix("glue-ovs").tempdir().unwrap();
        let bridge = format!("glovs{}", std::process::id());
        let mut switch = Self { home, folder, daemons: Vec::new(), bridge };
        switch.run();
        switch
    }

    fn run(&mut self) {
        let database = self.folder.path().join("conf.db");
        let schema = self.home.join("root/usr/share/openvswitch/vswitch.ovsschema");
        let made = self.program("ovsdb-tool").arg("create").args([&database, &schema]).status();
        assert!(made.unwrap().success());
        let socket = self.folder.path().join("db.sock");
        let remote = format!("--remote=punix:{}", socket.display());
        self.spawn("ovsdb-server", &[&database.display().to_string(), &remote]);
        wait_for("the switch's database", || socket.exists().then_some(()));
        self.tell("--no-wait init");
        // Containers send packets whose checksums are not computed yet.
        self.tell("--no-wait set Open_vSwitch . other_config:userspace-tso-enable=true");
        self.spawn("ovs-vswitchd", &[&format!("unix:{}", socket.display())]);
        let bridge = self.bridge.clone();
        self.tell(&format!("add-br {bridge} -- set bridge {bridge} datapath_type=netdev"));
        run_ip(&format!("address add 10.215.0.1/24 dev {bridge}"));
        run_ip(&format!("link set {bridge} up"));
    }

    fn spawn(&mut self, name: &str, words: &[&str]) {
        let log = std::fs::File::create(self.folder.path().join(name)).unwrap();
        let mut command = self.program(name);
        command.args(words).stdout(Stdio::null()).stderr(log);
        self.daemons.push(command.spawn().unwrap());
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.home.join("bin").join(name));
        command.env("OVS_RUNDIR", self.folder.path()).env("OVS_LOGDIR", self.folder.path());
        command
    }

    fn tell(&self, words: &str) -> String {
        let mut command = self.program("ovs-vsctl");
        let output = command.arg("--timeout=20").args(words.split(' ')).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ovs-vsctl {words}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn ports(&self) -> usize {
        self.tell(&format!("list-ports {}", self.bridge)).lines().count()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let mut delete = self.program("ovs-vsctl");
        let _ = delete.args(["--timeout=5", "--if-exists", "del-br", &self.bridge]).status();
        for mut daemon in self.daemons.drain(..).rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        for device in [&self.bridge, "ovs-netdev"] {
            let _ = Command::new("ip").args(["link", "delete", device]).output();
        }
    }
}

fn run_ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status();
    assert!(done.unwrap().success(), "ip {words}");
}

fn answers_ping(address: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let limit = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&address.parse().unwrap(), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn container_without_network_gets_and_loses_a_switch_port() {
    // An engine of its own, because other tests also have containers without a network.
    let Some(mut engine) = Engine::new() else { return };
    // Open vSwitch is unpacked from a Debian package.
    if !common::is_installed("apt-get") {
        return;
    }
    let switch = Switch::start();
    engine.start();
    engine.load_image();
    let docker = engine.docker();
    // A fixed address, so that it is the same after a restart of the container.
    let own = "--mtu=1450 --ipaddress=10.215.0.2/24 --macaddress=02:42:0a:d7:00:02";
    let changes = [("br-int", switch.bridge.as_str()), ("--mtu=1450", own)];
    let path = std::env::var("PATH").unwrap();
    let mut glue = Glue::plan(&docker)
        .example("ovs", "ovs-handler.sh", &changes)
        .env("PATH", format!("{}:{path}", switch.home.join("bin").display()))
        .env("OVS_RUNDIR", switch.folder.path())
        // ovs-docker asks Docker for the container's process.
        .env("DOCKER_HOST", engine.url())
        .start();
    let other = docker.run("other").start();
    let web = docker.run("web").option(&["--network", "none"]).start();
    glue.wait_for_log(&["done", "event=\"start\"", &web.name]);
    glue.wait_for_log(&["done", "event=\"start\"", &other.name]);
    wait_for("an answer over the switch", || answers_ping("10.215.0.2:80").then_some(()));
    assert_eq!(switch.ports(), 1);

    // The restarted container has a new process and a new network namespace.
    web.docker(&["restart", "--time", "0"]);
    wait_for("an answer after the restart", || answers_ping("10.215.0.2:80").then_some(()));
    wait_for("one port again", || (switch.ports() == 1).then_some(()));

    // Over a restart of docker-glue a container keeps its port. A container that started in the meantime gets one, a
    // container that stopped loses it.
    glue.stop_with(Signal::SIGTERM);
    glue.start_again();
    glue.wait_for_log(&["done", "event=\"start\"", &other.name, &other.id[..12]]);
    glue.wait_for_log(&["is already connected to", "as port", &web.name]);
    assert!(answers_ping("10.215.0.2:80"));
    glue.stop_with(Signal::SIGTERM);
    web.docker(&["stop", "--time", "0"]);
    glue.start_again();
    wait_for("no port", || (switch.ports() == 0).then_some(()));
    glue.stop_with(Signal::SIGTERM);
    web.docker(&["start"]);
    glue.start_again();
    wait_for("an answer after docker-glue began", || answers_ping("10.215.0.2:80").then_some(()));

    let name = web.name.clone();
    drop(web);
    glue.wait_for_log(&["done", "event=\"destroy\"", &name]);
    assert_eq!(switch.ports(), 0);
    let failed: Vec<_> =
        glue.log().lines().filter(|text| text.contains("ERROR")).map(str::to_owned).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
