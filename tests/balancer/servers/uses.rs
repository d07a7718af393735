//! What UDP is used for, each with a real server: the pages of `docs/src/guide/tcp-udp-examples.md` describe them.

use super::{MORE_SERVERS, UdpPlane, ask_udp, docker_and_image, udp_client, wait_until_servers};
use crate::common::{
    Container, Docker, Run,
    balancer::{Balancer, BalancerPlan, free_port},
    wait_for,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
};

/// Two syslog servers write what they receive into a file.
const RSYSLOG: &str = "printf '%s\\n' 'module(load=\"imudp\")' 'input(type=\"imudp\" port=\"514\")' \
    'action(type=\"omfile\" file=\"/tmp/log\")' >/tmp/conf && exec rsyslogd -n -f /tmp/conf -i /tmp/pid";

fn exec(docker: &Docker, container: &Container, words: &[&str]) -> String {
    let output = docker.command(&[&["exec", &container.id], words].concat()).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn shell(plan: &BalancerPlan, image: &str, name: &str, script: &str) -> Run {
    plan.run(name).image(image).arguments(&["sh", "-c", script])
}

/// Returns the address of the machine on the container's network.
fn gateway(container: &Container) -> String {
    container.docker(&["inspect", "--format", "{{.NetworkSettings.Gateway}}"])
}

#[test]
#[ignore = "needs more packages: make servers"]
fn syslog_of_one_sender_is_spread_over_servers_without_loss() {
    let Some((docker, image)) = docker_and_image(MORE_SERVERS) else { return };
    let plane = UdpPlane::start();
    let plan = plane.plan(Balancer::plan(&docker));
    let port = free_port();
    let labels =
        format!("glue_udp_514_bind={port} glue_udp_514_sticky=none glue_udp_514_replies=0");
    let servers =
        ["log-a", "log-b"].map(|name| shell(&plan, &image, name, RSYSLOG).labels(&labels).start());
    let balancer = plan.start().wait_until_started();
    wait_until_servers(&balancer, &format!("udp://:{port}"), &[&servers[0], &servers[1]]);
    let client = udp_client(port);
    let logs = || servers.each_ref().map(|server| exec(&docker, server, &["cat", "/tmp/log"]));
    wait_for("both servers", || {
        // A refused datagram is reported to the client, and sent again here.
        let _ = client.send(b"<13>test: ready");
        logs().iter().all(|log| log.contains("ready")).then_some(())
    });
    for number in 0..500 {
        client.send(format!("<13>test: number {number};").as_bytes()).unwrap();
    }
    let is_whole = |logs: &[String; 2]| {
        let all = logs.concat();
        (0..500).all(|number| all.contains(&format!("number {number};")))
    };
    let logs = wait_for("all messages", || Some(logs()).filter(is_whole));
    let shares = logs.map(|log| log.matches("number").count());
    assert!(shares.iter().all(|share| 200 <= *share) && shares.iter().sum::<usize>() == 500);
}

/// Returns the information that a Teeworlds server gives. It first gives a token, and answers only who has it, so both
/// datagrams of a client have to reach the same server.
fn game_info(client: &UdpSocket) -> Vec<u8> {
    const OWN_TOKEN: [u8; 4] = [1, 2, 3, 4];
    // A control message without a token, which requests one. It is long, so that the answer is not longer.
    let mut request = vec![0x04, 0, 0, 0xff, 0xff, 0xff, 0xff, 5];
    request.extend(OWN_TOKEN);
    request.resize(7 + 1 + 512, 0);
    let answer = ask_udp(client, &request);
    let token: [u8; 4] = answer[8..12].try_into().unwrap();
    // A message without a connection: the tokens of both sides, and the request for information.
    let mut request = vec![0x21];
    request.extend([&token[..], &OWN_TOKEN, b"\xff\xff\xff\xffgie3\x00"].concat());
    ask_udp(client, &request)
}

#[test]
#[ignore = "needs more packages: make servers"]
fn players_stay_with_their_game_server() {
    let Some((docker, image)) = docker_and_image(MORE_SERVERS) else { return };
    let plane = UdpPlane::start();
    let plan = plane.plan(Balancer::plan(&docker));
    let port = free_port();
    let names = ["game-a", "game-b"];
    let servers = names.map(|name| {
        let script = format!("cd /tmp && exec teeworlds-server 'sv_name {name}' 'sv_register 0'");
        let labels = format!("glue_udp_8303_bind={port}");
        shell(&plan, &image, name, &script).labels(&labels).start()
    });
    let balancer = plan.start().wait_until_started();
    let url = format!("udp://:{port}");
    wait_until_servers(&balancer, &url, &[&servers[0], &servers[1]]);
    let server_of = |client: &UdpSocket| {
        let info = String::from_utf8_lossy(&game_info(client)).into_owned();
        *names.iter().find(|name| info.contains(*name)).unwrap_or_else(|| panic!("{info:?}"))
    };
    let clients: Vec<_> = (0..16).map(|_| udp_client(port)).collect();
    let players: BTreeMap<_, _> =
        clients.iter().enumerate().map(|(n, c)| (n, server_of(c))).collect();
    assert_eq!(players.values().collect::<BTreeSet<_>>().len(), 2, "{players:?}");

    // A further server gets some of the new players, and none of the others.
    let script = "cd /tmp && exec teeworlds-server 'sv_name game-c' 'sv_register 0'";
    let third = shell(&balancer, &image, "game-c", script).label("glue_udp_8303_bind", port);
    let third = third.start();
    wait_until_servers(&balancer, &url, &[&servers[0], &servers[1], &third]);
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(server_of(client), players[&number]);
    }
}

/// The scripts of both ends of a tunnel. `KEY` and `PEER` are in the environment.
const TUNNEL: &str = "wireguard-go wg0 >/dev/null && printf %s \"$KEY\" >/tmp/key && \
    wg set wg0 private-key /tmp/key";

fn wireguard(run: Run, key: &str, peer: &str) -> Run {
    let run = run.option(&["--cap-add", "NET_ADMIN", "--device", "/dev/net/tun"]);
    run.env("KEY", key).env("PEER", peer)
}

#[test]
#[ignore = "needs more packages and /dev/net/tun: make servers"]
fn wireguard_tunnel_goes_on_when_its_server_is_replaced() {
    let Some((docker, image)) = docker_and_image(MORE_SERVERS) else { return };
    let plane = UdpPlane::start();
    let plan = plane.plan(Balancer::plan(&docker));
    let port = free_port();
    let run = |words: &[&str]| docker.run_docker(&[&["run", "--rm", &image][..], words].concat());
    let keys = [(); 2].map(|()| run(&["wg", "genkey"]));
    let publics = keys.each_ref().map(|key| run(&["sh", "-c", &format!("echo {key} | wg pubkey")]));
    let start_server = |plan: &BalancerPlan, name: &str| {
        let script = format!(
            "{TUNNEL} listen-port 51820 peer \"$PEER\" allowed-ips 10.98.0.2/32 && \
             ip addr add 10.98.0.1/24 dev wg0 && ip link set wg0 up && \
             mkdir /tmp/www && echo {name} >/tmp/www/name && \
             exec busybox httpd -f -p 10.98.0.1:80 -h /tmp/www"
        );
        let run = wireguard(shell(plan, &image, name, &script), &keys[0], &publics[1]);
        run.label("glue_udp_51820_bind", port).start()
    };
    let first = start_server(&plan, "vpn-a");
    let balancer = plan.start().wait_until_started();
    let script = format!(
        "{TUNNEL} peer \"$PEER\" allowed-ips 10.98.0.1/32 endpoint {}:{port} \
         persistent-keepalive 1 && ip addr add 10.98.0.2/24 dev wg0 && ip link set wg0 up && \
         exec sleep infinity",
        gateway(&first)
    );
    let client = shell(&balancer, &image, "vpn-client", &script);
    let client = wireguard(client, &keys[1], &publics[0]).start();
    let request =
        "printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | busybox timeout 2 busybox nc 10.98.0.1 80";
    let ask = |name: &str| {
        wait_for(&format!("{name} through the tunnel"), || {
            exec(&docker, &client, &["sh", "-c", request]).contains(name).then_some(())
        });
    };
    ask("vpn-a");
    // The new server has the same keys. The client begins again when it notices that nothing is answered.
    let second = start_server(&balancer, "vpn-b");
    wait_until_servers(&balancer, &format!("udp://:{port}"), &[&first, &second]);
    drop(first);
    ask("vpn-b");
}

#[test]
#[ignore = "needs more packages: make servers"]
fn turn_server_relays_for_clients_behind_its_public_port() {
    let Some((docker, image)) = docker_and_image(MORE_SERVERS) else { return };
    let plane = UdpPlane::start();
    let plan = plane.plan(Balancer::plan(&docker));
    let port = free_port();
    let words = [
        "turnserver",
        "-n",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "--lt-cred-mech",
        "--user=me:secret",
        "--realm=turn.test",
        "--log-file=stdout",
    ];
    let run = plan.run("turn").image(&image).arguments(&words);
    let turn = run.labels(&format!("glue_udp_3478_bind={port} glue_udp_3478_idle=10m")).start();
    let balancer = plan.start().wait_until_started();
    wait_until_servers(&balancer, &format!("udp://:{port}"), &[&turn]);
    let peer =
        docker.run("peer").image(&image).arguments(&["turnutils_peer", "-p", "3480"]).start();
    let format = "{{.NetworkSettings.IPAddress}}";
    let peer_address = peer.docker(&["inspect", "--format", format]);
    let client = docker.run("client").image(&image).start();
    let words = format!(
        "timeout 25 turnutils_uclient -u me -w secret -n 50 -m 4 -e {peer_address} -r 3480 -p {port} {}",
        gateway(&turn)
    );
    let words: Vec<_> = words.split(' ').collect();
    let output = wait_for("a relay", || {
        let output = exec(&docker, &client, &words);
        output.contains("Total lost packets").then_some(output)
    });
    assert!(output.contains("Total lost packets 0 (0.000000%)"), "{output}");
}
