//! A registry in a real etcd: how soon 100 readers know of a stop signal, and what a fleet of 1,000 machines with 20
//! containers each costs a reader. `-- load` measures one part: `readers` or `fleet`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{
    etcd::{Etcd, put_at},
    find_docker,
    glue::Glue,
    story::default_rules,
};
use docker_glue::{
    label,
    model::{
        container::ContainerId,
        source_name::SourceName,
        world::{Vantage, World},
    },
    routing::decide::{DecideState, Rules, decide},
    sources::{
        ContainerFilter, Registration, Snapshot, SnapshotConfig, Source,
        registry::{self, RegistrySettings},
    },
    support::etcd::EtcdSettings,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

const READERS: usize = 100;
const STOPS: usize = 30;
const NODES: usize = 1000;
const CONTAINERS: usize = 20;
const CHANGES: usize = 50;
const DEADLINE: Duration = Duration::from_mins(1);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let parts: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_measured = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    if is_measured("readers") {
        measure_readers().await;
    }
    if is_measured("fleet") {
        measure_fleet().await;
    }
}

/// One reader of the registry.
struct Reader {
    snapshot: watch::Receiver<Snapshot>,
    _registration: Registration,
}

impl Reader {
    fn start(tasks: &mut JoinSet<()>, endpoints: Vec<String>) -> Self {
        let name: SourceName = "fleet".parse().unwrap();
        let (updates, snapshot) = watch::channel(Snapshot::default());
        let source = Source::new(name.clone());
        let registration =
            source.publish_snapshots(SnapshotConfig::new(filter(&name)), Arc::new(updates));
        let settings = RegistrySettings {
            source: name,
            access: EtcdSettings { endpoints, ..EtcdSettings::default() },
            prefix: "/docker-glue/".to_owned(),
            forget: None,
            allowed_addresses: Vec::new(),
        };
        tasks.spawn(async move { registry::follow(&settings, &source, None).await });
        Self { snapshot, _registration: registration }
    }

    /// Waits until the world satisfies the condition, and returns when.
    async fn wait_for(&mut self, is: impl Fn(&World) -> bool) -> Instant {
        let found = self
            .snapshot
            .wait_for(|snapshot| snapshot.world.as_ref().is_some_and(|world| is(world)));
        drop(timeout(DEADLINE, found).await.unwrap().unwrap());
        Instant::now()
    }
}

fn filter(source: &SourceName) -> ContainerFilter {
    ContainerFilter {
        source: source.clone(),
        has_our_labels: |labels| label::has_our_labels(labels.keys().map(String::as_str)),
        is_used_label: label::is_relevant_label,
        named: BTreeSet::new(),
        required_labels: Vec::new(),
        reads_environment: false,
        matches_all: false,
        own_labels: None,
        own_container: None,
    }
}

/// From the request that stops a container, over Docker's event, docker-glue and three members of etcd, to each reader.
async fn measure_readers() {
    let (Some(docker), Some(etcd)) = (find_docker(), Etcd::start_cluster()) else { return };
    let web = docker
        .run("web")
        .label("glue_http_80_host", "a.test")
        .option(&["--stop-signal", "SIGWINCH", "--stop-timeout", "1"])
        .start();
    let urls: Vec<_> = etcd.iter().map(Etcd::url).collect();
    let text = format!(
        "[handler]\nclass=publish\n[params]\nwhat=served\nnode=one\naddresses=203.0.113.2\nendpoints={}\n",
        urls[0]
    );
    let _glue = Glue::plan(&docker).file("publish.ini", &text).start();
    let mut tasks = JoinSet::new();
    let endpoints = |number: usize| (0..3).map(|n| urls[(number + n) % 3].clone()).collect();
    let mut readers: Vec<_> =
        (0..READERS).map(|number| Reader::start(&mut tasks, endpoints(number))).collect();
    let id = ContainerId::in_source("fleet".parse().unwrap(), web.id.as_str());
    let is_stopping = |stopping: bool| {
        let id = id.clone();
        move |world: &World| world.containers.get(&id).is_some_and(|web| web.stopping == stopping)
    };
    let (mut all, mut last, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STOPS {
        for reader in &mut readers {
            reader.wait_for(is_stopping(false)).await;
        }
        let begun = Instant::now();
        let mut waits = JoinSet::new();
        for mut reader in readers.drain(..) {
            let is_stopping = is_stopping(true);
            waits.spawn(async move {
                let at = reader.wait_for(is_stopping).await;
                (reader, at)
            });
        }
        // The container ignores its stop signal, and does not count as stopping any more after its stop timeout.
        let socket = docker.socket();
        let path = format!("/containers/{}/kill?signal=SIGWINCH", web.id);
        let kill = move || {
            post_docker(&socket, &path);
            begun.elapsed()
        };
        answers.push(tokio::task::spawn_blocking(kill).await.unwrap());
        let mut latest = Duration::ZERO;
        while let Some(done) = waits.join_next().await {
            let (reader, at) = done.unwrap();
            readers.push(reader);
            all.push(at - begun);
            latest = latest.max(at - begun);
        }
        last.push(latest);
    }
    print_row(
        &format!("kill → known to each of {READERS} readers"),
        &quantiles(&mut all),
        "p99 below 50 ms",
    );
    print_row("of this, until Docker has answered", &quantiles(&mut answers), "");
    print_row("kill → known to the last of them", &quantiles(&mut last), "");
}

fn post_docker(socket: &std::path::Path, path: &str) {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "POST {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 204 "), "{answer}");
}

/// A fleet as its publishers would write it.
async fn measure_fleet() {
    let Some(mut etcd) = Etcd::new() else { return };
    etcd.start();
    for node in 0..NODES {
        let own = |number| (record_key(node, number), Some(record(node, number, false)));
        let alive = json!({"v": 1, "state": "up", "addresses": [address(node)]});
        let alive = (format!("/docker-glue/n{node}/alive"), Some(alive));
        etcd.put_all(&(0..CONTAINERS).map(own).chain([alive]).collect::<Vec<_>>());
    }
    let before = resident_megabytes();
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    let mut reader = Reader::start(&mut tasks, vec![etcd.url()]);
    let known = reader.wait_for(|world| world.containers.len() == NODES * CONTAINERS).await;
    let world = reader.snapshot.borrow().world.clone().unwrap();
    print_row(
        &format!("{NODES} nodes × {CONTAINERS} containers: start → known"),
        &format!("{:.2} s", (known - begun).as_secs_f64()),
        "below 3 s",
    );
    print_row("memory of the reader", &format!("{} MB", resident_megabytes() - before), "");
    let rules = rules();
    let begun = Instant::now();
    let decision = decide(&world, DecideState::default(), begun, &rules);
    print_row("first decision", &format!("{:.2} s", begun.elapsed().as_secs_f64()), "");
    assert_eq!(decision.problems.iter().count(), 0);
    let (mut memory, mut changes, mut decisions) = (decision.memory, Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let (node, leaving) = (number * 7 % NODES, true);
        let id = ContainerId::in_source("fleet".parse().unwrap(), container_id(node, 3));
        let change = (record_key(node, 3), Some(record(node, 3, leaving)));
        let begun = Instant::now();
        let place = etcd.place();
        let put = tokio::task::spawn_blocking(move || put_at(&place, &[change]));
        let known = reader.wait_for(|world| world.containers[&id].stopping).await;
        changes.push(known - begun);
        put.await.unwrap();
        let world = reader.snapshot.borrow().world.clone().unwrap();
        let begun = Instant::now();
        memory = decide(&world, memory, begun, &rules).memory;
        decisions.push(begun.elapsed());
    }
    print_row("one change → known", &quantiles(&mut changes), "below 20 ms");
    print_row("its decision", &quantiles(&mut decisions), "");
}

fn rules() -> Rules {
    let rules = default_rules();
    let vantage =
        Vantage::Remote { engine: "0.0.0.0".parse().unwrap(), own_addresses: BTreeSet::new() };
    let base = docker_glue::routing::decide::SourceRules { vantage, ..rules.base.clone() };
    let sources: BTreeMap<SourceName, _> = [("fleet".parse().unwrap(), base)].into();
    Rules { sources, ..rules }
}

fn address(node: usize) -> String {
    format!("10.7.{}.{}", node / 250, node % 250 + 1)
}

fn container_id(node: usize, number: usize) -> String {
    format!("{:064x}", 0x1000_0000 + node * CONTAINERS + number)
}

fn record_key(node: usize, number: usize) -> String {
    format!("/docker-glue/n{node}/served/{}", container_id(node, number))
}

fn record(node: usize, number: usize, leaving: bool) -> Value {
    let service = node % 100 * CONTAINERS + number;
    json!({
        "v": 1, "name": format!("service{service}-n{node}"), "image": format!("registry.test/team/service{service}:1.2.3"),
        "created": 1_790_000_000_000_000_000_i64, "started": 1_790_000_000_000_000_000_i64,
        "state": "running", "health": "healthy", "leaving": leaving, "mode": "own",
        "labels": {
            "glue_http_8080_host": format!("service{service}.example.test"),
            "glue_http_8080_bind": "80", "glue_http_8080_check": "/healthz", "glue_http_8080_weight": "50",
            "com.docker.compose.project": "shop", "com.docker.compose.service": format!("service{service}"),
        },
        "networks": {"shop_default": {"ipv4": "172.18.0.7"}},
        "published": [{"port": "8080/tcp", "host_port": 30000 + number, "host_ip": "0.0.0.0"}],
        "exposed": ["8080/tcp"], "stop": {"signal": "SIGTERM", "timeout": 30},
    })
}

fn resident_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index].as_secs_f64() * 1000.0
    };
    format!("p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(0.5), at(0.99), at(1.0))
}

fn print_row(what: &str, value: &str, goal: &str) {
    println!("{what:<58} {value:<50} {goal}");
}
