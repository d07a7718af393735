//! The master process, by its socket: its workers, and reloads with a confirmed outcome.
//!
//! HAProxy's Management Guide, section 9.4. 2.6 reloads asynchronously and does not report the outcome. From 2.7 on the
//! answer to `reload` comes when the reload is done and contains its outcome.

use super::{
    check::{ConfigRejection, parse_rejection},
    observed,
    socket::{send_command, send_on_stream, with_timeout},
    stderr_log::StderrReader,
    version::Version,
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

/// The largest configurations take half a second; a port that is in use takes two.
const RELOAD_TIMEOUT: Duration = Duration::from_mins(1);
/// While a reload that another program triggered has not finished, nothing listens on the master socket, for at most
/// this long. After that HAProxy is considered down.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long there must be no request before HAProxy is stopped: clients of idle connections can send one more.
const IDLE_PERIOD: Duration = Duration::from_secs(1);
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// If the answer to a reload has not come this long after the reload was over, it will not come.
const ANSWER_GRACE: Duration = Duration::from_secs(3);

/// From this version on a master answers `reload` when the reload is done, even if it replaced a master of another
/// version.
const ANSWERS: Version = Version { major: 2, minor: 7 };

/// Answer to `show proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessList {
    pub master: u32,
    /// Number of reloads so far, and of consecutive failed ones: 0 after a success.
    pub reloads: u32,
    pub failed: u32,
    /// Version of the master; `None` if it cannot be parsed.
    pub version: Option<Version>,
    pub workers: Vec<Worker>,
    pub old_workers: Vec<Worker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    pub pid: u32,
    /// Number of reloads since this worker started.
    pub reloads: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("HAProxy refused to reload: {0}")]
    Refused(ConfigRejection),
    #[error("{0}")]
    Unreachable(String),
}

#[derive(Debug, Clone)]
pub struct Master {
    socket: PathBuf,
    /// How long a reload may take.
    reload_timeout: Duration,
}

impl Master {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), reload_timeout: RELOAD_TIMEOUT }
    }

    /// Gives reloads more time, because HAProxy reads certificates.
    #[must_use]
    pub fn with_loading_time(self, time: Duration) -> Self {
        Self { reload_timeout: RELOAD_TIMEOUT + time, ..self }
    }

    pub async fn list_processes(&self) -> io::Result<ProcessList> {
        let answer = send_command(&self.socket, "show proc").await?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show proc`");
        ProcessList::parse(&answer).ok_or_else(invalid)
    }

    /// Returns the answers of the workers that finish their last requests. A worker that exits in the meantime is left
    /// out.
    pub async fn send_to_old_workers(&self, command: &str) -> io::Result<Vec<String>> {
        Ok(self.send_to_each(self.list_processes().await?.stopping_workers(), command).await)
    }

    async fn send_to_each(
        &self,
        pids: impl IntoIterator<Item = u32>,
        command: &str,
    ) -> Vec<String> {
        let mut answers = Vec::new();
        for pid in pids {
            let answer = self.send_to_worker(pid, command).await;
            answers.extend(answer.ok().filter(|text| text.starts_with('#')));
        }
        answers
    }

    /// Returns when no worker has had a request in flight for a while. Connections may still be open: an idle
    /// connection of a client would keep a worker until `timeout http-keep-alive`.
    pub(super) async fn wait_idle(&self) {
        let mut last_busy = Instant::now();
        while last_busy.elapsed() < IDLE_PERIOD {
            sleep(STATUS_INTERVAL).await;
            if self.count_requests().await.is_none_or(|requests| 0 < requests) {
                last_busy = Instant::now();
            }
        }
    }

    /// Returns the number of requests in flight; `None` if a worker does not answer.
    async fn count_requests(&self) -> Option<u64> {
        let procs = self.list_processes().await.ok()?;
        let workers: Vec<_> = procs.pids().skip(1).collect();
        let is_complete = |answers: &[String]| answers.len() == workers.len();
        let answers = self.send_to_each(workers.iter().copied(), "show stat -1 2 -1").await;
        answers
            .iter()
            .map(|answer| observed::count_requests(answer))
            .sum::<Option<_>>()
            .filter(|_| is_complete(&answers))
    }

    pub async fn send_to_worker(&self, pid: u32, command: &str) -> io::Result<String> {
        send_command(&self.socket, &format!("@!{pid} {command}")).await
    }

    /// Reloads, and returns when the new worker runs or the old one is known to stay.
    ///
    /// `stderr` is where 2.6 writes the reason of a failure; `None` if that is not read here.
    pub async fn reload(
        &self,
        config: &Path,
        stderr: Option<&mut StderrReader>,
    ) -> Result<ProcessList, ReloadError> {
        let deadline = Instant::now() + self.reload_timeout;
        let cursor = stderr.as_ref().map_or(0, |stderr| stderr.cursor());
        let before = self.poll_processes(Instant::now() + RESTART_TIMEOUT).await?;
        let stream = self.connect_until(deadline).await?;
        // The master's restart may cut the answer off; then `show proc` decides. An older HAProxy that replaces a newer
        // one neither answers nor closes the connection.
        let answer = tokio::select! {
            answer = send_on_stream(stream, "reload", self.reload_timeout) => answer.unwrap_or_default(),
            () = self.wait_for_reload(&before) => String::new(),
        };
        match MasterReply::parse(&answer) {
            MasterReply::Refused(log) => Err(ReloadError::Refused(parse_rejection(log, config))),
            MasterReply::Done => self.poll_processes(deadline).await,
            MasterReply::Missing => {
                self.confirm_reload(&before, deadline, config, stderr, cursor).await
            }
        }
    }

    /// Returns when the reload is over according to `show proc` and no answer is to be expected any more.
    async fn wait_for_reload(&self, before: &ProcessList) {
        let mut over_since = None;
        loop {
            sleep(STATUS_INTERVAL).await;
            let Ok(now) = self.list_processes().await else { continue };
            let outcome = reload_status(before, &now);
            let answers_never = outcome == ReloadStatus::Done && !now.may_answer();
            if outcome == ReloadStatus::Pending {
                over_since = None;
            } else if answers_never
                || over_since.get_or_insert_with(Instant::now).elapsed() > ANSWER_GRACE
            {
                return;
            }
        }
    }

    async fn confirm_reload(
        &self,
        before: &ProcessList,
        deadline: Instant,
        config: &Path,
        stderr: Option<&mut StderrReader>,
        cursor: usize,
    ) -> Result<ProcessList, ReloadError> {
        loop {
            let now = self.poll_processes(deadline).await?;
            match reload_status(before, &now) {
                ReloadStatus::Pending if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
                ReloadStatus::Pending => {
                    return Err(self.unreachable_error("HAProxy did not reload"));
                }
                ReloadStatus::Done => return Ok(now),
                ReloadStatus::Failed => {
                    return Err(ReloadError::Refused(read_rejection(stderr, cursor, config).await));
                }
            }
        }
    }

    /// Retries, because nothing listens while the master restarts, and 2.6 tries to bind ports for two seconds.
    async fn poll_processes(&self, deadline: Instant) -> Result<ProcessList, ReloadError> {
        loop {
            match self.list_processes().await {
                Ok(procs) => return Ok(procs),
                Err(e) if deadline < Instant::now() || is_permanent(&e) => {
                    return Err(self.unreachable_error(&e));
                }
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    async fn connect_until(&self, deadline: Instant) -> Result<UnixStream, ReloadError> {
        loop {
            match with_timeout(self.reload_timeout, UnixStream::connect(&self.socket)).await {
                Ok(stream) => return Ok(stream),
                Err(e) if deadline < Instant::now() || is_permanent(&e) => {
                    return Err(self.unreachable_error(&e));
                }
                Err(_) => sleep(POLL_INTERVAL).await,
            }
        }
    }

    fn unreachable_error(&self, why: impl std::fmt::Display) -> ReloadError {
        let socket = self.socket.display();
        ReloadError::Unreachable(format!("HAProxy's master socket {socket}: {why}"))
    }
}

/// Whether retrying is useless.
fn is_permanent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

async fn read_rejection(
    stderr: Option<&mut StderrReader>,
    cursor: usize,
    config: &Path,
) -> ConfigRejection {
    let Some(stderr) = stderr else {
        let text = "the reason is in the log of another docker-balancer; another program may use a \
                    port";
        return ConfigRejection { text: text.to_owned(), ..ConfigRejection::default() };
    };
    let max_wait = Duration::from_secs(1);
    parse_rejection(&stderr.lines_since(cursor, "Loading failure!", max_wait).await, config)
}

#[derive(Debug, PartialEq, Eq)]
enum MasterReply<'a> {
    Done,
    Refused(&'a str),
    /// HAProxy is 2.6, or the connection was lost.
    Missing,
}

impl<'a> MasterReply<'a> {
    fn parse(answer: &'a str) -> Self {
        match answer.split_once('\n').unwrap_or((answer, "")) {
            ("Success=1", _) => Self::Done,
            ("Success=0", log) => Self::Refused(log),
            _ => Self::Missing,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum ReloadStatus {
    Pending,
    Done,
    Failed,
}

/// Returns the outcome of a reload, derived from `show proc` (2.6).
fn reload_status(before: &ProcessList, now: &ProcessList) -> ReloadStatus {
    let new = |worker: &Worker| !before.pids().any(|pid| pid == worker.pid);
    match now {
        _ if now.reloads <= before.reloads => ReloadStatus::Pending,
        _ if 0 < now.failed => ReloadStatus::Failed,
        _ if now.workers.iter().any(new) => ReloadStatus::Done,
        _ => ReloadStatus::Pending,
    }
}

impl ProcessList {
    /// ```text
    /// #<PID>          <type>          <reloads>       <uptime>        <version>
    /// 14008           master          2 [failed: 1]   0d00h00m02s     3.2.26-1
    /// # workers
    /// # old workers
    /// 14141           worker          1               0d00h00m01s     3.2.26-1
    /// ```
    fn parse(text: &str) -> Option<Self> {
        let mut procs = Self {
            master: 0,
            reloads: 0,
            failed: 0,
            version: None,
            workers: vec![],
            old_workers: vec![],
        };
        let mut old = false;
        for line in text.lines() {
            if line.starts_with('#') {
                old = line.starts_with("# old");
                continue;
            }
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [pid, "master", reloads, "[failed:", failed, ref more @ ..] => {
                    procs.version = more.last().and_then(|text| Version::parse(text).ok());
                    procs.master = pid.parse().ok()?;
                    procs.reloads = reloads.parse().ok()?;
                    procs.failed = failed.trim_end_matches(']').parse().ok()?;
                }
                [pid, "worker", reloads, ..] => {
                    let worker = Worker { pid: pid.parse().ok()?, reloads: reloads.parse().ok()? };
                    if old { &mut procs.old_workers } else { &mut procs.workers }.push(worker);
                }
                _ => {}
            }
        }
        (procs.master != 0).then_some(procs)
    }

    /// Whether the master answers `reload` with the outcome.
    fn may_answer(&self) -> bool {
        self.version.is_none_or(|version| ANSWERS <= version)
    }

    /// Returns the worker that serves. From 3.1 on, after a failed reload it is listed among the old workers, as the
    /// youngest.
    pub fn live_worker(&self) -> Option<u32> {
        let find_youngest =
            |workers: &[Worker]| workers.iter().min_by_key(|w| w.reloads).map(|w| w.pid);
        find_youngest(&self.workers).or_else(|| find_youngest(&self.old_workers))
    }

    /// Returns the workers that finish their last requests.
    pub fn stopping_workers(&self) -> Vec<u32> {
        let live = self.live_worker();
        self.old_workers.iter().map(|old| old.pid).filter(|pid| Some(*pid) != live).collect()
    }

    /// The master and all its workers.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        let workers = self.workers.iter().chain(&self.old_workers).map(|worker| worker.pid);
        std::iter::once(self.master).chain(workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const V26: &str = "\
#<PID>          <type>          <reloads>       <uptime>        <version>      
13056           master          0 [failed: 0]   0d00h00m01s     2.6.12-1+deb12u4
# workers
13074           worker          0               0d00h00m01s     2.6.12-1+deb12u4
# programs

";
    const V26_DONE: &str = "\
#<PID>          <type>          <reloads>       <uptime>        <version>      
13056           master          1 [failed: 0]   0d00h00m02s     2.6.12-1+deb12u4
# workers
13231           worker          0               0d00h00m01s     2.6.12-1+deb12u4
# old workers
13074           worker          1               0d00h00m05s     2.6.12-1+deb12u4
# programs

";
    const V26_FAILED: &str = "\
#<PID>          <type>          <reloads>       <uptime>        <version>      
13056           master          1 [failed: 1]   0d00h00m02s     2.6.12-1+deb12u4
# workers
13074           worker          1               0d00h00m01s     2.6.12-1+deb12u4
# programs

";
    const V32_FAILED: &str = "\
#<PID>          <type>          <reloads>       <uptime>        <version>      
14008           master          3 [failed: 1]   0d00h00m05s     3.2.26-1       
# workers
# old workers
14011           worker          4               0d00h01m04s     3.2.26-1       
14141           worker          2               0d00h00m04s     3.2.26-1       

";

    fn procs(text: &str) -> ProcessList {
        ProcessList::parse(text).unwrap()
    }

    /// What HAProxy 2.6 does when it replaces 3.4.
    #[tokio::test]
    async fn unanswered_reload_ends_when_process_list_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("m");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let lists = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&lists);
        tokio::spawn(async move {
            let (mut is_reloaded, mut silent) = (false, Vec::new());
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut question = vec![0; 64];
                let length = stream.read(&mut question).await.unwrap();
                if question[..length].starts_with(b"reload") {
                    is_reloaded = true;
                    silent.push(stream);
                } else {
                    counter.fetch_add(usize::from(is_reloaded), Ordering::Relaxed);
                    let list = if is_reloaded { V26_DONE } else { V26 };
                    stream.write_all(list.as_bytes()).await.unwrap();
                }
            }
        });
        let reloaded = Master::new(&socket).reload(Path::new("h.cfg"), None).await.unwrap();
        assert_eq!(reloaded.live_worker(), Some(13231));
        // Once to see the reload, once for the return value: the answer of a master of that version is not awaited.
        assert_eq!(lists.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn show_proc_parses_to_live_worker_and_pids() {
        for (text, master, live, all) in [
            (V26, 13056, 13074, vec![13056, 13074]),
            (V26_DONE, 13056, 13231, vec![13056, 13231, 13074]),
            (V26_FAILED, 13056, 13074, vec![13056, 13074]),
            (V32_FAILED, 14008, 14141, vec![14008, 14011, 14141]),
        ] {
            let procs = procs(text);
            assert_eq!((procs.master, procs.live_worker()), (master, Some(live)));
            assert_eq!(procs.pids().collect::<Vec<_>>(), all);
        }
        assert_eq!(ProcessList::parse("Unknown command"), None);
    }

    #[test]
    fn reload_status_follows_process_list() {
        for (now, expected) in [
            (V26, ReloadStatus::Pending),
            (V26_DONE, ReloadStatus::Done),
            (V26_FAILED, ReloadStatus::Failed),
        ] {
            assert_eq!(reload_status(&procs(V26), &procs(now)), expected);
        }
    }

    #[test]
    fn reload_answer_parses_to_reply() {
        assert_eq!(MasterReply::parse("Success=1\n--\n[NOTICE] …\n"), MasterReply::Done);
        assert_eq!(MasterReply::parse("Success=0\n--\nx\n"), MasterReply::Refused("--\nx\n"));
        assert_eq!(MasterReply::parse(""), MasterReply::Missing);
    }
}
