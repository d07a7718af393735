//! When others are told of changes that follow each other closely.
//!
//! Pure: docker-pygen's rule. The first change is told after the least time, and each further one puts that
//! off by the least time again, but never beyond the most since the first.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    least: Duration,
    most: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    due: Instant,
    latest: Instant,
}

impl Batch {
    pub(super) fn new((least, most): (Duration, Duration)) -> Self {
        Self { least, most, waiting: None }
    }

    pub(super) fn changed(&mut self, now: Instant) {
        let latest = match self.waiting {
            Some(Waiting { latest, .. }) if now <= latest => latest,
            _ => now + self.most,
        };
        let due = (now + self.least).min(latest);
        self.waiting = Some(Waiting { due, latest });
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.map(|it| it.due)
    }

    /// They are told now; the next change begins anew.
    pub(super) fn told(&mut self) {
        self.waiting = None;
    }
}
