//! Containers that got their stop signal or have ended, before the engine was asked for them.
//!
//! Pure. An inspection of a container that is being stopped can take as long as the stop: whoever sends others
//! to it wants to know before that. What the engine says then takes its place; one that ignores its signal counts
//! as staying when its stop timeout is over.

use super::{
    heard::{BURIAL, ends, stays_until},
    roster::{Description, News, Report, Roster},
    signal,
};
use crate::container::{ContainerId, Stop};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// Until when that is believed; `None` is for ever.
    until: BTreeMap<ContainerId, Option<Instant>>,
}

impl Leaving {
    /// Whether another one leaves.
    pub(super) fn heard(&mut self, report: &Report, roster: &Roster, now: Instant) -> bool {
        let Some(known) = roster.get(&report.id) else { return false };
        let until = match report.action.as_str() {
            "die" => Some(now + BURIAL),
            "kill" => {
                let signal = report.attributes.get("signal").and_then(|text| signal::number(text));
                let stop = stop(known);
                if !signal.is_some_and(|signal| ends(Some(&stop), signal)) {
                    return false;
                }
                stays_until(Some(&stop), now)
            }
            _ => return false,
        };
        self.until.insert(report.id.clone(), until).is_none()
    }

    /// Whether one leaves no more: the engine has said what became of it.
    pub(super) fn told(&mut self, news: &News) -> bool {
        match news {
            News::Happened(happened, _)
                if matches!(happened.action.as_str(), "start" | "die" | "destroy") =>
            {
                self.until.remove(&happened.id).is_some()
            }
            News::Changed(roster) => {
                let before = self.until.len();
                self.until.retain(|id, _| roster.contains_key(id));
                self.until.len() < before
            }
            _ => false,
        }
    }

    /// Whether one has stayed for so long that it counts as staying.
    pub(super) fn late(&mut self, now: Instant) -> bool {
        let before = self.until.len();
        self.until.retain(|_, until| until.is_none_or(|until| now < until));
        self.until.len() < before
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.until.values().flatten().min().copied()
    }

    pub(super) fn ids(&self) -> Arc<BTreeSet<ContainerId>> {
        Arc::new(self.until.keys().cloned().collect())
    }
}

fn stop(description: &Description) -> Stop {
    let json: Value = serde_json::from_str(&description.json).unwrap_or_default();
    let config = |key: &str| json.get("Config").and_then(|config| config.get(key));
    Stop {
        signal: config("StopSignal").and_then(Value::as_str).map(str::to_owned),
        timeout: config("StopTimeout").and_then(Value::as_i64),
    }
}

#[cfg(test)]
mod tests;
