//! Several balancers behind one address, which keepalived moves: examples/keepalived.conf on two machines.
//!
//! The machines are network namespaces at a bridge of Docker. The client is the host, at the same bridge.

#![allow(clippy::print_stdout, reason = "it prints what was measured")]

use crate::common::{
    self, Container, Docker, Network,
    balancer::{Answer, Balancer, Request},
    is_installed, wait_for,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const EXAMPLE: &str = include_str!("../../examples/keepalived.conf");

/// A machine: a namespace with a balancer, a container that says which balancer serves it, and keepalived.
struct Member {
    name: &'static str,
    balancer: Balancer,
    _keepalived: Keepalived,
    _web: Container,
    machine: Container,
}

/// It is terminated when it is dropped, and removes the address. The namespace ends with its container.
struct Keepalived(Child);

impl Drop for Keepalived {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Member {
    fn start(docker: &Docker, net: &Network, name: &'static str, vip: Ipv4Addr, rank: u8) -> Self {
        let machine = docker.run(name).network(net).env("WHOAMI_PORT", 8080).start();
        let plan = Balancer::plan(docker).bind(80, 80).in_namespace(machine.network_namespace());
        let web = plan.run(name).network(net).label("glue_http_80_host", "web.test").start();
        let balancer = plan.start().wait_until_started();
        let keepalived = start_keepalived(&balancer, &machine, vip, rank);
        Self { name, balancer, _keepalived: keepalived, _web: web, machine }
    }

    /// Ends docker-balancer and HAProxy at once, in this order: docker-balancer would start HAProxy again.
    fn kill_haproxy(&mut self) {
        let haproxy = self.balancer.master_pid();
        self.balancer.stop_with(Signal::SIGKILL);
        signal_group(haproxy, Signal::SIGKILL);
    }

    /// Returns the state that keepalived has entered last.
    fn state(&self) -> Option<String> {
        let log = fs::read_to_string(self.balancer.runtime().join("keepalived.log")).ok()?;
        let (_, after) = log.rsplit_once("Entering ")?;
        after.split(' ').next().map(str::to_owned)
    }

    /// Takes the machine off the bridge, which its own interface does not show.
    fn cut_off(&self) -> Cut {
        let inside = format!("--net={}", self.machine.network_namespace().display());
        let own = run_json("nsenter", &[&inside, "ip", "-json", "link", "show", "eth0"]);
        let index = own[0]["link_index"].as_u64().unwrap();
        let links = run_json("ip", &["-json", "link", "show"]);
        let far = links.as_array().unwrap().iter().find(|link| link["ifindex"] == index).unwrap();
        let name = |field: &str| far[field].as_str().unwrap().to_owned();
        let cut = Cut { link: name("ifname"), bridge: name("master") };
        run_json("ip", &["-json", "link", "set", &cut.link, "nomaster"]);
        cut
    }
}

/// Where a machine was connected.
struct Cut {
    link: String,
    bridge: String,
}

impl Cut {
    fn reconnect(&self) {
        run_json("ip", &["-json", "link", "set", &self.link, "master", &self.bridge]);
    }
}

/// Sends a signal to HAProxy's master and its workers.
fn signal_group(master: i32, signal: Signal) {
    kill(Pid::from_raw(-master), signal).unwrap();
}

fn run_json(program: &str, words: &[&str]) -> serde_json::Value {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn start_keepalived(
    balancer: &Balancer,
    machine: &Container,
    vip: Ipv4Addr,
    rank: u8,
) -> Keepalived {
    let ready = format!(
        "{} ready --settings /dev/null --runtime-dir {} --state-dir {}",
        env!("CARGO_BIN_EXE_docker-balancer"),
        balancer.runtime().display(),
        balancer.state().display()
    );
    let mut text = EXAMPLE.to_owned();
    for (example, own) in [
        ("/usr/bin/docker-balancer ready", ready),
        ("192.0.2.100/24", format!("{vip}/16")),
        ("priority 100", format!("priority {rank}")),
    ] {
        assert!(text.contains(example), "{example}");
        text = text.replace(example, &own);
    }
    let file = |name: &str| -> PathBuf { balancer.runtime().join(name) };
    fs::write(file("keepalived.conf"), text).unwrap();
    let log = File::create(file("keepalived.log")).unwrap();
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", machine.network_namespace().display()))
        .args(["keepalived", "--vrrp", "--dont-fork", "--log-console", "--use-file"])
        .arg(file("keepalived.conf"))
        .arg("--pid")
        .arg(file("keepalived.pid"))
        .arg("--vrrp_pid")
        .arg(file("vrrp.pid"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Keepalived(command.spawn().unwrap())
}

/// Returns an address of the bridge's network that Docker does not give to a container of this test.
fn free_address(docker: &Docker, net: &Network) -> Ipv4Addr {
    let format = "{{(index .IPAM.Config 0).Gateway}}";
    let gateway = docker.run_docker(&["network", "inspect", "--format", format, &net.name]);
    let [a, b, c, _] = gateway.trim().parse::<Ipv4Addr>().unwrap().octets();
    Ipv4Addr::new(a, b, c, 200)
}

/// Returns the name of the machine that answers at the address, if one does within a moment.
fn find_holder(vip: Ipv4Addr) -> Option<String> {
    let place = SocketAddr::from((vip, 80));
    TcpStream::connect_timeout(&place, Duration::from_millis(100)).ok()?;
    let mut stream = Request::new(place, "GET", "web.test", "/").open().ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let Answer { status, name, .. } = Answer::parse(&bytes).ok()?;
    (status == 200).then_some(name)
}

/// Waits until this machine answers, and prints how long that took.
fn wait_for_holder(vip: Ipv4Addr, name: &str, event: &str) {
    let begin = Instant::now();
    wait_for(&format!("{name} has the address"), || (find_holder(vip)? == name).then_some(()));
    println!("{event}: {name} answered after {} ms", begin.elapsed().as_millis());
}

/// Two machines, of which the first has the address. The network is removed after its members.
struct Pair {
    members: [Member; 2],
    vip: Ipv4Addr,
    _net: Network,
}

impl Pair {
    /// Returns `None` if the programs are missing.
    fn start() -> Option<Self> {
        let docker = common::find_docker_as_root()?;
        if !is_installed("keepalived") || !is_installed("nsenter") {
            return None;
        }
        let net = docker.network("vip");
        let vip = free_address(&docker, &net);
        let one = Member::start(&docker, &net, "one", vip, 100);
        wait_for_holder(vip, "one", "started alone");
        let members = [one, Member::start(&docker, &net, "two", vip, 90)];
        Some(Self { members, vip, _net: net })
    }

    /// Waits until one machine has the address and the other one is ready to take it. Returns their numbers.
    fn wait_until_settled(&self) -> (usize, usize) {
        wait_for("a holder and a spare machine", || {
            let states = self.members.each_ref().map(Member::state);
            let with = |state: &str| states.iter().position(|own| own.as_deref() == Some(state));
            let (holder, spare) = (with("MASTER")?, with("BACKUP")?);
            (find_holder(self.vip)? == self.members[holder].name).then_some((holder, spare))
        })
    }
}

#[test]
fn address_moves_when_haproxy_dies_and_when_machine_is_cut_off() {
    let Some(mut pair) = Pair::start() else { return };
    let (vip, [one, two]) = (pair.vip, &mut pair.members);
    one.kill_haproxy();
    wait_for_holder(vip, two.name, "HAProxy of the holder was killed");
    one.balancer.start_again();
    wait_for("keepalived of the first machine", || (one.state()? == "BACKUP").then_some(()));
    assert_eq!(find_holder(vip).as_deref(), Some("two"), "nopreempt");

    two.cut_off();
    wait_for_holder(vip, one.name, "the holder was cut off");
}

/// What happens to the machine with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// HAProxy and docker-balancer are killed, so nothing starts HAProxy again.
    Killed,
    /// Only HAProxy is killed.
    HaproxyDies,
    HaproxyHangs,
    CutOff,
}

/// Prints how long no machine answers. keepalived queries once a second, so each failure happens at ten moments of a
/// second.
#[test]
#[ignore = "a measurement, which takes some minutes"]
fn measure_how_long_the_address_is_away() {
    let Some(mut pair) = Pair::start() else { return };
    for failure in [Failure::Killed, Failure::HaproxyDies, Failure::HaproxyHangs, Failure::CutOff] {
        let mut took = Vec::new();
        for round in 0..10 {
            let (holder, spare) = pair.wait_until_settled();
            thread::sleep(Duration::from_millis(100) * round);
            let (vip, name) = (pair.vip, pair.members[spare].name);
            let member = &mut pair.members[holder];
            let begin = Instant::now();
            let master = member.balancer.master_pid();
            let cut = (failure == Failure::CutOff).then(|| member.cut_off());
            match failure {
                Failure::Killed => member.kill_haproxy(),
                Failure::HaproxyDies => signal_group(master, Signal::SIGKILL),
                Failure::HaproxyHangs => signal_group(master, Signal::SIGSTOP),
                Failure::CutOff => {}
            }
            let answered = wait_for("an answer", || {
                find_holder(vip).filter(|own| own == name || failure == Failure::HaproxyDies)
            });
            took.push((begin.elapsed().as_millis(), answered));
            match failure {
                Failure::Killed => member.balancer.start_again(),
                Failure::HaproxyDies => {}
                Failure::HaproxyHangs => signal_group(master, Signal::SIGCONT),
                Failure::CutOff => cut.unwrap().reconnect(),
            }
        }
        println!("{failure:?}: {took:?}");
    }
}
