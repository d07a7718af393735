//! Certificates of a CA: the time until a new host is served, and the orders of restarts and recreations.

use crate::{
    pebble::{Options, Pebble},
    print_row,
    site::Site,
    summarize, tls_client,
};
use std::{thread::sleep, time::Duration};

const ORDERED: usize = 20;
const REPETITIONS: usize = 20;

pub(crate) fn measure_orders(app: u16) {
    let Some(pebble) = Pebble::start(Options::default()) else { return };
    println!("\nCertificates of pebble, by http-01");
    let options = [
        format!("--acme={}", pebble.url()),
        format!("--acme-ca-file={}", pebble.path("ca.pem").display()),
        format!("--map-port=80={}", pebble.http_port),
    ];
    let mut site = Site::new(app, &[], 0).with(&options);
    site.trust = tls_client::trust(&pebble.root_pem(), "http/1.1");
    site.start();
    site.start_container(0, "first.example.com");
    site.wait_for("first.example.com");
    let times = (1..=ORDERED).map(|number| {
        let host = format!("app{number}.example.com");
        let begun = site.start_container(number, &host);
        site.wait_for(&host);
        let took = begun.elapsed();
        sleep(Duration::from_millis(500));
        took
    });
    print_row("container start → HTTPS 200", &summarize(times.collect()), "0.7 s");
    print_row("reloads", &site.reloads().to_string(), "0");
    let orders = || pebble.log().matches("There are now").count();
    let before = orders();
    for _ in 0..REPETITIONS {
        site.stop();
        site.start();
        site.wait_for("app1.example.com");
    }
    print_row(&format!("orders of {REPETITIONS} restarts"), &(orders() - before).to_string(), "0");
    for number in 0..REPETITIONS {
        let (old, new) = (if number == 0 { 1 } else { 1000 + number - 1 }, 1000 + number);
        site.engine.die(old);
        site.start_container(new, "app1.example.com");
        site.wait_for("app1.example.com");
    }
    sleep(Duration::from_secs(3));
    let count = (orders() - before).to_string();
    print_row(&format!("… and of {REPETITIONS} recreations of a container"), &count, "0");
}
