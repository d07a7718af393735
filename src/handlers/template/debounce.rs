//! When others are told of changes that follow each other closely.
//!
//! Pure: docker-pygen's rule. The first change is told after the least time, and each further one puts that
//! off by the least time again, but never beyond the most since the first.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Debounce {
    min_delay: Duration,
    max_delay: Duration,
    pending: Option<PendingBatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PendingBatch {
    due: Instant,
    latest: Instant,
}

impl Debounce {
    pub(crate) fn new((min_delay, max_delay): (Duration, Duration)) -> Self {
        Self { min_delay, max_delay, pending: None }
    }

    pub(crate) fn record_change(&mut self, now: Instant) {
        let latest = match self.pending {
            Some(PendingBatch { latest, .. }) if now <= latest => latest,
            _ => now + self.max_delay,
        };
        let due = (now + self.min_delay).min(latest);
        self.pending = Some(PendingBatch { due, latest });
    }

    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.pending.map(|request| request.due)
    }

    /// They are told now; the next change begins anew.
    pub(crate) fn clear_pending(&mut self) {
        self.pending = None;
    }
}
