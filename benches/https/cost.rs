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
/// The host whose container decrypts.
const PASSED: &str = "passed.example.com";

/// Returns the CPU time of the target for each operation.
type Measure = fn(&Site, &Target) -> Duration;

/// A server to measure, and the host of the requests.
struct Target {
    what: &'static str,
    port: u16,
    pid: u32,
    host: &'static str,
}

pub(crate) fn measure_costs(app: u16) {
    println!("\nCPU of HAProxy, least of {TURNS} (bare: a TLS frontend with one server)");
    let mut site = Site::new(app, &[HOST.to_owned()], 1).with_directory();
    site.start();
    site.wait_for(HOST);
    site.wait_for_quiet();
    let bare = Bare::start_tls(&site, app);
    let targets = [
        Target { what: "", port: site.port, pid: site.worker(), host: HOST },
        Target { what: "bare", port: bare.port, pid: bare.process.0.id(), host: HOST },
    ];
    measure_rows(&site, &targets, ["+5 %", "+6 µs", "+4 µs"]);
    measure_passthrough_costs(app);
}

/// Measures a host that HAProxy decrypts behind the frontend that selects by SNI, then one whose container decrypts.
fn measure_passthrough_costs(app: u16) {
    println!("\nThe same with --passthrough, of the decrypted host");
    let mut site = Site::new(app, &[HOST.to_owned()], 1).with_directory();
    site = site.with(&["--passthrough".to_owned()]);
    let passed = site.ca.issue(&[PASSED]);
    let tls_app = client::start_tls_server(&passed);
    site.add_passed_container(1, PASSED, tls_app);
    site.start();
    site.wait_for(HOST);
    site.wait_for(PASSED);
    site.wait_for_quiet();
    let (tls, tcp) = (Bare::start_tls(&site, app), Bare::start_tcp(&site, tls_app));
    let ours = |host| Target { what: "", port: site.port, pid: site.worker(), host };
    let bare = |bare: &Bare, host| Target {
        what: "bare",
        port: bare.port,
        pid: bare.process.0.id(),
        host,
    };
    measure_rows(&site, &[ours(HOST), bare(&tls, HOST)], [""; 3]);
    println!("\nOf the host that is passed through (bare: a TCP frontend with one server)");
    // The container accepts no HTTP/2.
    let rows = &ROWS[..2];
    measure_some(&site, &[ours(PASSED), bare(&tcp, PASSED)], rows, &[""; 2]);
}

const ROWS: [(&str, Measure); 3] = [
    ("full handshake with a request", measure_handshakes),
    ("HTTP/1.1 request", measure_http1),
    ("HTTP/2 request", measure_http2),
];

fn measure_rows(site: &Site, targets: &[Target; 2], goals: [&str; 3]) {
    measure_some(site, targets, &ROWS, &goals);
}

fn measure_some(site: &Site, targets: &[Target; 2], rows: &[(&str, Measure)], goals: &[&str]) {
    for ((what, measure), goal) in rows.iter().zip(goals) {
        let mut least = [f64::INFINITY; 2];
        for _ in 0..TURNS {
            for (least, target) in least.iter_mut().zip(targets) {
                *least = least.min(measure(site, target).as_secs_f64() * 1e6);
            }
        }
        let [ours, bare] = least;
        let (more, ratio) = (ours - bare, ours / bare);
        let figure =
            format!("{ours:.1} µs, {} {bare:.1} µs: {more:+.1} µs, × {ratio:.2}", targets[1].what);
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
    /// Starts one with the certificate of the host, and HTTP.
    fn start_tls(site: &Site, app: u16) -> Self {
        let certificate = site.path("certificates").join(format!("{HOST}.pem"));
        let policy = docker_glue::haproxy::tls::policy_words(
            docker_glue::model::tls::TlsPolicy::Intermediate,
        );
        let policy: Vec<_> = policy.into_iter().flat_map(|(word, value)| [word, value]).collect();
        let options =
            format!("ssl crt {} alpn h2,http/1.1 {}", certificate.display(), policy.join(" "));
        Self::start(site, ("http", &options), HOST, app)
    }

    /// Starts one that forwards TCP.
    fn start_tcp(site: &Site, app: u16) -> Self {
        Self::start(site, ("tcp", ""), PASSED, app)
    }

    fn start(site: &Site, (mode, options): (&str, &str), host: &str, app: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let text = format!(
            "defaults\n mode {mode}\n timeout connect 1s\n timeout client 60s\n timeout server 60s\n\
             frontend f\n bind 127.0.0.1:{port} {options}\n \
             default_backend b\nbackend b\n server s 127.0.0.2:{app}\n"
        );
        let file = folder.path().join("bare.cfg");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(find_haproxy().unwrap());
        let process = Process::spawn(command.args(["-db", "-f"]).arg(file));
        site.wait_until("the other HAProxy", || {
            client::request(port, host, &site.trust).is_ok_and(|status| status == 200)
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
            assert_eq!(client::request(target.port, target.host, &site.trust).unwrap(), 200);
        }
    })
}

fn measure_http1(site: &Site, target: &Target) -> Duration {
    let connect = || client::connect(target.port, target.host, &site.trust).unwrap();
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    for connection in &mut connections {
        client::get(connection, target.host).unwrap();
    }
    measure(target, REQUESTS, || {
        scope(|scope| {
            for connection in &mut connections {
                scope.spawn(|| {
                    for _ in 0..REQUESTS / CONNECTIONS {
                        assert_eq!(client::get(connection, target.host).unwrap(), 200);
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
        let mut sender =
            runtime.block_on(load::connect_http2(target.port, target.host, config.clone()));
        runtime.block_on(load::get(&mut sender, target.host)).unwrap();
        senders.push(sender);
    }
    measure(target, REQUESTS, || {
        let all = senders.iter_mut().map(async |sender| {
            for _ in 0..REQUESTS / CONNECTIONS {
                assert_eq!(load::get(sender, target.host).await, Ok(200));
            }
        });
        runtime.block_on(futures_util::future::join_all(all));
    })
}
