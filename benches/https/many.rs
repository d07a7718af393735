//! Very many certificates in a directory, each for a host of its own.

use crate::{
    print_row,
    site::{Site, memory_of},
    summarize, to_megabytes, to_millis,
};
use docker_glue::model::{
    certificate::{
        Certificate, CertificateChoice, CertificateDigest, CertificateIndex, CertificateName,
        CertificateOrigin, KeyType,
    },
    option_value::HostMatch,
};
use nix::sys::signal::{Signal, kill};
use std::{
    hint::black_box,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

const ADDED: usize = 10;

pub(crate) fn measure_many(app: u16, count: usize) {
    println!("\n{count} certificates in a directory, each for the host of a container");
    let hosts: Vec<_> =
        (0..count + ADDED).map(|number| format!("app{number}.example.com")).collect();
    let (balancer, haproxy) = measure_plain_memory(app, &hosts[..count]);
    let mut site = Site::new(app, &hosts, count).with_directory();
    let begun = Instant::now();
    site.start();
    wait_for_all(&site, &hosts[..count]);
    print_row("cold start → all hosts served", &to_millis(begun.elapsed()), "");
    site.wait_for_quiet();
    let more = memory_of(site.pid()).saturating_sub(balancer);
    let text = format!("{}, +{}", to_megabytes(memory_of(site.pid())), to_megabytes(more));
    print_row("memory of docker-balancer, more than without TLS", &text, "+60 MB");
    let more = memory_of(site.worker()).saturating_sub(haproxy);
    let each = more / u64::try_from(count).unwrap() / 1000;
    let text = format!("{}, {each} kB for each", to_megabytes(memory_of(site.worker())));
    print_row("memory of HAProxy's worker", &text, "25 kB for each");
    measure_additions(&site, &hosts, count);
    print_row("reloads", &site.reloads().to_string(), "0");
    let begun = Instant::now();
    let worker = site.worker();
    kill(site.master(), Signal::SIGKILL).unwrap();
    site.wait_until("another worker", || site.find_worker().is_some_and(|found| found != worker));
    wait_for_all(&site, &hosts[..count]);
    print_row(
        "HAProxy killed → all hosts served",
        &to_millis(begun.elapsed()),
        "30 s (2.6), 5 s (3.x)",
    );
    measure_choice(&hosts[..count]);
}

/// Returns the memory of docker-balancer and of HAProxy's worker with the same hosts, but without certificates.
fn measure_plain_memory(app: u16, hosts: &[String]) -> (u64, u64) {
    let mut site = Site::new(app, &[], 0).with_directory();
    for (number, host) in hosts.iter().enumerate() {
        site.add_plain_container(number, host);
    }
    site.start();
    site.wait_until("the routes", || {
        let routes = site.ask_haproxy("show map routes.map");
        routes.matches(".example.com").count() >= hosts.len()
    });
    site.wait_for_quiet();
    (memory_of(site.pid()), memory_of(site.worker()))
}

fn wait_for_all(site: &Site, hosts: &[String]) {
    for host in [0, hosts.len() / 2, hosts.len() - 1] {
        site.wait_for(&hosts[host]);
    }
    site.wait_until("all lines", || {
        let lines = site.ask_haproxy("show ssl crt-list -n tls-443.list");
        hosts.len() <= lines.matches(".example.com").count()
    });
}

/// Adds containers whose certificates are there, then replaces their certificates.
fn measure_additions(site: &Site, hosts: &[String], count: usize) {
    let (mut added, mut replaced) = (Vec::new(), Vec::new());
    let (cpu, children) = (site.cpu_time(), site.children_cpu_time());
    for (number, host) in hosts.iter().enumerate().skip(count) {
        let begun = site.start_container(number, host);
        site.wait_for(host);
        added.push(begun.elapsed());
        sleep(Duration::from_millis(1500));
    }
    let per = |time: Duration| to_millis(time / u32::try_from(ADDED).unwrap());
    let cpu = site.cpu_time().saturating_sub(cpu);
    let children = site.children_cpu_time().saturating_sub(children);
    print_row("one more: start event → HTTPS 200", &summarize(added), "");
    print_row("… CPU of docker-balancer, mean", &per(cpu), "");
    print_row("… CPU of HAProxy's checks of files, mean", &per(children), "0.3 s");
    for host in &hosts[count..] {
        let line = |site: &Site| {
            let lines = site.ask_haproxy("show ssl crt-list tls-443.list");
            lines.lines().filter(|line| line.ends_with(host.as_str())).collect::<Vec<_>>().concat()
        };
        let before = line(site);
        let pem = site.ca.issue(&[host]);
        let begun = Instant::now();
        site.write_certificate(host, &pem);
        site.wait_until("the replacement", || {
            sleep(Duration::from_millis(2));
            line(site) != before
        });
        replaced.push(begun.elapsed());
        sleep(Duration::from_millis(1500));
    }
    print_row("one replaced: file renamed → line in HAProxy", &summarize(replaced), "");
}

/// Measures the choice of a certificate for each host.
fn measure_choice(hosts: &[String]) {
    let certificates: Vec<_> = hosts.iter().map(|host| Arc::new(certificate(host))).collect();
    let begun = Instant::now();
    let index = CertificateIndex::build(certificates, 1);
    let built = begun.elapsed();
    let hosts: Vec<HostMatch> = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let begun = Instant::now();
    for host in &hosts {
        assert_eq!(black_box(index.find(host, &CertificateChoice::Auto)).len(), 1);
    }
    let text = format!("{} (index), {} (choice)", to_millis(built), to_millis(begun.elapsed()));
    print_row("certificates of all hosts chosen", &text, "100 ms");
}

fn certificate(host: &str) -> Certificate {
    Certificate {
        digest: CertificateDigest::of_pem(host),
        names: vec![CertificateName::Exact(host.parse().unwrap())],
        not_before: 0,
        not_after: i64::MAX / 2,
        key_type: KeyType::Ecdsa,
        issuer: "Test CA".to_owned(),
        origin: CertificateOrigin::File { path: format!("/etc/certs/{host}.pem").into() },
        name: host.to_owned(),
        pem_bytes: 2000,
    }
}
