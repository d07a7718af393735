//! Who is still to be told of a file that was written.
//!
//! Pure. It is on disk before the file takes its place, and goes when all have been told: what a failure, a
//! stop or a crash leaves untold is told later.

use super::notify::Notification;
use crate::support::backoff::Backoff;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Until those who could not be told are told again, at first and at last.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Of one text: who has been told of it already. As it is kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveredNotifications(BTreeSet<String>);

/// A notification, and one container of those that it is for.
fn delivery_key(notification: &Notification, container: &str) -> String {
    format!("{notification} {container}")
}

impl DeliveredNotifications {
    pub(crate) fn mark_delivered(&mut self, notification: &Notification) {
        self.0.insert(notification.to_string());
    }

    pub(crate) fn mark_delivered_to(&mut self, notification: &Notification, container: &str) {
        self.0.insert(delivery_key(notification, container));
    }

    pub(crate) fn is_delivered(&self, notification: &Notification) -> bool {
        self.0.contains(&notification.to_string())
    }

    pub(crate) fn is_delivered_to(&self, notification: &Notification, container: &str) -> bool {
        self.0.contains(&delivery_key(notification, container))
    }
}

#[derive(Debug, Default)]
pub(crate) struct PendingNotifications {
    /// `None`: nothing is owed.
    delivered: Option<DeliveredNotifications>,
    /// Texts that were written: what was told of an older one counts for none of the newer.
    text_number: u64,
    retry: Option<(Instant, Backoff)>,
}

/// A look at what is owed, to be told meanwhile.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingSnapshot {
    pub(crate) delivered: DeliveredNotifications,
    text_number: u64,
}

impl PendingNotifications {
    /// As a process before this one has left it.
    pub(crate) fn restore_from(given: Option<DeliveredNotifications>) -> Self {
        Self { delivered: given, ..Self::default() }
    }

    /// Another text takes the place of what was owed.
    pub(crate) fn start_new_text(&mut self) {
        self.delivered = Some(DeliveredNotifications::default());
        self.text_number += 1;
        self.retry = None;
    }

    pub(crate) fn delivered(&self) -> Option<&DeliveredNotifications> {
        self.delivered.as_ref()
    }

    pub(crate) fn snapshot(&self) -> PendingSnapshot {
        PendingSnapshot {
            delivered: self.delivered.clone().unwrap_or_default(),
            text_number: self.text_number,
        }
    }

    /// All have been told. `false` where a newer text is owed by now.
    pub(crate) fn mark_all_delivered(&mut self, debt: &PendingSnapshot) -> bool {
        let is_same = debt.text_number == self.text_number;
        if is_same {
            (self.delivered, self.retry) = (None, None);
        }
        is_same
    }

    /// Some could not be told: how long until they are told again, unless a newer text is owed by now.
    pub(crate) fn schedule_retry(
        &mut self,
        debt: PendingSnapshot,
        now: Instant,
    ) -> Option<Duration> {
        if debt.text_number != self.text_number {
            return None;
        }
        let before = self.retry.take().map(|(_, backoff)| backoff);
        let mut backoff = before.unwrap_or(Backoff::new(RETRY_BACKOFF));
        let pause = backoff.next_pause();
        self.delivered = Some(debt.delivered);
        self.retry = Some((now + pause, backoff));
        Some(pause)
    }

    /// When those who could not be told are told again.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.as_ref().map(|(when, _)| *when)
    }
}

#[cfg(test)]
mod tests;
