//! Rate limit of HAProxy's reloads.
//!
//! Pure. Each reload leaves an old worker that runs until its last connection ends and uses as much memory as the new
//! one. So the more old workers there are, the rarer reloads become.

use std::time::{Duration, Instant};

/// Number of reloads in a row without a delay.
const MAX_RELOADS: u32 = 10;
/// Time until one more reload is available, multiplied by the number of old workers plus one.
const REFILL_INTERVAL: Duration = Duration::from_secs(3);

/// A token bucket of reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadBudget {
    available: u32,
    /// When the bucket was last full, or got its last token.
    since: Instant,
}

impl ReloadBudget {
    pub fn full(now: Instant) -> Self {
        Self { available: MAX_RELOADS, since: now }
    }

    /// Takes one reload, or returns when the next one will be available.
    pub fn take_reload(&mut self, now: Instant, old_workers: usize) -> Result<(), Instant> {
        let interval = refill_interval(old_workers);
        self.refill(now, interval);
        if self.available == 0 {
            return Err(self.since + interval);
        }
        self.available -= 1;
        Ok(())
    }

    /// Returns how many reloads are available at once.
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
