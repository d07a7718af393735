//! Containers that crash and are restarted, over and over.
//!
//! Pure. One that dies without having been told to is taken out at once; when it comes back it is given
//! traffic at once the first time, and then after pauses that grow, so that it does not draw requests
//! into each of its deaths.

use crate::container::ContainerId;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A life shorter than this ends in a crash, whatever came before.
const SHORT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// What is gone for longer is forgotten.
const FORGOTTEN: Duration = Duration::from_mins(5);

/// How containers have lived so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lives(BTreeMap<ContainerId, Life>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Life {
    /// It is up, or was last seen to go, since then.
    since: Instant,
    up: bool,
    /// It was told to stop.
    told: bool,
    /// Short lives in a row.
    crashes: u32,
}

impl Lives {
    /// Takes note of those that came or changed, with whether they leave, and of those that went (`None`). Only the
    /// crashed are remembered longer than they live.
    pub fn see(
        &mut self,
        changed: impl IntoIterator<Item = (ContainerId, Option<bool>)>,
        now: Instant,
    ) {
        for (id, leaving) in changed {
            match (self.0.get_mut(&id), leaving) {
                (Some(life), Some(leaving)) => life.goes_on(leaving, now),
                (Some(life), None) if life.up => life.ends(now),
                (None, Some(leaving)) => drop(self.0.insert(id, Life::begins(leaving, now))),
                (_, None) => {}
            }
        }
        self.0.retain(|_, life| life.up || (0 < life.crashes && now < life.since + FORGOTTEN));
    }

    /// Those that were up when they were last seen.
    pub fn up(&self) -> impl Iterator<Item = &ContainerId> {
        self.0.iter().filter(|(_, life)| life.up).map(|(id, _)| id)
    }

    /// The containers that are up and get no traffic, for their many crashes, and until when.
    pub fn held(&self, now: Instant) -> BTreeMap<ContainerId, Instant> {
        let crashed = self.0.iter().filter(|(_, life)| 2 <= life.crashes);
        crashed.filter_map(|(id, life)| Some((id.clone(), life.held_until(now)?))).collect()
    }
}

impl Life {
    fn begins(leaving: bool, now: Instant) -> Self {
        Self { since: now, up: true, told: leaving, crashes: 0 }
    }

    fn held_until(&self, now: Instant) -> Option<Instant> {
        let doublings = self.crashes.checked_sub(2).filter(|_| self.up)?;
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
        Some(self.since + pause).filter(|until| now < *until)
    }

    fn goes_on(&mut self, leaving: bool, now: Instant) {
        if !self.up {
            (self.up, self.since) = (true, now);
        }
        self.told = leaving;
    }

    fn ends(&mut self, now: Instant) {
        let pauses = LONGEST_PAUSE.saturating_mul(u32::from(2 <= self.crashes));
        let short = now < self.since + SHORT + pauses;
        self.crashes = if short && !self.told { self.crashes + 1 } else { 0 };
        (self.up, self.since) = (false, now);
    }
}

#[cfg(test)]
mod tests;
