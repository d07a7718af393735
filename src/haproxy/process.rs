//! A managed HAProxy process: starts, adopts, monitors and stops it.
//!
//! HAProxy runs in its own process group and outlives docker-balancer, which finds it again by its master socket.

use super::{
    check::{ConfigRejection, parse_rejection},
    master::{Master, ProcessList},
    observed,
    socket::WorkerSocket,
    stderr_log::{CheckEvent, CheckResultChange, HealthChange, StderrReader},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitpgid,
    },
};
use std::{
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep, timeout},
};

const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long HAProxy may take to read a certificate. HAProxy 2.6 needed 2.5 ms for each of 10,000 on an idle machine,
/// later versions a tenth of that.
const LOADING_TIME: Duration = Duration::from_millis(10);
/// With more certificates the timeouts do not grow any more.
const MAX_COUNTED_FILES: usize = 100_000;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a master that got a signal may take to create its socket again.
const RESTORE: Duration = Duration::from_secs(5);
/// How long HAProxy may take to exit after SIGTERM or SIGKILL.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How HAProxy is started, and where its sockets are.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    pub bin: PathBuf,
    pub config: PathBuf,
    /// Holds `master.sock` and `haproxy.pid`.
    pub runtime_dir: PathBuf,
    pub stats_socket: PathBuf,
    pub stdout: Stdout,
    /// Directory of the certificates that HAProxy reads when it starts.
    pub certificates: PathBuf,
}

/// Where HAProxy's standard output goes, to which it may write its access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    Inherit,
    Null,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("HAProxy did not start: {0}")]
    Refused(ConfigRejection),
    /// HAProxy was killed by a signal, so it did not reject the configuration.
    #[error("{0} during the start")]
    Killed(ExitReason),
    #[error("cannot start {}: {why}", bin.display())]
    Io { bin: PathBuf, why: io::Error },
    #[error("HAProxy (pid {pid}) does not answer on {}; stop it and try again", socket.display())]
    Unresponsive { pid: u32, socket: PathBuf },
}

/// How HAProxy exited. An adopted process is not our child, so its exit status is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReason(pub Option<ExitStatus>);

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(f, "HAProxy exited with {status}"),
            None => f.write_str("HAProxy exited"),
        }
    }
}

impl ExitReason {
    fn is_signal(self) -> bool {
        self.0.is_some_and(|status| status.signal().is_some())
    }
}

/// An event that HAProxy causes by itself.
#[derive(Debug)]
pub enum ProcessEvent {
    /// The process exited, this long after it was started or adopted.
    Exited(ExitReason, Duration),
    HealthChanged(HealthChange),
    CheckResultChanged(CheckResultChange),
}

/// A running master.
#[derive(Debug)]
pub struct RunningMaster {
    pid: u32,
    /// Readable once the process has exited: waiting needs no polling, and a signal cannot reach another process that
    /// got the same pid.
    pidfd: AsyncFd<OwnedFd>,
    child: Option<Child>,
    pub(super) stderr: Option<StderrReader>,
    started_at: Instant,
}

impl ProcessConfig {
    pub fn master_socket(&self) -> PathBuf {
        self.runtime_dir.join("master.sock")
    }

    /// Returns how long HAProxy may take to read the certificates.
    pub(super) fn loading_time(&self) -> Duration {
        let entries = fs::read_dir(&self.certificates);
        let count = entries.map_or(0, |entries| entries.take(MAX_COUNTED_FILES).count());
        LOADING_TIME * u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn pid_file(&self) -> PathBuf {
        self.runtime_dir.join("haproxy.pid")
    }

    pub fn master(&self) -> Master {
        Master::new(&self.master_socket()).with_loading_time(self.loading_time())
    }

    /// Whether the master socket's file is missing, so that even a running master cannot be reached.
    pub(super) fn is_master_socket_gone(&self) -> bool {
        let file = fs::symlink_metadata(self.master_socket());
        file.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    /// Starts HAProxy and returns when it serves. The caller has made sure that none is running.
    pub async fn start(&self) -> Result<RunningMaster, StartError> {
        self.start_with(self.build_command()).await
    }

    /// Starts another HAProxy while the workers of `master` still serve. They release what only one process can have,
    /// such as an abstract socket (Management Guide, section 4: `-sf` sends SIGTTOU where a bind fails).
    pub async fn take_over(&self, master: u32) -> Result<RunningMaster, StartError> {
        let mut command = self.build_command();
        let workers = children(master);
        if !workers.is_empty() {
            command.arg("-sf").args(workers.iter().map(u32::to_string));
        }
        self.start_with(command).await
    }

    async fn start_with(&self, mut command: Command) -> Result<RunningMaster, StartError> {
        let at = |why| StartError::Io { bin: self.bin.clone(), why };
        let mut child = command.spawn().map_err(at)?;
        let stderr = child.stderr.take().map(StderrReader::spawn).transpose().map_err(at)?;
        let pid = child.id();
        let mut running = RunningMaster {
            pid,
            pidfd: open_pidfd(pid).map_err(at)?,
            child: Some(child),
            stderr,
            started_at: Instant::now(),
        };
        match running.wait_until_serving(self).await {
            Ok(()) => Ok(running),
            Err(e) => {
                running.stop(&self.master(), Duration::ZERO).await;
                Err(e)
            }
        }
    }

    fn build_command(&self) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg("-W").arg("-f").arg(&self.config);
        command.arg("-S").arg(format!("{},mode,600", self.master_socket().display()));
        command.arg("-p").arg(self.pid_file());
        // docker-balancer reports its own readiness to the service manager; HAProxy must not.
        command.env_remove("NOTIFY_SOCKET");
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        command.stdout(match self.stdout {
            Stdout::Inherit => Stdio::inherit(),
            Stdout::Null => Stdio::null(),
        });
        command
    }

    /// Returns the HAProxy that an earlier balancer left running, if there is one.
    ///
    /// During its own restart HAProxy refuses connections, as a dead process does; its pid file tells the two apart.
    pub async fn adopt(&self) -> Result<Option<RunningMaster>, StartError> {
        let deadline = Instant::now() + START_TIMEOUT + self.loading_time();
        let mut is_signalled = false;
        loop {
            let pid = match self.master().list_processes().await {
                Ok(procs) => procs.master,
                Err(_) => match self.find_orphan() {
                    None => return Ok(None),
                    Some(pid) if !is_signalled && self.is_master_socket_gone() => {
                        is_signalled = true;
                        self.signal_lost(pid);
                        continue;
                    }
                    Some(pid) if Instant::now() < deadline => {
                        tracing::debug!("waiting for HAProxy (pid {pid}) to answer");
                        sleep(POLL_INTERVAL).await;
                        continue;
                    }
                    Some(pid) => {
                        return Err(StartError::Unresponsive { pid, socket: self.master_socket() });
                    }
                },
            };
            let Ok(pidfd) = open_pidfd(pid) else { return Ok(None) };
            return Ok(Some(RunningMaster {
                pid,
                pidfd,
                child: None,
                stderr: None,
                started_at: Instant::now(),
            }));
        }
    }

    /// A master whose socket is missing creates it again when it restarts itself, on SIGUSR2.
    fn signal_lost(&self, number: u32) {
        let socket = self.master_socket();
        tracing::warn!(
            "HAProxy (pid {number}) runs, but its master socket {} is missing; sending a signal to \
             create it again",
            socket.display()
        );
        if let Some(pid) = pid(number) {
            let _ = kill_process(pid, Signal::USR2);
        }
    }

    /// Returns the master of the pid file if that process is alive and uses our master socket. If there is no pid file,
    /// searches all processes of the machine: whoever removed one file of the folder may have removed all.
    fn find_orphan(&self) -> Option<u32> {
        let Ok(text) = fs::read_to_string(self.pid_file()) else { return self.find_master() };
        let pid = text.trim().parse().ok()?;
        (self.is_ours(pid) || is_exec_pending(pid)).then_some(pid)
    }

    /// Returns the process that is one of ours and the parent of one of ours: workers have the same command line as
    /// their master.
    fn find_master(&self) -> Option<u32> {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut parents = pids.filter(|pid| self.is_ours(*pid)).filter_map(parent);
        parents.find(|parent| self.is_ours(*parent))
    }

    fn is_ours(&self, pid: u32) -> bool {
        let socket = self.master_socket().display().to_string();
        read_command_line(pid)
            .windows(2)
            .any(|words| words[0] == "-S" && words[1].starts_with(&socket))
    }

    /// Whether the live worker answers on the stats socket. Reloads and starts are complete only then.
    pub(super) async fn is_serving(&self, procs: &ProcessList) -> bool {
        let Ok(worker) = self.query_worker_pid().await else { return false };
        procs.live_worker().is_some() && worker == procs.live_worker()
    }

    /// Returns the pid of the worker that answers on the stats socket.
    pub(super) async fn query_worker_pid(&self) -> io::Result<Option<u32>> {
        let socket = WorkerSocket { stats: self.stats_socket.clone(), master: Some(self.master()) };
        Ok(observed::parse_worker_pid(&socket.send_command("show info").await?))
    }
}

/// Returns an empty list for a process that has exited.
fn read_command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn children(pid: u32) -> Vec<u32> {
    let pids = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Whether this is a running HAProxy without a command line, which means that it is restarting itself right now.
fn is_exec_pending(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ended = stat.contains(") Z ") || stat.contains(") X ");
    stat.contains("(haproxy)") && !ended && read_command_line(pid).iter().all(String::is_empty)
}

/// Reaps workers whose master was killed; they exit by themselves. If docker-balancer is the first process of a
/// container, they become its children, and zombies unless it waits for them.
async fn reap_children(group: u32) {
    let Some(group) = pid(group) else { return };
    // An error means that no such child is left.
    while waitpgid(group, WaitOptions::NOHANG).is_ok() {
        sleep(POLL_INTERVAL).await;
    }
}

async fn wait_for_exit(
    pid: u32,
    pidfd: &AsyncFd<OwnedFd>,
    child: &mut Option<Child>,
) -> ExitReason {
    if pidfd.readable().await.is_err() {
        // This error occurs only while the runtime shuts down; no event will follow.
        std::future::pending::<()>().await;
    }
    let status = child.as_mut().and_then(|child| child.wait().ok());
    tokio::spawn(reap_children(pid));
    ExitReason(status)
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Sound although it is deprecated: an `OwnedFd` stays valid. The replacement needs `unsafe`.
#[allow(deprecated, reason = "the crate forbids unsafe code")]
fn open_pidfd(number: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let pid = pid(number).ok_or_else(invalid)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}

impl RunningMaster {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether HAProxy was started with this configuration, and not with another one from earlier settings.
    pub fn uses_config(&self, config: &Path) -> bool {
        let line = read_command_line(self.pid);
        line.windows(2).any(|words| words[0] == "-f" && Path::new(&words[1]) == config)
    }

    /// Waits for the process to exit. May be dropped and called again.
    pub async fn wait_for_exit(&mut self) -> ExitReason {
        wait_for_exit(self.pid, &self.pidfd, &mut self.child).await
    }

    /// Waits for the process to exit or for a check result. May be dropped and called again. An adopted HAProxy gives
    /// no check results: its stderr belongs to the process that started it.
    pub async fn next_event(&mut self) -> ProcessEvent {
        let Self { pid, pidfd, child, stderr, started_at: since } = self;
        let event = async {
            match stderr {
                Some(stderr) => stderr.next_event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = wait_for_exit(*pid, pidfd, child) => ProcessEvent::Exited(reason, since.elapsed()),
            event = event => match event {
                CheckEvent::HealthChanged(change) => ProcessEvent::HealthChanged(change),
                CheckEvent::ResultChanged(result) => ProcessEvent::CheckResultChanged(result),
            },
        }
    }

    /// Whether check results are available, which needs that HAProxy was started here.
    pub fn reports_checks(&self) -> bool {
        self.stderr.is_some()
    }

    /// Asks the kernel, because the reactor may not have been notified yet.
    pub fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| 0 < ready)
    }

    async fn wait_until_serving(&mut self, settings: &ProcessConfig) -> Result<(), StartError> {
        let deadline = Instant::now() + START_TIMEOUT + settings.loading_time();
        while Instant::now() < deadline {
            match timeout(POLL_INTERVAL, self.wait_for_exit()).await {
                Ok(reason) if reason.is_signal() => return Err(StartError::Killed(reason)),
                Ok(_) => {
                    return Err(StartError::Refused(
                        self.read_startup_error(&settings.config).await,
                    ));
                }
                Err(_) => {}
            }
            if let Ok(procs) = settings.master().list_processes().await
                && procs.master == self.pid
                && settings.is_serving(&procs).await
            {
                return Ok(());
            }
        }
        Err(StartError::Unresponsive { pid: self.pid, socket: settings.stats_socket.clone() })
    }

    async fn read_startup_error(&mut self, config: &Path) -> ConfigRejection {
        let Some(stderr) = &mut self.stderr else { return ConfigRejection::default() };
        // No line contains this marker, so this reads until the end of the pipe, which the exit has closed.
        parse_rejection(&stderr.lines_since(0, "\0", Duration::from_secs(1)).await, config)
    }

    /// Stops HAProxy gracefully first: workers finish their requests. When they are idle, or after `max_wait`, sends
    /// SIGTERM and then SIGKILL.
    pub async fn stop(mut self, master: &Master, max_wait: Duration) {
        if !max_wait.is_zero() {
            self.send_signal(Signal::USR1);
            let ended = async {
                tokio::select! {
                    _ = self.wait_for_exit() => true,
                    () = master.wait_idle() => false,
                }
            };
            if timeout(max_wait, ended).await == Ok(true) {
                return;
            }
        }
        for signal in [Signal::TERM, Signal::KILL] {
            self.send_signal(signal);
            if timeout(SIGNAL_TIMEOUT, self.wait_for_exit()).await.is_ok() {
                return;
            }
        }
    }

    /// Makes the master create its socket again, which it does when it restarts itself. This also starts a new worker,
    /// as a reload does. Returns `false` if the socket does not appear.
    pub(super) async fn restore_socket(&self, settings: &ProcessConfig) -> bool {
        self.send_signal(Signal::USR2);
        let answers = async {
            while !settings
                .master()
                .list_processes()
                .await
                .is_ok_and(|procs| procs.master == self.pid)
            {
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(RESTORE, answers).await.is_ok()
    }

    /// Stops HAProxy after another one has taken its place: gracefully, and by SIGKILL after `max_wait`.
    pub(super) fn retire(mut self, max_wait: Duration) {
        self.send_signal(Signal::USR1);
        tokio::spawn(async move {
            if timeout(max_wait, self.wait_for_exit()).await.is_err() {
                self.send_signal(Signal::KILL);
                self.wait_for_exit().await;
            }
        });
    }

    /// Ignores errors: the process may have exited already.
    fn send_signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
    }
}
