//! Since when a source does not answer, and when its containers are forgotten.
//!
//! Pure.

use std::time::{Duration, Instant};

/// How long a start waits for sources that have not answered yet: if what was known of each is stored, and otherwise, if
/// any has answered.
const STORED_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns how long a start waits for the first answers of all sources, if any has answered or what was known of it is
/// stored. `are_all_stored`: whether each has.
pub fn first_answers_timeout(are_all_stored: bool) -> Duration {
    if are_all_stored { STORED_TIMEOUT } else { FIRST_ANSWERS_TIMEOUT }
}

/// Whether a source answers, by its snapshots.
#[derive(Debug, Default)]
pub struct Silence {
    /// How long the containers are kept. `None`: until the source answers.
    forget: Option<Duration>,
    since: Option<Instant>,
    is_forgotten: bool,
}

/// What to do with the containers of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceContainers {
    /// Those of the last snapshot are used.
    Keep,
    /// They have to be removed now.
    Forget,
    /// They were removed.
    Forgotten,
}

impl Silence {
    pub fn new(forget: Option<Duration>) -> Self {
        Self { forget, ..Self::default() }
    }

    /// Takes over whether the source answers now.
    pub fn update(&mut self, is_connected: bool, now: Instant) -> SourceContainers {
        if is_connected {
            (self.since, self.is_forgotten) = (None, false);
            return SourceContainers::Keep;
        }
        self.since.get_or_insert(now);
        match self.forget_at() {
            _ if self.is_forgotten => SourceContainers::Forgotten,
            Some(at) if at <= now => {
                self.is_forgotten = true;
                SourceContainers::Forget
            }
            _ => SourceContainers::Keep,
        }
    }

    /// Whether the containers were removed.
    pub fn is_forgotten(&self) -> bool {
        self.is_forgotten
    }

    /// Whether the source does not answer.
    pub fn is_silent(&self) -> bool {
        self.since.is_some()
    }

    /// Returns when the containers are forgotten, unless they are already, or the source answers.
    pub fn forget_at(&self) -> Option<Instant> {
        let since = self.since.filter(|_| !self.is_forgotten)?;
        since.checked_add(self.forget?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Silence, SourceContainers};
    use std::time::{Duration, Instant};

    /// `answers` has one letter per second: `+` if the source answers, else `-`. The result has what happens to the
    /// containers then: kept, forgotten now (`!`), or gone (`.`).
    #[track_caller]
    fn check(forget: Option<u64>, answers: &str, expected: &str) {
        let mut silence = Silence::new(forget.map(Duration::from_secs));
        let start = Instant::now();
        let mut found = String::new();
        for (second, answer) in (0..).zip(answers.chars()) {
            let later = Duration::from_secs(second);
            found.push(match silence.update(answer == '+', start + later) {
                SourceContainers::Keep => 'k',
                SourceContainers::Forget => '!',
                SourceContainers::Forgotten => '.',
            });
        }
        assert_eq!(found, expected, "{forget:?} {answers}");
    }

    #[test]
    fn containers_of_a_silent_source_are_forgotten_once_and_kept_when_it_answers() {
        check(None, "+-----", "kkkkkk");
        check(Some(2), "+----+", "kkk!.k");
        check(Some(2), "+-+--+", "kkkkkk");
        check(Some(2), "----", "kk!.");
        check(Some(0), "+--+-", "k!.k!");
    }
}
