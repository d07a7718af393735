//! What HAProxy says on stderr: passed to the log line by line, the last of it kept.

use std::{collections::VecDeque, io, process::ChildStderr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe::Receiver,
    sync::watch,
    time::timeout,
};

const KEPT: usize = 50;

/// The listening end. HAProxy lives on when nobody listens any more: it ignores SIGPIPE.
#[derive(Debug, Clone)]
pub struct Said(watch::Receiver<Tail>);

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
        let (sender, receiver) = watch::channel(Tail::default());
        tokio::spawn(follow(pipe, sender));
        Ok(Self(receiver))
    }

    /// A place to come back to with [`Said::since`].
    pub fn mark(&self) -> usize {
        self.0.borrow().count
    }

    /// What was said since, once it holds `word` or HAProxy has gone; after `patience` what there is.
    pub async fn since(&mut self, mark: usize, word: &str, patience: Duration) -> String {
        let done = |tail: &Tail| tail.ended || tail.since(mark).any(|line| line.contains(word));
        let _ = timeout(patience, self.0.wait_for(done)).await;
        self.0.borrow().since(mark).collect::<Vec<_>>().join("\n")
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

async fn follow(pipe: Receiver, tail: watch::Sender<Tail>) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).into_owned();
        log(&line);
        tail.send_modify(|tail| tail.push(line));
    }
    tail.send_modify(|tail| tail.ended = true);
}

/// HAProxy warns of every proxy that a reload stops, and of what it was told over the runtime API: only
/// what it found out itself of servers is news.
fn log(line: &str) {
    let words = line.split_once(" : ").map_or(line, |(_, words)| words);
    match line.split(' ').next() {
        Some("[ALERT]") if !is_ours(words) => tracing::warn!(target: "haproxy", "{words}"),
        Some("[WARNING]") if is_news(words) => tracing::info!(target: "haproxy", "{words}"),
        _ => tracing::debug!(target: "haproxy", "{words}"),
    }
}

fn is_news(words: &str) -> bool {
    let of_servers = ["Server ", "Health check ", "Backup Server "];
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
    fn the_last_lines_are_kept_and_counted() {
        let mut tail = Tail::default();
        for n in 0..KEPT + 10 {
            tail.push(n.to_string());
        }
        assert_eq!(tail.since(KEPT + 8).collect::<Vec<_>>(), ["58", "59"]);
        assert_eq!(tail.since(0).next(), Some("10"));
        assert_eq!(tail.since(KEPT + 10).next(), None);
    }
}
