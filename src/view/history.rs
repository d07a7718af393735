//! What was applied, one generation after the other, and what was served after each.
//!
//! Pure. A generation keeps only the routes that it changed, as they were before and after; those it
//! shares with what is served. So a change costs the same at 10 routes and at 10,000, and what was served at
//! any time is found by undoing what came later.

use super::{
    How,
    status::{HowStatus, LastApply},
};
use crate::{
    change::{self, Change},
    route::{Route, RouteKey, Routes},
    side_by_side::differences,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

/// So many generations are kept.
pub const MOST: usize = 1000;
/// And so many changed routes, with their servers, in all of them, but always the last one: one container more in a
/// route of a thousand changes a thousand lines.
pub const MOST_LINES: usize = 50_000;
/// Of one generation's changes so many are told.
const MOST_TOLD: usize = 100;

/// The last generations, with numbers that follow on each other and are given once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    generations: VecDeque<Arc<Generation>>,
    /// The last number that was given; 0 before the first.
    last: u64,
    /// Routes, with their servers, in all deltas.
    lines: usize,
}

/// A pass that changed what is served, or that started or reloaded HAProxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The event and the container that it answers: `start web`.
    pub cause: String,
    pub how: How,
    pub took: Duration,
    pub delta: Delta,
}

/// The routes that are different, from what to what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta(pub BTreeMap<RouteKey, BeforeAfter>);

/// `None` where there is no such route.
pub type BeforeAfter = (Option<Arc<Route>>, Option<Arc<Route>>);

/// A number that is not, or no longer, in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotKept {
    pub wanted: u64,
    /// The first and the last there are.
    pub kept: Option<(u64, u64)>,
}

/// One generation, in the JSON of `GET /history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    pub generation: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The event and the container that it answers: `start web`.
    pub cause: String,
    pub how: HowStatus,
    /// Why HAProxy was reloaded, where it was.
    pub why: Option<String>,
    /// Over the runtime API.
    pub commands: usize,
    /// Microseconds.
    pub took_us: u64,
    /// In words of routes, the first hundred.
    pub changes: Vec<String>,
    /// Routes that changed besides.
    pub more: usize,
}

impl History {
    /// Goes on after a number that was given before.
    pub fn after_number(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    pub fn generations(&self) -> impl DoubleEndedIterator<Item = &Arc<Generation>> {
        self.generations.iter()
    }

    /// The last number that was given; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// No number up to this one is given any more.
    pub fn skip_to(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// Takes note of one whose number is higher than the last. Gives back those that there is no room for
    /// any more, the oldest first.
    pub fn add(&mut self, generation: Arc<Generation>) -> Vec<Arc<Generation>> {
        self.last = generation.number;
        self.lines += generation.delta.lines();
        self.generations.push_back(generation);
        let mut dropped = Vec::new();
        while 1 < self.generations.len()
            && (MOST < self.generations.len() || MOST_LINES < self.lines)
        {
            let Some(oldest) = self.generations.pop_front() else { break };
            self.lines -= oldest.delta.lines();
            dropped.push(oldest);
        }
        dropped
    }

    /// What was served after a generation, where `now` is served after the last.
    pub fn served_after(&self, number: u64, now: &Routes) -> Result<Routes, NotKept> {
        if !self.generations.iter().any(|it| it.number == number) {
            let kept = self.generations.front().zip(self.generations.back());
            let kept = kept.map(|(first, last)| (first.number, last.number));
            return Err(NotKept { wanted: number, kept });
        }
        let mut routes = now.clone();
        for later in self.generations.iter().rev().take_while(|it| number < it.number) {
            later.delta.undo(&mut routes);
        }
        Ok(routes)
    }

    /// All of them in words, the oldest first.
    pub fn told(&self) -> Vec<GenerationStatus> {
        self.generations.iter().map(|it| GenerationStatus::from(it.as_ref())).collect()
    }
}

impl Delta {
    pub fn between(before: &Routes, after: &Routes) -> Self {
        let both = |(key, before, after): change::Difference<'_>| {
            (key.clone(), (before.cloned(), after.cloned()))
        };
        Self(differences(&before.0, &after.0).map(both).collect())
    }

    /// About as many as it takes to write it: each route, and each of the servers that it has then.
    fn lines(&self) -> usize {
        let servers =
            |route: &Option<Arc<Route>>| route.as_ref().map_or(0, |it| it.endpoints.len());
        self.0.values().map(|(_, after)| 1 + servers(after)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From before it to after it.
    pub fn redo(&self, routes: &mut Routes) {
        for (key, (_, after)) in &self.0 {
            put(routes, key, after.as_ref());
        }
    }

    /// From after it to before it.
    pub fn undo(&self, routes: &mut Routes) {
        for (key, (before, _)) in &self.0 {
            put(routes, key, before.as_ref());
        }
    }

    /// The first so many in words.
    pub fn changes(&self, most: usize) -> Vec<Change> {
        let different =
            self.0.iter().map(|(key, (before, after))| (key, before.as_ref(), after.as_ref()));
        change::of_differences(different.take(most))
    }
}

fn put(routes: &mut Routes, key: &RouteKey, route: Option<&Arc<Route>>) {
    match route {
        Some(route) => drop(routes.0.insert(key.clone(), Arc::clone(route))),
        None => drop(routes.0.remove(key)),
    }
}

impl From<&Generation> for GenerationStatus {
    fn from(generation: &Generation) -> Self {
        let Generation { number, at_ms, cause, how, took, delta } = generation;
        let (how, why, commands) = how.told();
        Self {
            generation: *number,
            at_ms: *at_ms,
            cause: cause.clone(),
            how,
            why,
            commands,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            changes: delta.changes(MOST_TOLD).iter().map(ToString::to_string).collect(),
            more: delta.0.len().saturating_sub(MOST_TOLD),
        }
    }
}

impl From<&Generation> for LastApply {
    fn from(generation: &Generation) -> Self {
        let it = GenerationStatus::from(generation);
        let GenerationStatus { at_ms, cause, how, why, commands, took_us, changes, .. } = it;
        Self { at_ms, cause, how, why, commands, took_us, changes }
    }
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, kept } = self;
        write!(f, "there is no generation {wanted}")?;
        match kept {
            Some((first, last)) if first == last => write!(f, "; there is {last} alone"),
            Some((first, last)) => write!(f, "; history has {first} to {last}"),
            None => f.write_str(", nor any other yet"),
        }
    }
}
