//! Detects containers that crash and restart repeatedly.
//!
//! Pure. A container that exits without having been stopped is removed at once. After the first restart it gets traffic
//! at once; after further ones only after increasing delays, so that requests do not run into each crash.

use crate::model::container::ContainerId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A container that exits sooner than this after its start has crashed, regardless of its history.
const SHORT_LIFE: Duration = Duration::from_secs(10);
const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_mins(1);
/// A container that has been gone for longer is forgotten.
const FORGET_AFTER: Duration = Duration::from_mins(5);

/// Crash history of the containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CrashTracker(BTreeMap<ContainerId, RestartHistory>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct RestartHistory {
    /// When the container started, or was last seen to exit.
    since: Instant,
    is_up: bool,
    /// The container got a stop signal.
    is_stopping: bool,
    /// Number of crashes in a row.
    crashes: u32,
}

impl CrashTracker {
    /// Records containers that appeared or changed (`Some`: whether they are stopping) and those that are gone
    /// (`None`). Only crashed containers are remembered after they are gone.
    pub fn record_changes(
        &mut self,
        changed: impl IntoIterator<Item = (ContainerId, Option<bool>)>,
        now: Instant,
    ) {
        for (id, stopping) in changed {
            match (self.0.get_mut(&id), stopping) {
                (Some(history), Some(stopping)) => history.on_running(stopping, now),
                (Some(history), None) if history.is_up => history.on_exit(now),
                (None, Some(stopping)) => {
                    self.0.insert(id, RestartHistory::on_start(stopping, now));
                }
                (_, None) => {}
            }
        }
        self.0.retain(|_, history| {
            history.is_up || (0 < history.crashes && now < history.since + FORGET_AFTER)
        });
    }

    /// Returns the containers that were up when they were last seen.
    pub fn running_ids(&self) -> impl Iterator<Item = &ContainerId> {
        self.0.iter().filter(|(_, history)| history.is_up).map(|(id, _)| id)
    }

    /// Returns the containers that are up but get no traffic because of repeated crashes, and until when.
    pub fn delayed_containers(&self, now: Instant) -> BTreeMap<ContainerId, Instant> {
        let crashed = self.0.iter().filter(|(_, history)| 2 <= history.crashes);
        crashed
            .filter_map(|(id, history)| Some((id.clone(), history.delayed_until(now)?)))
            .collect()
    }
}

impl RestartHistory {
    fn on_start(stopping: bool, now: Instant) -> Self {
        Self { since: now, is_up: true, is_stopping: stopping, crashes: 0 }
    }

    fn delayed_until(&self, now: Instant) -> Option<Instant> {
        let doublings = self.crashes.checked_sub(2).filter(|_| self.is_up)?;
        let pause = MIN_DELAY.saturating_mul(1 << doublings.min(16)).min(MAX_DELAY);
        Some(self.since + pause).filter(|until| now < *until)
    }

    fn on_running(&mut self, stopping: bool, now: Instant) {
        if !self.is_up {
            (self.is_up, self.since) = (true, now);
        }
        self.is_stopping = stopping;
    }

    fn on_exit(&mut self, now: Instant) {
        let pauses = MAX_DELAY.saturating_mul(u32::from(2 <= self.crashes));
        let short = now < self.since + SHORT_LIFE + pauses;
        self.crashes = if short && !self.is_stopping { self.crashes + 1 } else { 0 };
        (self.is_up, self.since) = (false, now);
    }
}

#[cfg(test)]
mod tests;
