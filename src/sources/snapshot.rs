//! What a source publishes of its containers, whichever kind of source it is.

use super::filter::ContainerFilter;
use crate::model::world::World;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What a source publishes of its containers. Of changes that come faster than they are read only the newest is
/// seen: it describes everything.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The name of the source.
    pub source: Arc<str>,
    /// `None` until the source answered for the first time, which an empty world is not. It stays
    /// what it was while the source is away.
    pub world: Option<Arc<World>>,
    /// The event behind this change; `None` where a list told it, or the connection changed.
    pub cause: Option<EventCause>,
    /// The source answers. Not so at the start and during an outage.
    pub connected: bool,
    pub event_times: EventTimes,
}

/// When the events behind the changes were heard. Changes are overwritten by newer ones, these are not:
/// each reader remembers how far it has read.
#[derive(Debug, Clone, Default)]
pub struct EventTimes {
    newest: VecDeque<Instant>,
    /// How many there were before these.
    dropped: usize,
}

impl EventTimes {
    /// More than ever wait for one pass.
    const MAX_TIMES: usize = 256;

    /// Those after the first `read` ones, which are then read too.
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
    /// The container's name, or the network's where no container is meant.
    pub name: String,
    /// When it happened by the engine's clock: nanoseconds since 1970.
    pub time_nano: i64,
    /// When it was heard here; of several that are answered as one, the first. `None` until then.
    pub received_at: Option<Instant>,
}

impl EventCause {
    /// One answer shows both.
    pub(crate) fn merge_cause(mut self, other: Option<&Self>) -> Self {
        self.received_at = [self.received_at, other.and_then(|cause| cause.received_at)]
            .into_iter()
            .flatten()
            .min();
        self
    }
}

/// What a reader of snapshots needs of a source.
#[derive(Debug, Clone)]
pub struct SnapshotConfig {
    pub filter: ContainerFilter,
    /// How often the whole list is asked for though no event asks for it.
    pub relist_interval: Duration,
    /// Further event actions (`exec_start`, `oom`, …) of interesting containers: each publishes the
    /// world that is known, with the event as its cause, and asks the source nothing.
    pub extra_actions: Vec<String>,
    pub heartbeat: StreamHeartbeat,
}

impl SnapshotConfig {
    pub fn new(filter: ContainerFilter) -> Self {
        let (relist_interval, extra_actions) = (Duration::from_secs(30), Vec::new());
        Self { filter, relist_interval, extra_actions, heartbeat: StreamHeartbeat::default() }
    }
}

/// When a source last sent an event or answered a request. A clone is of the same source. The source is asked for its
/// list every [`SnapshotConfig::relist_interval`], so an age far above that means that the source is not followed.
#[derive(Debug, Clone)]
pub struct StreamHeartbeat {
    started_at: Instant,
    /// Milliseconds after that.
    last_record_millis: Arc<AtomicU64>,
}

impl Default for StreamHeartbeat {
    fn default() -> Self {
        Self { started_at: Instant::now(), last_record_millis: Arc::default() }
    }
}

impl StreamHeartbeat {
    /// Returns the time since then; since the start where nothing has arrived yet.
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
