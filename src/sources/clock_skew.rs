//! How far the clock of a source is from that of this machine.
//!
//! Pure.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// A skew up to this one is not reported: the answer that has the source's time takes a while.
const TOLERANCE_SECONDS: i64 = 2;

/// Whole seconds by which a source's clock is ahead of this machine's, or behind it if negative. A clone is of the same
/// source.
#[derive(Debug, Clone, Default)]
pub struct ClockSkew(Arc<AtomicI64>);

impl ClockSkew {
    /// Takes over a measurement: the source's time, and this machine's times before the request and after the answer, in
    /// nanoseconds since 1970. Differences of a second do not change the value. Returns whether the value changed.
    pub fn store(&self, source: i64, before: i64, after: i64) -> bool {
        let middle = before.saturating_add(after.saturating_sub(before) / 2);
        let seconds = source.saturating_sub(middle) / 1_000_000_000;
        let seconds = if seconds.abs() <= TOLERANCE_SECONDS { 0 } else { seconds };
        let stored = self.0.load(Ordering::Relaxed);
        let is_new = (seconds == 0) != (stored == 0) || 1 < seconds.abs_diff(stored);
        if is_new {
            self.0.store(seconds, Ordering::Relaxed);
        }
        is_new
    }

    /// Returns the seconds if there are more than two; `None` also before the first measurement.
    pub fn seconds(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::ClockSkew;

    #[test]
    fn skew_of_more_than_two_seconds_is_reported_and_does_not_flicker() {
        let skew = ClockSkew::default();
        let second = 1_000_000_000;
        for (source, expected) in [
            (0, None),
            (2 * second, None),
            (3600 * second, Some(3600)),
            (3601 * second, Some(3600)),
            (3602 * second, Some(3602)),
            (-3 * second, Some(-3)),
            (second, None),
            (i64::MAX, Some(i64::MAX / second)),
        ] {
            let before = skew.seconds();
            // The answer takes two seconds, in the middle of which the source tells its time.
            let is_new = skew.store(source, -second, second);
            assert_eq!(skew.seconds(), expected, "{source}");
            assert_eq!(is_new, before != expected, "{source}");
        }
    }
}
