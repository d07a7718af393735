//! Snapshot that a source of any kind publishes of its containers.

use super::filter::ContainerFilter;
use crate::model::{source_name::SourceName, world::World};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Snapshot of the containers of a source. When changes come faster than they are read, a reader sees only the newest
/// snapshot: it describes everything.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The name of the source.
    pub source: SourceName,
    /// `None` until the source has answered for the first time; an empty world is an answer. Keeps its last value while
    /// the source is disconnected.
    pub world: Option<Arc<World>>,
    /// The event that caused this change; `None` when a list showed the change, or when the connection changed.
    pub cause: Option<EventCause>,
    /// Whether the source answers: false before the first answer and during an outage.
    pub connected: bool,
    /// Whether all that answers are engines that are no managers of a Swarm, although the source is one.
    pub is_not_manager: bool,
    pub event_times: EventTimes,
}

/// When the events that caused the changes were received. A newer snapshot overwrites an older one, but these times are
/// kept: each reader remembers how far it has read.
#[derive(Debug, Clone, Default)]
pub struct EventTimes {
    newest: VecDeque<Instant>,
    /// How many times were dropped before these.
    dropped: usize,
}

impl EventTimes {
    /// Limit of the times that are kept: more than ever accumulate before a pass reads them.
    const MAX_TIMES: usize = 256;

    /// Returns the times after the first `read` ones and advances `read` past them.
    pub fn take_unread(&self, read: &mut usize) -> Vec<Instant> {
        let skip = read.saturating_sub(self.dropped);
        *read = self.dropped + self.newest.len();
        self.newest.iter().skip(skip).copied().collect()
    }

    pub(crate) fn push_time(&mut self, moment: Instant) {
        self.newest.push_back(moment);
        if Self::MAX_TIMES < self.newest.len() {
            self.newest.pop_front();
            self.dropped += 1;
        }
    }
}

/// The event behind a change of the world, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCause {
    /// `start`, `kill`, `health_status: healthy`, …
    pub action: String,
    /// The container's name, or the network's if the event is about a network as a whole.
    pub name: String,
    /// Time of the event by the engine's clock, in nanoseconds since 1970.
    pub time_nano: i64,
    /// When the event was received; the earliest time if one answer covers several events. `None` before it is
    /// received.
    pub received_at: Option<Instant>,
}

impl EventCause {
    /// Merges two causes whose changes one answer shows; the earlier time of receipt is kept.
    pub(crate) fn merge_cause(mut self, other: Option<&Self>) -> Self {
        self.received_at = [self.received_at, other.and_then(|cause| cause.received_at)]
            .into_iter()
            .flatten()
            .min();
        self
    }
}

/// What a reader of snapshots needs from a source.
#[derive(Debug, Clone)]
pub struct SnapshotConfig {
    pub filter: ContainerFilter,
    /// How often the full list is requested even though no event requires it.
    pub relist_interval: Duration,
    /// Further event actions (`exec_start`, `oom`, …) of interesting containers: each publishes the current world
    /// again, with the event as its cause, and sends no request to the source.
    pub extra_actions: Vec<String>,
    pub heartbeat: StreamHeartbeat,
}

impl SnapshotConfig {
    pub fn new(filter: ContainerFilter) -> Self {
        let (relist_interval, extra_actions) = (Duration::from_secs(30), Vec::new());
        Self { filter, relist_interval, extra_actions, heartbeat: StreamHeartbeat::default() }
    }
}

/// When a source last sent an event or answered a request. A clone belongs to the same source. The list is requested
/// every [`SnapshotConfig::relist_interval`], so an age far above that interval means that the source is not followed.
#[derive(Debug, Clone)]
pub struct StreamHeartbeat {
    started_at: Instant,
    /// Milliseconds since `started_at`.
    last_record_millis: Arc<AtomicU64>,
}

impl Default for StreamHeartbeat {
    fn default() -> Self {
        Self { started_at: Instant::now(), last_record_millis: Arc::default() }
    }
}

impl StreamHeartbeat {
    /// Returns the time since the last event or answer; the time since the start if nothing has arrived yet.
    pub fn age(&self) -> Duration {
        let received_at = Duration::from_millis(self.last_record_millis.load(Ordering::Relaxed));
        self.started_at.elapsed().saturating_sub(received_at)
    }

    pub(crate) fn record_beat(&self) {
        let millis = self.started_at.elapsed().as_millis();
        self.last_record_millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_times_are_read_once_and_oldest_dropped() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (mut times, mut read) = (EventTimes::default(), 0);
        assert!(times.take_unread(&mut read).is_empty());
        times.push_time(at(1));
        times.push_time(at(0));
        assert_eq!(times.take_unread(&mut read), [at(1), at(0)]);
        times.push_time(at(2));
        assert_eq!(times.take_unread(&mut read), [at(2)]);
        assert!(times.take_unread(&mut read).is_empty());
        (0..1000).for_each(|seconds| times.push_time(at(seconds)));
        let unread = times.take_unread(&mut read);
        assert_eq!((unread.len(), unread.last()), (EventTimes::MAX_TIMES, Some(&at(999))));
        assert!(times.take_unread(&mut read).is_empty());
    }

    #[test]
    fn merged_cause_keeps_earliest_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let cause = |received_at| EventCause {
            action: "start".into(),
            name: "web".into(),
            time_nano: 0,
            received_at,
        };
        let received_at = |one, other| cause(one).merge_cause(Some(&cause(other))).received_at;
        assert_eq!(received_at(Some(later), Some(now)), Some(now));
        assert_eq!(received_at(Some(now), Some(later)), Some(now));
        assert_eq!(received_at(Some(now), None), Some(now));
        assert_eq!(cause(None).merge_cause(None).received_at, None);
    }
}
