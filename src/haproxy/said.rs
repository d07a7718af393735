//! What HAProxy says on stderr: passed to the log line by line, the last of it kept, and what its checks
//! found told at once.

use super::name;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    process::ChildStderr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe::Receiver,
    sync::{mpsc, watch},
    time::timeout,
};

const KEPT: usize = 50;
/// What HAProxy finds of a container's servers is told once in so long: a container may have a thousand.
const QUIET: Duration = Duration::from_secs(1);
/// Of so many containers it is remembered when that was.
const MOST_QUIET: usize = 1000;

/// The listening end. HAProxy lives on when nobody listens any more: it ignores SIGPIPE.
#[derive(Debug)]
pub struct Said {
    tail: watch::Receiver<Tail>,
    findings: mpsc::UnboundedReceiver<Finding>,
}

/// What a worker's checks found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Judged(Judged),
    Checked(Checked),
}

/// A worker's checks found that a server takes requests now, or that it does not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Its pid: of several workers each judges for itself.
    pub worker: u32,
    pub backend: String,
    pub server: String,
    pub up: bool,
}

/// The result of a check, where it is another one than that of the check before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub worker: u32,
    pub backend: String,
    pub server: String,
    pub passed: bool,
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    /// How many lines there were in all.
    count: usize,
    ended: bool,
}

impl Said {
    pub fn listen(stderr: ChildStderr) -> io::Result<Self> {
        let pipe = Receiver::from_owned_fd(stderr.into())?;
        let (keep, tail) = watch::channel(Tail::default());
        let (tell, findings) = mpsc::unbounded_channel();
        tokio::spawn(follow(pipe, keep, tell));
        Ok(Self { tail, findings })
    }

    /// What checks find from now on; for ever where HAProxy has gone. For a `select!`.
    pub async fn finding(&mut self) -> Finding {
        match self.findings.recv().await {
            Some(finding) => finding,
            None => std::future::pending().await,
        }
    }

    /// A place to come back to with [`Said::since`].
    pub fn mark(&self) -> usize {
        self.tail.borrow().count
    }

    /// What was said since, once it holds `word` or HAProxy has gone; after `patience` what there is.
    pub async fn since(&mut self, mark: usize, word: &str, patience: Duration) -> String {
        let done = |tail: &Tail| tail.ended || tail.since(mark).any(|line| line.contains(word));
        let _ = timeout(patience, self.tail.wait_for(done)).await;
        self.tail.borrow().since(mark).collect::<Vec<_>>().join("\n")
    }
}

impl Tail {
    fn since(&self, mark: usize) -> impl Iterator<Item = &str> {
        let gone = self.count - self.lines.len();
        self.lines.iter().skip(mark.saturating_sub(gone)).map(String::as_str)
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.count += 1;
    }
}

async fn follow(pipe: Receiver, tail: watch::Sender<Tail>, tell: mpsc::UnboundedSender<Finding>) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    let mut pace = Pace::default();
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        log(&line, &mut pace, Instant::now());
        let judged = judged(&line).map(Finding::Judged);
        if let Some(finding) = judged.or_else(|| checked(&line).map(Finding::Checked)) {
            // Nobody listens while HAProxy is started or stopped.
            let _ = tell.send(finding);
        }
        tail.send_modify(|tail| tail.push(line));
    }
    tail.send_modify(|tail| tail.ended = true);
}

/// HAProxy warns of every proxy that a reload stops, and of what it was told over the runtime API: only
/// what it found out itself of servers is news.
fn log(line: &str, pace: &mut Pace, now: Instant) {
    let words = line.split_once(" : ").map_or(line, |(_, words)| found_by_itself(words));
    match line.split(' ').next() {
        Some("[ALERT]") if !is_ours(words) => tracing::warn!(target: "haproxy", "{words}"),
        Some("[WARNING]") if is_news(words) => match pace.untold_before(words, now) {
            Some(0) => tracing::info!(target: "haproxy", "{words}"),
            Some(untold) => {
                tracing::info!(target: "haproxy", "{words} (and {untold} more of that container)");
            }
            None => tracing::debug!(target: "haproxy", "{words}"),
        },
        _ => tracing::debug!(target: "haproxy", "{words}"),
    }
}

/// When something was told of a container last, and how often it was not since.
#[derive(Debug, Default)]
struct Pace(BTreeMap<(String, &'static str), (Instant, usize)>);

impl Pace {
    /// How many lines like this one were kept back before it; `None` where it is kept back as well.
    fn untold_before(&mut self, words: &str, now: Instant) -> Option<usize> {
        let Some(about) = about(words) else { return Some(0) };
        if MOST_QUIET < self.0.len() {
            self.0.retain(|_, (at, _)| now < *at + QUIET);
        }
        match self.0.get_mut(&about) {
            Some((at, untold)) if now < *at + QUIET => {
                *untold += 1;
                None
            }
            Some((at, untold)) => {
                *at = now;
                Some(std::mem::take(untold))
            }
            None => {
                self.0.insert(about, (now, 0));
                Some(0)
            }
        }
    }
}

/// The container, by its id, and what is found of it.
fn about(words: &str) -> Option<(String, &'static str)> {
    let place = words.split(' ').find(|word| word.contains('/'))?;
    let (_, server) = place.rsplit_once('/')?;
    let findings = ["Health check ", " is UP", " is DOWN"];
    let finding = findings.into_iter().find(|it| words.contains(it))?;
    Some((name::container(server)?.to_owned(), finding))
}

/// `[WARNING]  (4711) : Server a.test:80/web-0123456789ab:80 is DOWN, reason: …`, of a worker.
fn judged(line: &str) -> Option<Judged> {
    let (_, rest) = line.split_once('(')?;
    let (worker, rest) = rest.split_once(") : ")?;
    let rest = found_by_itself(rest).strip_prefix("Server ")?;
    let (place, verdict) = rest.split_once(" is ")?;
    let (backend, server) = place.rsplit_once('/')?;
    let up = match verdict.get(..verdict.find([',', '.', ' ']).unwrap_or(verdict.len()))? {
        "UP" => true,
        "DOWN" => false,
        _ => return None,
    };
    Some(Judged {
        worker: worker.parse().ok()?,
        backend: backend.to_owned(),
        server: server.to_owned(),
        up,
    })
}

/// `[WARNING]  (4711) : Health check for server a.test:80/web-0123456789ab:80 failed, reason: …`
fn checked(line: &str) -> Option<Checked> {
    let (_, rest) = line.split_once('(')?;
    let (worker, rest) = rest.split_once(") : ")?;
    let rest = found_by_itself(rest).strip_prefix("Health check for server ")?;
    let (place, rest) = rest.split_once(' ')?;
    let (backend, server) = place.rsplit_once('/')?;
    let passed = match rest.split(',').next()? {
        "succeeded" | "conditionally succeeded" => true,
        "failed" => false,
        _ => return None,
    };
    Some(Checked {
        worker: worker.parse().ok()?,
        backend: backend.to_owned(),
        server: server.to_owned(),
        passed,
    })
}

/// The words without a prefix that 2.6 gives them once it was told something over its runtime API, though
/// nobody told it this.
fn found_by_itself(words: &str) -> &str {
    let rest = words.strip_prefix("CLI : ");
    rest.filter(|rest| !rest.contains(" from CLI") && !is_ours(rest)).unwrap_or(words)
}

fn is_news(words: &str) -> bool {
    if words.starts_with("Health check ") {
        // Those that count down are followed by one that does not.
        return words.ends_with("DOWN.");
    }
    let of_servers = ["Server ", "Backup Server "];
    of_servers.iter().any(|start| words.starts_with(start)) && !is_ours(words)
}

fn is_ours(words: &str) -> bool {
    let told = ["for maintenance", "(leaving ", "CLI : ", "has no server available"];
    told.iter().any(|part| words.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_with_many_servers_is_told_once_a_second() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let of = |route: u16, id: &str, rest: &str| {
            format!("Server h{route}.test:80/web-{id}:80 {rest}")
        };
        let (down, up) = ("is DOWN, reason: Layer4 timeout", "is UP, reason: Layer4 check passed");
        let (one, other) = ("0123456789ab", "ba9876543210");
        for (millis, words, expected) in [
            (0, of(1, one, down), Some(0)),
            (1, of(2, one, down), None),
            (2, of(3, one, down), None),
            (3, of(1, one, up), Some(0)),
            (4, of(1, other, down), Some(0)),
            (1000, of(1, one, down), Some(2)),
            (1001, of(2, one, down), None),
            (1002, "Server theirs/x is DOWN".to_owned(), Some(0)),
            (1003, "Server theirs/x is DOWN".to_owned(), Some(0)),
        ] {
            let now = begin + Duration::from_millis(millis);
            assert_eq!(pace.untold_before(&words, now), expected, "{millis} {words}");
        }
    }

    #[test]
    fn the_last_lines_are_kept_and_counted() {
        let mut tail = Tail::default();
        for n in 0..KEPT + 10 {
            tail.push(n.to_string());
        }
        assert_eq!(tail.since(KEPT + 8).collect::<Vec<_>>(), ["58", "59"]);
        assert_eq!(tail.since(0).next(), Some("10"));
        assert_eq!(tail.since(KEPT + 10).next(), None);
    }

    #[test]
    fn what_a_check_found_is_read() {
        const DOWN: &str = "[WARNING]  (4711) : Server a.test:80_api/web-0123456789ab:80:alone is DOWN, \
             reason: Layer7 wrong status, code: 500, info: \"is UP\", check duration: 0ms. 0 active and 0 \
             backup servers left.";
        const UP: &str = "[WARNING]  (7) : Server a.test:80/web-2-0123456789ab:80 is UP, reason: Layer4 check \
             passed, check duration: 0ms.";
        let read = |line| judged(line).map(|it| (it.worker, it.backend, it.server, it.up));
        let found = |worker, backend: &str, server: &str, up| {
            Some((worker, backend.to_owned(), server.to_owned(), up))
        };
        assert_eq!(read(DOWN), found(4711, "a.test:80_api", "web-0123456789ab:80:alone", false));
        assert_eq!(read(UP), found(7, "a.test:80", "web-2-0123456789ab:80", true));
        for other in [
            "",
            "[WARNING]  (7) : Server a.test:80/web-0123456789ab:80 is going DOWN for maintenance.",
            "[WARNING]  (7) : Server a.test:80/web-0123456789ab:80 is stopping.",
            "[NOTICE]   (7) : New worker (8) forked",
            "[ALERT]    (7) : backend 'a.test:80' has no server available!",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        // 2.6, after a server was added.
        let later = "[WARNING]  (7) : CLI : Server a.test:80/web-0123456789ab:80 is DOWN. 0 active";
        assert_eq!(read(later), found(7, "a.test:80", "web-0123456789ab:80", false));
        let told =
            "[WARNING]  (7) : CLI : Server a.test:80/web-01:80 is DOWN, changed from CLI. 0 active";
        assert_eq!(read(told), None);
    }

    #[test]
    fn a_check_with_another_result_is_read() {
        const FAILED: &str = "failed, reason: Layer4 connection problem, info: \"Connection refused\", \
             check duration: 0ms, status: 0/1 DOWN.";
        const PASSED: &str =
            "succeeded, reason: Layer4 check passed, check duration: 0ms, status: 15/15 UP.";
        let read =
            |line: &str| checked(line).map(|it| (it.worker, it.backend, it.server, it.passed));
        let found =
            |passed| Some((7, "a.test:80".to_owned(), "web-01:80:alone".to_owned(), passed));
        let line = |prefix: &str, rest: &str| {
            format!(
                "[WARNING]  (7) : {prefix}Health check for server a.test:80/web-01:80:alone {rest}"
            )
        };
        for (line, expected) in [
            (line("", FAILED), found(false)),
            (line("CLI : ", FAILED), found(false)),
            (line("", PASSED), found(true)),
            (line("", "stopped"), None),
            (line("", ""), None),
            ("[WARNING]  (7) : Server a.test:80/web-01:80 is UP".to_owned(), None),
        ] {
            assert_eq!(read(&line), expected, "{line}");
        }
    }

    #[test]
    fn the_log_has_what_haproxy_found_by_itself() {
        for (words, is_so) in [
            ("Server a/b is DOWN. 0 active", true),
            ("Health check for server a/b failed, reason: Layer4 timeout, status: 0/1 DOWN.", true),
            ("Health check for server a/b failed, reason: Layer4 timeout, status: 2/3 UP.", false),
            ("Health check for server a/b succeeded, reason: x, status: 3/3 UP.", false),
            ("Server a/b is going DOWN for maintenance.", false),
            ("CLI : Server a/b is DOWN, changed from CLI.", false),
            ("CLI : Server a/b is DOWN. 0 active", true),
        ] {
            assert_eq!(is_news(found_by_itself(words)), is_so, "{words}");
        }
    }
}
