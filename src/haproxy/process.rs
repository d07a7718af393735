//! An HAProxy of our own: started, adopted, awaited and stopped.
//!
//! It runs in a process group of its own and outlives us; its master socket is how it is found again.

use super::{
    check::{Refusal, refusal},
    master::{Master, Procs},
    said::Said,
    socket::ask,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    fmt, fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep, timeout},
};

const START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// What HAProxy is started with, and where it is found.
#[derive(Debug, Clone)]
pub struct Launch {
    pub bin: PathBuf,
    pub config: PathBuf,
    /// Holds `master.sock`, `haproxy.sock`, `haproxy.pid`.
    pub runtime: PathBuf,
    pub stdout: Stdout,
}

/// Where its access log goes, if that is its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    Inherit,
    Null,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("HAProxy did not start: {0}")]
    Refused(Refusal),
    #[error("cannot start {}: {why}", bin.display())]
    Io { bin: PathBuf, why: io::Error },
    #[error("HAProxy (pid {pid}) does not answer on {}; end it and try again", socket.display())]
    Mute { pid: u32, socket: PathBuf },
}

/// How HAProxy ended; an adopted one is not our child, so all we know is that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReason(pub Option<ExitStatus>);

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => write!(f, "HAProxy ended with {status}"),
            None => f.write_str("HAProxy ended"),
        }
    }
}

/// A running master.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    /// Readable once the process has ended: waiting costs nothing, and signals hit no stranger.
    pidfd: AsyncFd<OwnedFd>,
    child: Option<Child>,
    pub(super) said: Option<Said>,
}

impl Launch {
    pub fn master_socket(&self) -> PathBuf {
        self.runtime.join("master.sock")
    }

    pub fn stats_socket(&self) -> PathBuf {
        self.runtime.join("haproxy.sock")
    }

    fn pid_file(&self) -> PathBuf {
        self.runtime.join("haproxy.pid")
    }

    pub fn master(&self) -> Master {
        Master::new(&self.master_socket())
    }

    /// Starts a new one and returns when it serves. The caller has looked for a running one.
    pub async fn start(&self) -> Result<Running, StartError> {
        let at = |why| StartError::Io { bin: self.bin.clone(), why };
        let mut child = self.command().spawn().map_err(at)?;
        let said = child.stderr.take().map(Said::listen).transpose().map_err(at)?;
        let pid = child.id();
        let mut running = Running { pid, pidfd: watch(pid).map_err(at)?, child: Some(child), said };
        match running.serves(self).await {
            Ok(()) => Ok(running),
            Err(e) => {
                running.stop(Duration::ZERO).await;
                Err(e)
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg("-W").arg("-f").arg(&self.config);
        command.arg("-S").arg(format!("{},mode,600", self.master_socket().display()));
        command.arg("-p").arg(self.pid_file());
        // Whoever tells a service manager of our readiness, it is not HAProxy.
        command.env_remove("NOTIFY_SOCKET");
        command.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        command.stdout(match self.stdout {
            Stdout::Inherit => Stdio::inherit(),
            Stdout::Null => Stdio::null(),
        });
        command
    }

    /// The one that an earlier balancer left running, if there is one.
    ///
    /// One that restarts itself just now refuses connections like one that is dead; its pid file
    /// tells them apart.
    pub async fn adopt(&self) -> Result<Option<Running>, StartError> {
        let until = Instant::now() + START;
        loop {
            let pid = match self.master().procs().await {
                Ok(procs) => procs.master,
                Err(_) => match self.left_behind() {
                    None => return Ok(None),
                    Some(pid) if Instant::now() < until => {
                        tracing::debug!("HAProxy (pid {pid}) does not answer yet");
                        sleep(PAUSE).await;
                        continue;
                    }
                    Some(pid) => {
                        return Err(StartError::Mute { pid, socket: self.master_socket() });
                    }
                },
            };
            let Ok(pidfd) = watch(pid) else { return Ok(None) };
            return Ok(Some(Running { pid, pidfd, child: None, said: None }));
        }
    }

    /// The master of the pid file, if that process lives and has our master socket.
    fn left_behind(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let socket = self.master_socket().display().to_string();
        let ours = command_line(pid).iter().any(|word| word.starts_with(&socket));
        (ours || is_between_programs(pid)).then_some(pid)
    }

    /// The live worker answers at the stats socket: reloads and starts are done only then.
    pub(super) async fn answers(&self, procs: &Procs) -> bool {
        let Ok(info) = ask(&self.stats_socket(), "show info").await else { return false };
        procs.live().is_some() && worker_of(&info) == procs.live()
    }
}

fn worker_of(info: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix("Pid: "))?.trim().parse().ok()
}

/// Empty for a process that is gone or ended.
fn command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// An HAProxy that has no command line and has not ended: it starts itself anew at this moment.
fn is_between_programs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ended = stat.contains(") Z ") || stat.contains(") X ");
    stat.contains("(haproxy)") && !ended && command_line(pid).iter().all(String::is_empty)
}

/// Sound although it is deprecated: an `OwnedFd` stays what it is. Its heir wants `unsafe`.
#[allow(deprecated, reason = "the crate forbids unsafe code")]
fn watch(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let strange = || io::Error::from(io::ErrorKind::InvalidInput);
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(strange)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Was it started with this configuration, as against another in settings of an earlier day?
    pub fn reads(&self, config: &Path) -> bool {
        let line = command_line(self.pid);
        line.windows(2).any(|words| words[0] == "-f" && Path::new(&words[1]) == config)
    }

    /// Waits for its end; may be dropped and called again.
    pub async fn died(&mut self) -> ExitReason {
        if self.pidfd.readable().await.is_err() {
            // Only a runtime that shuts down says so: nothing more will be heard.
            std::future::pending::<()>().await;
        }
        ExitReason(self.child.as_mut().and_then(|child| child.wait().ok()))
    }

    /// Asks the kernel: the reactor may not have heard yet.
    pub fn has_died(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| 0 < ready)
    }

    async fn serves(&mut self, launch: &Launch) -> Result<(), StartError> {
        let until = Instant::now() + START;
        while Instant::now() < until {
            if timeout(PAUSE, self.died()).await.is_ok() {
                return Err(StartError::Refused(self.last_words(&launch.config).await));
            }
            if let Ok(procs) = launch.master().procs().await
                && procs.master == self.pid
                && launch.answers(&procs).await
            {
                return Ok(());
            }
        }
        Err(StartError::Mute { pid: self.pid, socket: launch.stats_socket() })
    }

    async fn last_words(&mut self, config: &Path) -> Refusal {
        let Some(said) = &mut self.said else { return Refusal::default() };
        // No line holds this: it waits for the end of the pipe, which has come already.
        refusal(&said.since(0, "\0", Duration::from_secs(1)).await, config)
    }

    /// Softly: workers finish what they serve. Then less so.
    pub async fn stop(mut self, patience: Duration) {
        let steps = [
            (Signal::USR1, patience),
            (Signal::TERM, Duration::from_secs(2)),
            (Signal::KILL, Duration::from_secs(2)),
        ];
        for (signal, patience) in steps.into_iter().filter(|(_, patience)| !patience.is_zero()) {
            let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
            if timeout(patience, self.died()).await.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_says_its_pid() {
        assert_eq!(worker_of("Name: HAProxy\nPid: 13074\nUptime: 0d\n"), Some(13074));
        assert_eq!(worker_of("Unknown command\n"), None);
    }
}
