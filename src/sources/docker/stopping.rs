//! Containers that received their stop signal or have ended, before the engine was asked about them.
//!
//! Pure. An inspection of a container that is being stopped can take as long as the stop, but a handler that routes
//! traffic to the container needs to know before. The result of the inspection replaces this state. A container that
//! ignores its signal no longer counts as stopping when its stop timeout is over.

use super::{
    event::{Event, EventAction, EventSubject},
    pending::{DEAD_TTL, is_stop_signal, stop_deadline},
};
use crate::{
    model::container::{ContainerId, StopConfig},
    sources::{
        description::{ContainerMap, Description},
        update::ContainerUpdate,
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

#[derive(Debug, Default)]
pub(crate) struct StoppingContainers {
    /// Until when the container counts as stopping; `None` is forever.
    deadlines: BTreeMap<ContainerId, Option<Instant>>,
}

impl StoppingContainers {
    /// Handles an event. Returns whether a further container is stopping.
    pub(crate) fn on_event(
        &mut self,
        event: &Event,
        containers: &ContainerMap,
        now: Instant,
    ) -> bool {
        let EventSubject::Container { id, what, .. } = &event.about else { return false };
        let Some(description) = containers.get(id) else { return false };
        let until = match what {
            EventAction::Die => Some(now + DEAD_TTL),
            EventAction::Kill(signal) => {
                let stop = parse_stop_config(description);
                if !signal.is_some_and(|signal| is_stop_signal(Some(&stop), signal)) {
                    return false;
                }
                stop_deadline(Some(&stop), now)
            }
            _ => return false,
        };
        self.deadlines.insert(id.clone(), until).is_none()
    }

    /// Handles an update. Returns whether a container no longer counts as stopping, because the update shows its state.
    pub(crate) fn on_update(&mut self, update: &ContainerUpdate) -> bool {
        match update {
            ContainerUpdate::Event(event, _)
                if matches!(event.action.as_str(), "start" | "die" | "destroy") =>
            {
                self.deadlines.remove(&event.id).is_some()
            }
            ContainerUpdate::Changed(containers) => {
                let before = self.deadlines.len();
                self.deadlines.retain(|id, _| containers.contains_key(id));
                self.deadlines.len() < before
            }
            _ => false,
        }
    }

    /// Returns whether a container no longer counts as stopping because its deadline has passed.
    pub(crate) fn expire_deadlines(&mut self, now: Instant) -> bool {
        let before = self.deadlines.len();
        self.deadlines.retain(|_, until| until.is_none_or(|until| now < until));
        self.deadlines.len() < before
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.deadlines.values().flatten().min().copied()
    }

    pub(crate) fn ids(&self) -> Arc<BTreeSet<ContainerId>> {
        Arc::new(self.deadlines.keys().cloned().collect())
    }
}

fn parse_stop_config(description: &Description) -> StopConfig {
    let json: Value = serde_json::from_str(&description.json).unwrap_or_default();
    let config = |key: &str| json.get("Config").and_then(|config| config.get(key));
    StopConfig {
        signal: config("StopSignal").and_then(Value::as_str).map(str::to_owned),
        timeout: config("StopTimeout").and_then(Value::as_i64),
    }
}

#[cfg(test)]
mod tests;
