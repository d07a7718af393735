//! The release binary between a simulated Docker engine and a real HAProxy, with many containers: how soon they are
//! served, and the cost of one more container, a burst of changes, a request, and a container with very many labels.
//! The same for routes of TCP, and of UDP with docker-glue-udp.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "to be read by people")]

#[path = "scale/engine.rs"]
mod engine;

use engine::{Engine, Protocol, Simulated, TCP_PORT, udp_port};
use nix::{time::ClockId, unistd::Pid};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// `DOCKER_BALANCER` selects another binary, for comparison.
const BALANCER: &str = env!("CARGO_BIN_EXE_docker-balancer");
const DEADLINE: Duration = Duration::from_mins(1);
/// Containers that are added one at a time.
const ADDED: usize = 20;
/// Number of starts, and of deaths, in a storm.
const STORM: usize = 500;
/// Number of requests for measuring the cost of a request.
const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 4;
const ROUTES: usize = 10_000;
/// Number and length of the labels of one container that request invalid hosts.
const LABELS: usize = 1_000;
const LABEL: usize = 4_000;

fn main() {
    let haproxy = Command::new("haproxy").arg("-v").env("PATH", program_path()).output();
    if !haproxy.is_ok_and(|output| output.status.success()) {
        println!("skipped: no HAProxy is installed");
        return;
    }
    let app = start_servers();
    let goals = [(1_000, "0.4 s", "20 MB"), (10_000, "2 s", "60 MB")];
    // `cargo bench --bench scale -- 1000`, `-- requests`, `-- labels`
    let only = std::env::args().skip(1).find(|text| !text.starts_with('-'));
    let is_selected = |part: &str| only.as_ref().is_none_or(|only| only == part);
    for (containers, cold, memory) in
        goals.into_iter().filter(|item| is_selected(&item.0.to_string()))
    {
        println!("\n{containers} containers, two per route");
        let site = Site::start(Protocol::Http, app, containers, 2, cold);
        print_row("memory of the daemon", &to_megabytes(memory_of(site.balancer.0.id())), memory);
        measure_single_starts(&site, containers);
        measure_storm(&site);
        print_row(
            "memory of the daemon, after all that",
            &to_megabytes(memory_of(site.balancer.0.id())),
            "",
        );
    }
    for (name, protocol, containers) in
        [("tcp", Protocol::Tcp, 10_000), ("udp", Protocol::Udp, 5_000)]
    {
        if is_selected(name) {
            println!("\n{containers} containers with a route of {name} each");
            let site = Site::start(protocol, app, containers, 1, "");
            let memory = to_megabytes(memory_of(site.balancer.0.id()));
            print_row("memory of the daemon", &memory, "");
            if let Some(plane) = &site.plane {
                let memory = to_megabytes(memory_of(plane.0.id()));
                print_row("memory of docker-glue-udp", &memory, "");
            }
            measure_single_starts(&site, containers);
        }
    }
    if is_selected("requests") {
        measure_requests(app);
    }
    if is_selected("labels") {
        labels(app);
    }
}

/// Measures how a container with 4 MB of invalid labels affects the others.
fn labels(app: u16) {
    println!("\n100 containers, and one with {LABELS} labels of {LABEL} bytes that are no hosts");
    let site = Site::start(Protocol::Http, app, 100, 1, "");
    let memory = || to_megabytes(memory_of(site.balancer.0.id()));
    print_row("memory of the daemon, before", &memory(), "");
    print_row("newcomer before: event → served", &newcomers(&site, 1_000), "");
    let lines = site.lines();
    let value = "_,".repeat(LABEL / 2);
    let more = (0..LABELS).map(|n| format!(r#","glue_http_{app}_host.n{n}":"{value}""#));
    let more = more.collect::<Vec<_>>().concat();
    let evil = Simulated::new(2_000, "evil.example.com".to_owned(), app).with_labels(more);
    site.engine.create(evil);
    let begun = Instant::now();
    site.engine.start_container(2_000);
    site.wait_for(2_000, "evil.example.com");
    print_row("that container: event → served", &to_millis(begun.elapsed()), "");
    site.wait_for_quiet();
    let come = site.lines();
    print_row("lines of the log at its start", &(come - lines).to_string(), "52");
    print_row("memory of the daemon, with it", &memory(), "20 MB");
    print_row("newcomer with it there: event → served", &newcomers(&site, 3_000), "10 ms");
    let come = site.lines();
    site.engine.die(2_000);
    site.wait_for_quiet();
    print_row("lines of the log at its end", &(site.lines() - come).to_string(), "52");
    print_row("memory of the daemon, without it again", &memory(), "");
}

/// Starts containers one at a time, each on its own route.
fn newcomers(site: &Site, from: usize) -> String {
    let mut took = vec![];
    for number in from..from + ADDED {
        let host = format!("one{number}.example.com");
        site.engine.create(Simulated::new(number, host.clone(), site.app));
        sleep(Duration::from_millis(50));
        let begun = Instant::now();
        site.engine.start_container(number);
        site.wait_for(number, &host);
        took.push(begun.elapsed());
        sleep(Duration::from_millis(200));
    }
    let took = to_sorted(took);
    format!("{} (p50), {} (worst)", to_millis(took[ADDED / 2]), to_millis(took[ADDED - 1]))
}

/// Adds containers one at a time, each on its own route: measures from Docker's event to the first answer.
fn measure_single_starts(site: &Site, from: usize) {
    let (mut took, mut calls, mut all_calls, mut cpu) = (vec![], vec![], vec![], vec![]);
    let before = (site.cpu_time(), site.children_cpu_time());
    for number in from..from + ADDED {
        let host = format!("one{number}.example.com");
        let (n, spent) = (site.engine.questions(), site.cpu_time());
        let container = Simulated::new(number, host.clone(), site.app);
        site.engine.create(container.with_protocol(site.protocol));
        site.listen_for_datagrams(number);
        sleep(Duration::from_millis(50));
        let (begun, queries_before) = (Instant::now(), site.engine.questions());
        site.engine.start_container(number);
        site.wait_for(number, &host);
        took.push(begun.elapsed());
        calls.push(site.engine.questions() - queries_before);
        // Waits until the files are written and all requests to the engine have been sent.
        sleep(Duration::from_millis(1500));
        all_calls.push(site.engine.questions() - n);
        cpu.push(site.cpu_time().saturating_sub(spent));
    }
    let [took, cpu] = [took, cpu].map(to_sorted);
    let [calls, all_calls] = [calls, all_calls].map(to_sorted);
    let middle = ADDED / 2;
    let text = format!("{} (p50), {} (worst)", to_millis(took[middle]), to_millis(took[ADDED - 1]));
    print_row("one more: event → served", &text, "30 ms");
    print_row("one more: calls to the engine until served", &calls[middle].to_string(), "2");
    print_row("one more: calls in all, create and rechecks", &all_calls[middle].to_string(), "");
    print_row("one more: CPU of the daemon, files included", &to_millis(cpu[middle]), "20 ms");
    // For child processes only the sum is known, and only for those that have exited, such as checks.
    let children = site.children_cpu_time().saturating_sub(before.1);
    let all = children + site.cpu_time().saturating_sub(before.0);
    let mean = |time: Duration| to_millis(time / u32::try_from(ADDED).unwrap());
    print_row("one more: CPU with its checks of files, mean", &mean(all), "50 ms");
}

/// With the first container of each of the first routes stopped, starts these containers while the second ones die.
fn measure_storm(site: &Site) {
    let (first, other) = ((0..STORM).map(|n| n * 2), (0..STORM).map(|n| n * 2 + 1));
    for number in first.clone() {
        site.engine.die(number);
    }
    let first: Vec<_> = first.collect();
    let other: Vec<_> = other.collect();
    site.wait_until(&other, &first);
    sleep(Duration::from_secs(3));
    let (begun, spent, children) = (Instant::now(), site.cpu_time(), site.children_cpu_time());
    let pause = Duration::from_secs(1) / u32::try_from(STORM).unwrap();
    for (n, (come, go)) in (0..).zip(first.iter().zip(&other)) {
        site.engine.start_container(*come);
        site.engine.die(*go);
        sleep((pause * n).saturating_sub(begun.elapsed()));
    }
    let last = Instant::now();
    let n = site.engine.questions();
    site.wait_until(&first, &other);
    let (took, all) = (last.elapsed(), begun.elapsed());
    let text = format!("{} ({} calls meanwhile)", to_millis(took), site.engine.questions() - n);
    print_row("storm of 1,000: last event → all applied", &text, "1 s");
    let cpu = site.cpu_time().saturating_sub(spent);
    let share = 100.0 * cpu.as_secs_f64() / all.as_secs_f64();
    let text = format!("{} in {} ({share:.0} % of a core)", to_millis(cpu), to_millis(all));
    print_row("storm of 1,000: CPU of the daemon", &text, "one core");
    let children = site.children_cpu_time().saturating_sub(children);
    print_row("storm of 1,000: CPU of its checks of files", &to_millis(children), "");
}

/// Measures HAProxy's CPU time per request, without that of health checks.
fn measure_requests(app: u16) {
    println!("\n10,000 routes, one container each");
    let hosts: Vec<_> = (0..ROUTES).map(|n| format!("app{n}.example.com")).collect();
    // Only few hosts are requested, so that connections to servers are reused both with and without routes.
    let texts: Vec<_> = hosts.iter().step_by(hosts.len() / 16).cloned().collect();
    let routed = {
        let site = Site::start(Protocol::Http, app, hosts.len(), 1, "");
        per_request(site.port, site.worker_pid(), &texts)
    };
    let bare = {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = folder.path().join("bare.cfg");
        let text = format!(
            "defaults\n mode http\n timeout connect 1s\n timeout client 60s\n timeout server 60s\n\
             frontend f\n bind 127.0.0.1:{port}\n default_backend b\n\
             backend b\n server s 127.0.0.2:{app}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(file).env("PATH", program_path());
        let process = Process::spawn(&mut command);
        wait_until_connected(port);
        per_request(port, process.0.id(), &texts)
    };
    let micros = |time: f64| format!("{:.1} µs", time * 1e6);
    print_row("CPU of HAProxy per request", &micros(routed), "");
    print_row("the same with a bare default_backend", &micros(bare), "");
    print_row("more", &micros(routed - bare), "5 µs");
}

/// Returns the CPU time per request, in seconds.
fn per_request(port: u16, pid: u32, hosts: &[String]) -> f64 {
    ask_many(port, hosts, REQUESTS / 10);
    let quiet = Duration::from_secs(4);
    let before = process_cpu_time(pid);
    sleep(quiet);
    let idle = process_cpu_time(pid).saturating_sub(before).as_secs_f64() / quiet.as_secs_f64();
    let (before, begun) = (process_cpu_time(pid), Instant::now());
    ask_many(port, hosts, REQUESTS);
    let spent = process_cpu_time(pid).saturating_sub(before).as_secs_f64()
        - idle * begun.elapsed().as_secs_f64();
    spent / REQUESTS as f64
}

/// Sends requests over a few persistent connections, to each host in turn.
fn ask_many(port: u16, hosts: &[String], requests: usize) {
    std::thread::scope(|scope| {
        for part in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut stream = connect(port).unwrap();
                let mut answers = BufReader::new(stream.try_clone().unwrap());
                // Steps of a prime number reach all hosts.
                let hosts = (0..requests / CONNECTIONS)
                    .map(|n| &hosts[(n * 7919 + part * 97) % hosts.len()]);
                for host in hosts {
                    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
                    assert_eq!(read_status(&mut answers), Some(200), "{host}");
                }
            });
        }
    });
}

/// Reads the status and skips the body, whose length is given.
fn read_status(answers: &mut BufReader<TcpStream>) -> Option<u16> {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        answers.read_line(&mut line).ok().filter(|read| *read != 0)?;
        match line.trim_end().to_ascii_lowercase() {
            line if line.is_empty() => break,
            line if status.is_none() => status = Some(line.split(' ').nth(1)?.parse().ok()?),
            line => {
                let option = line.strip_prefix("content-length: ");
                length = option.map_or(length, |text| text.parse().unwrap());
            }
        }
    }
    std::io::copy(&mut answers.by_ref().take(length), &mut std::io::sink()).ok()?;
    status
}

/// A balancer with its engine and its HAProxy. All of it is removed on drop.
struct Site {
    engine: Engine,
    protocol: Protocol,
    /// The port that all containers listen on.
    app: u16,
    /// HAProxy's port.
    port: u16,
    /// The fields are dropped in this order: first the balancer, which stops its HAProxy.
    balancer: Process,
    /// docker-glue-udp, if there are routes of UDP.
    plane: Option<Process>,
    folder: TempDir,
}

impl Site {
    /// Starts the balancer without state, and returns when it serves all routes.
    fn start(
        protocol: Protocol,
        app: u16,
        containers: usize,
        per_route: usize,
        goal: &str,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("scale-").tempdir().unwrap();
        let host = |n: usize| format!("app{}.example.com", n / per_route);
        let container = |n| Simulated::new(n, host(n), app).with_protocol(protocol);
        let all = (0..containers).map(container).collect();
        let socket = folder.path().join("engine.sock");
        let (engine, port) = (Engine::start(&socket, all), free_port());
        let balancer = std::env::var("DOCKER_BALANCER");
        let mut command = Command::new(balancer.as_deref().unwrap_or(BALANCER));
        command
            .args(["-w", "--settings=/dev/null", "--access-log=off", "--bind-address=127.0.0.1"])
            .args(["--spare-backends=64", "--stop-timeout=1s"])
            .arg(format!(
                "--map-port={}={port}",
                if protocol == Protocol::Tcp { TCP_PORT } else { 80 }
            ))
            .arg(format!("--udp-socket={}", folder.path().join("udp.sock").display()))
            .arg(format!("--docker-url=unix://{}", socket.display()))
            .arg(format!("--state-dir={}", folder.path().join("state").display()))
            .arg(format!("--runtime-dir={}", folder.path().join("run").display()))
            .env("PATH", program_path())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        let plane = (protocol == Protocol::Udp).then(|| {
            let mut plane = Command::new(env!("CARGO_BIN_EXE_docker-glue-udp"));
            plane.arg("--socket").arg(folder.path().join("udp.sock")).stderr(Stdio::null());
            Process::spawn(&mut plane)
        });
        let begun = Instant::now();
        let balancer = Process::spawn(&mut command);
        let site = Self { engine, protocol, app, port, balancer, plane, folder };
        for route in [0, containers / per_route / 2, containers / per_route - 1] {
            site.listen_for_datagrams(route * per_route);
            site.wait_for(route * per_route, &host(route * per_route));
        }
        let took = begun.elapsed();
        site.engine.wait_for_listener();
        let map = match protocol {
            Protocol::Http => Some("routes.map"),
            Protocol::Tcp => Some("tcp.map"),
            Protocol::Udp => None,
        };
        if let Some(map) = map {
            let map = site.ask_haproxy(&format!("show map {map}"));
            let routes = map.lines().filter(|text| text.contains(".example.com")).count();
            assert_eq!(routes, containers / per_route);
        }
        print_row("cold start → all routes served", &to_millis(took), goal);
        // Waits for the inspections and the second list.
        site.wait_for_quiet();
        site
    }

    /// Waits until the engine receives no requests for a while.
    fn wait_for_quiet(&self) {
        let mut before = 0;
        while before != self.engine.questions() {
            before = self.engine.questions();
            sleep(Duration::from_millis(1500));
        }
    }

    /// Answers the datagrams to a container, whose address nobody else has.
    fn listen_for_datagrams(&self, number: usize) {
        if self.protocol != Protocol::Udp {
            return;
        }
        let socket = UdpSocket::bind((Simulated::address(number), self.app)).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
    }

    /// Whether a client of the container gets an answer.
    fn is_served(&self, number: usize, host: &str) -> bool {
        match self.protocol {
            Protocol::Http => self.request_status(host).ok().flatten() == Some(200),
            Protocol::Tcp => self.greet_by_name(host).is_ok_and(|answered| answered),
            Protocol::Udp => ask_by_datagram(udp_port(number)).is_ok(),
        }
    }

    /// Sends the first message of TLS, and the end of a request, for which the server waits.
    fn greet_by_name(&self, host: &str) -> std::io::Result<bool> {
        let mut stream = connect(self.port)?;
        stream.write_all(&client_hello(host))?;
        stream.write_all(b"\r\n\r\n")?;
        Ok(stream.read(&mut [0; 16])? != 0)
    }

    fn wait_for(&self, number: usize, host: &str) {
        let end = Instant::now() + DEADLINE;
        while !self.is_served(number, host) {
            assert!(Instant::now() < end, "waited in vain for {host}\n{}", self.log());
            sleep(Duration::from_micros(500));
        }
    }

    /// Waits until HAProxy serves all containers in `serve` and none in `ns`.
    fn wait_until(&self, serve: &[usize], ns: &[usize]) {
        let end = Instant::now() + DEADLINE;
        let addresses = |numbers: &[usize]| -> BTreeSet<_> {
            numbers.iter().map(|number| Simulated::address(*number).to_string()).collect()
        };
        let (serve, texts) = (addresses(serve), addresses(ns));
        loop {
            let answer = self.ask_haproxy("show servers state");
            let lines = answer.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let ready = lines.filter(|texts| texts.get(6).is_some_and(|text| *text == "0"));
            let ready: BTreeSet<_> = ready.map(|texts| texts[4].to_owned()).collect();
            if ready.is_superset(&serve) && ready.is_disjoint(&texts) {
                return;
            }
            assert!(Instant::now() < end, "waited in vain for a storm's end\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    fn request_status(&self, host: &str) -> std::io::Result<Option<u16>> {
        let mut stream = connect(self.port)?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        Ok(read_status(&mut BufReader::new(stream)))
    }

    fn ask_haproxy(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("run/haproxy.sock")).unwrap();
        writeln!(stream, "{command}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn cpu_time(&self) -> Duration {
        process_cpu_time(self.balancer.0.id())
    }

    /// CPU time of the child processes that have exited; HAProxy itself is still running.
    fn children_cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.balancer.0.id())).unwrap();
        // The program's name, in brackets, may contain blanks; cutime and cstime are fields 16 and 17.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[13..15].iter().map(|text| text.parse::<u64>().unwrap()).sum();
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap();
        Duration::from_millis(ticks * 1000 / u64::try_from(per_second).unwrap())
    }

    /// Returns the pid of the worker.
    fn worker_pid(&self) -> u32 {
        let info = self.ask_haproxy("show info");
        info.lines().find_map(|line| line.strip_prefix("Pid: ")).unwrap().parse().unwrap()
    }

    /// Returns the number of lines in the log.
    fn lines(&self) -> usize {
        fs::read_to_string(self.folder.path().join("log")).unwrap().lines().count()
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let from = log.len().saturating_sub(4000);
        log[log.ceil_char_boundary(from)..].to_owned()
    }
}

/// A process that is ended on drop: by SIGTERM, and by SIGKILL if it does not exit soon.
struct Process(Child);

impl Process {
    fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(15);
        while self.0.try_wait().is_ok_and(|status| status.is_none()) {
            if end < Instant::now() {
                let _ = self.0.kill();
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// Starts the server for all containers, on one port of all addresses of this machine.
fn start_servers() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve_connection(stream));
                }
            }
        });
    });
    port
}

async fn serve_connection(mut stream: tokio::net::TcpStream) {
    let mut buffer = vec![0; 4096];
    let mut length = 0;
    while let Ok(read) = stream.read(&mut buffer[length..]).await {
        length += read;
        if read == 0 || length == buffer.len() {
            return;
        }
        if buffer[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the first message of a client of TLS that asks for this name.
fn client_hello(host: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let roots = rustls::RootCertStore::empty();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = host.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Sends a datagram, and waits a moment for its echo.
fn ask_by_datagram(port: u16) -> std::io::Result<usize> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    socket.send(b"hello")?;
    socket.recv(&mut [0; 16])
}

fn wait_until_connected(port: u16) {
    let end = Instant::now() + DEADLINE;
    while connect(port).is_err() {
        assert!(Instant::now() < end, "nobody listens on port {port}");
        sleep(Duration::from_millis(1));
    }
}

/// CPU time of a process over all threads, including exited ones, with a finer resolution than ticks of 10 ms.
fn process_cpu_time(pid: u32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.try_into().unwrap())).unwrap();
    Duration::from(clock.now().unwrap())
}

fn memory_of(pid: u32) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

fn to_sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

fn print_row(what: &str, figure: &str, goal: &str) {
    let goal = if goal.is_empty() { String::new() } else { format!("  (goal: {goal})") };
    println!("{what:<45} {figure}{goal}");
}

fn to_megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn to_millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn program_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}
