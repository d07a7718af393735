//! A machine of a test with systemd, where HAProxy is the distribution's service: a container of
//! `tests/systemd-image.sh`. It reaches the engine over a socket, like any other machine.

use super::{
    CONSTRAINT, Container, Docker, Run,
    balancer::{Answer, Request},
    unique_name, wait_for,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};
use tempfile::TempDir;

const UNIT: &str = "docker-balancer.service";

#[derive(Debug)]
pub struct Machine {
    docker: Docker,
    container: Container,
    constraint: String,
    /// docker-balancer, with the libraries that it was built against.
    _program: TempDir,
}

impl Machine {
    /// Returns the machine when everything has started. Returns `None` and records the skip if none can be made.
    pub fn boot(docker: &Docker, name: &str) -> Option<Self> {
        Self::boot_with(docker, name, &[])
    }

    /// Boots it with further options of `docker run`.
    pub fn boot_with(docker: &Docker, name: &str, options: &[&str]) -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        if !root || Command::new("debootstrap").arg("--version").output().is_err() {
            super::record_skip("no machine with systemd can be made (needs root and debootstrap)");
            return None;
        }
        let image = build_systemd_image();
        let program = program_with_libraries();
        // The folder is mounted, because the engine creates a new socket when it restarts.
        let sockets = docker.socket().canonicalize().unwrap();
        let sockets = format!("{}:/engine:ro", sockets.parent().unwrap().display());
        let container = docker
            .run(name)
            .image(image)
            .option(&["--stop-signal", "SIGRTMIN+3", "--tmpfs", "/run", "--tmpfs", "/run/lock"])
            // HAProxy's unit has its own mount namespace.
            .option(&["--cap-add", "SYS_ADMIN"])
            .option(cgroup_options())
            .option(options)
            .option(&["--volume", &format!("{}:/glue:ro", program.path().display())])
            .option(&["--volume", &sockets])
            .start();
        let (docker, constraint) = (docker.clone(), unique_name("machine"));
        let machine = Self { docker, container, constraint, _program: program };
        machine.wait_until_up();
        Some(machine)
    }

    /// Restarts the machine. docker-balancer does not start again by itself.
    pub fn reboot(&self) {
        self.container.docker(&["restart"]);
        self.wait_until_up();
    }

    fn wait_until_up(&self) {
        wait_for("systemd", || {
            let state = self.try_run(&["systemctl", "is-system-running"]).stdout;
            let state = String::from_utf8_lossy(&state).trim().to_owned();
            matches!(state.as_str(), "running" | "degraded").then_some(())
        });
    }

    /// Returns the path of Docker's socket in the machine.
    pub fn socket(&self) -> String {
        let name = self.docker.socket();
        format!("/engine/{}", name.file_name().unwrap().display())
    }

    /// Returns the constraint `LABEL=VALUE` of the machine's containers.
    pub fn constraint(&self) -> String {
        format!("{CONSTRAINT}={}", self.constraint)
    }

    /// Copies a file into the machine.
    pub fn copy(&self, file: &Path, to: &str) {
        let text = format!("{}:{to}", self.container.id);
        self.docker.run_docker(&["cp", file.to_str().unwrap(), &text]);
    }

    /// Installs the units as they are packaged. A drop-in adds Docker's socket and the constraint to the machine's
    /// containers.
    pub fn install_units(&self) {
        for (file, to) in [
            ("systemd/.", "/usr/lib/systemd/system/"),
            ("packaging/sysusers.conf", "/usr/lib/sysusers.d/docker-glue.conf"),
            ("packaging/tmpfiles.conf", "/usr/lib/tmpfiles.d/docker-glue.conf"),
            ("packaging/haproxy.cfg", "/srv/haproxy.cfg"),
        ] {
            self.copy(Path::new(file), to);
        }
        let script = format!(
            "gid=$(stat -Lc %g {socket}); getent group $gid >/dev/null || groupadd -g $gid docker
             install -D -m 644 /srv/haproxy.cfg /usr/share/docker-glue/haproxy.cfg
             cp -r /glue /usr/lib/docker-glue-program && chmod -R a+rX /usr/lib/docker-glue-program
             printf '#!/bin/sh\nexec {program}/loader --library-path {program} {program}/docker-balancer \"$@\"\n' \
                 >/usr/bin/docker-balancer
             chmod 755 /usr/bin/docker-balancer
             systemd-sysusers docker-glue.conf && systemd-tmpfiles --create docker-glue.conf
             # Its program is not on this machine.
             systemctl mask --quiet docker-glue-udp.service
             mkdir -p /etc/systemd/system/{UNIT}.d
             printf '[Service]\nSupplementaryGroups=%s\nEnvironment=DOCKER_HOST=unix://{socket} DOCKER_GLUE_CONSTRAINT={constraint}\n' \
                 $(getent group $gid | cut -d: -f1) >/etc/systemd/system/{UNIT}.d/test.conf
             systemctl daemon-reload",
            program = "/usr/lib/docker-glue-program",
            socket = self.socket(),
            constraint = self.constraint(),
        );
        self.run(&["sh", "-euc", &script]);
    }

    /// Returns a property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", unit, "--value", "--property", property]).trim().to_owned()
    }

    /// Starts docker-balancer as a service; returns when docker-balancer has reported that it is ready.
    pub fn start_balancer(&self, options: &[&str]) {
        self.start_balancer_with(&[], options);
    }

    /// Starts docker-balancer with further lines of a unit's `[Service]` section.
    pub fn start_balancer_with(&self, properties: &[&str], options: &[&str]) {
        let (url, constraint) = (format!("unix://{}", self.socket()), self.constraint());
        let mut words = vec!["systemd-run", "--quiet", "--unit", UNIT, "--property", "Type=notify"];
        words.extend(properties.iter().flat_map(|text| ["--property", text]));
        words.extend(["/glue/loader", "--library-path", "/glue", "/glue/docker-balancer", "-w"]);
        words.extend(["--docker-url", &url, "--constraint", &constraint]);
        words.extend(["--haproxy", "service"]);
        words.extend(options);
        let output = self.try_run(&words);
        assert!(output.status.success(), "docker-balancer is not ready:\n{}", self.log());
    }

    /// Returns a container that the machine's balancer serves. whoami answers with the name `name`.
    pub fn container(&self, name: &str) -> Run {
        self.docker.run(name).label(CONSTRAINT, &self.constraint).env("WHOAMI_NAME", name)
    }

    /// Returns a container that shares the machine's network, for an engine without firewall rules that let containers
    /// reach each other.
    pub fn run_in_its_network(&self, name: &str, port: u16) -> Run {
        let network = format!("container:{}", self.container.id);
        self.container(name).bare().option(&["--network", &network]).env("WHOAMI_PORT", port)
    }

    /// Runs a command in the machine and returns its output.
    ///
    /// # Panics
    /// If the command fails.
    pub fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", words.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn try_run(&self, words: &[&str]) -> Output {
        let all = ["exec", &self.container.id].into_iter().chain(words.iter().copied());
        self.docker.command(&all.collect::<Vec<_>>()).output().unwrap()
    }

    /// Returns docker-balancer's log so far.
    pub fn log(&self) -> String {
        self.run(&["journalctl", "--unit", UNIT, "--no-pager", "--output", "cat"])
    }

    /// Returns docker-balancer's journal entries with all their fields.
    pub fn journal(&self) -> Vec<serde_json::Value> {
        let text = self.run(&["journalctl", "--unit", UNIT, "--no-pager", "--output", "json"]);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for a line of the log that contains all of these.
    pub fn wait_for_log(&self, parts: &[&str]) {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        wait_for(&format!("{parts:?} in the log"), || self.log().lines().any(has).then_some(()));
    }

    /// Waits until a GET from outside has this outcome: `"web saw /"`, or a status.
    pub fn wait_until_serves(&self, port: u16, host: &str, outcome: &str) {
        wait_for(&format!("{host}: {outcome}"), || {
            (self.outcome(port, host) == outcome).then_some(())
        });
    }

    pub fn outcome(&self, port: u16, host: &str) -> String {
        let answer: std::io::Result<Answer> =
            Request::new(self.address_of_port(port), "GET", host, "/").send();
        answer.map_or_else(|e| e.to_string(), |reply| reply.to_string())
    }

    /// Returns the address of one of its ports as this machine reaches it.
    pub fn address_of_port(&self, port: u16) -> SocketAddr {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = self.container.docker(&["inspect", "--format", format]);
        (address.parse::<Ipv4Addr>().unwrap(), port).into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = self.try_run(&["journalctl", "--no-pager", "--output", "short-precise"]);
            eprintln!("the machine's log:\n{}", String::from_utf8_lossy(&all.stdout));
        }
    }
}

/// Returns the options that systemd needs to create cgroups. With version 1 systemd mounts its own hierarchy next to
/// the existing ones.
fn cgroup_options() -> &'static [&'static str] {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        &["--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]
    } else {
        &["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]
    }
}

/// Returns the image: a small Debian with systemd and HAProxy.
pub fn build_systemd_image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Command::new("sh").arg("tests/systemd-image.sh").status().unwrap();
        assert!(made.success(), "tests/systemd-image.sh failed");
    });
    "docker-glue-systemd:test"
}

/// Copies docker-balancer with its libraries, because those in the machine may be older.
fn program_with_libraries() -> TempDir {
    let folder = tempfile::Builder::new().prefix("docker-glue-program-").tempdir().unwrap();
    let script = "
        cp \"$1\" .
        for library in $(ldd \"$1\" | grep -o '/[^ ]*'); do cp -L \"$library\" .; done
        mv ld-linux*.so.* loader";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh", env!("CARGO_BIN_EXE_docker-balancer")]);
    let copied = command.current_dir(folder.path()).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    folder
}
