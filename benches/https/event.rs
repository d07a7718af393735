//! The time from a container's start event until its host is served over HTTPS, with its certificate in a directory.

use crate::{print_row, site::Site, summarize};
use std::{thread::sleep, time::Duration};

const CONTAINERS: usize = 100;
const ADDED: usize = 50;

pub(crate) fn measure_events(app: u16) {
    println!("\n{CONTAINERS} HTTPS hosts with certificates in a directory");
    let hosts: Vec<_> =
        (0..CONTAINERS + ADDED).map(|number| format!("app{number}.example.com")).collect();
    let mut site = Site::new(app, &hosts, CONTAINERS).with_directory();
    site.start();
    site.wait_for(&hosts[CONTAINERS - 1]);
    site.wait_for_quiet();
    let added = hosts.iter().enumerate().skip(CONTAINERS);
    let times = added.map(|(number, host)| {
        let begun = site.start_container(number, host);
        site.wait_for(host);
        let took = begun.elapsed();
        sleep(Duration::from_millis(200));
        took
    });
    print_row("tls=on: start event → HTTPS 200", &summarize(times.collect()), "8 ms");
    print_row("reloads", &site.reloads().to_string(), "0");
}
