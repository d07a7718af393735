//! Routes of connections and datagrams.

use crate::{
    common::{
        self, Container, Docker, Network,
        balancer::{Balancer, BalancerPlan, free_port},
        udp_echo::{UdpClient, UdpEcho},
        wait_for,
    },
    control::check_answer,
    https::assert_no_reload,
};
use docker_glue::{report::status::Status, udp::engine::Engine};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    time::Duration,
};

const PORT: u16 = 5432;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn connections_of_container_that_is_gone_end_and_others_go_on() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker).ports(&[80, PORT]);
    let labels = format!("glue_tcp_80_bind={PORT}");
    let first = plan.run("first").labels(&labels).start();
    let balancer = plan.start().wait_until_started();
    let url = format!("any.test:{PORT}/");
    balancer.wait_until_serves(&url, "first saw /");

    // HAProxy has both connections with the first container, the only one.
    let at = (Ipv4Addr::LOCALHOST, balancer.bound_port(PORT));
    let request = b"GET /open HTTP/1.1\r\nHost: any.test\r\n\r\n";
    let mut open = TcpStream::connect(at).unwrap();
    open.write_all(request).unwrap();
    let mut answer = [0; 1024];
    let length = open.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).contains("first"));
    let second = balancer.run("second").labels(&labels).start();
    balancer.wait_until_serves(&url, "second saw /");
    // The connection goes on while another container serves.
    open.write_all(request).unwrap();
    let length = open.read(&mut answer).unwrap();
    assert!(0 < length);

    drop(first);
    open.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let end = wait_for("the end of the connection", || match open.read(&mut answer) {
        Ok(0) => Some(Ok(())),
        Ok(_) => None,
        Err(error) => Some(Err(error.kind())),
    });
    assert!(matches!(end, Ok(()) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
    balancer.wait_until_serves(&url, "second saw /");
    drop(second);
    assert_no_reload(&balancer);
    let config = fs::read_to_string(balancer.state().join("haproxy.cfg")).unwrap();
    assert!(!config.contains("hard-stop-after"), "it would end connections after a reload");
}

/// Returns a container on the host's network, with the port of the echo as its own.
pub(crate) fn echo_container(
    echo: &UdpEcho,
    plan: &BalancerPlan,
    name: &str,
    public: u16,
) -> common::Run {
    let run = plan.run(name).option(&["--network", "host"]).env("WHOAMI_PORT", free_port());
    run.labels(&format!("glue_udp_{}_bind={public}", echo.port()))
}

#[test]
fn datagrams_reach_container_through_docker_glue_udp() {
    let Some(docker) = common::find_docker() else { return };
    let folder = tempfile::Builder::new().prefix("glue").tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let plan = Balancer::plan(&docker).option(&["--udp-socket", socket.to_str().unwrap()]);
    let (public, echo) = (free_port(), UdpEcho::start());
    let container = echo_container(&echo, &plan, "echo", public).start();
    let balancer = plan.start().wait_until_started();
    balancer.wait_for_log(&[
        "WARN",
        &format!("{public}"),
        "not served: docker-glue-udp does not answer",
    ]);

    let program = env!("CARGO_BIN_EXE_docker-glue-udp");
    let plane = Command::new(program).arg("--socket").arg(&socket).spawn().unwrap();
    let plane = Process(plane);
    let client = UdpClient::of_port(public);
    client.wait_for_answer();

    // The plane forwards without docker-balancer.
    drop(balancer);
    client.wait_for_answer();
    drop((plane, container));
}

#[test]
fn docker_glue_udp_is_started_for_a_route_restarted_and_stopped() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start().wait_until_started();
    let (public, echo) = (free_port(), UdpEcho::start());
    assert_eq!(balancer.find_plane(), None, "no route needs it");
    let container = echo_container(&echo, &balancer, "echo", public).start();
    let client = UdpClient::of_port(public);
    client.wait_for_answer();
    balancer.wait_for_log(&["INFO", "docker-glue-udp: started"]);
    let first = balancer.find_plane().unwrap();

    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    balancer.wait_for_log(&["ERROR", "docker-glue-udp exited with signal: 9", "restarting in"]);
    client.wait_for_answer();
    assert_ne!(balancer.find_plane(), Some(first));

    let mut balancer = balancer;
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    assert_eq!(balancer.find_plane(), None, "it ends with docker-balancer");
    drop(container);
}

/// Returns the status and the log.
fn run_once(plan: &BalancerPlan) -> (Option<i32>, String) {
    let log = plan.state().with_file_name("log");
    let mut command = plan.command();
    // HAProxy keeps running, with these as its output.
    command.arg("-1").stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
    let status = command.status().unwrap();
    (status.code(), fs::read_to_string(log).unwrap())
}

#[test]
fn docker_glue_udp_of_a_single_pass_serves_on_and_is_adopted() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let (public, echo) = (free_port(), UdpEcho::start());
    let container = echo_container(&echo, &plan, "echo", public).start();
    let (status, log) = run_once(&plan);
    assert_eq!(status, Some(0), "{log}");
    let first = plan.find_plane().expect("docker-glue-udp was left running");
    let client = UdpClient::of_port(public);
    client.wait_for_answer();

    let mut balancer = plan.start();
    balancer.wait_for_log(&["adopted the running HAProxy"]);
    client.wait_for_answer();
    assert_eq!(balancer.find_plane(), Some(first), "it is adopted");
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    assert_eq!(balancer.find_plane(), None, "it ends with docker-balancer");
    drop(container);
}

const ENGINE: &str = "DOCKER_GLUE_UDP_ENGINE";

/// A machine whose network is that of a container, so that the rules of the engine nft end with it.
struct NftMachine {
    container: Container,
    network: Network,
}

impl NftMachine {
    /// Starts it as Docker leaves a machine: it forwards nothing that no rule accepts, and has the chain for rules of
    /// others.
    fn start(docker: &Docker) -> Self {
        let network = docker.network("udp");
        let machine = Self { container: docker.run("machine").network(&network).start(), network };
        for line in
            "sysctl -qw net.ipv4.ip_forward=1|iptables -N DOCKER-USER|iptables -P FORWARD DROP\
            |iptables -A FORWARD -j DOCKER-USER\
            |iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
                .split('|')
        {
            machine.run(line);
        }
        machine
    }

    fn run(&self, line: &str) -> String {
        let namespace = format!("--net={}", self.container.network_namespace().display());
        let words = line.split_whitespace();
        let output = Command::new("nsenter").arg(namespace).args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns whether the kernel has the table, and Docker's firewall the rule.
    fn has_rules(&self) -> [bool; 2] {
        let has = |line| self.run(line).contains("docker-glue");
        [has("nft list tables inet"), has("iptables -S DOCKER-USER")]
    }
}

/// Waits until status names an engine. Returns the process of docker-glue-udp, which is the only one.
fn wait_for_engine(balancer: &Balancer, engine: Engine, before: i32) -> i32 {
    let udp = wait_for(&format!("status with the engine {engine}"), || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-balancer"));
        command.args(["status", "--json", "--runtime-dir"]).arg(balancer.runtime());
        let json = serde_json::from_slice(&command.output().unwrap().stdout).ok()?;
        check_answer("GET", "/status", "200", &json);
        let status: Status = serde_json::from_value(json).unwrap();
        status.udp.filter(|udp| udp.engine == engine)
    });
    let pid = udp.pid.cast_signed();
    assert_ne!(pid, before);
    assert_eq!(balancer.find_plane(), Some(pid));
    // Of a process that was not waited for yet, it is empty.
    assert!(fs::read(format!("/proc/{before}/cmdline")).unwrap_or_default().is_empty());
    assert_eq!(udp.counts.is_some(), engine == Engine::User);
    pid
}

#[test]
fn docker_glue_udp_with_another_engine_is_replaced() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let machine = NftMachine::start(&docker);
    let plan = Balancer::plan(&docker).in_namespace(machine.container.network_namespace());
    let labels = "glue_udp_53_bind=5353";
    let container = plan.run("echo").network(&machine.network).labels(labels).start();
    let echo = UdpEcho::serve(container.bind_udp(53));
    let client = UdpClient::new((machine.container.address(&machine.network), 5353).into());
    let (status, log) = run_once(&plan);
    assert_eq!(status, Some(0), "{log}");
    let first = plan.find_plane().expect("docker-glue-udp was left running");
    client.wait_for_answer();

    let plan = plan.option(&["--leave-running"]).env(ENGINE, "nft");
    let mut balancer = plan.start();
    let second = wait_for_engine(&balancer, Engine::Nft, first);
    client.wait_for_answer();
    assert_eq!(machine.has_rules(), [true; 2]);
    assert!(balancer.stop_with(Signal::SIGTERM).success());
    assert_eq!(balancer.find_plane(), Some(second), "it was left running");

    balancer.set_env(ENGINE, "user");
    balancer.start_again();
    wait_for_engine(&balancer, Engine::User, second);
    client.wait_for_answer();
    assert_eq!(machine.has_rules(), [false; 2]);
    drop((balancer, echo, container));
}

#[test]
fn single_pass_fails_if_datagrams_are_not_forwarded() {
    let Some(docker) = common::find_docker() else { return };
    let plan = Balancer::plan(&docker);
    let (echo, taken) = (UdpEcho::start(), UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap());
    let public = taken.local_addr().unwrap().port();
    let container = echo_container(&echo, &plan, "echo", public).start();
    let (status, log) = run_once(&plan);
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("datagrams are not forwarded"), "{log}");
    assert!(log.contains("another program has the port"), "{log}");
    drop(taken);
    let (status, log) = run_once(&plan);
    assert_eq!(status, Some(0), "{log}");
    drop(container);
}

#[test]
fn image_starts_docker_glue_udp() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let plan = Balancer::plan(&docker).in_container("host");
    let (public, echo) = (free_port(), UdpEcho::start());
    let container = echo_container(&echo, &plan, "echo", public).start();
    let balancer = plan.start().wait_until_started();
    UdpClient::of_port(public).wait_for_answer();
    balancer.wait_for_log(&["INFO", "docker-glue-udp: started"]);
    drop((balancer, container));
}

/// As `docker run -p 53:53/udp` and the ports of `examples/compose.yaml` do.
#[test]
fn image_serves_published_port_of_datagrams() {
    let Some(docker) = common::find_docker_as_root() else { return };
    let (network, public) = (docker.network("front"), free_port());
    let plan = Balancer::plan(&docker).in_container(&network.name).publish_datagrams(public);
    let container = plan.run("echo").network(&network).env("WHOAMI_ECHO", 53);
    let container = container.labels(&format!("glue_udp_53_bind={public}")).start();
    let balancer = plan.start().wait_until_started();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let answer = wait_for("an answer", || {
        client.send_to(b"hello", (Ipv4Addr::LOCALHOST, public)).ok()?;
        let mut answer = [0; 64];
        let length = client.recv(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    });
    assert!(answer.starts_with("echo ") && answer.ends_with(" hello"), "{answer}");
    drop((balancer, container));
}
