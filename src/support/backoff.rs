//! Exponential backoff: each pause is twice the previous one. The pauses start again at the shortest after a success
//! or a long uptime.
//!
//! Pure.

use std::time::Duration;

/// After an uptime of this length the next pause is the shortest one again.
pub const RESET_AFTER: Duration = Duration::from_mins(1);

/// The backoff of one operation that is retried, or of one process that is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// The last pause; `None` before the first.
    last: Option<Duration>,
}

impl Backoff {
    pub const fn new((min, max): (Duration, Duration)) -> Self {
        Self { min, max, last: None }
    }

    /// Returns how long to wait before the next try, after another failure.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.last.map_or(self.min, |last| last.saturating_mul(2).min(self.max));
        self.last = Some(pause);
        pause
    }

    /// Returns how long to wait before the next start, after an uptime of `uptime`.
    pub fn pause_after(&mut self, uptime: Duration) -> Duration {
        if RESET_AFTER <= uptime {
            self.reset();
        }
        self.next_pause()
    }

    /// Returns the last pause, or zero if nothing failed since the last success.
    pub fn last_pause(&self) -> Duration {
        self.last.unwrap_or_default()
    }

    /// Resets the pause to the shortest one, after a success.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_to_maximum_and_long_run_resets_it() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new((ms(100), ms(350)));
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

    #[test]
    fn reset_begins_with_shortest_pause() {
        let mut backoff = Backoff::new((Duration::from_secs(1), Duration::from_secs(3)));
        assert_eq!(backoff.last_pause(), Duration::ZERO);
        let pauses = [backoff.next_pause(), backoff.next_pause(), backoff.next_pause()];
        assert_eq!(pauses.map(|pause| pause.as_secs()), [1, 2, 3]);
        assert_eq!(backoff.last_pause().as_secs(), 3);
        backoff.reset();
        assert_eq!((backoff.last_pause(), backoff.next_pause().as_secs()), (Duration::ZERO, 1));
    }
}
