//! Pauses between the starts of something that keeps ending: they grow, and begin anew after a long life.
//!
//! Pure.

use std::time::Duration;

/// After a life of this length the next pause is the shortest one again.
pub const RESET_AFTER: Duration = Duration::from_mins(1);

/// The pauses of one thing that is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// The last one; `None` before the first.
    last: Option<Duration>,
}

impl Backoff {
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, last: None }
    }

    /// Returns how long to wait before the next start, after a life of `lived`.
    pub fn pause_after(&mut self, uptime: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if uptime < RESET_AFTER => last.saturating_mul(2).min(self.max),
            _ => self.min,
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_to_maximum_and_long_run_resets_it() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        for (uptime, expected) in [
            (Duration::ZERO, 100),
            (ms(400), 200),
            (ms(59_999), 350),
            (Duration::ZERO, 350),
            (RESET_AFTER, 100),
            (Duration::ZERO, 200),
            (Duration::MAX, 100),
        ] {
            assert_eq!(backoff.pause_after(uptime), ms(expected), "{uptime:?}");
        }
    }
}
