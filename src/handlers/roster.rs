//! The containers of all engines, as handlers see them.
//!
//! Pure: what the engines send comes in, one map of containers comes out. An engine that does not answer keeps its
//! containers.

use crate::{
    model::{container::ContainerId, source_name::SourceName},
    sources::{ContainerMap, Silence, SourceContainers, first_answers_timeout},
    support::map_diff::replace_part,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// The containers of all engines.
#[derive(Debug)]
pub struct Roster {
    engines: BTreeMap<SourceName, EngineRoster>,
    containers: Arc<ContainerMap>,
    started_at: Instant,
    /// Whether handlers have the containers.
    is_complete: bool,
}

/// The containers of one engine.
#[derive(Debug)]
struct EngineRoster {
    /// `None`: it has not answered yet, and nothing was stored.
    containers: Option<Arc<ContainerMap>>,
    has_answered: bool,
    /// Whether it has answered, or is stored.
    is_known: bool,
    stopping: Arc<BTreeSet<ContainerId>>,
    is_answering: bool,
    silence: Silence,
}

impl Roster {
    /// Makes a roster of engines, with how long the containers of each are kept while it does not answer.
    pub fn new(
        engines: impl IntoIterator<Item = (SourceName, Option<Duration>)>,
        now: Instant,
    ) -> Self {
        let engine = |(name, forget)| {
            let engine = EngineRoster {
                containers: None,
                has_answered: false,
                is_known: false,
                stopping: Arc::default(),
                is_answering: false,
                silence: Silence::new(forget),
            };
            (name, engine)
        };
        let engines = engines.into_iter().map(engine).collect();
        Self { engines, containers: Arc::default(), started_at: now, is_complete: false }
    }

    /// Returns all containers.
    pub fn containers(&self) -> &Arc<ContainerMap> {
        &self.containers
    }

    /// Returns the containers of one engine, once it has answered.
    pub fn answered(&self, engine: &SourceName) -> Option<&Arc<ContainerMap>> {
        let engine = self.engines.get(engine).filter(|engine| engine.has_answered)?;
        engine.containers.as_ref()
    }

    /// Returns the containers of all engines that have received their stop signal or have ended.
    pub fn stopping(&self) -> Arc<BTreeSet<ContainerId>> {
        let mut all = self.engines.values().map(|engine| &engine.stopping);
        match (all.next(), self.engines.len()) {
            (Some(only), 1) => Arc::clone(only),
            _ => Arc::new(
                self.engines.values().flat_map(|engine| engine.stopping.iter().cloned()).collect(),
            ),
        }
    }

    /// Takes over what is stored of an engine.
    pub fn restore(&mut self, engine: &SourceName, containers: ContainerMap) {
        self.replace(engine, Arc::new(containers));
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.is_known = true;
        }
    }

    /// Takes over what an engine has sent.
    pub fn take_over(&mut self, engine: &SourceName, containers: Arc<ContainerMap>) {
        self.replace(engine, containers);
        if let Some(engine) = self.engines.get_mut(engine) {
            (engine.has_answered, engine.is_known) = (true, true);
        }
    }

    fn replace(&mut self, name: &SourceName, containers: Arc<ContainerMap>) {
        let is_only = self.engines.len() == 1;
        let Some(engine) = self.engines.get_mut(name) else { return };
        let before = engine.containers.replace(Arc::clone(&containers)).unwrap_or_default();
        if is_only {
            self.containers = containers;
        } else {
            replace_part(Arc::make_mut(&mut self.containers), &before, &containers);
        }
    }

    pub fn set_stopping(&mut self, engine: &SourceName, ids: Arc<BTreeSet<ContainerId>>) {
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.stopping = ids;
        }
    }

    pub fn set_answering(&mut self, engine: &SourceName, is_answering: bool) {
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.is_answering = is_answering;
        }
    }

    /// Handles the passing of time. Returns the engines whose containers were removed now, with their number.
    pub fn forget_silent(&mut self, now: Instant) -> Vec<(SourceName, usize)> {
        let mut forgotten = Vec::new();
        for (name, engine) in &mut self.engines {
            if engine.silence.update(engine.is_answering, now) == SourceContainers::Forget {
                let count = engine.containers.as_ref().map_or(0, |containers| containers.len());
                forgotten.push((name.clone(), count));
            }
        }
        for (name, _) in &forgotten {
            self.replace(name, Arc::default());
        }
        forgotten
    }

    /// Whether handlers can have the containers: all engines have answered, or the others were waited for. Stays true.
    pub fn complete(&mut self, now: Instant) -> bool {
        self.is_complete |= self.engines.values().all(|engine| engine.has_answered)
            || self.engines.values().any(|engine| engine.is_known) && self.complete_at() <= now;
        self.is_complete
    }

    /// When to call [`Self::complete`] and [`Self::forget_silent`] again, if nothing arrives before.
    pub fn wake_at(&self) -> Option<Instant> {
        let is_waiting = !self.is_complete && self.engines.values().any(|engine| engine.is_known);
        let forget_at = self.engines.values().filter_map(|engine| engine.silence.forget_at());
        forget_at.chain(is_waiting.then(|| self.complete_at())).min()
    }

    fn complete_at(&self) -> Instant {
        let is_stored = self.engines.values().all(|engine| engine.containers.is_some());
        self.started_at + first_answers_timeout(is_stored)
    }
}

#[cfg(test)]
mod tests {
    use super::Roster;
    use crate::{
        model::{container::ContainerId, source_name::SourceName},
        sources::{ContainerMap, Description},
    };
    use std::{
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
    /// one that stops answering, or a number of seconds that pass. `b` is forgotten after 5 s. Returns the containers
    /// that handlers have after each step; `?` while they have none.
    fn run_steps(steps: &str) -> String {
        let start = Instant::now();
        let engines = [(engine("a"), None), (engine("b"), Some(Duration::from_secs(5)))];
        let mut roster = Roster::new(engines, start);
        let mut passed = Duration::ZERO;
        let mut seen = Vec::new();
        roster.forget_silent(start);
        for step in steps.split(", ") {
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
    fn containers_of_the_only_engine_are_not_copied() {
        let only = SourceName::NONE;
        let mut roster = Roster::new([(only.clone(), None)], Instant::now());
        let containers = Arc::new(containers(&only, "x"));
        roster.take_over(&only, Arc::clone(&containers));
        assert!(Arc::ptr_eq(roster.containers(), &containers));
    }
}
