//! The release binary with a real Docker and a real HAProxy: its size, its use of CPU and memory while idle, and how
//! soon a change is served.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a benchmark")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{DEADLINE, Docker, find_docker, unique_name};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const BALANCER: &str = env!("CARGO_BIN_EXE_docker-balancer");

/// Containers that run during the idle measurement.
const IDLE: usize = 10;
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Containers that are started one by one.
const STARTED: usize = 20;
/// Containers with a port that takes a reload, of which few are done in a short time.
const NEW_PORTS: usize = 5;

fn main() {
    let bytes = fs::metadata(BALANCER).unwrap().len();
    print_row("binary", &to_megabytes(bytes), "below 12 MB");
    let Some(docker) = find_docker() else { return };
    let haproxy = Command::new("haproxy").arg("-v").env("PATH", program_path()).output();
    if !haproxy.is_ok_and(|output| output.status.success()) {
        println!("skipped: no HAProxy is installed");
        return;
    }
    let site = Site::new(docker);
    let idle: Vec<_> = (0..IDLE).map(|n| format!("idle{n}")).collect();
    for name in &idle {
        assert!(site.run(name).status().unwrap().success());
        site.wait_for(name, true);
    }
    measure_idle(&site);
    let started: Vec<_> = (0..STARTED).map(|n| format!("started{n}")).collect();
    measure_single_starts(&site, &started);
    replace_in_turn(&site, &started[0]);
    measure_burst(&site, &started);
    measure_tcp_ports(&site);
}

fn measure_idle(site: &Site) {
    let before = ProcessUsage::of_process(site.pid());
    let since = now_nanos() / 1_000_000_000;
    std::thread::sleep(IDLE_TIME);
    let after = ProcessUsage::of_process(site.pid());
    // All events of this machine, including those of other containers, because each of them wakes every subscriber.
    let until = (now_nanos() / 1_000_000_000).to_string();
    let events =
        site.docker.run_docker(&["events", "--since", &since.to_string(), "--until", &until]);
    let events = events.lines().count();
    let (memory, own) =
        (status_field(site.pid(), "VmRSS") * 1024, status_field(site.pid(), "RssAnon") * 1024);
    let text = format!("{}, {} of it heap and stacks", to_megabytes(memory), to_megabytes(own));
    print_row(&format!("resident, {IDLE} containers"), &text, "below 15 MB");
    let cpu = after.nanoseconds - before.nanoseconds;
    let ticks = after.ticks - before.ticks;
    let woken = after.woken - before.woken;
    let text = format!(
        "{:.1} ms ({ticks} ticks), woken {woken} times, {events} events of Docker",
        to_millis(cpu)
    );
    print_row(
        &format!("CPU in {} idle seconds", IDLE_TIME.as_secs()),
        &text,
        "0 but for the list each 30 s",
    );
    let haproxy: Vec<_> = site
        .haproxy()
        .into_iter()
        .map(|pid| to_megabytes(status_field(pid, "VmRSS") * 1024))
        .collect();
    print_row("resident, HAProxy's master and workers", &haproxy.join(" + "), "");
}

/// Measures the time from Docker's start event to the container's first answer.
fn measure_single_starts(site: &Site, names: &[String]) {
    let took = names.iter().map(|name| {
        let seen = while_running(site.run(name), || site.wait_for(name, true));
        seen - site.event("start", name)
    });
    print_row("docker run → first answer", &format_percentiles(took.collect()), "");
}

/// Probes in parallel with the docker command, because that takes time to return.
fn while_running(mut docker: Command, probe: impl FnOnce() -> u64) -> u64 {
    std::thread::scope(|scope| {
        scope.spawn(move || docker.status().unwrap());
        probe()
    })
}

fn format_percentiles(mut took: Vec<u64>) -> String {
    took.sort_unstable();
    let (half, last) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    let count = took.len();
    format!("{:.0} ms (p50), {:.0} ms (p99, of {count})", to_millis(half), to_millis(last))
}

/// Measures the time from Docker's start event to the first answer on a public port of TCP, in all three cases.
fn measure_tcp_ports(site: &Site) {
    let spare = |n: usize| (format!("spare{n}"), site.spare_ports + u16::try_from(n).unwrap());
    let spare: Vec<_> = (0..STARTED).map(spare).collect();
    let measure = |what: &str, goal: &str, starts: &mut dyn Iterator<Item = u64>| {
        let reloads = site.reloads();
        let took = format_percentiles(starts.collect());
        print_row(what, &format!("{took}, {} reloads", site.reloads() - reloads), goal);
    };
    let mut first = spare.iter().map(|(name, port)| site.start_on_port(name, *port));
    measure("TCP, spare port: start → first answer", "10 ms", &mut first);
    let mut again = spare.iter().map(|(name, port)| {
        site.docker("kill", std::slice::from_ref(name));
        site.wait_for_port(*port, false);
        let mut start = Command::new("docker");
        start.args(["start", &site.full_name(name)]).stdout(Stdio::null());
        let seen = while_running(start, || site.wait_for_port(*port, true));
        seen - site.event("start", name)
    });
    measure("TCP, port of before: the same", "10 ms", &mut again);
    let mut new = (0..NEW_PORTS).map(|n| site.start_on_port(&format!("new{n}"), free_port()));
    measure("TCP, new port: the same", "250 ms", &mut new);
}

/// Removes one container from service and adds it again; each change starts as soon as the previous one is visible.
fn replace_in_turn(site: &Site, name: &String) {
    let mut took = 0;
    for _ in 0..10 {
        for (verb, answers) in [("pause", false), ("unpause", true)] {
            site.docker(verb, std::slice::from_ref(name));
            took += site.wait_for(name, answers) - site.event(verb, name);
        }
    }
    let each = to_millis(took) / 20.0;
    print_row(
        "changes one after the other",
        &format!("{:.1} a second, {each:.0} ms each", 1000.0 / each),
        "",
    );
}

fn measure_burst(site: &Site, names: &[String]) {
    site.docker("pause", names);
    for name in names {
        site.wait_for(name, false);
    }
    let reloads = site.reloads();
    site.docker("unpause", names);
    let seen = names.iter().map(|name| site.wait_for(name, true)).max().unwrap();
    let first = names.iter().map(|name| site.event("unpause", name)).min().unwrap();
    let took = to_millis(seen - first);
    #[allow(clippy::cast_precision_loss, reason = "there are few")]
    let rate = names.len() as f64 * 1000.0 / took;
    let reloads = site.reloads() - reloads;
    let text = format!("{rate:.0} a second: {} in {took:.0} ms and {reloads} reloads", names.len());
    print_row("changes all at once", &text, "");
}

fn print_row(what: &str, figure: &str, goal: &str) {
    let goal = if goal.is_empty() { String::new() } else { format!("  (goal: {goal})") };
    println!("{what:<40} {figure}{goal}");
}

#[allow(clippy::cast_precision_loss, reason = "to be read by people")]
fn to_megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[allow(clippy::cast_precision_loss, reason = "to be read by people")]
fn to_millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn now_nanos() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn program_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap())
}

/// CPU time and wakeups of a process so far, over all threads.
struct ProcessUsage {
    nanoseconds: u64,
    /// Sum of utime and stime, which `top` shows.
    ticks: u64,
    /// Number of voluntary context switches.
    woken: u64,
}

impl ProcessUsage {
    fn of_process(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let (mut nanoseconds, mut woken) = (0, 0);
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let thread = thread.unwrap().path();
            let spent = fs::read_to_string(thread.join("schedstat")).unwrap();
            nanoseconds += spent.split(' ').next().unwrap().parse::<u64>().unwrap();
            woken += number_field(&thread.join("status"), "voluntary_ctxt_switches");
        }
        Self { nanoseconds, ticks, woken }
    }
}

fn status_field(pid: u32, name: &str) -> u64 {
    number_field(Path::new(&format!("/proc/{pid}/status")), name)
}

fn number_field(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// A balancer, its containers, and Docker's events about them. All of it is removed on drop.
struct Site {
    docker: Docker,
    name: String,
    port: u16,
    /// The first of [`STARTED`] spare ports of TCP.
    spare_ports: u16,
    folder: TempDir,
    balancer: Child,
    events: Child,
    /// Action and name → time of the newest event in nanoseconds; filled as events arrive.
    counters: std::cell::RefCell<BTreeMap<(String, String), u64>>,
    hear: mpsc::Receiver<(String, String, u64)>,
}

impl Site {
    fn new(docker: Docker) -> Self {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir().unwrap();
        let (name, port) = (unique_name("bench"), free_port());
        let spare_ports = free_ports(STARTED);
        let last_spare = usize::from(spare_ports) + STARTED - 1;
        common::build_whoami_image();
        let balancer = Command::new(BALANCER)
            .args(["-w", "--settings=/dev/null", "--access-log=off"])
            .arg(format!("--map-port=80={port}"))
            .arg(format!("--tcp-ports={spare_ports}-{last_spare}"))
            .arg(format!("--constraint=bench={name}"))
            .arg(format!("--state-dir={}", folder.path().join("state").display()))
            .arg(format!("--runtime-dir={}", folder.path().join("run").display()))
            .env("PATH", program_path())
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut events = Command::new("docker")
            .args(["events", "--since=0s", "--filter", &format!("label=bench={name}")])
            .args(["--format", "{{.Action}} {{.Actor.Attributes.name}} {{.TimeNano}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(events.stdout.take().unwrap()).lines();
        let (tell, hear) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
                if let [action, name, time] = &words[..] {
                    let _ = tell.send((action.clone(), name.clone(), time.parse().unwrap()));
                }
            }
        });
        let cell = std::cell::RefCell::default();
        Self { docker, name, port, spare_ports, folder, balancer, events, counters: cell, hear }
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    fn run(&self, name: &str) -> Command {
        self.run_with(name, &format!("glue_http_80_host={name}.test"))
    }

    /// Starts a container with a public port of TCP. Returns the time from its start event to its first answer.
    fn start_on_port(&self, name: &str, port: u16) -> u64 {
        let docker = self.run_with(name, &format!("glue_tcp_80_bind={port}"));
        let seen = while_running(docker, || self.wait_for_port(port, true));
        seen - self.event("start", name)
    }

    fn run_with(&self, name: &str, label: &str) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["run", "-d", "--name", &self.full_name(name)])
            .args(["-l", &format!("bench={}", self.name)])
            .args(["-l", label])
            .arg(common::build_whoami_image())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn docker(&self, verb: &str, names: &[String]) {
        self.collect_events();
        self.counters.borrow_mut().clear();
        let names: Vec<_> = names.iter().map(|name| self.full_name(name)).collect();
        let words = [verb].into_iter().chain(names.iter().map(String::as_str));
        self.docker.run_docker(&words.collect::<Vec<_>>());
    }

    fn collect_events(&self) {
        self.counters.borrow_mut().extend(self.hear.try_iter().map(|(a, n, time)| ((a, n), time)));
    }

    /// Returns the time of the event as Docker reports it, by the wall clock in nanoseconds.
    fn event(&self, action: &str, name: &str) -> u64 {
        let key = (action.to_owned(), self.full_name(name));
        let end = Instant::now() + DEADLINE;
        loop {
            self.collect_events();
            if let Some(time) = self.counters.borrow().get(&key) {
                return *time;
            }
            assert!(Instant::now() < end, "waited in vain for the event {key:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns the time when the container first answers a request for its host, or first does not: then the request
    /// waits in HAProxy.
    fn wait_for(&self, name: &str, answers: bool) -> u64 {
        self.wait_until(answers, self.port, &format!("{name}.test"))
    }

    /// The same on a port of TCP.
    fn wait_for_port(&self, port: u16, answers: bool) -> u64 {
        self.wait_until(answers, port, "any.test")
    }

    fn wait_until(&self, answers: bool, port: u16, host: &str) -> u64 {
        let end = Instant::now() + DEADLINE;
        let status = || request_status(port, host).ok().flatten();
        while (status() == Some(200)) != answers {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(Instant::now() < end, "waited in vain for {host} on {port}\n{}", log());
            std::thread::sleep(Duration::from_millis(1));
        }
        now_nanos()
    }

    fn pid(&self) -> u32 {
        self.balancer.id()
    }

    /// Returns the pids of HAProxy's master and workers.
    fn haproxy(&self) -> Vec<u32> {
        let run: PathBuf = self.folder.path().join("run/haproxy.pid");
        let master = fs::read_to_string(run).unwrap().trim().to_owned();
        let workers = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
        [master.as_str()]
            .into_iter()
            .chain(workers.split_whitespace())
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    fn reloads(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.matches("reloaded HAProxy").count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let _ = self.balancer.wait();
        let _ = self.events.kill();
        let _ = self.events.wait();
        let filter = format!("label=bench={}", self.name);
        let all = self.docker.run_docker(&["ps", "--all", "--quiet", "--filter", &filter]);
        let ids = all.lines();
        self.docker.run_docker(&["rm", "--force"].into_iter().chain(ids).collect::<Vec<_>>());
    }
}

fn request_status(port: u16, host: &str) -> std::io::Result<Option<u16>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    // A request that reaches a container just before it is paused gets no answer.
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).and_then(|status| status.parse().ok()))
}

/// Returns the first of consecutive free ports, below those that clients get.
fn free_ports(count: usize) -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    let mut blocks = (20_000..32_000).step_by(count);
    blocks.find(|first| (*first..).take(count).all(is_free)).unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}
