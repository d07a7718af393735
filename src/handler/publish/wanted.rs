//! What is to be published: of each container a text, known by its digest.
//!
//! Pure. The texts are many times what is kept of them; one is made again when it is to be written.

use super::params::View;
use crate::{
    container::ContainerId,
    docker::{Description, Roster},
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

/// How many are looked at before others may do something.
const AT_ONCE: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// What was looked at.
    seen: BTreeMap<ContainerId, (Arc<Description>, Course)>,
    /// Of those that are to be published.
    digests: BTreeMap<ContainerId, u64>,
}

/// Whether a container that runs will do so for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    Stays,
    /// It got its stop signal, or has ended.
    Leaves,
}

impl Wanted {
    /// Brings it a step nearer to the roster; `false` when it is there.
    pub(super) fn step(
        &mut self,
        roster: &Roster,
        leaving: &BTreeSet<ContainerId>,
        view: &View,
    ) -> bool {
        let course = |id: &ContainerId| {
            if leaving.contains(id) { Course::Leaves } else { Course::Stays }
        };
        self.seen.retain(|id, _| roster.contains_key(id));
        self.digests.retain(|id, _| roster.contains_key(id));
        let is_new = |(id, it): &(&ContainerId, &Arc<Description>)| {
            !self
                .seen
                .get(*id)
                .is_some_and(|(seen, before)| Arc::ptr_eq(seen, it) && *before == course(id))
        };
        let mut new: Vec<_> = roster.iter().filter(is_new).take(AT_ONCE + 1).collect();
        let is_more = AT_ONCE < new.len();
        new.truncate(AT_ONCE);
        for (id, description) in new {
            let course = course(id);
            match view.of(description, course) {
                Some(text) => drop(self.digests.insert(id.clone(), digest(text.as_bytes()))),
                None => drop(self.digests.remove(id)),
            }
            self.seen.insert(id.clone(), (Arc::clone(description), course));
        }
        is_more
    }

    pub(super) fn digests(&self) -> &BTreeMap<ContainerId, u64> {
        &self.digests
    }

    pub(super) fn text(&self, id: &ContainerId, view: &View) -> Option<String> {
        let (description, course) = self.seen.get(id)?;
        view.of(description, *course)
    }
}

impl View {
    /// `None` for one that is not shown.
    pub(super) fn of(&self, description: &Description, course: Course) -> Option<String> {
        let mut said: Map<String, Value> = serde_json::from_str(&description.json).ok()?;
        let runs = said.get("State").and_then(|state| state.get("Running"));
        let runs = runs.and_then(Value::as_bool);
        if !self.include_stopped && runs != Some(true) {
            return None;
        }
        self.omit.iter().for_each(|path| omit(&mut said, path));
        if course == Course::Leaves && runs == Some(true) {
            said.insert("leaving".to_owned(), Value::Bool(true));
        }
        serde_json::to_string(&said).ok()
    }
}

/// In any case, as a slip would show a secret.
fn omit(map: &mut Map<String, Value>, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        map.retain(|key, _| !key.eq_ignore_ascii_case(step));
        return;
    }
    for (_, inner) in map.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case(step)) {
        match inner {
            Value::Object(inner) => omit(inner, rest),
            Value::Array(all) => {
                all.iter_mut().filter_map(Value::as_object_mut).for_each(|it| omit(it, rest));
            }
            _ => {}
        }
    }
}

/// It is compared with others of the same process only.
pub(super) fn digest(text: &[u8]) -> u64 {
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

    fn view(include_stopped: bool, omit: &[&str]) -> View {
        let steps = |path: &&str| path.split('.').map(str::to_owned).collect();
        View { include_stopped, omit: omit.iter().map(steps).collect() }
    }

    #[test]
    fn what_runs_is_shown_without_what_is_omitted() {
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
            let shown = view(stopped_too, omit).of(&description("a", json), Course::Stays);
            assert_eq!(shown.as_deref(), expected, "{json} {omit:?}");
        }
    }

    #[test]
    fn a_container_that_leaves_says_so_while_it_runs() {
        for (json, expected) in [
            (r#"{"State":{"Running":true}}"#, Some(r#"{"State":{"Running":true},"leaving":true}"#)),
            (r#"{"State":{"Running":false}}"#, Some(r#"{"State":{"Running":false}}"#)),
        ] {
            let shown = view(true, &[]).of(&description("a", json), Course::Leaves);
            assert_eq!(shown.as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn only_what_changed_is_looked_at_and_not_all_at_once() {
        let running = r#"{"State":{"Running":true}}"#;
        let mut roster: Roster = (0..100)
            .map(|number| description(&format!("{number:03}"), running))
            .map(|it| (it.id.clone(), it))
            .collect();
        let (mut wanted, view, none) = (Wanted::default(), view(false, &[]), BTreeSet::new());
        assert!(wanted.step(&roster, &none, &view));
        assert_eq!(wanted.digests().len(), AT_ONCE);
        assert!(!wanted.step(&roster, &none, &view));
        assert_eq!(wanted.digests().len(), 100);

        let stopped = description("007", r#"{"State":{"Running":false}}"#);
        roster.insert(stopped.id.clone(), stopped);
        roster.pop_first();
        assert!(!wanted.step(&roster, &none, &view));
        assert_eq!(wanted.digests().len(), 98);
        let before = wanted.digests().clone();
        let leaving = BTreeSet::from([ContainerId::new("008")]);
        assert!(!wanted.step(&roster, &leaving, &view));
        assert_ne!(wanted.digests(), &before);
        assert!(!wanted.step(&roster, &none, &view));
        assert_eq!(wanted.digests(), &before);
        assert_eq!(wanted.text(&ContainerId::new("007"), &view), None);
        assert_eq!(wanted.text(&ContainerId::new("008"), &view).as_deref(), Some(running));
    }
}
