//! A Docker engine of a test, which can be stopped, killed, hung and started again without affecting the machine's. It
//! adds no firewall rules, and has its own bridge: with `--bridge none` dockerd would remove `docker0`, which belongs
//! to the machine's engine.

use super::{DEADLINE, Docker, balancer::free_port, build_whoami_image};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

#[derive(Debug)]
pub struct Engine {
    folder: TempDir,
    bridge: Bridge,
    options: Vec<String>,
    dockerd: Option<Child>,
    is_swarm: bool,
}

/// A bridge that every engine of a Swarm creates under this fixed name.
const SWARM_BRIDGE: &str = "docker_gwbridge";

impl Engine {
    /// Returns an engine that is not started yet. Returns `None` and records the skip if none can run.
    pub fn new() -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        if root && Command::new("dockerd").arg("--version").output().is_ok() {
            let folder = tempfile::Builder::new().prefix("docker-glue-engine-").tempdir().unwrap();
            std::fs::write(folder.path().join("daemon.json"), "{}").unwrap();
            std::fs::create_dir(folder.path().join("run")).unwrap();
            let bridge = Bridge::make();
            return Some(Self {
                folder,
                bridge,
                options: Vec::new(),
                dockerd: None,
                is_swarm: false,
            });
        }
        super::record_skip("no dockerd can be started (needs root)");
        None
    }

    /// Returns an engine with a copy of all that this one has, which must be stopped: its containers have the same ids and
    /// names, as on a machine that was cloned.
    pub fn clone_machine(&self) -> Option<Self> {
        assert!(self.dockerd.is_none(), "it is running");
        let mut clone = Self::new()?;
        let copied =
            Command::new("cp").arg("-a").arg(self.path("data")).arg(clone.folder()).status();
        assert!(copied.unwrap().success(), "cp failed");
        // Cgroups have the ids of their containers, and this is one machine.
        clone.options = vec!["--cgroup-parent".to_owned(), clone.bridge.name()];
        Some(clone)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the URL as a value of `DOCKER_HOST`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.path("run/docker.sock").display())
    }

    pub fn docker(&self) -> Docker {
        Docker::at(self.url())
    }

    /// Makes the engine also listen on TCP for clients with a certificate. `ca.pem`, `cert.pem` and `key.pem` in
    /// `folder()` serve both sides. Returns the address.
    pub fn with_tls(&mut self) -> String {
        make_certificates(self.folder());
        let text = format!("tcp://127.0.0.1:{}", free_port());
        self.options = ["--host", &text, "--tlsverify"].map(str::to_owned).to_vec();
        for (option, file) in
            [("--tlscacert", "ca.pem"), ("--tlscert", "cert.pem"), ("--tlskey", "key.pem")]
        {
            self.options.extend([option.to_owned(), self.path(file).display().to_string()]);
        }
        text
    }

    /// Starts it as the only node of a Swarm. Returns false and records the skip if the machine's own engine is in a
    /// Swarm.
    pub fn start_swarm(&mut self) -> bool {
        if Path::new("/sys/class/net").join(SWARM_BRIDGE).exists() {
            super::record_skip("the machine's engine is in a Swarm");
            return false;
        }
        self.is_swarm = true;
        self.start();
        let free = format!("127.0.0.1:{}", free_port());
        let words = ["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", &free];
        self.docker().run_docker(&words);
        true
    }

    /// # Panics
    /// If it does not answer in time.
    pub fn start(&mut self) {
        let (log, log_too) = (self.log(), self.log());
        let mut command = Command::new("dockerd");
        for (option, file) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
            ("--config-file", "daemon.json"),
        ] {
            command.arg(option).arg(self.path(file));
        }
        command
            .args(["--host", &self.url(), "--bridge", &self.bridge.name()])
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"])
            .args(["--default-address-pool", &self.bridge.pool()])
            // An engine of a Swarm does not support live restore.
            .args((!self.is_swarm).then_some("--live-restore"))
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too);
        self.dockerd = Some(command.spawn().unwrap());
        let end = Instant::now() + DEADLINE;
        while !self.answers() {
            assert!(Instant::now() < end, "dockerd does not answer:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Loads whoami's image.
    pub fn load_image(&self) {
        self.load(build_whoami_image());
    }

    /// Loads an image of the machine's engine.
    pub fn load(&self, image: &str) {
        let archive = self.path("image.tar");
        let file = archive.to_str().unwrap();
        Docker { host: None }.run_docker(&["save", "--output", file, image]);
        self.docker().run_docker(&["load", "--input", file]);
        std::fs::remove_file(file).unwrap();
    }

    /// Stops the daemon; its containers keep running.
    pub fn stop(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            send_signal(dockerd.id(), Signal::SIGCONT);
            send_signal(dockerd.id(), Signal::SIGTERM);
            dockerd.wait().unwrap();
        }
    }

    /// Stops the daemon's process by a signal until the result is dropped, also if the test fails: the removal of a
    /// container waits for it.
    pub fn pause_daemon(&self) -> PausedDaemon {
        let daemon = self.dockerd.as_ref().unwrap().id();
        send_signal(daemon, Signal::SIGSTOP);
        PausedDaemon(daemon)
    }

    fn answers(&self) -> bool {
        self.docker().command(&["version"]).output().is_ok_and(|output| output.status.success())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder().join(file)
    }

    fn log(&self) -> File {
        File::options().create(true).append(true).open(self.path("log")).unwrap()
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Removes the containers and the remaining mounts.
    fn remove_leftovers(&mut self) {
        if self.dockerd.is_none() && self.path("data").exists() {
            self.start();
        }
        if self.dockerd.is_some() {
            let docker = self.docker();
            if self.is_swarm {
                let _ = docker.command(&["swarm", "leave", "--force"]).output();
            }
            let all = docker.command(&["ps", "--all", "--quiet"]).output().unwrap().stdout;
            for id in String::from_utf8_lossy(&all).lines() {
                let _ = docker.command(&["rm", "--force", id]).output();
            }
            let _ = docker.command(&["network", "prune", "--force"]).output();
        }
        self.stop();
    }

    fn unmount(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let folder = self.folder().display().to_string();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| point.starts_with(&folder)) {
            let _ = Command::new("umount").args(["--lazy", point]).status();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A second panic would abort the test run and hide the first one.
        let cleared =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.remove_leftovers()));
        if cleared.is_err()
            && let Some(mut dockerd) = self.dockerd.take()
        {
            let _ = dockerd.kill();
            let _ = dockerd.wait();
        }
        self.unmount();
        if self.is_swarm {
            let _ = Command::new("ip").args(["link", "delete", SWARM_BRIDGE]).output();
        }
    }
}

/// A daemon that is stopped by a signal, by its process id. Dropping this has it go on.
#[derive(Debug)]
#[must_use]
pub struct PausedDaemon(u32);

impl Drop for PausedDaemon {
    fn drop(&mut self) {
        send_signal(self.0, Signal::SIGCONT);
    }
}

/// A bridge for one engine with a number that no other engine has: the creation of the name reserves it.
#[derive(Debug)]
struct Bridge(u8);

impl Bridge {
    fn make() -> Self {
        let claim = |number: &u8| run_ip(*number, "link add dev NAME type bridge");
        let bridge = Self((0..=u8::MAX).find(claim).expect("a bridge can be made"));
        let addressed = run_ip(bridge.0, "address add 10.214.NUMBER.1/24 dev NAME");
        assert!(
            addressed && run_ip(bridge.0, "link set NAME up"),
            "{} is of no use",
            bridge.name()
        );
        bridge
    }

    fn name(&self) -> String {
        format!("glue-test-{}", self.0)
    }

    /// Returns the address pool of its engine's networks.
    fn pool(&self) -> String {
        format!("base=10.213.{}.0/24,size=28", self.0)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        run_ip(self.0, "link delete NAME");
    }
}

fn run_ip(number: u8, line: &str) -> bool {
    let number = number.to_string();
    let line = line.replace("NAME", &format!("glue-test-{number}")).replace("NUMBER", &number);
    let done = Command::new("ip").args(line.split(' ')).output();
    done.is_ok_and(|output| output.status.success())
}

fn send_signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap());
    let _ = kill(pid, signal);
}

/// Creates a certificate authority and a certificate for both server and client.
pub fn make_certificates(folder: &Path) {
    let script = "
        key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $key -keyout ca-key.pem -out ca.pem -days 30 -subj /CN=test-ca
        openssl req $key -keyout key.pem -out request.pem -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost,DNS:pebble,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\nextendedKeyUsage=serverAuth,clientAuth\\n' > extensions
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -extfile extensions -out cert.pem";
    let made = Command::new("sh").args(["-euc", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}
