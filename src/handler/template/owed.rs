//! Who is still to be told of a file that was written.
//!
//! Pure. It is on disk before the file takes its place, and goes when all have been told: what a failure, a
//! stop or a crash leaves untold is told later.

use super::others::Notification;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Until those who could not be told are told again, at first and at last.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Of one text: who has been told of it already. As it is kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given(BTreeSet<String>);

/// A notification, and one container of those that it is for.
fn to_one(notification: &Notification, container: &str) -> String {
    format!("{notification} {container}")
}

impl Given {
    pub(super) fn give(&mut self, notification: &Notification) {
        self.0.insert(notification.to_string());
    }

    pub(super) fn give_one(&mut self, notification: &Notification, container: &str) {
        self.0.insert(to_one(notification, container));
    }

    pub(super) fn has(&self, notification: &Notification) -> bool {
        self.0.contains(&notification.to_string())
    }

    pub(super) fn has_one(&self, notification: &Notification, container: &str) -> bool {
        self.0.contains(&to_one(notification, container))
    }
}

#[derive(Debug, Default)]
pub(super) struct Owed {
    /// `None`: nothing is owed.
    given: Option<Given>,
    /// Texts that were written: what was told of an older one counts for none of the newer.
    text: u64,
    again: Option<(Instant, Duration)>,
}

/// A look at what is owed, to be told meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Debt {
    pub(super) given: Given,
    text: u64,
}

impl Owed {
    /// As a process before this one has left it.
    pub(super) fn since_before(given: Option<Given>) -> Self {
        Self { given, ..Self::default() }
    }

    /// Another text takes the place of what was owed.
    pub(super) fn new_text(&mut self) {
        self.given = Some(Given::default());
        self.text += 1;
        self.again = None;
    }

    pub(super) fn given(&self) -> Option<&Given> {
        self.given.as_ref()
    }

    pub(super) fn debt(&self) -> Debt {
        Debt { given: self.given.clone().unwrap_or_default(), text: self.text }
    }

    /// All have been told. `false` where a newer text is owed by now.
    pub(super) fn settled(&mut self, debt: &Debt) -> bool {
        let is_same = debt.text == self.text;
        if is_same {
            (self.given, self.again) = (None, None);
        }
        is_same
    }

    /// Some could not be told: how long until they are told again, unless a newer text is owed by now.
    pub(super) fn failed(&mut self, debt: Debt, now: Instant) -> Option<Duration> {
        if debt.text != self.text {
            return None;
        }
        let pause = self.again.map_or(PAUSE.0, |(_, pause)| (pause * 2).min(PAUSE.1));
        self.given = Some(debt.given);
        self.again = Some((now + pause, pause));
        Some(pause)
    }

    /// When those who could not be told are told again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again.map(|(when, _)| when)
    }
}

#[cfg(test)]
mod tests;
