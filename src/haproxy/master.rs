//! The master process, by its socket: who works, and reloads that are known to have happened.
//!
//! HAProxy's Management Guide, section 9.4. 2.6 reloads behind our back and says nothing; from 2.7
//! on the answer comes when the reload is done and says how it went.

use super::{
    check::{Refusal, refusal},
    observed,
    said::Said,
    socket::{ask, say, within},
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

/// The largest configurations take half a second; a port that is taken takes two.
const RELOAD: Duration = Duration::from_mins(1);
/// Nobody listens for so long, at most, where somebody else's reload has not ended yet; after that
/// HAProxy does not run.
const AWAY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// An idle connection has so long to ask once more when HAProxy is stopped.
const QUIET: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(200);
/// A reload whose answer has not come so long after it was over has none.
const OVER: Duration = Duration::from_secs(3);

/// From this version on a master answers `reload` when it is done, also where it has taken the place of another version.
const ANSWERS: Version = Version { major: 2, minor: 7 };

/// `show proc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Procs {
    pub master: u32,
    /// Reloads so far, and how many of the last ones failed: 0 after one that went well.
    pub reloads: u32,
    pub failed: u32,
    /// The master's. `None` where it is not understood.
    pub version: Option<Version>,
    pub workers: Vec<Worker>,
    pub old_workers: Vec<Worker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    pub pid: u32,
    /// How many reloads it has lived through.
    pub reloads: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("HAProxy refused to reload: {0}")]
    Refused(Refusal),
    #[error("{0}")]
    Unreachable(String),
}

#[derive(Debug, Clone)]
pub struct Master {
    socket: PathBuf,
}

impl Master {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub async fn procs(&self) -> io::Result<Procs> {
        let answer = ask(&self.socket, "show proc").await?;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show proc`");
        Procs::parse(&answer).ok_or_else(strange)
    }

    /// What the workers say that end their last requests; one that is gone meanwhile says nothing.
    pub async fn ask_old_workers(&self, command: &str) -> io::Result<Vec<String>> {
        Ok(self.ask_each(self.procs().await?.ending(), command).await)
    }

    async fn ask_each(&self, pids: impl IntoIterator<Item = u32>, command: &str) -> Vec<String> {
        let mut answers = Vec::new();
        for pid in pids {
            let answer = self.ask_worker(pid, command).await;
            answers.extend(answer.ok().filter(|it| it.starts_with('#')));
        }
        answers
    }

    /// Returns when no worker has had a request under way for a while. Connections may be open still:
    /// the idle one of a client would keep a worker until `timeout http-keep-alive`.
    pub(super) async fn quiet(&self) {
        let mut last_busy = Instant::now();
        while last_busy.elapsed() < QUIET {
            sleep(LOOK).await;
            if self.requests().await.is_none_or(|requests| 0 < requests) {
                last_busy = Instant::now();
            }
        }
    }

    /// How many are under way; `None` if somebody does not tell.
    async fn requests(&self) -> Option<u64> {
        let procs = self.procs().await.ok()?;
        let workers: Vec<_> = procs.pids().skip(1).collect();
        let told_all = |answers: &[String]| answers.len() == workers.len();
        let answers = self.ask_each(workers.iter().copied(), "show stat -1 2 -1").await;
        answers
            .iter()
            .map(|answer| observed::requests(answer))
            .sum::<Option<_>>()
            .filter(|_| told_all(&answers))
    }

    pub async fn ask_worker(&self, pid: u32, command: &str) -> io::Result<String> {
        ask(&self.socket, &format!("@!{pid} {command}")).await
    }

    /// Reloads and returns when the new worker is there, or the old one is known to stay.
    ///
    /// `said` is where 2.6 gives its reason, if we hear it.
    pub async fn reload(
        &self,
        config: &Path,
        said: Option<&mut Said>,
    ) -> Result<Procs, ReloadError> {
        let until = Instant::now() + RELOAD;
        let mark = said.as_ref().map_or(0, |said| said.mark());
        let before = self.procs_until(Instant::now() + AWAY).await?;
        let stream = self.connect(until).await?;
        // The answer may be cut off by the master's own restart: then `show proc` has the last word. An older
        // HAProxy that takes the place of a newer one neither answers nor closes the connection.
        let answer = tokio::select! {
            answer = say(stream, "reload", RELOAD) => answer.unwrap_or_default(),
            () = self.is_over(&before) => String::new(),
        };
        match Answer::parse(&answer) {
            Answer::Refused(log) => Err(ReloadError::Refused(refusal(log, config))),
            Answer::Done => self.procs_until(until).await,
            Answer::Silent => self.settled(&before, until, config, said, mark).await,
        }
    }

    /// Returns when the reload is over, as `show proc` has it, and no answer is to be expected.
    async fn is_over(&self, before: &Procs) {
        let mut over_since = None;
        loop {
            sleep(LOOK).await;
            let Ok(now) = self.procs().await else { continue };
            let outcome = outcome(before, &now);
            let answers_never = outcome == Outcome::Done && !now.may_answer();
            if outcome == Outcome::Pending {
                over_since = None;
            } else if answers_never || over_since.get_or_insert_with(Instant::now).elapsed() > OVER
            {
                return;
            }
        }
    }

    async fn settled(
        &self,
        before: &Procs,
        until: Instant,
        config: &Path,
        said: Option<&mut Said>,
        mark: usize,
    ) -> Result<Procs, ReloadError> {
        loop {
            let now = self.procs_until(until).await?;
            match outcome(before, &now) {
                Outcome::Pending if Instant::now() < until => sleep(PAUSE).await,
                Outcome::Pending => return Err(self.unreachable("it does not reload")),
                Outcome::Done => return Ok(now),
                Outcome::Failed => {
                    return Err(ReloadError::Refused(reason(said, mark, config).await));
                }
            }
        }
    }

    /// While the master starts itself anew nobody listens, and 2.6 looks for ports for two seconds.
    async fn procs_until(&self, until: Instant) -> Result<Procs, ReloadError> {
        loop {
            match self.procs().await {
                Ok(procs) => return Ok(procs),
                Err(e) if until < Instant::now() || is_gone(&e) => return Err(self.unreachable(&e)),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn connect(&self, until: Instant) -> Result<UnixStream, ReloadError> {
        loop {
            match within(RELOAD, UnixStream::connect(&self.socket)).await {
                Ok(stream) => return Ok(stream),
                Err(e) if until < Instant::now() || is_gone(&e) => return Err(self.unreachable(&e)),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> ReloadError {
        let socket = self.socket.display();
        ReloadError::Unreachable(format!("HAProxy's master socket {socket}: {why}"))
    }
}

/// Waiting would not help.
fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

async fn reason(said: Option<&mut Said>, mark: usize, config: &Path) -> Refusal {
    let Some(said) = said else {
        let text = "its reason went to another docker-balancer's log; \
                    a port may be taken by another program";
        return Refusal { text: text.to_owned(), ..Refusal::default() };
    };
    let patience = Duration::from_secs(1);
    refusal(&said.since(mark, "Loading failure!", patience).await, config)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    Done,
    Refused(&'a str),
    /// 2.6, or the connection was lost.
    Silent,
}

impl<'a> Answer<'a> {
    fn parse(answer: &'a str) -> Self {
        match answer.split_once('\n').unwrap_or((answer, "")) {
            ("Success=1", _) => Self::Done,
            ("Success=0", log) => Self::Refused(log),
            _ => Self::Silent,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Done,
    Failed,
}

/// What became of a reload, seen from outside (2.6).
fn outcome(before: &Procs, now: &Procs) -> Outcome {
    let new = |worker: &Worker| !before.pids().any(|pid| pid == worker.pid);
    match now {
        _ if now.reloads <= before.reloads => Outcome::Pending,
        _ if 0 < now.failed => Outcome::Failed,
        _ if now.workers.iter().any(new) => Outcome::Done,
        _ => Outcome::Pending,
    }
}

impl Procs {
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
                    procs.version = more.last().and_then(|it| Version::parse(it).ok());
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

    /// Whether the master says how a reload went.
    fn may_answer(&self) -> bool {
        self.version.is_none_or(|version| ANSWERS <= version)
    }

    /// The worker that serves: from 3.1 on it is among the old ones after a reload that failed,
    /// and the youngest of them.
    pub fn live(&self) -> Option<u32> {
        let youngest = |workers: &[Worker]| workers.iter().min_by_key(|w| w.reloads).map(|w| w.pid);
        youngest(&self.workers).or_else(|| youngest(&self.old_workers))
    }

    /// The workers that end their last requests.
    pub fn ending(&self) -> Vec<u32> {
        let live = self.live();
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

    fn procs(text: &str) -> Procs {
        Procs::parse(text).unwrap()
    }

    /// What a 2.6 does that takes the place of a 3.4.
    #[tokio::test]
    async fn reload_that_is_never_answered_is_over_when_the_list_shows_it() {
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
        assert_eq!(reloaded.live(), Some(13231));
        // The one that shows it, and the one that is returned: a master of that version is not waited for.
        assert_eq!(lists.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_list_of_processes_is_understood() {
        for (text, master, live, all) in [
            (V26, 13056, 13074, vec![13056, 13074]),
            (V26_DONE, 13056, 13231, vec![13056, 13231, 13074]),
            (V26_FAILED, 13056, 13074, vec![13056, 13074]),
            (V32_FAILED, 14008, 14141, vec![14008, 14011, 14141]),
        ] {
            let procs = procs(text);
            assert_eq!((procs.master, procs.live()), (master, Some(live)));
            assert_eq!(procs.pids().collect::<Vec<_>>(), all);
        }
        assert_eq!(Procs::parse("Unknown command"), None);
    }

    #[test]
    fn a_silent_reload_shows_in_the_list() {
        for (now, expected) in
            [(V26, Outcome::Pending), (V26_DONE, Outcome::Done), (V26_FAILED, Outcome::Failed)]
        {
            assert_eq!(outcome(&procs(V26), &procs(now)), expected);
        }
    }

    #[test]
    fn an_answer_says_how_it_went_from_2_7_on() {
        assert_eq!(Answer::parse("Success=1\n--\n[NOTICE] …\n"), Answer::Done);
        assert_eq!(Answer::parse("Success=0\n--\nx\n"), Answer::Refused("--\nx\n"));
        assert_eq!(Answer::parse(""), Answer::Silent);
    }
}
