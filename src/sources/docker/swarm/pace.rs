//! When to ask a manager, and for what.
//!
//! Pure. Everything is asked for every 30 s. A service in which something may move is busy: it is asked for every 100 ms,
//! so that a task that is to stop gets no requests for most of the 3 s until its stop signal. A service that stays busy
//! is asked for less often, and a manager that answers slowly, too.

use super::cache::Ids;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How often everything is asked for.
const EVERYTHING_INTERVAL: Duration = Duration::from_secs(30);

/// How often the nodes are asked for, if nothing else is. A manager that hangs is noticed by this.
const NODES_INTERVAL: Duration = Duration::from_secs(3);

/// How often a busy service is asked for, by how long nothing has happened there.
const BUSY_INTERVALS: [(Duration, Duration); 2] = [
    (Duration::from_mins(1), Duration::from_millis(100)),
    (Duration::from_mins(10), Duration::from_secs(1)),
];
const SLOW_INTERVAL: Duration = Duration::from_secs(10);

/// While the manager replaces tasks, their notice of 3 s must not be missed.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// The least pause before the same question, in durations of its last answer: a manager with many tasks spends a fifth
/// of one core at most on them. Events are followed sooner.
const PAUSE_FACTOR: u32 = 5;

/// How long nothing may move before a service is quiet. Between the end of a task and the start of its successor,
/// nothing shows for a moment that one is coming.
const CALM_PERIOD: Duration = Duration::from_secs(2);

/// A question to a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Query {
    Everything,
    /// Of these services.
    Services(Ids),
    Nodes,
}

#[derive(Debug)]
pub(super) struct Pace {
    everything_at: Instant,
    nodes_at: Instant,
    busy: BTreeMap<String, BusyService>,
    /// No question is due before this.
    not_before: Instant,
}

#[derive(Debug)]
struct BusyService {
    /// When something happened there last.
    since: Instant,
    due_at: Instant,
    /// Since when nothing moves there.
    calm_since: Option<Instant>,
}

/// What an answer has shown.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Services in which nothing moves.
    pub(super) settled: Ids,
    /// Services whose tasks the manager replaces.
    pub(super) updating: Ids,
    pub(super) all: Ids,
}

impl Pace {
    /// Everything is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { everything_at: now, nodes_at: now, busy: BTreeMap::new(), not_before: now }
    }

    /// Another manager answers from now on.
    pub(super) fn on_connect(&mut self, now: Instant) {
        (self.everything_at, self.not_before) = (now, now);
    }

    pub(super) fn request_everything(&mut self, now: Instant) {
        self.everything_at = self.everything_at.min(now);
    }

    pub(super) fn request_nodes(&mut self, now: Instant) {
        self.nodes_at = self.nodes_at.min(now);
    }

    /// Something happens in the service, or may happen soon.
    pub(super) fn mark_busy(&mut self, service: &str, now: Instant) {
        let busy = BusyService { since: now, due_at: now, calm_since: None };
        let due_at = self.busy.get(service).map_or(now, |busy| busy.due_at.min(now));
        self.busy.insert(service.to_owned(), BusyService { due_at, ..busy });
    }

    /// Returns the next question, if one is due.
    pub(super) fn next_query(&self, now: Instant) -> Option<Query> {
        if now < self.not_before {
            return None;
        }
        if self.everything_at <= now {
            return Some(Query::Everything);
        }
        let due = self.busy.iter().filter(|(_, service)| service.due_at <= now);
        let due: Ids = due.map(|(id, _)| id.clone()).collect();
        if !due.is_empty() {
            return Some(Query::Services(due));
        }
        (self.nodes_at <= now).then_some(Query::Nodes)
    }

    /// Returns when the next question is due.
    pub(super) fn wake_at(&self) -> Instant {
        let busy = self.busy.values().map(|service| service.due_at);
        let due = busy.chain([self.everything_at, self.nodes_at]).min();
        due.unwrap_or(self.everything_at).max(self.not_before)
    }

    /// Takes over that a question was answered, `took` after it was sent.
    pub(super) fn on_answer(
        &mut self,
        query: &Query,
        took: Duration,
        findings: &Findings,
        now: Instant,
    ) {
        let pause = took * PAUSE_FACTOR;
        self.nodes_at = now + NODES_INTERVAL;
        let answered: Ids = match query {
            Query::Everything => {
                self.everything_at = now + EVERYTHING_INTERVAL;
                // What moves is busy, whatever has caused it.
                for service in findings.all.difference(&findings.settled) {
                    if !self.busy.contains_key(service) {
                        self.mark_busy(service, now);
                    }
                }
                self.busy.retain(|service, _| findings.all.contains(service));
                self.busy.keys().cloned().collect()
            }
            Query::Services(services) => services.clone(),
            Query::Nodes => Ids::new(),
        };
        if *query != Query::Nodes {
            self.not_before = now + took.min(SLOW_INTERVAL);
        }
        for id in &answered {
            self.plan_next(id, pause, findings, now);
        }
    }

    fn plan_next(&mut self, id: &str, pause: Duration, findings: &Findings, now: Instant) {
        let Some(service) = self.busy.get_mut(id) else { return };
        let is_calm = findings.settled.contains(id) || !findings.all.contains(id);
        service.calm_since = is_calm.then(|| service.calm_since.unwrap_or(now));
        if service.calm_since.is_some_and(|since| since + CALM_PERIOD <= now) {
            self.busy.remove(id);
            return;
        }
        let age = now.saturating_duration_since(service.since);
        let by_age = BUSY_INTERVALS.into_iter().find(|(until, _)| age < *until);
        let mut interval = by_age.map_or(SLOW_INTERVAL, |(_, interval)| interval);
        if findings.updating.contains(id) {
            interval = interval.min(UPDATE_INTERVAL);
        }
        service.due_at = now + interval.max(pause);
    }
}

#[cfg(test)]
mod tests;
