//! docker-glue-udp with each engine next to a direct path, and to nginx if its stream module is installed: round trips,
//! CPU, latency, loss, and many listeners. Clients, the machine and the containers are network namespaces, so it needs root.
//!
//! With the engine nft the kernel forwards while a client or a container sends, so its CPU is in the sum of all processes.
//!
//! `cargo bench --bench udp -- load` measures one part: load, latency, loss, queries or listeners.

#![allow(
    dead_code,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark, which uses a part of the tests' site"
)]

#[path = "../tests/udp/site.rs"]
mod site;

use docker_glue::udp::command::UdpCommand;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use site::{CLIENT, Site, listener};
use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The site calls this without root.
fn record_skip(reason: &str) {
    println!("skipped: {reason}");
}

const DIRECT: &str = "10.99.2.11:5300";
const PLANE: &str = "10.99.1.1:5300";
const NGINX: &str = "10.99.1.1:5400";
const TIME: Duration = Duration::from_secs(3);
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn main() {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| words.is_empty() || words.iter().any(|word| word == part);
    measure_user_site(wants);
    // The rules would take the datagrams of the others, so it has a machine of its own.
    if Command::new("nft").arg("--version").output().is_ok() {
        measure_nft_site(wants);
    } else {
        println!("engine nft: not measured, nft is not installed");
    }
}

fn measure_user_site(wants: impl Fn(&str) -> bool) {
    let Some(site) = Site::start_engine("user") else { return };
    let echoes = start_echoes(&site);
    let nginx = Nginx::start(&site);
    let own = Some(site.plane_pid());
    for (name, to, pid) in [("direct", DIRECT, None), ("engine user", PLANE, own)] {
        Path::new(name, to, pid).measure(&site, &wants);
    }
    if let Some(nginx) = nginx {
        Path::new("nginx", NGINX, Some(nginx.0.id())).measure(&site, &wants);
    }
    if wants("listeners") {
        measure_listeners("engine user", &site);
    }
    drop(echoes);
}

fn measure_nft_site(wants: impl Fn(&str) -> bool) {
    let Some(site) = Site::start_engine("nft") else { return };
    let echoes = start_echoes(&site);
    Path::new("engine nft", PLANE, Some(site.plane_pid())).measure(&site, &wants);
    if wants("listeners") {
        measure_listeners("engine nft", &site);
    }
    drop(echoes);
}

/// Starts two containers and has docker-glue-udp forward to them.
fn start_echoes(site: &Site) -> [Echo; 2] {
    let echoes = ["10.99.2.11:5300", "10.99.2.12:5300"].map(|at| Echo::start(site.bind("E", at)));
    site.set(&listener("0.0.0.0:5300 | a@10.99.2.11:5300 b@10.99.2.12:5300"));
    echoes
}

/// A way from the clients to the containers.
struct Path<'a> {
    name: &'a str,
    to: SocketAddr,
    /// The program in between.
    pid: Option<u32>,
}

impl<'a> Path<'a> {
    fn new(name: &'a str, to: &str, pid: Option<u32>) -> Self {
        Self { name, to: to.parse().unwrap(), pid }
    }

    fn measure(&self, site: &Site, wants: impl Fn(&str) -> bool) {
        if wants("load") {
            self.measure_load(site, 16, 16, 64);
            self.measure_load(site, 1, 128, 64);
            self.measure_load(site, 1, 64, 1200);
            self.measure_load(site, 1000, 1, 64);
        }
        if wants("latency") {
            self.measure_latency(site);
        }
        if wants("loss") {
            self.measure_loss(site);
        }
        if wants("queries") {
            self.measure_queries(site);
        }
    }

    fn measure_load(&self, site: &Site, flows: u16, window: usize, bytes: usize) {
        let clients = self.open_clients(site, flows);
        let before = self.cpu();
        let (round_trips, _) = run_closed_loop(&clients, window, bytes, TIME);
        let rate = round_trips as f64 / TIME.as_secs_f64();
        let [own, all] = self.cpu_since(before, round_trips);
        println!(
            "{:16} {flows:4} flows × {window:3}, {bytes:4} B: {rate:6.0} round trips/s, {own:4.1} µs of its CPU, {all:4.1} µs of all",
            self.name
        );
    }

    fn measure_latency(&self, site: &Site) {
        let clients = self.open_clients(site, 1);
        let (_, mut times) = run_closed_loop(&clients, 1, 64, TIME);
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 1000].as_nanos() as f64 / 1000.0;
        println!(
            "{:16} one datagram under way: p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs",
            self.name,
            at(500),
            at(990),
            at(999)
        );
    }

    /// 20,000 datagrams a second of 100 flows, sent without waiting for answers, in bursts of 20 each millisecond.
    fn measure_loss(&self, site: &Site) {
        let clients = self.open_clients(site, 100);
        let (start, mut sent, mut received) = (Instant::now(), 0_usize, 0_usize);
        let mut buffer = [0; 2048];
        for burst in 0..2000_u32 {
            let due = start + Duration::from_millis(burst.into());
            thread::sleep(due.saturating_duration_since(Instant::now()));
            for _ in 0..20 {
                sent += usize::from(clients[sent % 100].send(&[0; 64]).is_ok());
            }
            received += clients.iter().filter(|client| client.recv(&mut buffer).is_ok()).count();
        }
        let end = Instant::now() + Duration::from_secs(1);
        while received < sent && Instant::now() < end {
            received += clients.iter().filter(|client| client.recv(&mut buffer).is_ok()).count();
        }
        println!("{:16} 20,000/s open loop: {} of {sent} lost", self.name, sent - received);
    }

    /// Each query has a flow of its own, as those of a resolver.
    fn measure_queries(&self, site: &Site) {
        let pool = self.open_clients(site, 4000);
        let before = self.cpu();
        let (start, mut buffer) = (Instant::now(), [0; 2048]);
        for client in &pool {
            client.set_nonblocking(false).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            client.send(&[0; 64]).unwrap();
            let _ = client.recv(&mut buffer);
        }
        let each = start.elapsed().as_secs_f64() * 1e6 / pool.len() as f64;
        let [own, all] = self.cpu_since(before, pool.len());
        println!(
            "{:16} each query a new flow: {each:.1} µs each, {own:.1} µs of its CPU, {all:.1} µs of all",
            self.name
        );
    }

    fn open_clients(&self, site: &Site, flows: u16) -> Vec<UdpSocket> {
        let open = |_| {
            let client = site.bind("C", &format!("{CLIENT}:0"));
            client.connect(self.to).unwrap();
            client.set_nonblocking(true).unwrap();
            client
        };
        (0..flows).map(open).collect()
    }

    /// The CPU time of the program in between, and of this one, which is the client and the containers.
    fn cpu(&self) -> [Duration; 2] {
        [self.pid.map_or(Duration::ZERO, cpu_of), cpu_of(std::process::id())]
    }

    fn cpu_since(&self, before: [Duration; 2], count: usize) -> [f64; 2] {
        let [own, this] = self.cpu();
        let [own, this] = [own.saturating_sub(before[0]), this.saturating_sub(before[1])];
        [own, own + this].map(|time| time.as_secs_f64() * 1e6 / count as f64)
    }
}

/// The CPU time of a process, its threads, and those of its children that run (nginx's workers).
fn cpu_of(pid: u32) -> Duration {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let workers = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(|_| pid != std::process::id());
    let own = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = own.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks) + workers.map(cpu_of).sum::<Duration>()
}

/// Keeps a number of datagrams of each flow under way. Returns the round trips, and their times if there is one at a time.
fn run_closed_loop(
    clients: &[UdpSocket],
    window: usize,
    size: usize,
    time: Duration,
) -> (usize, Vec<Duration>) {
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    for (at, client) in clients.iter().enumerate() {
        epoll::add(&epoll, client, EventData::new_u64(at as u64), EventFlags::IN).unwrap();
    }
    let (datagram, mut buffer) = (vec![0; size], [0; 2048]);
    let (mut round_trips, mut times, mut sent_at) = (0, Vec::new(), Instant::now());
    let refill = || {
        for client in clients {
            for _ in 0..window {
                let _ = client.send(&datagram);
            }
        }
    };
    refill();
    let end = Instant::now() + time;
    let mut events: Vec<Event> = Vec::with_capacity(256);
    let quarter = rustix::event::Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
    while Instant::now() < end {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&quarter)).unwrap();
        if events.is_empty() {
            // All that was under way is lost.
            refill();
        }
        for event in &events {
            let client = &clients[usize::try_from(event.data.u64()).unwrap()];
            while client.recv(&mut buffer).is_ok() {
                round_trips += 1;
                if clients.len() == 1 && window == 1 {
                    times.push(sent_at.elapsed());
                    sent_at = Instant::now();
                }
                let _ = client.send(&datagram);
            }
        }
    }
    (round_trips, times)
}

/// A program in a container that returns each datagram.
struct Echo {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(socket: UdpSocket) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !flag.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// nginx's stream module on the machine, with its defaults.
struct Nginx(Child);

impl Nginx {
    fn start(site: &Site) -> Option<Self> {
        if !fs::exists(STREAM_MODULE).unwrap() {
            println!("nginx: not measured, {STREAM_MODULE} is not installed");
            return None;
        }
        let folder = site.state_file().parent().unwrap().to_owned();
        let config = format!(
            "load_module {STREAM_MODULE}; daemon off; worker_processes 2; pid {0}/nginx.pid; error_log {0}/nginx.log;
             worker_rlimit_nofile 65536; events {{ worker_connections 16384; }}
             stream {{ upstream echoes {{ server 10.99.2.11:5300; server 10.99.2.12:5300; }}
                       server {{ listen 5400 udp reuseport; proxy_pass echoes; proxy_timeout 120s; }} }}",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config).unwrap();
        let namespace = format!("--net=/run/netns/{}", site.namespace("M"));
        let mut command = Command::new("nsenter");
        let child = command.arg(namespace).arg("nginx").arg("-c").arg(file).spawn().unwrap();
        let nginx = Self(child);
        site::wait_until("nginx answers", || {
            let client = site.client(&format!("{CLIENT}:0"));
            client.send(NGINX, "x");
            client.receive_within(Duration::from_millis(100)).is_some()
        });
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn measure_listeners(name: &str, site: &Site) {
    let set = |port: u16| {
        let text = format!("0.0.0.0:{port} | a@10.99.2.11:5300 b@10.99.2.12:5300");
        UdpCommand::Set(Box::new(listener(&text)))
    };
    let start = Instant::now();
    site.execute(&(10_000..15_000).map(set).collect::<Vec<_>>());
    let all = start.elapsed();
    let mut single: Vec<_> = (20_000..20_020)
        .map(|port| {
            let start = Instant::now();
            site.execute(&[set(port)]);
            start.elapsed()
        })
        .collect();
    single.sort_unstable();
    let start = Instant::now();
    let (plane, _) = site.read_all();
    let show = start.elapsed();
    let memory = fs::read_to_string(format!("/proc/{}/status", site.plane_pid())).unwrap();
    let memory = memory.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!(
        "{name:16} 5,000 listeners: {all:.0?}; one more: p50 {:.1?}, max {:.1?}; show of {}: {show:.1?}; {memory}",
        single[10], single[19], plane.listeners
    );
}
