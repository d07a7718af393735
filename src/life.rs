//! Containers that crash and are restarted, over and over.
//!
//! Pure. One that dies without having been told to is taken out at once; when it comes back it is given
//! traffic at once the first time, and then after pauses that grow, so that it does not draw requests
//! into each of its deaths.

use crate::container::ContainerId;
use std::{
    collections::{BTreeMap, BTreeSet},
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

/// A container that runs.
#[derive(Debug, Clone, Copy)]
pub struct Up<'a> {
    pub id: &'a ContainerId,
    pub leaving: bool,
}

impl Lives {
    /// Takes note of who is up now. Only the crashed are remembered longer than they live.
    pub fn see<'a>(&mut self, up: impl IntoIterator<Item = Up<'a>>, now: Instant) {
        let mut seen = BTreeSet::new();
        for Up { id, leaving } in up {
            seen.insert(id);
            if let Some(life) = self.0.get_mut(id) {
                life.goes_on(leaving, now);
            } else {
                let life = Life { since: now, up: true, told: leaving, crashes: 0 };
                self.0.insert(id.clone(), life);
            }
        }
        for (id, life) in &mut self.0 {
            if life.up && !seen.contains(id) {
                life.ends(now);
            }
        }
        self.0.retain(|_, life| life.up || (0 < life.crashes && now < life.since + FORGOTTEN));
    }

    /// Until when a container that is up gets no traffic, for its many crashes.
    pub fn held_until(&self, id: &ContainerId, now: Instant) -> Option<Instant> {
        let life = self.0.get(id).filter(|life| life.up)?;
        let doublings = life.crashes.checked_sub(2)?;
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE);
        Some(life.since + pause).filter(|until| now < *until)
    }
}

impl Life {
    fn goes_on(&mut self, leaving: bool, now: Instant) {
        if !self.up {
            (self.up, self.since) = (true, now);
        } else if self.since + LONGEST_PAUSE + SHORT <= now {
            self.crashes = 0;
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
