//! How often HAProxy may be reloaded.
//!
//! Pure. Each reload leaves an old worker that lives until its last connection ends, and holds as much
//! memory as the new one: where many live on, reloads become rare.

use std::time::{Duration, Instant};

/// Reloads in a row that nothing holds back.
const MAX_RELOADS: u32 = 10;
/// Until one more may follow, times the number of old workers and one.
const REFILL_INTERVAL: Duration = Duration::from_secs(3);

/// A bucket of reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadBudget {
    available: u32,
    /// The bucket was full, or got its last token, then.
    since: Instant,
}

impl ReloadBudget {
    pub fn full(now: Instant) -> Self {
        Self { available: MAX_RELOADS, since: now }
    }

    /// Takes one reload, or says when there will be one.
    pub fn take_reload(&mut self, now: Instant, old_workers: usize) -> Result<(), Instant> {
        let interval = refill_interval(old_workers);
        self.refill(now, interval);
        if self.available == 0 {
            return Err(self.since + interval);
        }
        self.available -= 1;
        Ok(())
    }

    /// How many may be had at once.
    pub fn available(mut self, now: Instant, old_workers: usize) -> u32 {
        self.refill(now, refill_interval(old_workers));
        self.available
    }

    fn refill(&mut self, now: Instant, interval: Duration) {
        while self.available < MAX_RELOADS && self.since + interval <= now {
            self.available += 1;
            self.since += interval;
        }
        if self.available == MAX_RELOADS {
            self.since = now;
        }
    }
}

fn refill_interval(old_workers: usize) -> Duration {
    REFILL_INTERVAL.saturating_mul(u32::try_from(old_workers).unwrap_or(u32::MAX - 1) + 1)
}

#[cfg(test)]
mod tests;
