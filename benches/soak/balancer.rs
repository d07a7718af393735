//! The program under test, its HAProxy and its docker-glue-udp. Everything that they create is removed, except the logs.

use crate::{chaos, crowd::stream_port, stream::StreamEntry};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{sleep, timeout},
};

#[derive(Debug)]
pub(crate) struct Balancer {
    program: PathBuf,
    /// A short path, because socket paths are limited in length.
    home: tempfile::TempDir,
    /// Kept after the run.
    logs: PathBuf,
    constraint: String,
    certificates: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) streams: StreamEntry,
    udp: Option<std::process::Child>,
    child: Option<tokio::process::Child>,
}

/// What HAProxy's master reports in `show proc`.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    pub(crate) reloads: u64,
    pub(crate) workers: usize,
}

impl Balancer {
    pub(crate) fn new(constraint: String, certificates: PathBuf) -> Self {
        let program = std::env::var_os("SOAK_BIN");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_docker-balancer").into());
        let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak");
        let _ = fs::remove_dir_all(&logs);
        fs::create_dir_all(&logs).unwrap();
        // The ports were free a moment ago; there is no stronger guarantee.
        let [http, https] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        Self {
            program: program.into(),
            home: tempfile::tempdir().unwrap(),
            logs,
            constraint,
            certificates,
            http: http.local_addr().unwrap(),
            https: https.local_addr().unwrap(),
            streams: StreamEntry { changing: free_stream_port(), still: free_stream_port() },
            udp: None,
            child: None,
        }
    }

    /// Starts docker-balancer, and docker-glue-udp if it does not run.
    pub(crate) fn start(&mut self) {
        let log =
            |name| File::options().append(true).create(true).open(self.logs.join(name)).unwrap();
        let socket = self.home.path().join("udp.sock");
        self.udp.get_or_insert_with(|| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_docker-glue-udp"));
            command.arg("--socket").arg(&socket);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log("udp.log"));
            command.spawn().unwrap()
        });
        let map = |service, at: SocketAddr| {
            let port = stream_port(service).expect("the service has one");
            format!("{port}={}", at.port())
        };
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(["--watch", "--leave-running", "--access-log", "stdout"])
            .args(["--bind-address", "127.0.0.1"])
            .args(["--map-port", &format!("80={}", self.http.port())])
            .args(["--map-port", &format!("443={}", self.https.port())])
            .args(["--map-port", &map(chaos::SERVICE, self.streams.changing)])
            .args(["--map-port", &map(chaos::STILL, self.streams.still)])
            .arg("--udp-socket")
            .arg(&socket)
            .arg("--certificates")
            .arg(&self.certificates)
            .args(["--constraint", &self.constraint])
            .arg("--state-dir")
            .arg(self.home.path().join("state"))
            .arg("--runtime-dir")
            .arg(self.home.path().join("run"))
            .args(std::env::var("SOAK_OPTIONS").unwrap_or_default().split_whitespace())
            .stdin(Stdio::null())
            .stdout(log("access.log"))
            .stderr(log("balancer.log"));
        if let Some(haproxy) = std::env::var_os("HAPROXY_BIN") {
            command.arg("--haproxy-bin").arg(haproxy);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// Ends the balancer, but not its HAProxy.
    pub(crate) async fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
        if timeout(Duration::from_secs(10), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    /// Runs `docker-balancer drain CONTAINER`; returns whether the container gets no new requests. Its websockets may
    /// outlast the wait, which is exit status 1.
    pub(crate) async fn drain(&self, container: &str) -> bool {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(["drain", container, "--wait", "3s", "--runtime-dir"])
            .arg(self.home.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let log = File::options().append(true).create(true).open(self.logs.join("drain.log"));
        command.stderr(log.unwrap());
        command.status().await.is_ok_and(|status| matches!(status.code(), Some(0 | 1)))
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    pub(crate) async fn workers(&self) -> Workers {
        let socket = self.home.path().join("run/master.sock");
        let result = timeout(Duration::from_secs(2), ask_socket(&socket)).await;
        let text = result.ok().and_then(Result::ok).unwrap_or_default();
        let mut found = Workers::default();
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                [_, "master", reloads, ..] => found.reloads = reloads.parse().unwrap_or_default(),
                [_, "worker", ..] => found.workers += 1,
                _ => {}
            }
        }
        found
    }

    fn haproxy(&self) -> Option<Pid> {
        let pid = fs::read_to_string(self.home.path().join("run/haproxy.pid")).ok()?;
        let pid: i32 = pid.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let home = self.home.path().to_string_lossy().into_owned();
        String::from_utf8_lossy(&command).contains(&home).then(|| Pid::from_raw(pid))
    }
}

/// Ends the balancer, its HAProxy and its docker-glue-udp.
impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(udp) = &mut self.udp {
            let _ = udp.kill();
            let _ = udp.wait();
        }
        if let Some(pid) = self.child.as_ref().and_then(tokio::process::Child::id) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            std::thread::sleep(Duration::from_millis(200));
        }
        for signal in [Signal::SIGTERM, Signal::SIGTERM, Signal::SIGKILL] {
            let Some(pid) = self.haproxy() else { return };
            let _ = kill(pid, signal);
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Returns an address that is free for TCP and for UDP.
fn free_stream_port() -> SocketAddr {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        if UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

async fn ask_socket(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(b"show proc\n").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Waits until the address accepts connections.
pub(crate) async fn until_served(at: SocketAddr) {
    while tokio::net::TcpStream::connect(at).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}
