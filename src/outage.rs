//! Time without a neighbour (Docker, etcd): told once, waited out with a growing pause.
//!
//! Pure.

use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Outage {
    since: Option<Instant>,
    pause: Duration,
}

/// What is worth saying about one more failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Tell {
    /// The outage began.
    Loud,
    /// It goes on.
    Quiet,
}

impl Outage {
    pub fn none() -> Self {
        Self { since: None, pause: SHORTEST }
    }

    /// One more failure: whether to say it, and how long to wait before the next try.
    pub fn failed(&mut self, now: Instant) -> (Tell, Duration) {
        let tell = if self.since.is_some() { Tell::Quiet } else { Tell::Loud };
        self.since.get_or_insert(now);
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        (tell, pause)
    }

    pub fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// The neighbour answers. How long it was away, if it was.
    pub fn over(&mut self, now: Instant) -> Option<Duration> {
        self.pause = SHORTEST;
        self.since.take().map(|since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests;
