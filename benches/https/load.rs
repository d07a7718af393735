//! Replacements of certificates while clients connect: fresh handshakes at a constant rate, and HTTP/2 requests.

use crate::{
    client, print_row,
    site::Site,
    tls_client::{connect_tls, start_http2, trust},
    to_megabytes,
};
use docker_glue::haproxy::tls::parse_lines;
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Bytes, client::conn::http2};
use rustls::ClientConfig;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{scope, sleep},
    time::{Duration, Instant},
};

const HOSTS: usize = 50;
const ROUNDS: usize = 12;
/// Of fresh handshakes, each with a request.
const RATE: u32 = 200;
const CLIENTS: u32 = 8;
/// Requests of the HTTP/2 connection at a time.
const STREAMS: usize = 10;

/// Outcomes of a kind of request.
#[derive(Debug, Default)]
struct Outcomes {
    succeeded: AtomicUsize,
    failed: AtomicUsize,
}

impl Outcomes {
    fn count(&self, result: Result<u16, String>) {
        match result {
            Ok(200) => drop(self.succeeded.fetch_add(1, Relaxed)),
            other => {
                eprintln!("failed: {other:?}");
                self.failed.fetch_add(1, Relaxed);
            }
        }
    }

    fn print(&self, what: &str) {
        let (succeeded, failed) = (self.succeeded.load(Relaxed), self.failed.load(Relaxed));
        print_row(what, &format!("{failed} failed of {}", succeeded + failed), "0 failed");
    }
}

pub(crate) fn replace_under_load(app: u16) {
    println!(
        "\nReplacements of {HOSTS} certificates, with {RATE} full handshakes a second and HTTP/2 requests"
    );
    let hosts: Vec<_> = (0..HOSTS).map(|number| format!("app{number}.example.com")).collect();
    let mut site = Site::new(app, &hosts, HOSTS).with_directory();
    site.start();
    for host in &hosts {
        site.wait_for(host);
    }
    site.wait_for_quiet();
    let (handshakes, requests) = (Outcomes::default(), Outcomes::default());
    let stop = AtomicBool::new(false);
    let (mut replaced, begun) = (0, Instant::now());
    let memory = crate::site::memory_of(site.worker());
    scope(|scope| {
        for number in 0..CLIENTS {
            let (site, hosts, outcomes, stop) = (&site, &hosts, &handshakes, &stop);
            scope.spawn(move || connect_often(site, hosts, number, outcomes, stop));
        }
        let config = trust(&site.ca.pem(), "h2");
        let (host, port, outcomes, stop_requests) = (&hosts[0], site.port, &requests, &stop);
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(
                &runtime.unwrap(),
                send_requests(port, host, config, outcomes, stop_requests),
            );
        });
        for _ in 0..ROUNDS {
            replaced += replace_all(&site, &hosts);
        }
        stop.store(true, Relaxed);
    });
    let took = begun.elapsed().as_secs_f64();
    print_row("certificates replaced", &format!("{replaced} in {took:.1} s"), "500");
    handshakes.print("handshakes with a request");
    requests.print("requests over one HTTP/2 connection");
    print_row("reloads", &site.reloads().to_string(), "0");
    let more = crate::site::memory_of(site.worker()).saturating_sub(memory);
    print_row("growth of HAProxy's memory", &to_megabytes(more), "");
}

/// Replaces all certificates. Returns the number of replacements in HAProxy.
fn replace_all(site: &Site, hosts: &[String]) -> usize {
    let before = certificates(site);
    for host in hosts {
        site.issue(host);
    }
    let old: BTreeSet<_> = before.values().collect();
    site.wait_until("replacements", || {
        let now = certificates(site);
        now.len() == hosts.len() && now.values().all(|certificate| !old.contains(certificate))
    });
    hosts.len()
}

/// Returns the certificate of each name. HAProxy has several lines for a name during a replacement.
fn certificates(site: &Site) -> BTreeMap<(String, usize), String> {
    sleep(Duration::from_millis(20));
    let lines = parse_lines(&site.ask_haproxy("show ssl crt-list -n tls-443.list"));
    let mut found = BTreeMap::new();
    for line in lines.into_keys() {
        let count = found.range((line.name.clone(), 0)..=(line.name.clone(), usize::MAX)).count();
        found.insert((line.name, count), line.certificate);
    }
    found
}

/// Connects at this client's share of the rate.
fn connect_often(
    site: &Site,
    hosts: &[String],
    number: u32,
    outcomes: &Outcomes,
    stop: &AtomicBool,
) {
    let (begun, period) = (Instant::now(), Duration::from_secs(1) * CLIENTS / RATE);
    for turn in 0.. {
        sleep((period * turn).saturating_sub(begun.elapsed()));
        if stop.load(Relaxed) {
            return;
        }
        let host = &hosts[(turn * CLIENTS + number) as usize % hosts.len()];
        let result = client::request(site.port, host, &site.trust);
        outcomes.count(result.map_err(|error| error.to_string()));
    }
}

/// Sends requests over one connection, several at a time.
async fn send_requests(
    port: u16,
    host: &str,
    config: Arc<ClientConfig>,
    outcomes: &Outcomes,
    stop: &AtomicBool,
) {
    let sender = connect_http2(port, host, config).await;
    let all = (0..STREAMS).map(|_| async {
        let mut sender = sender.clone();
        while !stop.load(Relaxed) {
            outcomes.count(get(&mut sender, host).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    futures_util::future::join_all(all).await;
}

pub(crate) type Sender = http2::SendRequest<Empty<Bytes>>;

pub(crate) async fn connect_http2(port: u16, host: &str, config: Arc<ClientConfig>) -> Sender {
    let stream = connect_tls((Ipv4Addr::LOCALHOST, port).into(), host, &config).await.unwrap();
    start_http2(stream).await.unwrap()
}

/// Returns the status of the response to a GET.
pub(crate) async fn get(sender: &mut Sender, host: &str) -> Result<u16, String> {
    let request = hyper::Request::get(format!("https://{host}/")).body(Empty::new()).unwrap();
    sender.ready().await.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(|error| error.to_string())?;
    Ok(status)
}
