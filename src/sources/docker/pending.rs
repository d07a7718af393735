//! Events that the engine's lists may not show yet.
//!
//! Pure. A stop signal and a death apply at once, and for a while even against lists that still show a running
//! container. In all other cases the lists decide; they are requested again, a few times at most, until they show what
//! the event reported.

use super::signal;
use crate::{
    model::container::{Container, ContainerId, ContainerState, Health, NetworkMode, StopConfig},
    sources::EventCause,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The engine reports a pause, a death or a network before its lists show it (it writes a file in between). If a list
/// does not show it, the list is requested again after these delays: the first after the event, each other after the
/// previous request.
const RECHECK_DELAYS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
/// How long a death applies against lists that say otherwise. On a machine under load, the lists of an engine still
/// showed a container as running 26 s after it had reported the death.
pub(crate) const DEAD_TTL: Duration = Duration::from_mins(1);
/// The same after a new connection: events may be missing, such as that of a later start.
const DEAD_TTL_AFTER_CONNECT: Duration = Duration::from_secs(5);
/// The engine's default timeout between the stop signal and SIGKILL, in seconds.
const DEFAULT_STOP_TIMEOUT: i64 = 10;
/// How much longer than its stop timeout a container may run before it no longer counts as stopping.
const STOP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct PendingEvents {
    /// Until when a death applies.
    died: BTreeMap<ContainerId, Instant>,
    /// Until when a stop signal applies; `None` is forever.
    stopping: BTreeMap<ContainerId, Option<Instant>>,
    /// Start times from events, until they are merged into an answer.
    started: BTreeMap<ContainerId, i64>,
    checks: BTreeMap<ContainerId, PendingCheck>,
}

/// A container that is requested again unless an answer shows what the event reported.
#[derive(Debug)]
struct PendingCheck {
    expected: ExpectedState,
    at: Instant,
    /// How often it was requested again so far.
    attempts: usize,
    cause: Option<EventCause>,
}

/// State that an answer shows if it is not older than the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedState {
    /// It runs, and has an address if it can have its own.
    Running,
    Paused,
    Down,
    Gone,
    Health(Health),
    /// No answer can show it.
    Unobservable,
}

/// What is due because time has passed.
#[derive(Debug, Default)]
pub(crate) struct ExpiredEvents {
    /// Containers that received their stop signal and still run.
    pub(crate) still_running: Vec<ContainerId>,
    pub(crate) to_recheck: BTreeSet<ContainerId>,
    pub(crate) cause: Option<EventCause>,
}

impl PendingEvents {
    /// Handles a signal to the container. Returns whether it is one that stops it.
    pub(crate) fn on_signal(
        &mut self,
        id: &ContainerId,
        stop_config: Option<&StopConfig>,
        signal: Option<i32>,
        now: Instant,
    ) -> bool {
        let is_stop = signal.is_some_and(|signal| is_stop_signal(stop_config, signal));
        if is_stop {
            self.stopping.insert(id.clone(), stop_deadline(stop_config, now));
        }
        is_stop
    }

    /// Handles the death of a container: it counts as not running, even against lists, for a while.
    pub(crate) fn on_die(&mut self, id: &ContainerId, now: Instant) {
        self.stopping.remove(id);
        self.died.insert(id.clone(), now + DEAD_TTL);
    }

    /// Handles a new connection to the engine.
    pub(crate) fn on_connect(&mut self, now: Instant) {
        for until in self.died.values_mut() {
            *until = (*until).min(now + DEAD_TTL_AFTER_CONNECT);
        }
    }

    /// Handles the start of a container. `time` is by the engine's clock, in nanoseconds.
    pub(crate) fn on_start(&mut self, id: &ContainerId, time: i64) {
        self.stopping.remove(id);
        self.died.remove(id);
        self.started.insert(id.clone(), time);
    }

    /// Takes the time of a start that was reported by an event and not taken yet.
    pub(crate) fn take_start(&mut self, id: &ContainerId) -> Option<i64> {
        self.started.remove(id)
    }

    /// Expects an answer that shows the state after this event.
    pub(crate) fn expect_state(&mut self, id: ContainerId, cause: EventCause, now: Instant) {
        let (expected, at) = (ExpectedState::from_action(&cause.action), now + RECHECK_DELAYS[0]);
        self.checks.insert(id, PendingCheck { expected, at, attempts: 0, cause: Some(cause) });
    }

    /// Starts to follow the events of a container. An earlier answer may lack an event that was ignored until now.
    pub(crate) fn track_from_now(
        &mut self,
        id: &ContainerId,
        cause: Option<&EventCause>,
        now: Instant,
    ) {
        let (expected, at, cause) =
            (ExpectedState::Unobservable, now + RECHECK_DELAYS[0], cause.cloned());
        self.checks.entry(id.clone()).or_insert(PendingCheck { expected, at, attempts: 0, cause });
    }

    /// Returns the containers for which an answer is expected.
    pub(crate) fn pending_ids(&self) -> BTreeSet<ContainerId> {
        self.checks.keys().cloned().collect()
    }

    /// Whether an event reported a start that no answer has shown yet.
    pub(crate) fn is_start_pending(&self, id: &ContainerId) -> bool {
        self.checks.get(id).is_some_and(|check| check.expected == ExpectedState::Running)
    }

    /// Handles an answer to a request that was sent after all events of the container.
    pub(crate) fn on_response(&mut self, id: &ContainerId, listed: Option<&Container>) {
        if listed.is_none() {
            self.started.remove(id);
        }
        if listed.is_none()
            || self.checks.get(id).is_some_and(|check| check.expected.is_confirmed_by(listed))
        {
            self.checks.remove(id);
        }
        if listed.is_none_or(|container| !container.is_up()) {
            self.died.remove(id);
            self.stopping.remove(id);
        }
    }

    /// Removes the stop signals of containers that do not run according to a full list.
    pub(crate) fn clear_stops(&mut self, are_down: impl Fn(&ContainerId) -> bool) {
        self.stopping.retain(|id, _| !are_down(id));
    }

    /// Applies the events to a container from a list.
    pub(crate) fn apply_to(&self, container: &mut Container) {
        if self.died.contains_key(&container.id) && container.is_up() {
            container.state = ContainerState::Exited;
        }
        container.stopping = container.is_up() && self.stopping.contains_key(&container.id);
    }

    pub(crate) fn take_expired(&mut self, now: Instant) -> ExpiredEvents {
        let mut expired = ExpiredEvents::default();
        self.stopping.retain(|id, until| {
            let is_expired = until.is_some_and(|until| until <= now);
            expired.still_running.extend(is_expired.then(|| id.clone()));
            !is_expired
        });
        self.died.retain(|id, until| {
            let is_expired = *until <= now;
            expired.to_recheck.extend(is_expired.then(|| id.clone()));
            !is_expired
        });
        for (id, check) in self.checks.iter_mut().filter(|(_, check)| check.at <= now) {
            expired.to_recheck.insert(id.clone());
            expired.cause = expired.cause.or_else(|| check.cause.clone());
            check.attempts += 1;
            check.at = now + RECHECK_DELAYS.get(check.attempts).copied().unwrap_or_default();
        }
        self.checks.retain(|_, check| check.attempts < RECHECK_DELAYS.len());
        expired
    }

    /// When the next deadline expires, if nothing arrives before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let check_times = self.checks.values().map(|check| &check.at);
        self.stopping.values().flatten().chain(self.died.values()).chain(check_times).min().copied()
    }
}

impl ExpectedState {
    fn from_action(action: &str) -> Self {
        match action {
            "start" | "unpause" => Self::Running,
            "pause" => Self::Paused,
            "die" | "stop" => Self::Down,
            "destroy" => Self::Gone,
            "health_status: starting" => Self::Health(Health::Starting),
            "health_status: healthy" => Self::Health(Health::Healthy),
            "health_status: unhealthy" => Self::Health(Health::Unhealthy),
            _ => Self::Unobservable,
        }
    }

    fn is_confirmed_by(self, listed: Option<&Container>) -> bool {
        let Some(container) = listed else { return matches!(self, Self::Down | Self::Gone) };
        match self {
            Self::Running => container.state == ContainerState::Running && has_address(container),
            Self::Paused => container.state == ContainerState::Paused,
            Self::Down => !container.is_up(),
            Self::Health(health) => container.health == health,
            Self::Gone | Self::Unobservable => false,
        }
    }
}

fn has_address(container: &Container) -> bool {
    let mut endpoints = container.networks.values();
    container.network_mode != NetworkMode::Own
        || endpoints.any(|endpoint| endpoint.ipv4.is_some() || endpoint.ipv6.is_some())
}

/// Whether `docker stop` may send this signal to the container: its own stop signal, SIGTERM or SIGKILL.
pub(crate) fn is_stop_signal(stop_config: Option<&StopConfig>, signal: i32) -> bool {
    let own = stop_config.and_then(|stop| signal::parse_signal(stop.signal.as_deref()?));
    signal == signal::KILL || signal == signal::TERM || Some(signal) == own
}

/// Returns until when a container may run after its stop signal; `None` is forever. The creator of the container chose
/// the timeout, which may be beyond the range of the clock.
pub(crate) fn stop_deadline(stop_config: Option<&StopConfig>, now: Instant) -> Option<Instant> {
    let seconds = stop_config.and_then(|stop| stop.timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
    let stop_timeout = Duration::from_secs(u64::try_from(seconds).ok()?);
    now.checked_add(stop_timeout.checked_add(STOP_GRACE)?)
}

#[cfg(test)]
mod tests;
