//! Containers are started, stopped, killed and replaced, and certificates renewed, under constant load over HTTP and
//! HTTPS, and with clients of TCP and UDP; measures the effect on clients.
//!
//! `make soak` runs for five minutes, `SOAK=short` for one, `SOAK=long` for an hour. `SOAK_RATE` sets the number of
//! requests a second for a slow or busy machine, `SOAK_OPTIONS` adds options of docker-balancer, and `HAPROXY_BIN` names
//! another HAProxy. It prints figures and the missed goals, for people and as a line of JSON;
//! it fails only if it could not run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "this is a measurement")]

mod alone;
mod balancer;
mod certificates;
mod chaos;
mod crowd;
mod entry;
mod http;
mod http2;
mod latency;
mod load;
mod report;
mod stream;
#[path = "../../tests/common/certificates.rs"]
mod test_certificates;
#[path = "../https/tls_client.rs"]
mod tls_client;

use balancer::Balancer;
use certificates::Certificates;
use chaos::{Chaos, Plan};
use crowd::ContainerFleet;
use entry::{Entry, Protocol};
use std::{rc::Rc, time::Duration};
use stream::StreamEntry;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{RwLock, watch},
    task::{LocalSet, spawn_local},
    time::{Instant, sleep},
};

fn main() {
    // Other harnesses (`cargo test --benches`) only start it.
    if std::env::args().all(|word| word != "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let word = std::env::var("SOAK").unwrap_or_default();
    LocalSet::new().block_on(&runtime, run_soak(Plan::from_word(&word)));
}

async fn run_soak(plan: Plan) {
    let crowd = Rc::new(ContainerFleet::new());
    let certificates = Certificates::new(crowd.host(chaos::SERVICE), crowd.host(chaos::STILL));
    let balancer = Balancer::new(crowd.label(), certificates.directory());
    let entry = Entry::new(balancer.http, balancer.https, &certificates.ca_pem());
    let streams = balancer.streams;
    let balancer = Rc::new(RwLock::new(balancer));
    let story = Rc::default();
    let certificates = Rc::new(certificates);
    let chaos = Chaos { crowd, balancer, certificates, entry, plan, story };
    let listening = Rc::clone(&chaos.crowd);
    let listening = spawn_local(async move { listening.follow_events().await });
    tokio::select! {
        () = run_phases(&chaos, streams) => {}
        () = wait_for_stop_signal() => println!("stopped before the end; no figures"),
    }
    listening.abort();
}

async fn run_phases(chaos: &Chaos, streams: StreamEntry) {
    let first = chaos.prepare().await;
    let begun = Instant::now();
    let before = chaos.balancer.read().await.workers().await;
    let (stop, stopped) = watch::channel(false);
    let target = load::Target {
        entry: chaos.entry.clone(),
        host: chaos.crowd.host(chaos::SERVICE),
        still: chaos.crowd.host(chaos::STILL),
        streams,
    };
    let load = std::thread::spawn(move || load::run_load(target, stopped));
    sleep(Duration::from_secs(3)).await;
    chaos.run(first).await;
    sleep(Duration::from_secs(3)).await;
    let took = begun.elapsed();
    stop.send_replace(true);
    while !load.is_finished() {
        sleep(Duration::from_millis(50)).await;
    }
    let mut measured = load.join().expect("the load ran to its end");
    {
        let mut story = chaos.story.borrow_mut();
        measured.odd.append(&mut story.odd);
        measured.requests.insert((Protocol::Http, load::Kind::Probe), story.probes);
    }
    let after = chaos.balancer.read().await.workers().await;
    let logs = report::Logs::read(&*chaos.balancer.read().await, &measured);
    report::Report { chaos, measured, logs, before, after, took }.print();
}

/// Waits for Ctrl-C or SIGTERM; containers and processes are removed in these cases too.
async fn wait_for_stop_signal() {
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
