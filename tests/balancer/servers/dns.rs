//! Name servers behind a public port, over UDP and TCP.

use super::{SERVERS, UdpPlane, docker_and_image, wait_until_servers};
use crate::common::{
    Container, DEADLINE,
    balancer::{Balancer, BalancerPlan, free_port},
    wait_for,
};
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Types of DNS records.
const A: u16 = 1;
pub(super) const TXT: u16 = 16;
/// The address that all names have.
const ADDRESS: [u8; 4] = [192, 0, 2, 53];

/// A query for records of a name.
pub(super) fn query(id: u16, record: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    // Recursion is desired; there is one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        query.push(label.len().try_into().unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([&[0][..], &record.to_be_bytes(), &[0, 1]].concat());
    query
}

/// Returns the number of a query with this answer.
fn answered(answer: &[u8]) -> Option<u16> {
    let is_answer = 12 < answer.len() && answer[2] & 0x80 != 0 && answer.ends_with(&ADDRESS);
    is_answer.then(|| u16::from_be_bytes([answer[0], answer[1]]))
}

fn start_dnsmasq(plan: &BalancerPlan, image: &str, name: &str, port: u16) -> Container {
    let labels = format!("glue_udp_53_bind={port} glue_udp_53_replies=1 glue_tcp_53_bind={port}");
    let address = Ipv4Addr::from(ADDRESS);
    let address = format!("--address=/#/{address}");
    let words =
        ["dnsmasq", "--keep-in-foreground", "--user=root", "--no-resolv", "--no-hosts", &address];
    plan.run(name).image(image).labels(&labels).arguments(&words).start()
}

/// What a client has seen.
#[derive(Debug, Default)]
struct Outcome {
    answered: usize,
    /// Queries without an answer when `PATIENCE` was over.
    unanswered: usize,
    longest: Duration,
}

/// Sends queries, a few of them under way at once, each from a port of its own as resolvers do. Counts each end in
/// `ended`. Sends at least the number, and goes on until `stop` is set.
fn send_queries(port: u16, number: usize, ended: &AtomicUsize, stop: &AtomicBool) -> Outcome {
    const UNDER_WAY: usize = 4;
    /// Far longer than any answer takes, even on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(15);
    let (mut outcome, mut begun) = (Outcome::default(), 0);
    let mut open: BTreeMap<u16, (UdpSocket, Instant)> = BTreeMap::new();
    loop {
        let more = begun < number || !stop.load(Ordering::Relaxed);
        while more && open.len() < UNDER_WAY {
            let id = u16::try_from(begun % 65_536).unwrap();
            let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            client.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            client.set_nonblocking(true).unwrap();
            client.send(&query(id, A, "www.example.test")).unwrap();
            open.insert(id, (client, Instant::now()));
            begun += 1;
        }
        if open.is_empty() {
            return outcome;
        }
        let before = open.len();
        open.retain(|id, (client, sent)| {
            let mut answer = [0; 512];
            let length = client.recv(&mut answer).unwrap_or_default();
            if answered(&answer[..length]) == Some(*id) {
                outcome.answered += 1;
                outcome.longest = outcome.longest.max(sent.elapsed());
                return false;
            }
            let lost = PATIENCE < sent.elapsed();
            outcome.unanswered += usize::from(lost);
            !lost
        });
        ended.fetch_add(before - open.len(), Ordering::Relaxed);
        if before == open.len() {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Returns the answer to a query over TCP.
fn ask_tcp(port: u16) -> Option<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let query = query(7, A, "www.example.test");
    stream
        .write_all(&[&u16::try_from(query.len()).unwrap().to_be_bytes(), &query[..]].concat())
        .ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).ok()?;
    answered(&answer)
}

/// Sends queries while the name servers are replaced, one at a time: the new one starts, the old one drains and stops.
fn replace_under_queries(number: usize, replacements: usize) {
    let Some((docker, image)) = docker_and_image(SERVERS) else { return };
    let plane = UdpPlane::start();
    let bound = free_port();
    // The machine's own resolver. Next to it, only other addresses than all can be served.
    let resolver = (Ipv4Addr::new(127, 0, 0, 53), bound);
    let _resolver = (UdpSocket::bind(resolver).unwrap(), TcpListener::bind(resolver).unwrap());
    // The same public port for both protocols.
    let plan = plane.plan(Balancer::plan(&docker)).bind(bound, bound);
    let plan = plan.option(&["--bind-address", "127.0.0.1"]);
    let mut servers: Vec<_> =
        ["dns-a", "dns-b"].map(|name| start_dnsmasq(&plan, &image, name, bound)).into();
    let balancer = plan.start().wait_until_started();
    let url = format!("udp://:{bound}");
    wait_until_servers(&balancer, &url, &[&servers[0], &servers[1]]);
    wait_for("both protocols", || {
        let once = send_queries(bound, 1, &AtomicUsize::new(0), &AtomicBool::new(true));
        (once.unanswered == 0 && ask_tcp(bound) == Some(7)).then_some(())
    });

    let (ended, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let outcome = thread::scope(|scope| {
        let client = scope.spawn(|| send_queries(bound, number, &ended, &stop));
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for turn in 0..replacements {
                // The replacements are spread over the queries.
                let due = number * turn / replacements;
                wait_for("queries", || (due <= ended.load(Ordering::Relaxed)).then_some(()));
                let next = start_dnsmasq(&balancer, &image, &format!("dns-{turn}"), bound);
                wait_until_servers(&balancer, &url, &[&servers[0], &servers[1], &next]);
                wait_for("TCP", || ask_tcp(bound));
                let old = servers.remove(0);
                let drain = balancer.command().args(["drain", &old.name]).output().unwrap();
                assert!(drain.status.success(), "{}", String::from_utf8_lossy(&drain.stderr));
                old.docker(&["stop"]);
                servers.push(next);
                assert_eq!(ask_tcp(bound), Some(7));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let outcome = client.join().unwrap();
        work.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome
    });
    eprintln!("{replacements} replacements: {outcome:?}");
    assert!(number <= outcome.answered && outcome.unanswered == 0, "{outcome:?}");
}

#[test]
fn queries_are_answered_while_name_servers_are_replaced() {
    replace_under_queries(5_000, 3);
}

#[test]
#[ignore = "takes minutes: make servers"]
fn hundred_thousand_queries_are_answered_while_name_servers_are_replaced() {
    replace_under_queries(100_000, 20);
}
