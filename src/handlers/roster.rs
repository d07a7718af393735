//! The containers of all sources, as handlers see them.
//!
//! Pure: what the sources send comes in, one map of containers comes out. A source that does not answer keeps its
//! containers. What an engine has and another source, too, is a container of the engine.

use super::shared_container::EngineIds;
use crate::{
    model::{container::ContainerId, source_name::SourceName},
    sources::{ContainerEvent, ContainerMap, Silence, SourceContainers, first_answers_timeout},
    support::map_diff::{diff_maps, replace_part},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// The containers of all sources.
#[derive(Debug)]
pub struct Roster {
    sources: BTreeMap<SourceName, SourceRoster>,
    containers: Arc<ContainerMap>,
    engine_ids: EngineIds,
    /// Containers of other sources that are left to an engine: also after the engine has removed them, because it is the
    /// first that knows.
    shared: BTreeSet<ContainerId>,
    started_at: Instant,
    /// Whether handlers have the containers.
    is_complete: bool,
}

/// A source of a roster.
#[derive(Debug, Clone)]
pub struct RosterSource {
    pub name: SourceName,
    /// Whether it is a Docker engine, and neither a Swarm nor a registry.
    pub is_engine: bool,
    /// How long its containers are kept while it does not answer. `None`: until it answers.
    pub forget: Option<Duration>,
}

/// The containers of one source.
#[derive(Debug)]
struct SourceRoster {
    is_engine: bool,
    /// `None`: it has not answered yet, and nothing was stored.
    containers: Option<Arc<ContainerMap>>,
    known_by: KnownBy,
    stopping: Arc<BTreeSet<ContainerId>>,
    is_answering: bool,
    silence: Silence,
}

/// Where the containers of a source are known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KnownBy {
    Nothing,
    Store,
    Answer,
}

impl Roster {
    pub fn new(sources: impl IntoIterator<Item = RosterSource>, now: Instant) -> Self {
        let source = |RosterSource { name, is_engine, forget }| {
            let source = SourceRoster {
                is_engine,
                containers: None,
                known_by: KnownBy::Nothing,
                stopping: Arc::default(),
                is_answering: false,
                silence: Silence::new(forget),
            };
            (name, source)
        };
        let sources = sources.into_iter().map(source).collect();
        Self {
            sources,
            containers: Arc::default(),
            engine_ids: EngineIds::default(),
            shared: BTreeSet::new(),
            started_at: now,
            is_complete: false,
        }
    }

    /// Returns all containers.
    pub fn containers(&self) -> &Arc<ContainerMap> {
        &self.containers
    }

    /// Returns the containers that are known of one source.
    pub fn known(&self, source: &SourceName) -> Option<&Arc<ContainerMap>> {
        self.sources.get(source)?.containers.as_ref()
    }

    /// Returns the containers of one source, once it has answered.
    pub fn answered(&self, source: &SourceName) -> Option<&Arc<ContainerMap>> {
        let source =
            self.sources.get(source).filter(|source| source.known_by == KnownBy::Answer)?;
        source.containers.as_ref()
    }

    /// Returns the containers of all sources that have received their stop signal or have ended.
    pub fn stopping(&self) -> Arc<BTreeSet<ContainerId>> {
        let mut all = self.sources.values().map(|source| &source.stopping);
        match (all.next(), self.sources.len()) {
            (Some(only), 1) => Arc::clone(only),
            _ => Arc::new(
                self.sources.values().flat_map(|source| source.stopping.iter().cloned()).collect(),
            ),
        }
    }

    /// Takes over what is stored of a source.
    pub fn restore(&mut self, source: &SourceName, containers: ContainerMap) {
        self.replace(source, Arc::new(containers));
        if let Some(source) = self.sources.get_mut(source) {
            source.known_by = source.known_by.max(KnownBy::Store);
        }
    }

    /// Takes over what a source has sent.
    pub fn take_over(&mut self, source: &SourceName, containers: Arc<ContainerMap>) {
        self.replace(source, containers);
        if let Some(source) = self.sources.get_mut(source) {
            source.known_by = KnownBy::Answer;
        }
    }

    fn replace(&mut self, name: &SourceName, containers: Arc<ContainerMap>) {
        let is_only = self.sources.len() == 1;
        let Some(source) = self.sources.get_mut(name) else { return };
        let before = source.containers.replace(Arc::clone(&containers)).unwrap_or_default();
        if is_only {
            self.containers = containers;
        } else if source.is_engine {
            replace_part(Arc::make_mut(&mut self.containers), &before, &containers);
            self.share(&before, &containers);
        } else {
            let all = Arc::make_mut(&mut self.containers);
            for (id, _, after) in diff_maps(&before, &containers) {
                if self.engine_ids.contains(id) {
                    self.shared.insert(id.clone());
                }
                match after.filter(|_| !self.shared.contains(id)) {
                    Some(container) => drop(all.insert(id.clone(), Arc::clone(container))),
                    None => drop(all.remove(id)),
                }
            }
        }
    }

    /// Leaves to an engine what it has now.
    fn share(&mut self, before: &ContainerMap, after: &ContainerMap) {
        let others = self.sources.iter().filter(|(_, source)| !source.is_engine);
        let names: Vec<_> = others.map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let all = Arc::make_mut(&mut self.containers);
        for id in self.engine_ids.replace(before, after) {
            for name in &names {
                let id = ContainerId::in_source(name.clone(), id.clone());
                if self.engine_ids.contains(&id) && all.remove(&id).is_some() {
                    self.shared.insert(id);
                }
            }
        }
    }

    /// Shows what was left to engines and is left to none now.
    fn release_shared(&mut self) {
        let all = Arc::make_mut(&mut self.containers);
        let Self { sources, shared, engine_ids, .. } = self;
        shared.retain(|id| {
            let is_left = engine_ids.contains(id);
            let source = sources.get(id.source()).and_then(|source| source.containers.as_ref());
            if let Some(container) = source.and_then(|all| all.get(id)).filter(|_| !is_left) {
                all.insert(id.clone(), Arc::clone(container));
            }
            is_left
        });
    }

    /// Whether handlers get the event. An engine reports those of its containers by itself.
    pub fn admits_event(&mut self, event: &ContainerEvent) -> bool {
        let source = self.sources.get(event.id.source());
        if source.is_none_or(|source| source.is_engine) {
            return true;
        }
        let is_shared = self.engine_ids.contains(&event.id) || self.shared.contains(&event.id);
        if event.action == "destroy" {
            self.shared.remove(&event.id);
        }
        !is_shared
    }

    pub fn set_stopping(&mut self, source: &SourceName, ids: Arc<BTreeSet<ContainerId>>) {
        if let Some(source) = self.sources.get_mut(source) {
            source.stopping = ids;
        }
    }

    pub fn set_answering(&mut self, source: &SourceName, is_answering: bool) {
        if let Some(source) = self.sources.get_mut(source) {
            source.is_answering = is_answering;
        }
    }

    /// Handles the passing of time. Returns the sources whose containers were removed now, with their number.
    pub fn forget_silent(&mut self, now: Instant) -> Vec<(SourceName, usize)> {
        let mut forgotten = Vec::new();
        for (name, source) in &mut self.sources {
            if source.silence.update(source.is_answering, now) == SourceContainers::Forget {
                let count = source.containers.as_ref().map_or(0, |containers| containers.len());
                forgotten.push((name.clone(), count));
            }
        }
        for (name, _) in &forgotten {
            self.replace(name, Arc::default());
        }
        if !forgotten.is_empty() {
            self.release_shared();
        }
        forgotten
    }

    /// Whether handlers can have the containers: all sources have answered, or the others were waited for. Stays true.
    pub fn complete(&mut self, now: Instant) -> bool {
        self.is_complete |= self.sources.values().all(|source| source.known_by == KnownBy::Answer)
            || self.is_any_known() && self.complete_at() <= now;
        self.is_complete
    }

    /// When to call [`Self::complete`] and [`Self::forget_silent`] again, if nothing arrives before.
    pub fn wake_at(&self) -> Option<Instant> {
        let is_waiting = !self.is_complete && self.is_any_known();
        let forget_at = self.sources.values().filter_map(|source| source.silence.forget_at());
        forget_at.chain(is_waiting.then(|| self.complete_at())).min()
    }

    fn is_any_known(&self) -> bool {
        self.sources.values().any(|source| source.known_by != KnownBy::Nothing)
    }

    fn complete_at(&self) -> Instant {
        let is_stored = self.sources.values().all(|source| source.containers.is_some());
        self.started_at + first_answers_timeout(is_stored)
    }
}

#[cfg(test)]
mod tests {
    use super::{Roster, RosterSource};
    use crate::{
        model::{container::ContainerId, source_name::SourceName},
        sources::{ContainerEvent, ContainerMap, Description},
    };
    use std::{
        collections::BTreeMap,
        sync::Arc,
        time::{Duration, Instant},
    };

    fn engine(name: &str) -> SourceName {
        name.parse().unwrap()
    }

    /// Containers of an engine: all engines have the same ids.
    fn containers(engine: &SourceName, names: &str) -> ContainerMap {
        let container = |name: &str| {
            let id = ContainerId::in_source(engine.clone(), name.repeat(64));
            let (name, json) = (name.to_owned(), "{}".into());
            (id.clone(), Arc::new(Description { id, name, json }))
        };
        names.split_whitespace().map(container).collect()
    }

    /// A step is `ENGINE=CONTAINERS` for what an engine sends, `ENGINE~CONTAINERS` for what is stored of it, `ENGINE-` for
    /// one that stops answering, `ACTION:ID@SOURCE` for an event, or a number of seconds that pass. `b` is forgotten after
    /// 5 s, and `r` is no engine. Returns the containers that handlers have after each step, `?` while they have none; of
    /// an event, whether they get it.
    fn run_steps(steps: &str) -> String {
        let start = Instant::now();
        let source = |name: &str, is_engine, forget: Option<u64>| RosterSource {
            name: engine(name),
            is_engine,
            forget: forget.map(Duration::from_secs),
        };
        let engines = [source("a", true, None), source("b", true, Some(5))];
        let others = [source("r", false, None)].into_iter().filter(|_| steps.contains("r="));
        let mut roster = Roster::new(engines.into_iter().chain(others), start);
        let mut passed = Duration::ZERO;
        let mut seen = Vec::new();
        roster.forget_silent(start);
        for step in steps.split(", ") {
            if let Some((action, of)) = step.split_once(':') {
                let (id, name) = of.split_once('@').unwrap();
                let event = ContainerEvent {
                    id: ContainerId::in_source(engine(name), id.repeat(64)),
                    name: id.to_owned(),
                    action: action.to_owned(),
                    time_nano: 0,
                    attributes: BTreeMap::new(),
                    description: None,
                };
                seen.push(roster.admits_event(&event).to_string());
                continue;
            }
            if let Some((name, sent)) = step.split_once('=') {
                let name = engine(name);
                roster.take_over(&name, Arc::new(containers(&name, sent)));
                roster.set_answering(&name, true);
            } else if let Some((name, stored)) = step.split_once('~') {
                roster.restore(&engine(name), containers(&engine(name), stored));
            } else if let Some(name) = step.strip_suffix('-') {
                roster.set_answering(&engine(name), false);
            } else {
                passed += Duration::from_secs(step.parse().unwrap());
            }
            let now = start + passed;
            roster.forget_silent(now);
            let all = roster
                .containers()
                .keys()
                .map(|id| format!("{}{}", &id.as_str()[..1], id.source()));
            let all = all.collect::<Vec<_>>().join(" ");
            seen.push(if roster.complete(now) { all } else { "?".to_owned() });
        }
        seen.join(", ")
    }

    #[test]
    fn handlers_have_the_containers_of_all_engines_that_answered_or_are_stored() {
        for (steps, expected) in [
            ("a=x, b=x y", "?, xa xb yb"),
            ("a=x, b=x y, a=y, b=", "?, xa xb yb, ya xb yb, ya"),
            // The other engine is waited for.
            ("b=x, 9, 1, a=y", "?, ?, xb, ya xb"),
            ("a=x, 4, 1, b=y", "?, ?, xa, xa yb"),
            ("b~x, 1, a=y, 1", "?, ?, ?, ya xb"),
            // Nothing is known of any engine.
            ("9, 9", "?, ?"),
            // Silent is not gone, until it is forgotten.
            ("a=x, b=y, a-, 99", "?, xa yb, xa yb, xa yb"),
            ("a=x, b=y, b-, 4, 1, 9, b=y", "?, xa yb, xa yb, xa yb, xa, xa, xa yb"),
            ("b~y, a=x, 2, 3", "?, ?, xa yb, xa"),
        ] {
            assert_eq!(run_steps(steps), expected, "{steps}");
        }
    }

    #[test]
    fn container_of_an_engine_and_another_source_is_the_engines() {
        for (steps, expected) in [
            ("r=x y, b=x, a=", "?, ?, xb yr"),
            ("b=x, a=, r=x y", "?, ?, xb yr"),
            // The engine knows its end first.
            ("b=x, a=, r=x, b=, die:x@r, r=, destroy:x@r", "?, ?, xb, , false, , false"),
            ("b=x, a=, r=x, start:x@r, start:x@b, start:y@r", "?, ?, xb, false, true, true"),
            // An id is not used again, but the registry may have it again.
            ("b=, a=, r=x, r=, destroy:x@r, r=x", "?, ?, xr, , true, xr"),
            ("b=x, a=, r=x, r=, destroy:x@r, b=, r=x", "?, ?, xb, xb, false, , xr"),
            // Two engines have it.
            ("a=x, b=x, r=x, a=", "?, ?, xa xb, xb"),
            // A forgotten engine has nothing.
            ("b=x, a=, r=x, b-, 5", "?, ?, xb, xb, xr"),
        ] {
            assert_eq!(run_steps(steps), expected, "{steps}");
        }
    }

    #[test]
    fn task_of_a_swarm_is_left_to_its_engine() {
        let [here, swarm] = ["here", "swarm"].map(engine);
        let source = |name: &SourceName| RosterSource {
            name: name.clone(),
            is_engine: *name == here,
            forget: None,
        };
        let describe = |source: &SourceName, id: &str, json: &str| {
            let id = ContainerId::in_source(source.clone(), id);
            let (name, json) = ("web".to_owned(), json.into());
            Arc::new(ContainerMap::from([(id.clone(), Arc::new(Description { id, name, json }))]))
        };
        let label = r#"{"Config":{"Labels":{"com.docker.swarm.task.id":"t1"}}}"#;
        let mut roster = Roster::new([source(&here), source(&swarm)], Instant::now());
        roster.take_over(&swarm, describe(&swarm, "t1", "{}"));
        assert_eq!(roster.containers().len(), 1);
        roster.take_over(&here, describe(&here, "c1", label));
        let ids: Vec<_> = roster.containers().keys().map(ToString::to_string).collect();
        assert_eq!(ids, ["c1.here"]);
    }

    #[test]
    fn containers_of_the_only_engine_are_not_copied() {
        let only = SourceName::NONE;
        let source = RosterSource { name: only.clone(), is_engine: true, forget: None };
        let mut roster = Roster::new([source], Instant::now());
        let containers = Arc::new(containers(&only, "x"));
        roster.take_over(&only, Arc::clone(&containers));
        assert!(Arc::ptr_eq(roster.containers(), &containers));
    }
}
