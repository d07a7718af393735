//! HAProxy's stderr: writes each line to the log, keeps the last lines, and sends check results as events.

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

const MAX_KEPT_LINES: usize = 50;
/// At most one line per container and kind is logged in this interval: a container may have a thousand servers.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);
/// When more containers than this are tracked, those past the interval are removed.
const MAX_TRACKED: usize = 1000;

/// The reading end of the pipe. HAProxy ignores SIGPIPE, so it continues to run when this is closed.
#[derive(Debug)]
pub struct StderrReader {
    tail: watch::Receiver<LogTail>,
    events: mpsc::UnboundedReceiver<CheckEvent>,
}

/// An event from the checks of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckEvent {
    HealthChanged(HealthChange),
    ResultChanged(CheckResultChange),
}

/// A server went up or down according to a worker's checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthChange {
    /// The worker's pid: each worker has its own checks.
    pub worker: u32,
    pub backend: String,
    pub server: String,
    pub up: bool,
}

/// A check result that differs from the previous one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResultChange {
    pub worker: u32,
    pub backend: String,
    pub server: String,
    pub passed: bool,
}

#[derive(Debug, Default)]
struct LogTail {
    lines: VecDeque<String>,
    /// How many lines were read in total.
    count: usize,
    is_closed: bool,
}

impl StderrReader {
    pub fn spawn(stderr: ChildStderr) -> io::Result<Self> {
        let pipe = Receiver::from_owned_fd(stderr.into())?;
        let (tail_sender, tail) = watch::channel(LogTail::default());
        let (event_sender, events) = mpsc::unbounded_channel();
        tokio::spawn(read_lines(pipe, tail_sender, event_sender));
        Ok(Self { tail, events })
    }

    /// Returns the next event. Waits forever if HAProxy has exited. For use in `select!`.
    pub async fn next_event(&mut self) -> CheckEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Returns a position for [`StderrReader::lines_since`].
    pub fn cursor(&self) -> usize {
        self.tail.borrow().count
    }

    /// Returns the lines since `cursor` once one contains `word` or HAProxy has exited, or after `max_wait`.
    pub async fn lines_since(&mut self, cursor: usize, word: &str, max_wait: Duration) -> String {
        let done = |tail: &LogTail| {
            tail.is_closed || tail.lines_since(cursor).any(|line| line.contains(word))
        };
        let _ = timeout(max_wait, self.tail.wait_for(done)).await;
        self.tail.borrow().lines_since(cursor).collect::<Vec<_>>().join("\n")
    }
}

impl LogTail {
    fn lines_since(&self, cursor: usize) -> impl Iterator<Item = &str> {
        let gone = self.count - self.lines.len();
        self.lines.iter().skip(cursor.saturating_sub(gone)).map(String::as_str)
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == MAX_KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.count += 1;
    }
}

async fn read_lines(
    pipe: Receiver,
    tail: watch::Sender<LogTail>,
    event_sender: mpsc::UnboundedSender<CheckEvent>,
) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    let mut throttle = LogThrottle::default();
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        log_line(&line, &mut throttle, Instant::now());
        let health_change = parse_health_change(&line).map(CheckEvent::HealthChanged);
        if let Some(event) =
            health_change.or_else(|| parse_check_result(&line).map(CheckEvent::ResultChanged))
        {
            // The receiver may be dropped while HAProxy is started or stopped.
            let _ = event_sender.send(event);
        }
        tail.send_modify(|tail| tail.push(line));
    }
    tail.send_modify(|tail| tail.is_closed = true);
}

/// Logs a line at its level. HAProxy also warns about every proxy that a reload stops, and about every command of the
/// runtime API. Only what it has detected about servers by itself is logged at `info`.
fn log_line(line: &str, throttle: &mut LogThrottle, now: Instant) {
    let words = line.split_once(" : ").map_or(line, |(_, words)| strip_cli_prefix(words));
    match line.split(' ').next() {
        Some("[ALERT]") if !is_caused_by_command(words) => {
            tracing::warn!(target: "haproxy", "{words}");
        }
        Some("[WARNING]") if is_notable(words) => match throttle.take_suppressed(words, now) {
            Some(0) => tracing::info!(target: "haproxy", "{words}"),
            Some(suppressed) => {
                tracing::info!(target: "haproxy", "{words} (and {suppressed} more of this \
                                                   container)");
            }
            None => tracing::debug!(target: "haproxy", "{words}"),
        },
        _ => tracing::debug!(target: "haproxy", "{words}"),
    }
}

/// When a line about a container was last logged, and how many were suppressed since then.
#[derive(Debug, Default)]
struct LogThrottle(BTreeMap<(String, &'static str), (Instant, usize)>);

impl LogThrottle {
    /// Returns how many similar lines were suppressed before this one; `None` if this one is suppressed too.
    fn take_suppressed(&mut self, words: &str, now: Instant) -> Option<usize> {
        let Some(key) = throttle_key(words) else { return Some(0) };
        if MAX_TRACKED < self.0.len() {
            self.0.retain(|_, (at, _)| now < *at + REPEAT_INTERVAL);
        }
        match self.0.get_mut(&key) {
            Some((at, suppressed)) if now < *at + REPEAT_INTERVAL => {
                *suppressed += 1;
                None
            }
            Some((at, suppressed)) => {
                *at = now;
                Some(std::mem::take(suppressed))
            }
            None => {
                self.0.insert(key, (now, 0));
                Some(0)
            }
        }
    }
}

/// Returns the container's id and the kind of event.
fn throttle_key(words: &str) -> Option<(String, &'static str)> {
    let server_path = words.split(' ').find(|word| word.contains('/'))?;
    let (_, server) = server_path.rsplit_once('/')?;
    let events = ["Health check ", " is UP", " is DOWN"];
    let event = events.into_iter().find(|text| words.contains(text))?;
    Some((name::container_id(server)?.to_owned(), event))
}

/// Parses `[WARNING]  (4711) : Server a.test:80/web-0123456789ab:80 is DOWN, reason: …`, written by a worker.
fn parse_health_change(line: &str) -> Option<HealthChange> {
    let (_, remainder) = line.split_once('(')?;
    let (worker, remainder) = remainder.split_once(") : ")?;
    let remainder = strip_cli_prefix(remainder).strip_prefix("Server ")?;
    let (server_path, verdict) = remainder.split_once(" is ")?;
    let (backend, server) = server_path.rsplit_once('/')?;
    let up = match verdict.get(..verdict.find([',', '.', ' ']).unwrap_or(verdict.len()))? {
        "UP" => true,
        "DOWN" => false,
        _ => return None,
    };
    Some(HealthChange {
        worker: worker.parse().ok()?,
        backend: backend.to_owned(),
        server: server.to_owned(),
        up,
    })
}

/// Parses `[WARNING]  (4711) : Health check for server a.test:80/web-0123456789ab:80 failed, reason: …`
fn parse_check_result(line: &str) -> Option<CheckResultChange> {
    let (_, remainder) = line.split_once('(')?;
    let (worker, remainder) = remainder.split_once(") : ")?;
    let remainder = strip_cli_prefix(remainder).strip_prefix("Health check for server ")?;
    let (server_path, remainder) = remainder.split_once(' ')?;
    let (backend, server) = server_path.rsplit_once('/')?;
    let passed = match remainder.split(',').next()? {
        "succeeded" | "conditionally succeeded" => true,
        "failed" => false,
        _ => return None,
    };
    Some(CheckResultChange {
        worker: worker.parse().ok()?,
        backend: backend.to_owned(),
        server: server.to_owned(),
        passed,
    })
}

/// Removes the prefix that 2.6 puts in front of all messages after the first command of its runtime API, also of those
/// that no command caused.
fn strip_cli_prefix(words: &str) -> &str {
    let remainder = words.strip_prefix("CLI : ");
    remainder
        .filter(|remainder| !remainder.contains(" from CLI") && !is_caused_by_command(remainder))
        .unwrap_or(words)
}

fn is_notable(words: &str) -> bool {
    if words.starts_with("Health check ") {
        // Each failed check before the last one is followed by another line.
        return words.ends_with("DOWN.");
    }
    let of_servers = ["Server ", "Backup Server "];
    of_servers.iter().any(|start| words.starts_with(start)) && !is_caused_by_command(words)
}

fn is_caused_by_command(words: &str) -> bool {
    let from_command = ["for maintenance", "(leaving ", "CLI : ", "has no server available"];
    from_command.iter().any(|part| words.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_with_many_servers_is_logged_once_per_second() {
        let (mut throttle, begin) = (LogThrottle::default(), Instant::now());
        let of = |route: u16, id: &str, remainder: &str| {
            format!("Server h{route}.test:80/web-{id}:80 {remainder}")
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
            assert_eq!(throttle.take_suppressed(&words, now), expected, "{millis} {words}");
        }
    }

    #[test]
    fn tail_keeps_last_lines_and_total_count() {
        let mut tail = LogTail::default();
        for n in 0..MAX_KEPT_LINES + 10 {
            tail.push(n.to_string());
        }
        assert_eq!(tail.lines_since(MAX_KEPT_LINES + 8).collect::<Vec<_>>(), ["58", "59"]);
        assert_eq!(tail.lines_since(0).next(), Some("10"));
        assert_eq!(tail.lines_since(MAX_KEPT_LINES + 10).next(), None);
    }

    #[test]
    fn server_up_or_down_line_parses_to_health_change() {
        const DOWN: &str = "[WARNING]  (4711) : Server a.test:80_api/web-0123456789ab:80:single is DOWN, \
             reason: Layer7 wrong status, code: 500, info: \"is UP\", check duration: 0ms. 0 active and 0 \
             backup servers left.";
        const UP: &str = "[WARNING]  (7) : Server a.test:80/web-2-0123456789ab:80 is UP, reason: Layer4 check \
             passed, check duration: 0ms.";
        let read = |line| {
            parse_health_change(line)
                .map(|change| (change.worker, change.backend, change.server, change.up))
        };
        let found = |worker, backend: &str, server: &str, up| {
            Some((worker, backend.to_owned(), server.to_owned(), up))
        };
        assert_eq!(read(DOWN), found(4711, "a.test:80_api", "web-0123456789ab:80:single", false));
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
        let from_command =
            "[WARNING]  (7) : CLI : Server a.test:80/web-01:80 is DOWN, changed from CLI. 0 active";
        assert_eq!(read(from_command), None);
    }

    #[test]
    fn health_check_line_parses_to_check_result() {
        const FAILED: &str = "failed, reason: Layer4 connection problem, info: \"Connection \
                              refused\", check duration: 0ms, status: 0/1 DOWN.";
        const PASSED: &str =
            "succeeded, reason: Layer4 check passed, check duration: 0ms, status: 15/15 UP.";
        let read = |line: &str| {
            parse_check_result(line)
                .map(|change| (change.worker, change.backend, change.server, change.passed))
        };
        let found =
            |passed| Some((7, "a.test:80".to_owned(), "web-01:80:single".to_owned(), passed));
        let line = |prefix: &str, remainder: &str| {
            format!(
                "[WARNING]  (7) : {prefix}Health check for server a.test:80/web-01:80:single {remainder}"
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
    fn only_line_without_command_as_cause_is_notable() {
        for (words, is_so) in [
            ("Server a/b is DOWN. 0 active", true),
            ("Health check for server a/b failed, reason: Layer4 timeout, status: 0/1 DOWN.", true),
            ("Health check for server a/b failed, reason: Layer4 timeout, status: 2/3 UP.", false),
            ("Health check for server a/b succeeded, reason: x, status: 3/3 UP.", false),
            ("Server a/b is going DOWN for maintenance.", false),
            ("CLI : Server a/b is DOWN, changed from CLI.", false),
            ("CLI : Server a/b is DOWN. 0 active", true),
        ] {
            assert_eq!(is_notable(strip_cli_prefix(words)), is_so, "{words}");
        }
    }
}
