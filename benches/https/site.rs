//! A balancer with its simulated engine, its HAProxy and a directory of certificates. All of it is removed on drop.

use crate::{
    client,
    common::{balancer::free_port, certificates::TestCa},
    engine::{Engine, Simulated},
    tls_client,
};
use nix::{
    sys::signal::{Signal, kill},
    time::ClockId,
    unistd::Pid,
};
use rustls::ClientConfig;
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// `DOCKER_BALANCER` selects another binary, for comparison.
const BALANCER: &str = env!("CARGO_BIN_EXE_docker-balancer");
const DEADLINE: Duration = Duration::from_mins(3);
const POLL_INTERVAL: Duration = Duration::from_micros(500);

pub(crate) struct Site {
    pub(crate) engine: Engine,
    pub(crate) ca: TestCa,
    pub(crate) trust: Arc<ClientConfig>,
    pub(crate) port: u16,
    app: u16,
    options: Vec<String>,
    /// Dropped before the folder.
    balancer: Option<Process>,
    folder: TempDir,
}

impl Site {
    /// Returns a site with certificates for these hosts, and a container for each of the first `containers` of them.
    /// The balancer is not started.
    pub(crate) fn new(app: u16, hosts: &[String], containers: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("https-").tempdir().unwrap();
        let ca = TestCa::new();
        let first = hosts.iter().take(containers).enumerate();
        let all = first.map(|(number, host)| https_container(number, host, app)).collect();
        let engine = Engine::start(&folder.path().join("engine.sock"), all);
        let (port, trust) = (free_port(), tls_client::trust(&ca.pem(), "http/1.1"));
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut options = ["-w", "--settings=/dev/null", "--access-log=off", "--stop-timeout=1s"]
            .map(str::to_owned)
            .to_vec();
        options.extend([
            "--bind-address=127.0.0.1".to_owned(),
            format!("--map-port=443={port}"),
            format!("--docker-url=unix://{}", path("engine.sock")),
            format!("--state-dir={}", path("state")),
            format!("--runtime-dir={}", path("run")),
        ]);
        fs::create_dir(folder.path().join("certificates")).unwrap();
        let site = Self { engine, ca, trust, port, app, options, balancer: None, folder };
        for host in hosts {
            site.issue(host);
        }
        site
    }

    /// Adds options of docker-balancer.
    pub(crate) fn with(mut self, options: &[String]) -> Self {
        self.options.extend(options.iter().cloned());
        self
    }

    /// Uses the directory of certificates, and any port for plain HTTP.
    pub(crate) fn with_directory(self) -> Self {
        let directory = format!("--certificates={}", self.path("certificates").display());
        self.with(&[directory, format!("--map-port=80={}", free_port())])
    }

    pub(crate) fn start(&mut self) {
        let binary = std::env::var("DOCKER_BALANCER");
        let mut command = Command::new(binary.as_deref().unwrap_or(BALANCER));
        let log = fs::File::options().create(true).append(true).open(self.path("log"));
        command.args(&self.options).stderr(log.unwrap());
        if let Some(haproxy) = std::env::var_os("HAPROXY_BIN") {
            command.arg("--haproxy-bin").arg(haproxy);
        }
        self.balancer = Some(Process::spawn(&mut command));
    }

    /// Ends the balancer with its HAProxy.
    pub(crate) fn stop(&mut self) {
        self.balancer = None;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new certificate for the host to its file.
    pub(crate) fn issue(&self, host: &str) {
        self.write_certificate(host, &self.ca.issue(&[host]));
    }

    pub(crate) fn write_certificate(&self, host: &str, pem: &str) {
        let file = self.path("written");
        fs::write(&file, pem).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(file, self.path("certificates").join(format!("{host}.pem"))).unwrap();
    }

    /// Creates a container, and starts it a moment later. Returns when the event was sent.
    pub(crate) fn start_container(&self, number: usize, host: &str) -> Instant {
        self.engine.create(https_container(number, host, self.app));
        sleep(Duration::from_millis(50));
        let begun = Instant::now();
        self.engine.start_container(number);
        begun
    }

    /// Adds a container that runs already, and is served without TLS.
    pub(crate) fn add_plain_container(&self, number: usize, host: &str) {
        self.engine.create(Simulated::new(number, host.to_owned(), self.app));
        self.engine.start_container(number);
    }

    /// Adds a container that runs already, and decrypts TLS itself at `port`.
    pub(crate) fn add_passed_container(&self, number: usize, host: &str, port: u16) {
        let label = format!(r#","glue_http_{port}_tls":"pass""#);
        self.engine.create(Simulated::new(number, host.to_owned(), port).with_labels(label));
        self.engine.start_container(number);
    }

    /// Waits until the host is served over HTTPS with a valid certificate.
    pub(crate) fn wait_for(&self, host: &str) {
        self.wait_until(host, || {
            client::request(self.port, host, &self.trust).is_ok_and(|status| status == 200)
        });
    }

    pub(crate) fn wait_until(&self, what: &str, mut is_reached: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !is_reached() {
            assert!(Instant::now() < end, "waited in vain for {what}\n{}", self.log());
            sleep(POLL_INTERVAL);
        }
    }

    /// Waits until the balancer and its children use nearly no CPU for a second.
    pub(crate) fn wait_for_quiet(&self) {
        self.wait_until("quiet", || {
            let before = self.cpu_time() + self.children_cpu_time();
            sleep(Duration::from_secs(1));
            let spent = (self.cpu_time() + self.children_cpu_time()).saturating_sub(before);
            spent < Duration::from_millis(20)
        });
    }

    pub(crate) fn ask_haproxy(&self, command: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = UnixStream::connect(self.path("run/haproxy.sock")) {
            writeln!(stream, "{command}").unwrap();
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// Returns the pid of the worker.
    pub(crate) fn worker(&self) -> u32 {
        self.find_worker().unwrap()
    }

    /// Returns the pid of the worker; `None` if there is none.
    pub(crate) fn find_worker(&self) -> Option<u32> {
        let info = self.ask_haproxy("show info");
        info.lines().find_map(|line| line.strip_prefix("Pid: "))?.parse().ok()
    }

    pub(crate) fn master(&self) -> Pid {
        let pid = fs::read_to_string(self.path("run/haproxy.pid")).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.balancer.as_ref().unwrap().0.id()
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        process_cpu_time(self.pid())
    }

    /// CPU time of the child processes that have exited, such as checks of files.
    pub(crate) fn children_cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The program's name, in brackets, may contain blanks; cutime and cstime are fields 16 and 17.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[13..15].iter().map(|text| text.parse::<u64>().unwrap()).sum();
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).unwrap().unwrap();
        Duration::from_millis(ticks * 1000 / u64::try_from(per_second).unwrap())
    }

    pub(crate) fn reloads(&self) -> usize {
        self.log().matches("reloaded HAProxy").count()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

fn https_container(number: usize, host: &str, app: u16) -> Simulated {
    let label = format!(r#","glue_http_{app}_tls":"on""#);
    Simulated::new(number, host.to_owned(), app).with_labels(label)
}

/// A process that is ended on drop: by SIGTERM, and by SIGKILL if it does not exit soon.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
        let end = Instant::now() + Duration::from_secs(15);
        while self.0.try_wait().is_ok_and(|status| status.is_none()) {
            if end < Instant::now() {
                let _ = self.0.kill();
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// CPU time of a process over all threads, including exited ones.
pub(crate) fn process_cpu_time(pid: u32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.try_into().unwrap())).unwrap();
    Duration::from(clock.now().unwrap())
}

/// Resident memory of a process, in bytes.
pub(crate) fn memory_of(pid: u32) -> u64 {
    let status = Path::new("/proc").join(pid.to_string()).join("status");
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}
