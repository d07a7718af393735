//! The applied generations, and the routes that were served after each.
//!
//! Pure. A generation keeps only the routes that it changed, as they were before and after, and shares them with the
//! served routes. So a change costs the same for 10 routes and for 10,000. The routes of an earlier generation are
//! found by undoing the later changes.

use super::{
    ApplyMethod,
    certificate_history::{CertificateChangeStatus, CertificateDelta},
    status::{ChangeStatus, HowStatus, LastApply},
};
use crate::{
    model::route::{Route, RouteKey, Routes},
    routing::route_diff::{self, RouteChange},
    support::map_diff::diff_maps,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

/// How many generations are kept.
pub const MAX_GENERATIONS: usize = 1000;
/// How many changed routes, counted with their servers, are kept in all generations together; the last generation is
/// always kept. The limit exists because one more container in a route of a thousand servers changes a thousand lines.
pub const MAX_LINES: usize = 50_000;
/// How many changes of one generation are reported.
const MAX_CHANGES_SHOWN: usize = 100;

/// The last generations. Their numbers are consecutive and never reused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    generations: VecDeque<Arc<GenerationRecord>>,
    /// The last number that was assigned; 0 before the first.
    last_number: u64,
    /// Routes, with their servers, in all deltas.
    lines: usize,
}

/// A pass that changed what is served, or the certificate of a host, or that started or reloaded HAProxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRecord {
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The event and the container that caused it: `start web`.
    pub cause: String,
    pub how: ApplyMethod,
    pub duration: Duration,
    pub delta: RouteDelta,
    /// The changes of certificates. A rollback does not revert them.
    pub certificates: CertificateDelta,
}

/// The routes that differ, with their state before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteDelta(pub BTreeMap<RouteKey, BeforeAfter>);

/// `None` if the route does not exist.
pub type BeforeAfter = (Option<Arc<Route>>, Option<Arc<Route>>);

/// A generation that is not, or no longer, in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryError {
    pub requested: u64,
    /// The first and the last number that exist.
    pub available: Option<(u64, u64)>,
}

/// One generation, in the JSON of `GET /history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStatus {
    pub generation: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The event and the container that caused it: `start web`.
    pub cause: String,
    pub how: HowStatus,
    /// Why HAProxy was reloaded, if it was.
    pub why: Option<String>,
    /// Number of commands over the runtime API.
    pub commands: usize,
    /// Microseconds.
    pub took_us: u64,
    /// [`Self::changed`] as lines for people.
    pub changes: Vec<String>,
    /// The first hundred changes; absent in the answer of an earlier docker-balancer.
    #[serde(default)]
    pub changed: Vec<ChangeStatus>,
    /// Number of further changed routes.
    pub more: usize,
    /// The first hundred hosts whose certificates changed; absent in the answer of an earlier docker-balancer.
    #[serde(default)]
    pub certificates: Vec<CertificateChangeStatus>,
    /// Number of further hosts whose certificates changed.
    #[serde(default)]
    pub more_certificates: usize,
}

impl History {
    /// Continues after the last number that was assigned.
    pub fn starting_after(last: u64) -> Self {
        Self { last_number: last, ..Self::default() }
    }

    pub fn generations(&self) -> impl DoubleEndedIterator<Item = &Arc<GenerationRecord>> {
        self.generations.iter()
    }

    /// The last number that was assigned; 0 before the first.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Makes sure that no number up to this one is assigned again.
    pub fn skip_to(&mut self, number: u64) {
        self.last_number = self.last_number.max(number);
    }

    /// Adds a generation, whose number must be higher than the last. Returns the generations that are dropped to stay
    /// within the limits, the oldest first.
    pub fn push_generation(
        &mut self,
        generation: Arc<GenerationRecord>,
    ) -> Vec<Arc<GenerationRecord>> {
        self.last_number = generation.number;
        self.lines += generation.count_lines();
        self.generations.push_back(generation);
        let mut dropped = Vec::new();
        while 1 < self.generations.len()
            && (MAX_GENERATIONS < self.generations.len() || MAX_LINES < self.lines)
        {
            let Some(oldest) = self.generations.pop_front() else { break };
            self.lines -= oldest.count_lines();
            dropped.push(oldest);
        }
        dropped
    }

    /// Returns the routes that were served after a generation; `now` are those that are served after the last one.
    pub fn routes_after(&self, number: u64, now: &Routes) -> Result<Routes, HistoryError> {
        if !self.generations.iter().any(|files| files.number == number) {
            let available = self.generations.front().zip(self.generations.back());
            let available = available.map(|(first, last)| (first.number, last.number));
            return Err(HistoryError { requested: number, available });
        }
        let mut routes = now.clone();
        for later in self.generations.iter().rev().take_while(|files| number < files.number) {
            later.delta.revert_from(&mut routes);
        }
        Ok(routes)
    }

    /// Returns all generations as JSON values, the oldest first.
    pub fn to_statuses(&self) -> Vec<GenerationStatus> {
        self.generations.iter().map(|files| GenerationStatus::from(files.as_ref())).collect()
    }
}

impl GenerationRecord {
    /// Returns about as many lines as it takes to store it.
    fn count_lines(&self) -> usize {
        self.delta.count_lines() + self.certificates.0.len()
    }
}

impl RouteDelta {
    pub fn from_routes(before: &Routes, after: &Routes) -> Self {
        let both = |(key, before, after): route_diff::RouteDifference<'_>| {
            (key.clone(), (before.cloned(), after.cloned()))
        };
        Self(diff_maps(&before.0, &after.0).map(both).collect())
    }

    /// Returns about as many lines as it takes to store it: one for each route, and one for each server that it has
    /// afterwards.
    fn count_lines(&self) -> usize {
        let servers =
            |route: &Option<Arc<Route>>| route.as_ref().map_or(0, |route| route.endpoints.len());
        self.0.values().map(|(_, after)| 1 + servers(after)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes the routes from the state before to the state after.
    pub fn apply_to(&self, routes: &mut Routes) {
        for (key, (_, after)) in &self.0 {
            set_route(routes, key, after.as_ref());
        }
    }

    /// Changes the routes from the state after back to the state before.
    pub fn revert_from(&self, routes: &mut Routes) {
        for (key, (before, _)) in &self.0 {
            set_route(routes, key, before.as_ref());
        }
    }

    /// Describes the first `limit` changes.
    pub fn describe_changes(&self, limit: usize) -> Vec<RouteChange> {
        let different =
            self.0.iter().map(|(key, (before, after))| (key, before.as_ref(), after.as_ref()));
        route_diff::describe_differences(different.take(limit))
    }
}

fn set_route(routes: &mut Routes, key: &RouteKey, route: Option<&Arc<Route>>) {
    match route {
        Some(route) => drop(routes.0.insert(key.clone(), Arc::clone(route))),
        None => drop(routes.0.remove(key)),
    }
}

impl From<&GenerationRecord> for GenerationStatus {
    fn from(generation: &GenerationRecord) -> Self {
        let GenerationRecord { number, at_ms, cause, how, duration: took, delta, certificates } =
            generation;
        let (how, why, commands) = how.to_parts();
        let changed: Vec<_> =
            delta.describe_changes(MAX_CHANGES_SHOWN).iter().map(ChangeStatus::from).collect();
        Self {
            generation: *number,
            at_ms: *at_ms,
            cause: cause.clone(),
            how,
            why,
            commands,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            changes: changed.iter().map(ToString::to_string).collect(),
            changed,
            more: delta.0.len().saturating_sub(MAX_CHANGES_SHOWN),
            certificates: certificates.describe_changes(MAX_CHANGES_SHOWN),
            more_certificates: certificates.0.len().saturating_sub(MAX_CHANGES_SHOWN),
        }
    }
}

impl From<&GenerationRecord> for LastApply {
    fn from(generation: &GenerationRecord) -> Self {
        let status = GenerationStatus::from(generation);
        let GenerationStatus {
            at_ms, cause, how, why, commands, took_us, changes, changed, ..
        } = status;
        Self { at_ms, cause, how, why, commands, took_us, changes, changed }
    }
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, available: kept } = self;
        write!(f, "no generation {requested} in the history")?;
        match kept {
            Some((first, last)) if first == last => write!(f, "; it has only {last}"),
            Some((first, last)) => write!(f, "; it has {first} to {last}"),
            None => f.write_str(", which is empty"),
        }
    }
}
