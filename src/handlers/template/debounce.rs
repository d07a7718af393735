//! When to notify about changes that follow each other closely.
//!
//! Pure. The rule is docker-pygen's: a change is notified after the minimum delay, and each further change restarts
//! that delay, but never beyond the maximum delay after the first change.

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

    /// Clears the batch, because it is being notified now. The next change starts a new one.
    pub(crate) fn clear_pending(&mut self) {
        self.pending = None;
    }
}
