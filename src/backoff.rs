//! Pauses between the starts of something that keeps ending: they grow, and begin anew after a long life.
//!
//! Pure.

use std::time::Duration;

/// After a life of this length the next pause is the shortest one again.
pub const LONG_LIFE: Duration = Duration::from_mins(1);

/// The pauses of one thing that is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    /// The last one; `None` before the first.
    last: Option<Duration>,
}

impl Backoff {
    pub const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, last: None }
    }

    /// Returns how long to wait before the next start, after a life of `lived`.
    pub fn pause_after(&mut self, lived: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if lived < LONG_LIFE => last.saturating_mul(2).min(self.longest),
            _ => self.shortest,
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_after_short_lives_doubles_up_to_the_longest_and_a_long_life_resets_it() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        for (lived, expected) in [
            (Duration::ZERO, 100),
            (ms(400), 200),
            (ms(59_999), 350),
            (Duration::ZERO, 350),
            (LONG_LIFE, 100),
            (Duration::ZERO, 200),
            (Duration::MAX, 100),
        ] {
            assert_eq!(backoff.pause_after(lived), ms(expected), "{lived:?}");
        }
    }
}
