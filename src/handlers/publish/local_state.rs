//! What should be published: the text of each container, identified by its digest.
//!
//! Pure. Only digests are kept, because the texts are many times larger. A text is rendered again when it is to be
//! written.

use super::{params::PublishView, remote_state::KeyName};
use crate::{
    label::{has_our_labels, is_relevant_label},
    model::container::ContainerId,
    sources::{
        ContainerMap, Description,
        registry::{SERVED_FOLDER, ServedRecord},
    },
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

/// How many containers are processed before other tasks may run.
const BATCH_SIZE: usize = 64;

/// Before the id in the key of an inspection.
pub(crate) const INSPECT_FOLDER: &str = "containers/";

#[derive(Debug, Default)]
pub(crate) struct LocalKeys(BTreeMap<ContainerId, LocalContainer>);

/// A container that was processed.
#[derive(Debug)]
struct LocalContainer {
    description: Arc<Description>,
    phase: StopPhase,
    /// The digest of its inspection, if that is published.
    inspection: Option<u64>,
    record: Option<LocalRecord>,
}

/// The record of a container that runs.
#[derive(Debug)]
struct LocalRecord {
    digest: u64,
    /// Whether it has labels for docker-balancer.
    has_labels: bool,
    /// The container whose network it uses.
    network_owner: Option<String>,
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
        let phase = |id: &ContainerId| {
            if leaving.contains(id) { StopPhase::Leaving } else { StopPhase::Staying }
        };
        self.0.retain(|id, _| roster.contains_key(id));
        let is_new = |(id, description): &(&ContainerId, &Arc<Description>)| {
            !self.0.get(*id).is_some_and(|before| {
                Arc::ptr_eq(&before.description, description) && before.phase == phase(id)
            })
        };
        let mut new: Vec<_> = roster.iter().filter(is_new).take(BATCH_SIZE + 1).collect();
        let has_more = BATCH_SIZE < new.len();
        new.truncate(BATCH_SIZE);
        for (id, description) in new {
            self.0.insert(id.clone(), LocalContainer::new(description, phase(id), view));
        }
        has_more
    }

    /// Returns the digests of all texts to be published. A container whose network another one uses is needed with it.
    pub(crate) fn digests(&self) -> BTreeMap<KeyName, u64> {
        let records = || self.0.values().filter_map(|container| container.record.as_ref());
        let owners: BTreeSet<_> =
            records().filter_map(|one| one.network_owner.as_deref()).collect();
        let mut digests = BTreeMap::new();
        for (id, LocalContainer { inspection, record, .. }) in &self.0 {
            digests.extend(inspection.map(|digest| (inspection_key(id), digest)));
            let record =
                record.as_ref().filter(|one| one.has_labels || owners.contains(id.as_str()));
            digests.extend(record.map(|record| (record_key(id), record.digest)));
        }
        digests
    }

    /// Returns the text of a key.
    pub(crate) fn key_text(&self, key: &str, view: &PublishView) -> Option<String> {
        // Keys have no names of sources.
        let find = |id: &str| {
            let mut all = self.0.iter();
            all.find(|(other, _)| other.as_str() == id).map(|(_, container)| container)
        };
        if let Some(id) = key.strip_prefix(SERVED_FOLDER) {
            let LocalContainer { description, phase, .. } = find(id)?;
            return Some(view.build_record(description, *phase)?.to_json());
        }
        let LocalContainer { description, phase, .. } = find(key.strip_prefix(INSPECT_FOLDER)?)?;
        view.render_text(description, *phase)
    }
}

impl LocalContainer {
    fn new(description: &Arc<Description>, phase: StopPhase, view: &PublishView) -> Self {
        let inspection = view.render_text(description, phase);
        let record = view.build_record(description, phase);
        Self {
            description: Arc::clone(description),
            phase,
            inspection: inspection.map(|text| hash_text(text.as_bytes())),
            record: record.map(|record| LocalRecord {
                digest: hash_text(record.to_json().as_bytes()),
                has_labels: has_our_labels(record.label_names()),
                network_owner: record.network_owner().map(str::to_owned),
            }),
        }
    }
}

fn inspection_key(id: &ContainerId) -> KeyName {
    format!("{INSPECT_FOLDER}{}", id.as_str())
}

fn record_key(id: &ContainerId) -> KeyName {
    format!("{SERVED_FOLDER}{}", id.as_str())
}

impl PublishView {
    /// Returns `None` if the container is not published.
    pub(crate) fn render_text(
        &self,
        description: &Description,
        course: StopPhase,
    ) -> Option<String> {
        if !self.parts.has_inspections() {
            return None;
        }
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

    /// Returns the record of a container that runs.
    fn build_record(&self, description: &Description, phase: StopPhase) -> Option<ServedRecord> {
        if !self.parts.has_records() {
            return None;
        }
        let json: Value = serde_json::from_str(&description.json).ok()?;
        let is_published = |label: &str| is_relevant_label(label) || self.labels.contains(label);
        let record = ServedRecord::from_inspection(&json, is_published)?;
        Some(match phase {
            StopPhase::Staying => record,
            StopPhase::Leaving => record.into_leaving(),
        })
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
    use crate::handlers::publish::params::PublishedParts;

    fn description(id: &str, json: &str) -> Arc<Description> {
        let id = ContainerId::new(id);
        Arc::new(Description { name: "x".into(), id, json: json.into() })
    }

    fn view(include_stopped: bool, omit: &[&str]) -> PublishView {
        let steps = |path: &&str| path.split('.').map(str::to_owned).collect();
        PublishView {
            parts: PublishedParts::Inspect,
            labels: BTreeSet::new(),
            include_stopped,
            omit: omit.iter().map(steps).collect(),
        }
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
        let before = local.digests();
        let leaving = BTreeSet::from([ContainerId::new("008")]);
        assert!(!local.update_batch(&roster, &leaving, &view));
        assert_ne!(local.digests(), before);
        assert!(!local.update_batch(&roster, &none, &view));
        assert_eq!(local.digests(), before);
        assert_eq!(local.key_text("containers/007", &view), None);
        assert_eq!(local.key_text("containers/008", &view).as_deref(), Some(running));
    }

    #[test]
    fn records_are_of_containers_with_labels_and_of_those_whose_network_they_use() {
        let container = |id: &str, mode: &str, labels: &str| {
            let json = format!(
                r#"{{"Name":"/{id}","State":{{"Running":true}},"HostConfig":{{"NetworkMode":"{mode}"}},"Config":{{"Labels":{{{labels}}}}}}}"#
            );
            description(id, &json)
        };
        let label = r#""glue_http_80_host":"a.test","other":"x""#;
        let containers = [
            container("a", "container:b", label),
            container("b", "bridge", ""),
            container("c", "bridge", r#""other":"x""#),
            description("d", r#"{"State":{"Running":false}}"#),
        ];
        let roster: ContainerMap = containers
            .into_iter()
            .map(|description| (description.id.clone(), description))
            .collect();
        for (parts, expected) in [
            (PublishedParts::Served, "served/a served/b"),
            (PublishedParts::Inspect, "containers/a containers/b containers/c"),
            (PublishedParts::Both, "containers/a containers/b containers/c served/a served/b"),
        ] {
            let view = PublishView { parts, ..view(false, &[]) };
            let mut local = LocalKeys::default();
            assert!(!local.update_batch(&roster, &BTreeSet::new(), &view));
            let names: Vec<_> = local.digests().into_keys().collect();
            assert_eq!(names.join(" "), expected, "{parts:?}");
            let text = local.key_text("served/a", &view);
            assert_eq!(text.is_some(), parts.has_records());
            assert!(!text.unwrap_or_default().contains("other"));
        }
    }
}
