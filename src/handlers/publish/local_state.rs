//! What should be published: the text of each container, identified by its digest.
//!
//! Pure. Only digests are kept, because the texts are many times larger. A text is rendered again when it is to be
//! written.

use super::params::PublishView;
use crate::{
    model::container::ContainerId,
    sources::{ContainerMap, Description},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

/// How many containers are processed before other tasks may run.
const BATCH_SIZE: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct LocalKeys {
    /// The containers that were processed.
    sources: BTreeMap<ContainerId, (Arc<Description>, StopPhase)>,
    /// The digests of the texts to be published.
    digests: BTreeMap<ContainerId, u64>,
}

/// Whether a running container is about to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopPhase {
    Staying,
    /// The container was sent its stop signal, or has ended.
    Leaving,
}

impl LocalKeys {
    /// Processes the next changed containers; returns `false` if none are left.
    pub(crate) fn update_batch(
        &mut self,
        roster: &ContainerMap,
        leaving: &BTreeSet<ContainerId>,
        view: &PublishView,
    ) -> bool {
        let course = |id: &ContainerId| {
            if leaving.contains(id) { StopPhase::Leaving } else { StopPhase::Staying }
        };
        self.sources.retain(|id, _| roster.contains_key(id));
        self.digests.retain(|id, _| roster.contains_key(id));
        let is_new = |(id, description): &(&ContainerId, &Arc<Description>)| {
            !self.sources.get(*id).is_some_and(|(source, before)| {
                Arc::ptr_eq(source, description) && *before == course(id)
            })
        };
        let mut new: Vec<_> = roster.iter().filter(is_new).take(BATCH_SIZE + 1).collect();
        let has_more = BATCH_SIZE < new.len();
        new.truncate(BATCH_SIZE);
        for (id, description) in new {
            let course = course(id);
            match view.render_text(description, course) {
                Some(text) => drop(self.digests.insert(id.clone(), hash_text(text.as_bytes()))),
                None => drop(self.digests.remove(id)),
            }
            self.sources.insert(id.clone(), (Arc::clone(description), course));
        }
        has_more
    }

    pub(crate) fn digests(&self) -> &BTreeMap<ContainerId, u64> {
        &self.digests
    }

    pub(crate) fn key_text(&self, id: &ContainerId, view: &PublishView) -> Option<String> {
        let (description, course) = self.sources.get(id)?;
        view.render_text(description, *course)
    }
}

impl PublishView {
    /// Returns `None` if the container is not published.
    pub(crate) fn render_text(
        &self,
        description: &Description,
        course: StopPhase,
    ) -> Option<String> {
        let mut object: Map<String, Value> = serde_json::from_str(&description.json).ok()?;
        let running = object.get("State").and_then(|state| state.get("Running"));
        let running = running.and_then(Value::as_bool);
        if !self.include_stopped && running != Some(true) {
            return None;
        }
        self.omit.iter().for_each(|path| remove_path(&mut object, path));
        if course == StopPhase::Leaving && running == Some(true) {
            object.insert("leaving".to_owned(), Value::Bool(true));
        }
        serde_json::to_string(&object).ok()
    }
}

/// Removes a path from the description. Case is ignored, because a spelling mistake would publish a secret.
fn remove_path(map: &mut Map<String, Value>, path: &[String]) {
    let Some((step, remaining)) = path.split_first() else { return };
    if remaining.is_empty() {
        map.retain(|key, _| !key.eq_ignore_ascii_case(step));
        return;
    }
    for (_, inner) in map.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case(step)) {
        match inner {
            Value::Object(inner) => remove_path(inner, remaining),
            Value::Array(all) => {
                all.iter_mut()
                    .filter_map(Value::as_object_mut)
                    .for_each(|map| remove_path(map, remaining));
            }
            _ => {}
        }
    }
}

/// Digests are only compared within one process.
pub(crate) fn hash_text(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(id: &str, json: &str) -> Arc<Description> {
        let id = ContainerId::new(id);
        Arc::new(Description { name: "x".into(), id, json: json.into() })
    }

    fn view(include_stopped: bool, omit: &[&str]) -> PublishView {
        let steps = |path: &&str| path.split('.').map(str::to_owned).collect();
        PublishView { include_stopped, omit: omit.iter().map(steps).collect() }
    }

    #[test]
    fn running_container_is_published_without_omitted_paths() {
        let running = r#"{"State":{"Running":true},"Config":{"Env":["A=b"],"Image":"i"}}"#;
        let stopped = r#"{"State":{"Running":false}}"#;
        let mounts = r#"{"State":{"Running":true},"Mounts":[{"Source":"s","Type":"t"}]}"#;
        for (json, stopped_too, omit, expected) in [
            (
                running,
                false,
                &[][..],
                Some(r#"{"Config":{"Env":["A=b"],"Image":"i"},"State":{"Running":true}}"#),
            ),
            (
                running,
                false,
                &["config.env"],
                Some(r#"{"Config":{"Image":"i"},"State":{"Running":true}}"#),
            ),
            (running, false, &["Config", "No.Such"], Some(r#"{"State":{"Running":true}}"#)),
            (
                running,
                false,
                &["State.Running.x"],
                Some(r#"{"Config":{"Env":["A=b"],"Image":"i"},"State":{"Running":true}}"#),
            ),
            (
                mounts,
                false,
                &["Mounts.Source"],
                Some(r#"{"Mounts":[{"Type":"t"}],"State":{"Running":true}}"#),
            ),
            (stopped, false, &[], None),
            (stopped, true, &[], Some(stopped)),
            ("{}", false, &[], None),
        ] {
            let shown =
                view(stopped_too, omit).render_text(&description("a", json), StopPhase::Staying);
            assert_eq!(shown.as_deref(), expected, "{json} {omit:?}");
        }
    }

    #[test]
    fn leaving_container_is_marked_while_running() {
        for (json, expected) in [
            (r#"{"State":{"Running":true}}"#, Some(r#"{"State":{"Running":true},"leaving":true}"#)),
            (r#"{"State":{"Running":false}}"#, Some(r#"{"State":{"Running":false}}"#)),
        ] {
            let shown = view(true, &[]).render_text(&description("a", json), StopPhase::Leaving);
            assert_eq!(shown.as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn changed_containers_are_digested_in_batches() {
        let running = r#"{"State":{"Running":true}}"#;
        let mut roster: ContainerMap = (0..100)
            .map(|number| description(&format!("{number:03}"), running))
            .map(|description| (description.id.clone(), description))
            .collect();
        let (mut local, view, none) = (LocalKeys::default(), view(false, &[]), BTreeSet::new());
        assert!(local.update_batch(&roster, &none, &view));
        assert_eq!(local.digests().len(), BATCH_SIZE);
        assert!(!local.update_batch(&roster, &none, &view));
        assert_eq!(local.digests().len(), 100);

        let stopped = description("007", r#"{"State":{"Running":false}}"#);
        roster.insert(stopped.id.clone(), stopped);
        roster.pop_first();
        assert!(!local.update_batch(&roster, &none, &view));
        assert_eq!(local.digests().len(), 98);
        let before = local.digests().clone();
        let leaving = BTreeSet::from([ContainerId::new("008")]);
        assert!(!local.update_batch(&roster, &leaving, &view));
        assert_ne!(local.digests(), &before);
        assert!(!local.update_batch(&roster, &none, &view));
        assert_eq!(local.digests(), &before);
        assert_eq!(local.key_text(&ContainerId::new("007"), &view), None);
        assert_eq!(local.key_text(&ContainerId::new("008"), &view).as_deref(), Some(running));
    }
}
