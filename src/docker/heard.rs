//! What events said that the engine's lists may not know yet.
//!
//! Pure. A stop signal and a death are believed at once, and against lists for a while, which would still
//! tell of a running container. Of all else the lists decide; they are asked again, a few times at most,
//! until they show what the event said.

use super::{event::Cause, signal};
use crate::container::{Container, ContainerId, Health, NetworkMode, State, Stop};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The engine tells of a pause, a death or a network before its lists know (it writes a file in
/// between): so long after an event, and so long after that, a list that did not know is asked again.
const RECHECKS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];
/// Until then a death is believed against lists that say otherwise.
pub(super) const BURIAL: Duration = Duration::from_secs(5);
/// The engine's own patience between the stop signal and SIGKILL, in seconds.
const STOP_TIMEOUT: i64 = 10;
/// How much longer than that a container may live before it counts as not leaving after all.
const STOP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Until when a death is believed.
    died: BTreeMap<ContainerId, Instant>,
    /// Until when a stop signal is believed; `None` is for ever.
    leaving: BTreeMap<ContainerId, Option<Instant>>,
    /// When they started, until an answer is merged with it.
    started: BTreeMap<ContainerId, i64>,
    awaited: BTreeMap<ContainerId, Awaited>,
}

/// A container that is to be asked for again, unless its answer shows what was heard.
#[derive(Debug)]
struct Awaited {
    sign: Sign,
    at: Instant,
    /// How often it was asked for again already.
    done: usize,
    cause: Option<Cause>,
}

/// What an answer shows that is not older than its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It runs, and has an address where it can have one of its own.
    Running,
    Paused,
    Down,
    Gone,
    Health(Health),
    /// Nothing shows it.
    None,
}

/// What has to be looked at because time went by.
#[derive(Debug, Default)]
pub(super) struct Late {
    /// They got their stop signal, and live on.
    pub(super) stayed: Vec<ContainerId>,
    pub(super) ask: BTreeSet<ContainerId>,
    pub(super) cause: Option<Cause>,
}

impl Heard {
    /// It got this signal. Says whether that is one to end it.
    pub(super) fn signal(
        &mut self,
        id: &ContainerId,
        known: Option<&Stop>,
        signal: Option<i32>,
        now: Instant,
    ) -> bool {
        let ends = signal.is_some_and(|signal| ends(known, signal));
        if ends {
            self.leaving.insert(id.clone(), stays_until(known, now));
        }
        ends
    }

    /// It does not run any more, whatever lists say for a while.
    pub(super) fn death(&mut self, id: &ContainerId, now: Instant) {
        self.leaving.remove(id);
        self.died.insert(id.clone(), now + BURIAL);
    }

    /// By the engine's clock, in nanoseconds.
    pub(super) fn start(&mut self, id: &ContainerId, time: i64) {
        self.leaving.remove(id);
        self.died.remove(id);
        self.started.insert(id.clone(), time);
    }

    /// When it started, if that was heard and not taken yet.
    pub(super) fn take_start(&mut self, id: &ContainerId) -> Option<i64> {
        self.started.remove(id)
    }

    /// From now on an answer is awaited that shows this.
    pub(super) fn event(&mut self, id: ContainerId, cause: Cause, now: Instant) {
        let (sign, at) = (Sign::of(&cause.action), now + RECHECKS[0]);
        self.awaited.insert(id, Awaited { sign, at, done: 0, cause: Some(cause) });
    }

    /// Its events count from now on; an answer from before may lack what one said that passed by.
    pub(super) fn follow(&mut self, id: &ContainerId, cause: Option<&Cause>, now: Instant) {
        let (sign, at, cause) = (Sign::None, now + RECHECKS[0], cause.cloned());
        self.awaited.entry(id.clone()).or_insert(Awaited { sign, at, done: 0, cause });
    }

    /// All of which an answer is awaited.
    pub(super) fn awaited(&self) -> BTreeSet<ContainerId> {
        self.awaited.keys().cloned().collect()
    }

    /// It was heard to start, and no answer has shown it.
    pub(super) fn awaits_start(&self, id: &ContainerId) -> bool {
        self.awaited.get(id).is_some_and(|it| it.sign == Sign::Running)
    }

    /// An answer to a question that was asked after all that was heard of it.
    pub(super) fn answer(&mut self, id: &ContainerId, told: Option<&Container>) {
        if told.is_none() {
            self.started.remove(id);
        }
        if told.is_none() || self.awaited.get(id).is_some_and(|it| it.sign.is_shown_by(told)) {
            self.awaited.remove(id);
        }
        if told.is_none_or(|it| !it.is_up()) {
            self.died.remove(id);
            self.leaving.remove(id);
        }
    }

    /// The whole list says that they do not run.
    pub(super) fn forget_stops(&mut self, are_down: impl Fn(&ContainerId) -> bool) {
        self.leaving.retain(|id, _| !are_down(id));
    }

    /// Brings what a list told in line with what was heard.
    pub(super) fn overlay(&self, container: &mut Container) {
        if self.died.contains_key(&container.id) && container.is_up() {
            container.state = State::Exited;
        }
        container.leaving = container.is_up() && self.leaving.contains_key(&container.id);
    }

    pub(super) fn late(&mut self, now: Instant) -> Late {
        let mut late = Late::default();
        self.leaving.retain(|id, until| {
            let is_late = until.is_some_and(|until| until <= now);
            late.stayed.extend(is_late.then(|| id.clone()));
            !is_late
        });
        self.died.retain(|id, until| {
            let is_late = *until <= now;
            late.ask.extend(is_late.then(|| id.clone()));
            !is_late
        });
        for (id, it) in self.awaited.iter_mut().filter(|(_, it)| it.at <= now) {
            late.ask.insert(id.clone());
            late.cause = late.cause.or_else(|| it.cause.clone());
            it.done += 1;
            it.at = now + RECHECKS.get(it.done).copied().unwrap_or_default();
        }
        self.awaited.retain(|_, it| it.done < RECHECKS.len());
        late
    }

    /// When something will be late, if nothing is heard before.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let awaited = self.awaited.values().map(|it| &it.at);
        self.leaving.values().flatten().chain(self.died.values()).chain(awaited).min().copied()
    }
}

impl Sign {
    fn of(action: &str) -> Self {
        match action {
            "start" | "unpause" => Self::Running,
            "pause" => Self::Paused,
            "die" | "stop" => Self::Down,
            "destroy" => Self::Gone,
            "health_status: starting" => Self::Health(Health::Starting),
            "health_status: healthy" => Self::Health(Health::Healthy),
            "health_status: unhealthy" => Self::Health(Health::Unhealthy),
            _ => Self::None,
        }
    }

    fn is_shown_by(self, told: Option<&Container>) -> bool {
        let Some(it) = told else { return matches!(self, Self::Down | Self::Gone) };
        match self {
            Self::Running => it.state == State::Running && has_address(it),
            Self::Paused => it.state == State::Paused,
            Self::Down => !it.is_up(),
            Self::Health(health) => it.health == health,
            Self::Gone | Self::None => false,
        }
    }
}

fn has_address(it: &Container) -> bool {
    let mut places = it.networks.values();
    it.network_mode != NetworkMode::Own
        || places.any(|place| place.ipv4.is_some() || place.ipv6.is_some())
}

/// Whether a signal is one that `docker stop` sends to this container, or the last one.
pub(super) fn ends(known: Option<&Stop>, signal: i32) -> bool {
    let own = known.and_then(|stop| signal::number(stop.signal.as_deref()?));
    signal == signal::KILL || signal == signal::TERM || Some(signal) == own
}

/// Until when a container that got its stop signal may live; `None` is for ever. Whoever made the container
/// chose its timeout, and no clock need reach as far.
pub(super) fn stays_until(known: Option<&Stop>, now: Instant) -> Option<Instant> {
    let seconds = known.and_then(|stop| stop.timeout).unwrap_or(STOP_TIMEOUT);
    let patience = Duration::from_secs(u64::try_from(seconds).ok()?);
    now.checked_add(patience.checked_add(STOP_GRACE)?)
}

#[cfg(test)]
mod tests;
