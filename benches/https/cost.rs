//! HAProxy's CPU time per handshake and per request, compared with an HAProxy that has only a TLS frontend with the same
//! certificate and a server.

use crate::{
    client,
    common::{balancer::free_port, haproxy::find_haproxy},
    load, print_row,
    site::{Process, Site, process_cpu_time},
    tls_client,
};
use std::{fs, process::Command, thread::scope, time::Duration};
use tempfile::TempDir;

const HANDSHAKES: usize = 2_000;
const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 4;
/// Both are measured in turn, and the least of each counts: other programs only add to it.
const TURNS: usize = 3;
const HOST: &str = "app0.example.com";

/// Returns the CPU time of the target for each operation.
type Measure = fn(&Site, &Target) -> Duration;

/// A server to measure.
struct Target {
    port: u16,
    pid: u32,
}

pub(crate) fn measure_costs(app: u16) {
    println!("\nCPU of HAProxy, least of {TURNS} (bare: a TLS frontend with one server)");
    let mut site = Site::new(app, &[HOST.to_owned()], 1).with_directory();
    site.start();
    site.wait_for(HOST);
    site.wait_for_quiet();
    let bare = Bare::start(&site, app);
    let (ours, bare) = (
        Target { port: site.port, pid: site.worker() },
        Target { port: bare.port, pid: bare.process.0.id() },
    );
    let rows: [(&str, Measure, &str); 3] = [
        ("full handshake with a request", measure_handshakes, "+5 %"),
        ("HTTP/1.1 request", measure_http1, "+6 µs"),
        ("HTTP/2 request", measure_http2, "+4 µs"),
    ];
    for (what, measure, goal) in rows {
        let (mut least, mut least_bare) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..TURNS {
            least = least.min(measure(&site, &ours).as_secs_f64() * 1e6);
            least_bare = least_bare.min(measure(&site, &bare).as_secs_f64() * 1e6);
        }
        let (more, ratio) = (least - least_bare, least / least_bare);
        let figure = format!("{least:.1} µs, bare {least_bare:.1} µs: {more:+.1} µs, × {ratio:.2}");
        print_row(what, &figure, goal);
    }
}

/// An HAProxy with one frontend. It is removed on drop.
struct Bare {
    port: u16,
    process: Process,
    _folder: TempDir,
}

impl Bare {
    fn start(site: &Site, app: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let certificate = site.path("certificates").join(format!("{HOST}.pem"));
        let policy = docker_glue::haproxy::tls::policy_words(
            docker_glue::model::tls::TlsPolicy::Intermediate,
        );
        let policy: Vec<_> = policy.into_iter().flat_map(|(word, value)| [word, value]).collect();
        let policy = policy.join(" ");
        let text = format!(
            "defaults\n mode http\n timeout connect 1s\n timeout client 60s\n timeout server 60s\n\
             frontend f\n bind 127.0.0.1:{port} ssl crt {} alpn h2,http/1.1 {policy}\n \
             default_backend b\nbackend b\n server s 127.0.0.2:{app}\n",
            certificate.display()
        );
        let file = folder.path().join("bare.cfg");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(find_haproxy().unwrap());
        let process = Process::spawn(command.args(["-db", "-f"]).arg(file));
        site.wait_until("the other HAProxy", || {
            client::request(port, HOST, &site.trust).is_ok_and(|status| status == 200)
        });
        Self { port, process, _folder: folder }
    }
}

/// Returns the CPU time for each of `count` operations.
fn measure(target: &Target, count: usize, run: impl FnOnce()) -> Duration {
    let before = process_cpu_time(target.pid);
    run();
    process_cpu_time(target.pid).saturating_sub(before) / u32::try_from(count).unwrap()
}

fn measure_handshakes(site: &Site, target: &Target) -> Duration {
    measure(target, HANDSHAKES, || {
        for _ in 0..HANDSHAKES {
            assert_eq!(client::request(target.port, HOST, &site.trust).unwrap(), 200);
        }
    })
}

fn measure_http1(site: &Site, target: &Target) -> Duration {
    let connect = || client::connect(target.port, HOST, &site.trust).unwrap();
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    for connection in &mut connections {
        client::get(connection, HOST).unwrap();
    }
    measure(target, REQUESTS, || {
        scope(|scope| {
            for connection in &mut connections {
                scope.spawn(|| {
                    for _ in 0..REQUESTS / CONNECTIONS {
                        assert_eq!(client::get(connection, HOST).unwrap(), 200);
                    }
                });
            }
        });
    })
}

fn measure_http2(site: &Site, target: &Target) -> Duration {
    let config = tls_client::trust(&site.ca.pem(), "h2");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut sender = runtime.block_on(load::connect_http2(target.port, HOST, config.clone()));
        runtime.block_on(load::get(&mut sender, HOST)).unwrap();
        senders.push(sender);
    }
    measure(target, REQUESTS, || {
        let all = senders.iter_mut().map(async |sender| {
            for _ in 0..REQUESTS / CONNECTIONS {
                assert_eq!(load::get(sender, HOST).await, Ok(200));
            }
        });
        runtime.block_on(futures_util::future::join_all(all));
    })
}
