//! How often HAProxy may be reloaded.
//!
//! Pure. Each reload leaves an old worker that lives until its last connection ends, and holds as much
//! memory as the new one: where many live on, reloads become rare.

use std::time::{Duration, Instant};

/// Reloads in a row that nothing holds back.
const MOST: u32 = 10;
/// Until one more may follow, times the number of old workers and one.
const REFILL: Duration = Duration::from_secs(3);

/// A bucket of reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    left: u32,
    /// The bucket was full, or got its last token, then.
    since: Instant,
}

impl Budget {
    pub fn full(now: Instant) -> Self {
        Self { left: MOST, since: now }
    }

    /// Takes one reload, or says when there will be one.
    pub fn take(&mut self, now: Instant, old_workers: usize) -> Result<(), Instant> {
        let pace = pace(old_workers);
        self.refill(now, pace);
        if self.left == 0 {
            return Err(self.since + pace);
        }
        self.left -= 1;
        Ok(())
    }

    /// How many may be had at once.
    pub fn left(mut self, now: Instant, old_workers: usize) -> u32 {
        self.refill(now, pace(old_workers));
        self.left
    }

    fn refill(&mut self, now: Instant, pace: Duration) {
        while self.left < MOST && self.since + pace <= now {
            self.left += 1;
            self.since += pace;
        }
        if self.left == MOST {
            self.since = now;
        }
    }
}

fn pace(old_workers: usize) -> Duration {
    REFILL.saturating_mul(u32::try_from(old_workers).unwrap_or(u32::MAX - 1) + 1)
}

#[cfg(test)]
mod tests;
