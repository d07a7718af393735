//! Which events of a connection may be old: an engine that is asked for the events of an outage sends those first.
//!
//! Pure. Handlers receive old events like all others. For a snapshot an old event is only a hint: a death during the
//! outage must not remove a container that has started again since.

use super::event::Event;
use std::time::{Duration, Instant};

/// Old events arrive in one burst. After this time from the first event of a connection no event counts as old, even if
/// the engine's clock was set back.
const MAX_REPLAY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) enum Replay {
    /// All events are live.
    #[default]
    Over,
    /// Events up to this time of the engine's clock may be old; all of them if the clock is not known.
    Expected { until: Option<i64>, first_event_at: Option<Instant> },
}

impl Replay {
    /// Creates a replay for a connection that requests old events. `engine_time` was read before the subscription.
    pub(crate) fn expect_until(engine_time: Option<i64>) -> Self {
        Self::Expected { until: engine_time, first_event_at: None }
    }

    /// Whether an event that arrives now may be old. The first event that is not ends the replay.
    pub(crate) fn may_be_old(&mut self, event: &Event, now: Instant) -> bool {
        let Self::Expected { until, first_event_at } = self else { return false };
        let is_late = MAX_REPLAY <= now.duration_since(*first_event_at.get_or_insert(now));
        if is_late || until.is_some_and(|until| until < event.cause.time_nano) {
            *self = Self::Over;
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Replay;
    use crate::sources::{
        EventCause,
        docker::event::{Event, EventSubject},
    };
    use std::time::{Duration, Instant};

    /// Events are given as the second of their arrival and their time by the engine's clock.
    fn check(mut replay: Replay, events: &[(u64, i64)], expected: &[bool]) {
        let start = Instant::now();
        let old = events.iter().map(|(second, time_nano)| {
            let (action, name, time_nano) = ("die".into(), "web".into(), *time_nano);
            let cause = EventCause { action, name, time_nano, received_at: None };
            let event = Event { cause, about: EventSubject::Network };
            replay.may_be_old(&event, start + Duration::from_secs(*second))
        });
        assert_eq!(old.collect::<Vec<_>>(), expected, "{events:?}");
    }

    #[test]
    fn event_is_old_until_the_first_one_of_the_connection() {
        check(Replay::default(), &[(0, 5)], &[false]);
        let until = |time| Replay::expect_until(Some(time));
        check(until(7), &[(0, 5), (0, 7), (0, 8)], &[true, true, false]);
        // The clock was set back after the connection was made.
        check(until(7), &[(0, 8), (1, 5)], &[false, false]);
        check(until(7), &[(9, 5), (13, 5), (14, 5), (14, 6)], &[true, true, false, false]);
    }

    #[test]
    fn event_is_old_for_five_seconds_where_the_clock_is_not_known() {
        check(Replay::expect_until(None), &[(0, 5), (4, 900), (5, 901)], &[true, true, false]);
    }
}
