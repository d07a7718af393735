//! docker-glue-udp as a process of docker-balancer: started when a route of datagrams needs it, restarted when it dies, and
//! stopped with the managed HAProxy.
//!
//! It runs in its own process group and outlives docker-balancer, which finds it again by its control socket.

use crate::{
    support::backoff::Backoff,
    udp::{answer::PlaneReport, client::PlaneClient, engine::Engine},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use std::{
    env, fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Interest, unix::AsyncFd},
    process::{Child, ChildStderr, Command},
    task::JoinSet,
    time::{Instant, timeout},
};
use tracing::{debug, error, info, warn};

const PROGRAM: &str = "docker-glue-udp";
/// How long it may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long it may take to exit after SIGTERM. Only the file of listeners is written then.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long its last lines may take to arrive after its exit.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);
/// The shortest and the longest pause before it is started again.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Where a docker-glue-udp that docker-balancer starts has its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpProcessConfig {
    pub socket: PathBuf,
    /// For the file of its listeners.
    pub state_dir: PathBuf,
    pub engine: Engine,
}

#[derive(Debug)]
pub(super) struct UdpProcess {
    config: UdpProcessConfig,
    running: Option<RunningPlane>,
    backoff: Backoff,
    /// After an exit, when it may be started again, and why it exited.
    delay: Option<(Instant, String)>,
}

#[derive(Debug)]
struct RunningPlane {
    child: Child,
    started: Instant,
    /// Copies its log to that of docker-balancer.
    log: JoinSet<()>,
}

impl UdpProcess {
    pub(super) fn new(config: UdpProcessConfig) -> Self {
        Self { config, running: None, backoff: Backoff::new(RESTART_BACKOFF), delay: None }
    }

    /// The engine that it should have.
    pub(super) fn engine(&self) -> Engine {
        self.config.engine
    }

    /// Starts it, and returns when it answers. The caller has made sure that none answers.
    ///
    /// # Errors
    /// The reason as a sentence, without "not served".
    pub(super) async fn start(&mut self) -> Result<(), String> {
        if let Some((at, why)) = &self.delay
            && Instant::now() < *at
        {
            return Err(format!("{why}; it is restarted after a delay"));
        }
        self.delay = None;
        if self.running.is_none() {
            self.running = Some(self.spawn()?);
        }
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if PlaneClient::connect(&self.config.socket).await.is_ok() {
                return Ok(());
            }
            if let Ok(why) = timeout(POLL_INTERVAL, self.wait_for_exit()).await {
                return Err(why);
            }
            if deadline < Instant::now() {
                return Err(format!(
                    "{PROGRAM} was started, and does not answer on {}",
                    self.config.socket.display()
                ));
            }
        }
    }

    /// Waits until the process exits, and returns how. Forever if it was not started here. May be dropped and called
    /// again.
    pub(super) async fn wait_for_exit(&mut self) -> String {
        let Some(RunningPlane { child, started, log }) = &mut self.running else {
            return std::future::pending().await;
        };
        let status = child.wait().await;
        // Its last lines name the cause.
        let _ = timeout(LOG_TIMEOUT, log.join_next()).await;
        let uptime = started.elapsed();
        self.running = None;
        let why = describe_exit(status);
        let pause = self.backoff.pause_after(uptime);
        error!("{why}; restarting in {pause:?}");
        self.delay = Some((Instant::now() + pause, why.clone()));
        why
    }

    /// Stops the process, also one that an earlier docker-balancer started.
    pub(super) async fn stop(&mut self) {
        let child = self.running.as_ref().and_then(|running| running.child.id());
        let pid = match child {
            Some(pid) => Some(pid),
            None => find_running(&self.config.socket).await,
        };
        let Some(process) = pid.and_then(|pid| open_process(pid).ok()) else { return };
        for signal in [Signal::TERM, Signal::KILL] {
            let _ = pidfd_send_signal(&process, signal);
            if timeout(STOP_TIMEOUT, process.readable()).await.is_ok() {
                break;
            }
            warn!("{PROGRAM} does not stop; killing it");
        }
        if let Some(mut running) = self.running.take() {
            let _ = running.child.wait().await;
        }
    }

    fn spawn(&self) -> Result<RunningPlane, String> {
        let UdpProcessConfig { socket, state_dir, engine } = &self.config;
        let program = find_program();
        let mut command = Command::new(&program);
        command.arg("--socket").arg(socket).arg("--state-dir").arg(state_dir);
        command.args(["--engine", engine.as_str(), "--log-format", "json"]);
        // docker-balancer reports its own state to the service manager; docker-glue-udp must not.
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{PROGRAM} is not installed"),
            _ => format!("cannot start {}: {error}", program.display()),
        })?;
        let mut log = JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            log.spawn(copy_log(stderr));
        }
        Ok(RunningPlane { child, started: Instant::now(), log })
    }
}

fn describe_exit(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("{PROGRAM} exited with {status}"),
        Err(error) => format!("{PROGRAM} exited: {error}"),
    }
}

/// Returns the program next to this one, or else its name, which is searched in PATH.
fn find_program() -> PathBuf {
    let sibling = env::current_exe().ok().map(|path| path.with_file_name(PROGRAM));
    sibling.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
}

/// Returns the process that answers on the socket, if its command line has it, so that no other process gets a signal.
async fn find_running(socket: &Path) -> Option<u32> {
    let mut client = PlaneClient::connect(socket).await.ok()?;
    let PlaneReport { pid, .. } = client.read_totals().await.ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let path = socket.as_os_str().as_encoded_bytes();
    line.split(|byte| *byte == 0).any(|word| word == path).then_some(pid)
}

/// Sound although it is deprecated: an `OwnedFd` stays valid. The replacement needs `unsafe`.
#[allow(deprecated, reason = "the crate forbids unsafe code")]
fn open_process(number: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(invalid)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}

/// A line of its log.
#[derive(Debug, Deserialize)]
struct LogLine {
    level: String,
    message: String,
}

/// Logs each line at its level, until the process closes its standard error.
async fn copy_log(stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = serde_json::from_str(&line)
            .unwrap_or_else(|_| LogLine { level: "ERROR".to_owned(), message: line });
        let LogLine { level, message } = line;
        match level.as_str() {
            "ERROR" => error!(target: PROGRAM, "docker-glue-udp: {message}"),
            "WARN" => warn!(target: PROGRAM, "docker-glue-udp: {message}"),
            "INFO" => info!(target: PROGRAM, "docker-glue-udp: {message}"),
            _ => debug!(target: PROGRAM, "docker-glue-udp: {message}"),
        }
    }
}
