//! Time without a neighbour (Docker, etcd): told once, waited out with a growing pause.
//!
//! Pure.

use std::time::{Duration, Instant};

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Outage {
    since: Option<Instant>,
    pause: Duration,
}

/// What is worth saying about one more failure.
#[derive(Debug, PartialEq, Eq)]
pub enum FailureReport {
    /// The outage began.
    First,
    /// It goes on.
    Repeat,
}

impl Outage {
    pub fn inactive() -> Self {
        Self { since: None, pause: MIN_PAUSE }
    }

    /// One more failure: whether to say it, and how long to wait before the next try.
    pub fn record_failure(&mut self, now: Instant) -> (FailureReport, Duration) {
        let report =
            if self.since.is_some() { FailureReport::Repeat } else { FailureReport::First };
        self.since.get_or_insert(now);
        let pause = self.pause;
        self.pause = (pause * 2).min(MAX_PAUSE);
        (report, pause)
    }

    pub fn is_active(&self) -> bool {
        self.since.is_some()
    }

    /// The neighbour answers. How long it was away, if it was.
    pub fn finish(&mut self, now: Instant) -> Option<Duration> {
        self.pause = MIN_PAUSE;
        self.since.take().map(|since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests;
