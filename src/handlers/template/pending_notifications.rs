//! The notifications that are still pending for a written file.
//!
//! Pure. They are stored on disk before the file is replaced, and removed when all are delivered: a notification that
//! a failure, a stop or a crash prevented is delivered later.

use super::notify::Notification;
use crate::support::backoff::Backoff;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The first and the longest pause before failed notifications are retried.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The notifications of one text that were already delivered, as stored on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveredNotifications(BTreeSet<String>);

/// Returns the key of a notification and one of its containers.
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
    /// `None` if nothing is pending.
    delivered: Option<DeliveredNotifications>,
    /// Counts the written texts: deliveries for an older text do not count for a newer one.
    text_number: u64,
    retry: Option<(Instant, Backoff)>,
}

/// A copy of the pending notifications, used while they are being delivered.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingSnapshot {
    pub(crate) delivered: DeliveredNotifications,
    text_number: u64,
}

impl PendingNotifications {
    /// Restores what an earlier process left pending.
    pub(crate) fn restore_from(given: Option<DeliveredNotifications>) -> Self {
        Self { delivered: given, ..Self::default() }
    }

    /// Starts again for a new text, which replaces what was pending.
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

    /// Marks all as delivered. Returns `false` if a newer text is pending by now.
    pub(crate) fn mark_all_delivered(&mut self, debt: &PendingSnapshot) -> bool {
        let is_same = debt.text_number == self.text_number;
        if is_same {
            (self.delivered, self.retry) = (None, None);
        }
        is_same
    }

    /// Schedules a retry after a failure. Returns the pause; `None` if a newer text is pending by now.
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

    /// Returns when failed notifications are retried.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.as_ref().map(|(when, _)| *when)
    }
}

#[cfg(test)]
mod tests;
