//! docker-glue-udp.service with the engine nft, by the example drop-in: restarts, upgrades and the removal of the package.

use super::debian::{
    PURGE, START, UDP, assert_nothing_is_left, example_commands, install_package, package_file,
    prepare_machine, show_property, type_commands,
};
use crate::common::{
    self,
    systemd::Machine,
    udp_echo::{UdpClient, UdpEcho},
    wait_for,
};
use std::process::Command;

const EXAMPLE: &str = "docker-glue-udp-nft.conf";
const PUBLIC: u16 = 5353;

/// Returns a machine with the chain that Docker has for rules of others. Its own engine is outside.
fn boot_machine(docker: &common::Docker) -> Machine {
    let options = ["--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.ip_forward=1"];
    let machine = Machine::boot_with(docker, "nft", &options).expect("no machine can be made");
    let chain =
        "iptables -N DOCKER-USER && iptables -A FORWARD -j DOCKER-USER && iptables -P FORWARD DROP
                 iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    machine.run(&["sh", "-euc", chain]);
    machine
}

/// The table and the rule in Docker's firewall.
fn rules(machine: &Machine) -> Option<String> {
    let table = machine.try_run(&["nft", "list", "table", "inet", "docker-glue"]);
    let chain = machine.run(&["iptables", "-S", "DOCKER-USER"]);
    let rule = chain.lines().find(|line| line.contains("docker-glue-udp"));
    assert_eq!(table.status.success(), rule.is_some(), "{chain}");
    Some(format!("{}{}", String::from_utf8_lossy(&table.stdout), rule?))
}

/// Waits until docker-glue-udp with this engine has its listener. Returns its process.
fn wait_for_engine(machine: &Machine, engine: &str, client: &UdpClient) -> String {
    wait_for(&format!("the engine {engine}"), || {
        let show = machine.try_run(&["docker-glue-udp", "show", "--json"]);
        let text = String::from_utf8_lossy(&show.stdout).into_owned();
        let has = |part: &str| text.contains(part);
        (has(&format!("\"engine\":\"{engine}\"")) && has(&format!(":{PUBLIC}\""))).then_some(())
    });
    client.wait_for_answer();
    assert_eq!(rules(machine).is_some(), engine == "nft");
    show_property(machine, UDP, "MainPID")
}

#[test]
#[ignore = "make packages-test builds the packages first"]
fn drop_in_selects_the_engine_nft_and_a_removal_removes_its_rules() {
    let docker = common::find_docker().expect("no Docker engine answers");
    let machine = boot_machine(&docker);
    install_package(&machine, &package_file("0-1_amd64.deb"));
    prepare_machine(&machine);
    let ports = format!(
        "printf '[Service]\\nEnvironment=DOCKER_GLUE_ALLOW_PORTS=80,udp:{PUBLIC}\\n' \
             >/etc/systemd/system/docker-balancer.service.d/ports.conf"
    );
    machine.run(&["sh", "-euc", &ports]);
    let container = machine.container("echo").labels(&format!("glue_udp_53_bind={PUBLIC}")).start();
    let _echo = UdpEcho::serve(container.bind_udp(53));
    let client = UdpClient::new(machine.address_of_port(PUBLIC));
    let commands = |words: &str| machine.run(&["sh", "-euc", &example_commands(EXAMPLE, words)]);

    commands("Has the kernel forward");
    type_commands(&machine, START);
    let pid = wait_for_engine(&machine, "nft", &client);
    let status = machine.run(&["cat", &format!("/proc/{pid}/status")]);
    // CAP_NET_ADMIN and CAP_NET_BIND_SERVICE.
    assert!(status.contains("CapEff:\t0000000000001400\n"), "{status}");
    let before = rules(&machine);

    machine.run(&["systemctl", "stop", UDP]);
    assert_eq!(rules(&machine), before);
    assert!(client.is_answered(), "the kernel forwards without the service");
    for verb in ["start", "restart"] {
        machine.run(&["systemctl", verb, UDP]);
        assert_eq!(rules(&machine), before, "{verb}");
    }

    commands("To undo this");
    wait_for_engine(&machine, "user", &client);
    commands("Has the kernel forward");
    let pid = wait_for_engine(&machine, "nft", &client);

    install_package(&machine, &package_file("+second-1_amd64.deb"));
    assert_eq!(rules(&machine), before);
    assert_eq!(show_property(&machine, UDP, "MainPID"), pid);

    // The scripts of the rpm, at an upgrade and at a removal.
    let rpm = package_file("-1.x86_64.rpm");
    let script = Command::new("rpm").args(["-qp", "--queryformat", "%{PREUN}"]).arg(rpm).output();
    let script = String::from_utf8(script.unwrap().stdout).unwrap();
    for (others, is_kept) in [("1", true), ("0", false)] {
        machine.run(&["sh", "-c", &script, "sh", others]);
        assert_eq!(rules(&machine).is_some(), is_kept, "{others} others installed");
    }
    assert!(!client.is_answered());
    type_commands(&machine, START);
    wait_for_engine(&machine, "nft", &client);

    machine.run(&["dpkg", "--remove", "docker-glue"]);
    assert_eq!(rules(&machine), None);
    assert!(!client.is_answered(), "its flow has ended, too");
    type_commands(&machine, PURGE);
    assert_nothing_is_left(&machine);
}
