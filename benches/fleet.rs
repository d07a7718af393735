//! Several balancers that serve the same: how soon all three of a fleet do after a change, and the CPU of each; and what a
//! Swarm of 2,000 tasks costs its manager and docker-balancer. `-- hashes` or `-- manager` measures one part. Needs etcd;
//! the manager needs root.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{
    CONSTRAINT,
    balancer::{Balancer, BalancerPlan},
    etcd::Etcd,
    find_docker,
    swarm::SwarmBed,
    wait_for,
};
use nix::{time::ClockId, unistd::Pid};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, sleep},
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_mins(1);
const BALANCERS: usize = 3;
const NODES: usize = 20;
const CONTAINERS: usize = 10;
/// Changes one after the other.
const CHANGES: usize = 200;
const CHURN_RATE: u32 = 20;
const CHURN_TIME: Duration = Duration::from_secs(30);
const IDLE_TIME: Duration = Duration::from_secs(30);
const TASKS: usize = 2000;
const SERVICES: usize = 20;
const MANAGER_TIME: Duration = Duration::from_mins(2);

fn main() {
    let parts: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_measured = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    if is_measured("hashes") {
        measure_hashes();
    }
    if is_measured("manager") {
        measure_manager();
    }
}

/// What the balancers of a fleet write of themselves: when, the name, and the hash of what it serves.
struct FleetWatch {
    records: mpsc::Receiver<(Instant, String, String)>,
    process: Child,
    served: [String; BALANCERS],
}

impl FleetWatch {
    fn start(etcd: &Etcd) -> Self {
        let mut process = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &etcd.url(), "watch", "--prefix", "/fleet/balancers/"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, records) = mpsc::channel();
        thread::spawn(move || {
            let mut name = String::new();
            for line in lines.map_while(Result::ok) {
                if let Some(key) = line.strip_prefix("/fleet/balancers/") {
                    key.clone_into(&mut name);
                } else if let Ok(record) = serde_json::from_str::<Value>(&line) {
                    let served = record["served"].as_str().unwrap().to_owned();
                    let _ = sender.send((Instant::now(), name.clone(), served));
                }
            }
        });
        Self { records, process, served: std::array::from_fn(|_| String::new()) }
    }

    /// Waits until all balancers serve the same, which is not this. Returns when.
    fn wait_until_equal(&mut self, before: &str) -> Instant {
        loop {
            let record = self.records.recv_timeout(DEADLINE).unwrap();
            let at = record.0;
            self.store(record);
            let [first, rest @ ..] = &self.served;
            if first != before && rest.iter().all(|served| served == first) {
                return at;
            }
        }
    }

    /// Waits until no balancer has written for a while. Returns when the last hash changed, if one did.
    fn wait_until_quiet(&mut self) -> Option<Instant> {
        let mut last = None;
        while let Ok(record) = self.records.recv_timeout(Duration::from_secs(2)) {
            let at = record.0;
            if self.store(record) {
                last = Some(at);
            }
        }
        assert!(self.served.iter().all(|served| *served == self.served[0]), "{:?}", self.served);
        last
    }

    /// Returns whether the hash is another one.
    fn store(&mut self, (_, name, served): (Instant, String, String)) -> bool {
        let number: usize = name.strip_prefix("lb").unwrap().parse().unwrap();
        std::mem::replace(&mut self.served[number], served) != self.served[number]
    }
}

impl Drop for FleetWatch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From a container's record in etcd to equal hashes of three balancers that read it.
fn measure_hashes() {
    let (Some(docker), Some(mut etcd)) = (find_docker(), Etcd::new()) else { return };
    etcd.start();
    let source = format!("etcd://{}/docker-glue?name=machines", etcd.place());
    let plan = |number: usize| {
        let fleet = format!("etcd://{}/fleet?name=lb{number}", etcd.place());
        Balancer::plan(&docker).option(&["--source", &source, "--fleet", &fleet])
    };
    let first = plan(0);
    let mut plans: Vec<_> =
        (1..BALANCERS).map(|number| plan(number).sharing_containers_of(&first)).collect();
    let constraint = first.constraint().to_owned();
    plans.insert(0, first);
    let put = |node: usize, number: usize| {
        let record = record(&constraint, node, number);
        etcd.put_all(&[(record_key(node, number), Some(record))]);
    };
    for node in 0..NODES {
        (0..CONTAINERS).for_each(|number| put(node, number));
        let alive =
            json!({"v": 1, "state": "up", "addresses": [format!("203.0.113.{}", node + 1)]});
        etcd.put_all(&[(format!("/docker-glue/n{node}/alive"), Some(alive))]);
    }
    let mut watch = FleetWatch::start(&etcd);
    let started: Vec<_> = plans.into_iter().map(BalancerPlan::start).collect();
    let balancers: Vec<_> = started.into_iter().map(Balancer::wait_until_started).collect();
    watch.wait_until_quiet();
    println!("{BALANCERS} balancers, {} containers on {NODES} machines", NODES * CONTAINERS);

    let remove = |node, number| etcd.put_all(&[(record_key(node, number), None)]);
    let mut took = Vec::new();
    for number in 0..CHANGES {
        let before = watch.served[0].clone();
        let begin = Instant::now();
        // A further container of a route comes, and goes with the next change.
        if number % 2 == 0 {
            put(number / 2 % NODES, 100);
        } else {
            remove(number / 2 % NODES, 100);
        }
        took.push(watch.wait_until_equal(&before) - begin);
        sleep(Duration::from_millis(200));
    }
    print_row("one change → equal hashes of all", &quantiles(&mut took));

    let pids: Vec<_> = balancers.iter().map(Balancer::pid).collect();
    let cpu = || pids.iter().map(|pid| cpu_time(*pid)).collect::<Vec<_>>();
    let before = cpu();
    sleep(IDLE_TIME);
    print_row("CPU of each, idle", &shares(&before, &cpu(), IDLE_TIME));
    let (before, begin) = (cpu(), Instant::now());
    let steps = CHURN_RATE * u32::try_from(CHURN_TIME.as_secs()).unwrap();
    for step in 0..steps {
        let (node, number) = (step as usize / 2 % NODES, 100);
        if step % 2 == 0 {
            put(node, number);
        } else {
            remove(node, number);
        }
        sleep((begin + (step + 1) * CHURN_TIME / steps).saturating_duration_since(Instant::now()));
    }
    let text = shares(&before, &cpu(), begin.elapsed());
    print_row(&format!("CPU of each, at {CHURN_RATE} changes a second"), &text);
    watch.wait_until_quiet();
    let mut took = Vec::new();
    for round in 0..20 {
        let mut begin = Instant::now();
        for node in 0..NODES {
            begin = Instant::now();
            if round % 2 == 0 { put(node, 100) } else { remove(node, 100) }
        }
        // Hashes may be equal for a moment before the last one.
        let equal = watch.wait_until_quiet().unwrap();
        took.push(equal - begin);
    }
    print_row("20 changes at once: the last one → equal hashes", &quantiles(&mut took));
    let memory = pids.iter().map(|pid| format!("{} MB", resident_megabytes(*pid)));
    print_row("memory of each", &memory.collect::<Vec<_>>().join(", "));
}

fn record_key(node: usize, number: usize) -> String {
    format!("/docker-glue/n{node}/served/{:064x}", 0x1000_0000 + node * 1000 + number)
}

/// A container of one of 100 routes, without checks: nothing runs there.
fn record(constraint: &str, node: usize, number: usize) -> Value {
    let service = (node * CONTAINERS + number) % 100;
    json!({
        "v": 1, "name": format!("service{service}-n{node}-{number}"), "image": "example/app:1",
        "created": 1_790_000_000_000_000_000_i64, "started": 1_790_000_000_000_000_000_i64,
        "state": "running", "health": "none", "mode": "own",
        "labels": {
            "glue_http_80_host": format!("service{service}.test"), "glue_http_80_check": "off",
            CONSTRAINT: constraint,
        },
        "networks": {"bridge": {"ipv4": "172.17.0.9"}},
        "published": [{"port": "80/tcp", "host_port": 30000 + number, "host_ip": "0.0.0.0"}],
    })
}

/// A manager with 2,000 tasks. They stay pending, because no node has room for so many, and a proxy tells docker-balancer
/// that they run: a service whose tasks are about to start is asked for more often.
fn measure_manager() {
    let (Some(docker), Some(bed)) = (find_docker(), SwarmBed::start()) else { return };
    let manager = bed.manager();
    let network = ["network", "create", "--driver", "overlay", "--subnet", "10.216.0.0/19", "many"];
    manager.run_docker(&network);
    let proxy = start_proxy(bed.node(1).address);
    let source = format!("swarm+tcp://127.0.0.1:{proxy}?name=swarm");
    let plan = Balancer::plan(&docker).option(&["--source", &source]);
    let replicas = (TASKS / SERVICES).to_string();
    for number in 0..SERVICES {
        let name = format!("many{number}");
        let words = ["--detach", "--replicas", &replicas, "--constraint", "node.labels.x==y"];
        let words = [&words[..], &["--network", "many", "--endpoint-mode", "dnsrr"]].concat();
        bed.create_service(&plan, &name, &words);
    }
    let tasks = || ask_manager(bed.node(1).address, "/tasks");
    wait_for("all tasks", || (tasks().matches("\"pending\"").count() == TASKS).then_some(()));
    let dockerd = bed.node(1).dockerd();
    let cpu_of = |pid: Pid| {
        let before = cpu_time(pid);
        sleep(MANAGER_TIME);
        share(before, cpu_time(pid), MANAGER_TIME)
    };
    // The scheduler of the manager needs a while for so many tasks.
    wait_for("a quiet manager", || {
        let before = cpu_time(dockerd);
        sleep(Duration::from_secs(5));
        (cpu_time(dockerd) < before + Duration::from_millis(250)).then_some(())
    });
    println!("{TASKS} tasks in {SERVICES} services");
    print_row("answer of the manager with all tasks", &format!("{} kB", tasks().len() / 1000));
    print_row("CPU of the manager alone", &cpu_of(dockerd));
    let balancer = plan.start().wait_until_started();
    sleep(Duration::from_secs(10));
    let before = cpu_time(balancer.pid());
    print_row("CPU of the manager with docker-balancer", &cpu_of(dockerd));
    let own = share(before, cpu_time(balancer.pid()), MANAGER_TIME);
    print_row("CPU of docker-balancer", &own);
    print_row("memory of docker-balancer", &format!("{} MB", resident_megabytes(balancer.pid())));
    drop(balancer);
}

/// Returns the port of a proxy in front of a manager, in whose answers pending tasks run.
fn start_proxy(manager: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer_for(stream, manager));
        }
    });
    port
}

/// Answers the requests of a connection.
fn answer_for(client: TcpStream, manager: Ipv4Addr) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut client = client;
    while let Some(path) = read_path(&mut reader) {
        if path.contains("/events") {
            let mut stream = TcpStream::connect((manager, 2375)).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n").ok()?;
            std::io::copy(&mut stream, &mut client).ok()?;
            return None;
        }
        let body =
            ask_manager(manager, &path).replace(r#""State":"pending""#, r#""State":"running""#);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        write!(client, "{head} {}\r\n\r\n{body}", body.len()).ok()?;
    }
    None
}

fn read_path(reader: &mut impl std::io::BufRead) -> Option<String> {
    let mut path = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return path,
            head if path.is_none() => path = Some(head.split(' ').nth(1)?.to_owned()),
            _ => {}
        }
    }
}

/// Returns the body of an answer.
fn ask_manager(manager: Ipv4Addr, path: &str) -> String {
    let mut stream = TcpStream::connect(SocketAddr::from((manager, 2375))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// CPU time of a process over all threads.
fn cpu_time(pid: Pid) -> Duration {
    Duration::from(ClockId::pid_cpu_clock_id(pid).unwrap().now().unwrap())
}

fn share(before: Duration, after: Duration, of: Duration) -> String {
    let percent = 100.0 * after.saturating_sub(before).as_secs_f64() / of.as_secs_f64();
    format!("{percent:.2} % of a core")
}

fn shares(before: &[Duration], after: &[Duration], of: Duration) -> String {
    let all = before.iter().zip(after).map(|(before, after)| share(*before, *after, of));
    all.collect::<Vec<_>>().join(", ")
}

fn resident_megabytes(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    format!("p50 {:.0} ms, p99 {:.0} ms, longest {:.0} ms", at(50), at(99), at(100))
}

fn print_row(what: &str, value: &str) {
    println!("{what:<50} {value}");
}
