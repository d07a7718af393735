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
        let old_workers = u32::try_from(old_workers).unwrap_or(u32::MAX - 1);
        let pace = REFILL.saturating_mul(old_workers + 1);
        self.refill(now, pace);
        if self.left == 0 {
            return Err(self.since + pace);
        }
        self.left -= 1;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_each_takes_its_time() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        for _ in 0..MOST {
            assert_eq!(budget.take(start, 0), Ok(()));
        }
        assert_eq!(budget.take(start, 0), Err(start + REFILL));
        assert_eq!(budget.take(start + REFILL, 0), Ok(()));
        assert_eq!(budget.take(start + REFILL, 0), Err(start + REFILL * 2));
    }

    #[test]
    fn old_workers_slow_it_down() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        for _ in 0..MOST {
            assert_eq!(budget.take(start, 3), Ok(()));
        }
        assert_eq!(budget.take(start + REFILL, 3), Err(start + REFILL * 4));
        assert_eq!(budget.take(start + REFILL * 4, 3), Ok(()));
    }

    #[test]
    fn a_quiet_time_fills_it_and_no_more() {
        let start = Instant::now();
        let mut budget = Budget::full(start);
        let later = start + REFILL * 1000;
        for _ in 0..MOST {
            assert_eq!(budget.take(later, 0), Ok(()));
        }
        assert_eq!(budget.take(later, 0), Err(later + REFILL));
    }
}
