//! An outage of another program (Docker, etcd): it is logged once, and the connection is retried with growing pauses.
//!
//! Pure.

use crate::support::backoff::Backoff;
use std::time::{Duration, Instant};

const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

#[derive(Debug)]
pub struct Outage {
    since: Option<Instant>,
    backoff: Backoff,
}

/// How to report one more failure.
#[derive(Debug, PartialEq, Eq)]
pub enum FailureReport {
    /// The outage began.
    First,
    /// The outage continues.
    Repeat,
}

impl Outage {
    pub fn inactive() -> Self {
        Self { since: None, backoff: Backoff::new(RETRY_BACKOFF) }
    }

    /// Creates one whose pauses are not longer than this.
    pub fn with_longest_pause(longest: Duration) -> Self {
        let (shortest, default) = RETRY_BACKOFF;
        let longest = longest.clamp(shortest, default);
        Self { since: None, backoff: Backoff::new((shortest, longest)) }
    }

    /// Records one more failure. Returns how to report it, and how long to wait before the next try.
    pub fn record_failure(&mut self, now: Instant) -> (FailureReport, Duration) {
        let report =
            if self.since.is_some() { FailureReport::Repeat } else { FailureReport::First };
        self.since.get_or_insert(now);
        (report, self.backoff.next_pause())
    }

    pub fn is_active(&self) -> bool {
        self.since.is_some()
    }

    /// Ends the outage, because the other program answers again. Returns how long the outage lasted, if there was
    /// one.
    pub fn finish(&mut self, now: Instant) -> Option<Duration> {
        self.backoff.reset();
        self.since.take().map(|since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests;
