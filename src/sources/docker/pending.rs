//! What events said that the engine's lists may not know yet.
//!
//! Pure. A stop signal and a death are believed at once, and against lists for a while, which would still
//! tell of a running container. Of all else the lists decide; they are asked again, a few times at most,
//! until they show what the event said.

use super::signal;
use crate::{
    model::container::{Container, ContainerId, ContainerState, Health, NetworkMode, StopConfig},
    sources::EventCause,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The engine tells of a pause, a death or a network before its lists know (it writes a file in
/// between): so long after an event, and so long after that, a list that did not know is asked again.
const RECHECK_DELAYS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
/// Until then a death is believed against lists that say otherwise.
pub(crate) const DEAD_TTL: Duration = Duration::from_secs(5);
/// The engine's own patience between the stop signal and SIGKILL, in seconds.
const DEFAULT_STOP_TIMEOUT: i64 = 10;
/// How much longer than that a container may live before it counts as not leaving after all.
const STOP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct PendingEvents {
    /// Until when a death is believed.
    died: BTreeMap<ContainerId, Instant>,
    /// Until when a stop signal is believed; `None` is for ever.
    stopping: BTreeMap<ContainerId, Option<Instant>>,
    /// When they started, until an answer is merged with it.
    started: BTreeMap<ContainerId, i64>,
    checks: BTreeMap<ContainerId, PendingCheck>,
}

/// A container that is to be asked for again, unless its answer shows what was heard.
#[derive(Debug)]
struct PendingCheck {
    expected: ExpectedState,
    at: Instant,
    /// How often it was asked for again already.
    attempts: usize,
    cause: Option<EventCause>,
}

/// What an answer shows that is not older than its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExpectedState {
    /// It runs, and has an address where it can have one of its own.
    Running,
    Paused,
    Down,
    Gone,
    Health(Health),
    /// Nothing shows it.
    Unobservable,
}

/// What has to be looked at because time went by.
#[derive(Debug, Default)]
pub(crate) struct ExpiredEvents {
    /// They got their stop signal, and live on.
    pub(crate) still_running: Vec<ContainerId>,
    pub(crate) to_recheck: BTreeSet<ContainerId>,
    pub(crate) cause: Option<EventCause>,
}

impl PendingEvents {
    /// It got this signal. Says whether that is one to end it.
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

    /// It does not run any more, whatever lists say for a while.
    pub(crate) fn on_die(&mut self, id: &ContainerId, now: Instant) {
        self.stopping.remove(id);
        self.died.insert(id.clone(), now + DEAD_TTL);
    }

    /// By the engine's clock, in nanoseconds.
    pub(crate) fn on_start(&mut self, id: &ContainerId, time: i64) {
        self.stopping.remove(id);
        self.died.remove(id);
        self.started.insert(id.clone(), time);
    }

    /// When it started, if that was heard and not taken yet.
    pub(crate) fn take_start(&mut self, id: &ContainerId) -> Option<i64> {
        self.started.remove(id)
    }

    /// From now on an answer is awaited that shows this.
    pub(crate) fn expect_state(&mut self, id: ContainerId, cause: EventCause, now: Instant) {
        let (expected, at) = (ExpectedState::from_action(&cause.action), now + RECHECK_DELAYS[0]);
        self.checks.insert(id, PendingCheck { expected, at, attempts: 0, cause: Some(cause) });
    }

    /// Its events count from now on; an answer from before may lack what one said that passed by.
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

    /// All of which an answer is awaited.
    pub(crate) fn pending_ids(&self) -> BTreeSet<ContainerId> {
        self.checks.keys().cloned().collect()
    }

    /// It was heard to start, and no answer has shown it.
    pub(crate) fn is_start_pending(&self, id: &ContainerId) -> bool {
        self.checks.get(id).is_some_and(|check| check.expected == ExpectedState::Running)
    }

    /// An answer to a question that was asked after all that was heard of it.
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

    /// The whole list says that they do not run.
    pub(crate) fn clear_stops(&mut self, are_down: impl Fn(&ContainerId) -> bool) {
        self.stopping.retain(|id, _| !are_down(id));
    }

    /// Brings what a list told in line with what was heard.
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

    /// When something will be late, if nothing is heard before.
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

/// Whether a signal is one that `docker stop` sends to this container, or the last one.
pub(crate) fn is_stop_signal(stop_config: Option<&StopConfig>, signal: i32) -> bool {
    let own = stop_config.and_then(|stop| signal::parse_signal(stop.signal.as_deref()?));
    signal == signal::KILL || signal == signal::TERM || Some(signal) == own
}

/// Until when a container that got its stop signal may live; `None` is for ever. Whoever made the container
/// chose its timeout, and no clock need reach as far.
pub(crate) fn stop_deadline(stop_config: Option<&StopConfig>, now: Instant) -> Option<Instant> {
    let seconds = stop_config.and_then(|stop| stop.timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
    let stop_timeout = Duration::from_secs(u64::try_from(seconds).ok()?);
    now.checked_add(stop_timeout.checked_add(STOP_GRACE)?)
}

#[cfg(test)]
mod tests;
