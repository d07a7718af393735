//! The cost of HTTPS: how soon a host is served, replacements of certificates under load, CPU per handshake and per
//! request, very many certificates, and orders at a CA.
//!
//! The engine is simulated; HAProxy and the CA (pebble) are real. `HAPROXY_BIN` selects another HAProxy.
//! `cargo bench --bench https -- load` measures one part: `event`, `acme`, `load`, `cost`, `1000`, `10000`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "to be read by people")]

#[path = "../../tests/common/mod.rs"]
mod common;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../scale/engine.rs"]
mod engine;
#[allow(dead_code, reason = "not all of it is needed here")]
#[path = "../../tests/acme/pebble.rs"]
mod pebble;

mod acme;
mod client;
mod cost;
mod event;
mod load;
mod many;
mod site;
mod tls_client;

use std::time::Duration;

fn main() {
    if common::haproxy::find_haproxy().is_none() {
        return;
    }
    let app = client::start_server();
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let is_selected = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let parts: [(&str, &dyn Fn()); 6] = [
        ("event", &|| event::measure_events(app)),
        ("acme", &|| acme::measure_orders(app)),
        ("load", &|| load::replace_under_load(app)),
        ("cost", &|| cost::measure_costs(app)),
        ("1000", &|| many::measure_many(app, 1_000)),
        ("10000", &|| many::measure_many(app, 10_000)),
    ];
    for (_, measure) in parts.iter().filter(|(name, _)| is_selected(name)) {
        measure();
    }
}

fn print_row(what: &str, figure: &str, goal: &str) {
    let goal = if goal.is_empty() { String::new() } else { format!("  (goal: {goal})") };
    println!("{what:<52} {figure}{goal}");
}

/// Returns p50 and the worst time.
fn summarize(mut times: Vec<Duration>) -> String {
    times.sort();
    let worst = times[times.len() - 1];
    format!(
        "{} (p50), {} (worst of {})",
        to_millis(times[times.len() / 2]),
        to_millis(worst),
        times.len()
    )
}

fn to_millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn to_megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
