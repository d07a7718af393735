//! Containers that an engine has, and a Swarm or a registry, too. Handlers get those of the engine, which has all values,
//! and whose containers can be notified.
//!
//! Pure.

use crate::{
    model::container::ContainerId,
    sources::{ContainerMap, Description},
    support::map_diff::diff_maps,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The label that an engine adds to the container of a task. A Swarm has the container by this id.
const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// The ids that other sources have of the containers of engines.
#[derive(Debug, Default)]
pub(super) struct EngineIds(BTreeMap<Box<str>, usize>);

impl EngineIds {
    pub(super) fn contains(&self, id: &ContainerId) -> bool {
        self.0.contains_key(id.as_str())
    }

    /// Takes over the containers of an engine. Returns the ids that were added or removed.
    pub(super) fn replace(
        &mut self,
        before: &ContainerMap,
        after: &ContainerMap,
    ) -> BTreeSet<Box<str>> {
        let mut changed = BTreeSet::new();
        for (_, before, after) in diff_maps(before, after) {
            for id in before.into_iter().flat_map(|one| ids(one)) {
                let count = self.0.get_mut(&id).map(|count| {
                    *count -= 1;
                    *count
                });
                if count == Some(0) {
                    self.0.remove(&id);
                }
                changed.insert(id);
            }
            for id in after.into_iter().flat_map(|one| ids(one)) {
                *self.0.entry(id.clone()).or_default() += 1;
                changed.insert(id);
            }
        }
        changed
    }
}

/// Returns the container's id, and that of its task.
fn ids(description: &Description) -> impl Iterator<Item = Box<str>> {
    // Most containers belong to no task, and need not be parsed.
    let has_task = description.json.contains(TASK_LABEL);
    let json = has_task.then(|| serde_json::from_str::<Value>(&description.json).ok()).flatten();
    let task = json.as_ref().and_then(|json| json["Config"]["Labels"][TASK_LABEL].as_str());
    [Some(description.id.as_str()), task].map(|id| id.map(Box::from)).into_iter().flatten()
}
