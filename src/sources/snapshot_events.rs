//! What handlers get of sources that report no events of containers: the differences between their snapshots.
//!
//! Pure. A container that comes and goes between two snapshots is not seen, and of several changes in between, only the
//! result.

use super::{
    describe::{describe_container, is_container},
    description::{ContainerMap, Description, mark_exited},
    snapshot::Snapshot,
    update::{ContainerEvent, ContainerUpdate},
};
use crate::{
    model::container::{Container, ContainerId, ContainerState, Health},
    support::map_diff::diff_maps,
};
use std::{collections::BTreeMap, sync::Arc};

type Containers = BTreeMap<ContainerId, Arc<Container>>;

/// The last snapshot that was compared.
#[derive(Debug, Default)]
pub struct SnapshotEvents {
    /// `None` before the first one.
    containers: Option<Containers>,
    descriptions: Arc<ContainerMap>,
    is_answering: bool,
}

impl SnapshotEvents {
    /// Returns what has changed since the last snapshot. `now` is the time of events whose source does not say when, in
    /// nanoseconds since 1970.
    pub fn update(&mut self, snapshot: &Snapshot, now: i64) -> Vec<ContainerUpdate> {
        let mut updates = Vec::new();
        if let Some(world) = &snapshot.world {
            let containers = world.containers.values().filter(|one| is_container(one));
            let containers: Containers =
                containers.map(|one| (one.id.clone(), Arc::clone(one))).collect();
            let reported = snapshot.cause.as_ref().map(|cause| cause.time_nano);
            let time_nano = reported.filter(|time| *time != 0).unwrap_or(now);
            let is_new_connection = snapshot.connected && !self.is_answering;
            let is_first = self.containers.is_none();
            let (events, has_others) = self.replace(containers, time_nano);
            if !is_first {
                let event =
                    |event| ContainerUpdate::Event(Arc::new(event), Arc::clone(&self.descriptions));
                updates.extend(events.into_iter().map(event));
            }
            // Handlers of all containers may not read these events, and may have none any more if the source was silent
            // for too long.
            if is_first || is_new_connection || has_others {
                updates.push(ContainerUpdate::Changed(Arc::clone(&self.descriptions)));
            }
        }
        if snapshot.connected != self.is_answering {
            self.is_answering = snapshot.connected;
            updates.push(ContainerUpdate::Answering(self.is_answering));
        }
        updates
    }

    /// Takes over the containers. Returns the events, and whether any is one that Docker does not send for such a change.
    fn replace(&mut self, containers: Containers, time_nano: i64) -> (Vec<ContainerEvent>, bool) {
        let before = self.containers.take().unwrap_or_default();
        let descriptions = Arc::make_mut(&mut self.descriptions);
        let (mut events, mut has_others) = (Vec::new(), false);
        let mut changes: Vec<_> = diff_maps(&before, &containers).collect();
        // Another container may have the address of one that is gone.
        changes.sort_by_key(|(_, _, after)| after.is_some());
        for (id, before, after) in changes {
            let new = after.map(|after| describe_container(after));
            let old = match &new {
                Some(new) => descriptions.insert(id.clone(), Arc::clone(new)),
                None => descriptions.remove(id),
            };
            let Some(one) = after.or(before) else { continue };
            for action in actions(before.map(AsRef::as_ref), after.map(AsRef::as_ref)) {
                has_others |= [UPDATE, KILL].contains(&action);
                let description = match action {
                    "die" | "stop" | "destroy" => old.as_ref().map(mark_exited),
                    _ => new.clone(),
                };
                events.push(event(one, action, time_nano, description));
            }
        }
        self.containers = Some(containers);
        (events, has_others)
    }
}

/// The event of a change that has no name of its own, such as that of a service's labels.
const UPDATE: &str = "update";

/// The event of a container that is about to stop. From then on its description says so, other than an engine's.
const KILL: &str = "kill";

fn event(
    container: &Container,
    action: &str,
    time_nano: i64,
    description: Option<Arc<Description>>,
) -> ContainerEvent {
    let labels = container.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
    let own = [("image", &container.image), ("name", &container.name)];
    let own = own.map(|(key, value)| (key.to_owned(), value.clone()));
    ContainerEvent {
        id: container.id.clone(),
        name: container.name.clone(),
        action: action.to_owned(),
        time_nano,
        attributes: labels.chain(own).collect(),
        description,
    }
}

/// Returns the events that Docker would have reported, in order.
fn actions(before: Option<&Container>, after: Option<&Container>) -> Vec<&'static str> {
    let is_up = |one: Option<&Container>| one.is_some_and(Container::is_up);
    let is_stopping = |one: Option<&Container>| one.is_some_and(|one| one.stopping);
    let is_paused =
        |one: Option<&Container>| one.is_some_and(|one| one.state == ContainerState::Paused);
    let health = |one: Option<&Container>| one.map_or(Health::Unchecked, |one| one.health);
    let started = |one: Option<&Container>| one.and_then(|one| one.started).filter(|at| *at != 0);
    let is_other_run = is_up(before)
        && is_up(after)
        && started(before).zip(started(after)).is_some_and(|(before, after)| before != after);
    let ends = is_up(before) && (!is_up(after) || is_other_run);
    let starts = is_up(after) && (!is_up(before) || is_other_run);
    let was_stopping = is_stopping(before) && !starts;
    let is_other_health = starts || health(before) != health(after);
    let actions = [
        ("create", before.is_none()),
        ("die", ends),
        ("stop", ends && is_stopping(before)),
        ("start", starts),
        (KILL, is_up(after) && is_stopping(after) && !was_stopping),
        ("pause", is_up(after) && is_paused(after) && (starts || !is_paused(before))),
        ("unpause", is_up(after) && !is_paused(after) && is_paused(before) && !starts),
        ("health_status: healthy", is_other_health && health(after) == Health::Healthy),
        ("health_status: unhealthy", is_other_health && health(after) == Health::Unhealthy),
        ("rename", before.zip(after).is_some_and(|(before, after)| before.name != after.name)),
        ("destroy", after.is_none()),
    ];
    let mut actions: Vec<_> =
        actions.into_iter().filter_map(|(action, happened)| happened.then_some(action)).collect();
    if actions.is_empty() {
        actions.push(UPDATE);
    }
    actions
}

#[cfg(test)]
mod tests;
