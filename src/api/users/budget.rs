//! How many wrong passwords a client may try.
//!
//! Pure: time is an argument.

use std::time::{Duration, Instant};

/// How many wrong passwords a client may try at once.
pub(super) const BURST: u32 = 10;

/// After this time it may try one more.
pub(super) const INTERVAL: Duration = Duration::from_secs(6);

/// Tries of a client. Each uses [`INTERVAL`] of the time until it may try no more.
#[derive(Debug, Clone, Copy)]
pub(super) struct TryBudget {
    used_until: Instant,
    is_refused: bool,
}

/// Result of a request for a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    Granted,
    /// The first one that is refused after others were granted.
    FirstRefusal,
    Refused,
}

impl TryBudget {
    pub(super) fn full(now: Instant) -> Self {
        Self { used_until: now, is_refused: false }
    }

    /// Uses one of the tries.
    pub(super) fn take(&mut self, now: Instant) -> Try {
        let used_until = self.used_until.max(now);
        if INTERVAL * (BURST - 1) < used_until - now {
            let again = std::mem::replace(&mut self.is_refused, true);
            return if again { Try::Refused } else { Try::FirstRefusal };
        }
        *self = Self { used_until: used_until + INTERVAL, is_refused: false };
        Try::Granted
    }

    /// Gives back a try whose password was right.
    pub(super) fn give_back(&mut self) {
        self.used_until = self.used_until.checked_sub(INTERVAL).unwrap_or(self.used_until);
    }

    /// Whether all tries are left.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.used_until <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_limited_and_come_back() {
        let start = Instant::now();
        let mut budget = TryBudget::full(start);
        let mut take = |seconds, right| {
            let now = start + Duration::from_secs(seconds);
            let result = budget.take(now);
            if right {
                budget.give_back();
            }
            (result, budget.is_full(now))
        };
        for _ in 0..20 {
            assert_eq!(take(0, true), (Try::Granted, true));
        }
        for _ in 0..10 {
            assert_eq!(take(0, false), (Try::Granted, false));
        }
        for (seconds, expected) in [
            (0, Try::FirstRefusal),
            (0, Try::Refused),
            (5, Try::Refused),
            (6, Try::Granted),
            (6, Try::FirstRefusal),
            (18, Try::Granted),
            (18, Try::Granted),
            (18, Try::FirstRefusal),
        ] {
            assert_eq!(take(seconds, false).0, expected, "{seconds}");
        }
        assert_eq!(take(1000, false), (Try::Granted, false));
        assert!(budget.is_full(start + Duration::from_secs(1006)));
    }
}
