//! State of an engine for handlers: every event in order, all containers, and those that are
//! stopping.
//!
//! Pure: combines the cache of inspections with the stopping containers, and decides when a list is
//! due.

use super::{
    event::Event,
    inspect_cache::{InspectCache, InspectResult},
    stopping::StoppingContainers,
};
use crate::{model::container::ContainerId, sources::update::ContainerUpdate};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How often the whole list is requested even though no event requires it.
const RELIST_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct EventState {
    cache: InspectCache,
    stopping: StoppingContainers,
    /// `None` while a list is in progress, and without a connection.
    list_at: Option<Instant>,
    is_answering: bool,
    updates: Vec<ContainerUpdate>,
}

impl EventState {
    /// Creates a state that continues after an event of this time.
    pub(crate) fn from_bookmark(bookmark: Option<i64>) -> Self {
        let cache = InspectCache::from_bookmark(bookmark);
        Self {
            cache,
            stopping: StoppingContainers::default(),
            list_at: None,
            is_answering: false,
            updates: Vec::new(),
        }
    }

    /// Returns the time from which the engine is to repeat its events, so that an outage loses none
    /// that it still remembers.
    pub(crate) fn replay_start(&self) -> Option<i64> {
        self.cache.newest_event_time()
    }

    pub(crate) fn on_connect(&mut self, now: Instant) {
        self.cache.on_disconnect();
        self.cache.on_connect();
        self.list_at = Some(now);
    }

    pub(crate) fn on_disconnect(&mut self) {
        self.cache.on_disconnect();
        self.list_at = None;
        self.set_answering(false);
    }

    /// Handles the result of a ping. Anything else that the engine sends counts as an answered ping.
    pub(crate) fn on_ping(&mut self, answered: bool) {
        self.set_answering(answered && self.cache.is_listed());
    }

    fn set_answering(&mut self, is_answering: bool) {
        if std::mem::replace(&mut self.is_answering, is_answering) != is_answering {
            self.updates.push(ContainerUpdate::Answering(is_answering));
        }
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.cache.is_listed()
    }

    /// Whether the event was received on an earlier connection.
    pub(crate) fn is_duplicate(&self, event: &Event) -> bool {
        self.cache.is_duplicate(event)
    }

    pub(crate) fn on_event(&mut self, event: Event, now: Instant) {
        if self.cache.is_duplicate(&event) {
            return;
        }
        // Done before the inspection, which may take as long as the stop does.
        let containers = self.cache.containers();
        if containers.is_some_and(|all| self.stopping.on_event(&event, all, now)) {
            self.push_stopping();
        }
        self.cache.on_event(event);
        self.take_cache_updates();
    }

    /// Returns how far the engine's clock was set back, once.
    pub(crate) fn take_clock_step(&mut self) -> Option<Duration> {
        self.cache.take_clock_step()
    }

    pub(crate) fn is_list_due(&self, now: Instant) -> bool {
        self.list_at.is_some_and(|at| at <= now)
    }

    /// Whether a list that is requested now is read for handlers too: if none is in progress.
    pub(crate) fn begin_list(&mut self) -> bool {
        self.list_at.take().is_some()
    }

    pub(crate) fn on_list(&mut self, fingerprints: BTreeMap<ContainerId, String>, now: Instant) {
        self.cache.on_list(fingerprints);
        self.list_at = Some(now + RELIST_INTERVAL);
        self.set_answering(true);
        self.take_cache_updates();
    }

    /// Returns the next container to inspect, a few at a time.
    pub(crate) fn next_query(&mut self) -> Option<ContainerId> {
        self.cache.next_query()
    }

    pub(crate) fn on_response(&mut self, id: &ContainerId, result: InspectResult) {
        self.cache.on_response(id, result);
        self.take_cache_updates();
    }

    pub(crate) fn on_tick(&mut self, now: Instant) {
        if self.stopping.expire_deadlines(now) {
            self.push_stopping();
        }
    }

    /// When the next tick or list is due, if nothing arrives before.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.list_at.into_iter().chain(self.stopping.wake_at()).min()
    }

    pub(crate) fn take_updates(&mut self) -> Vec<ContainerUpdate> {
        std::mem::take(&mut self.updates)
    }

    fn take_cache_updates(&mut self) {
        let mut stopping_changed = false;
        for update in self.cache.take_updates() {
            stopping_changed |= self.stopping.on_update(&update);
            self.updates.push(update);
        }
        if stopping_changed {
            self.push_stopping();
        }
    }

    fn push_stopping(&mut self) {
        self.updates.push(ContainerUpdate::Stopping(self.stopping.ids()));
    }
}
