//! Tests of the pace of questions, on a simulated clock.

use super::{Findings, Ids, Pace, Query};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn ids(text: &str) -> Ids {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A manager that answers `took` after each question. `moving` are the services in which something moves.
struct Manager {
    pace: Pace,
    now: Instant,
    begun: Instant,
    took: Duration,
    moving: Ids,
    updating: Ids,
}

impl Manager {
    fn new(took: Duration) -> Self {
        let now = Instant::now();
        let (moving, updating) = (Ids::new(), Ids::new());
        let mut manager = Self { pace: Pace::new(now), now, begun: now, took, moving, updating };
        manager.run(MS(1));
        manager
    }

    /// Lets the time pass. Returns when each question was sent, in milliseconds since the start of the test.
    fn run(&mut self, time: Duration) -> Vec<(u128, Query)> {
        let end = self.now + time;
        let mut questions = Vec::new();
        while self.now < end {
            match self.pace.next_query(self.now) {
                Some(query) => {
                    questions.push(((self.now - self.begun).as_millis(), query.clone()));
                    self.now += self.took;
                    let all = ids("web api");
                    let settled = all.difference(&self.moving).cloned().collect();
                    let findings = Findings { settled, updating: self.updating.clone(), all };
                    self.pace.on_answer(&query, self.took, &findings, self.now);
                }
                None => self.now = self.pace.wake_at().min(end),
            }
        }
        questions
    }

    fn count(&mut self, time: Duration, query: &Query) -> usize {
        self.run(time).iter().filter(|(_, asked)| asked == query).count()
    }
}

fn web() -> Query {
    Query::Services(ids("web"))
}

#[test]
fn quiet_swarm_is_asked_for_everything_every_30_s_and_for_its_nodes_in_between() {
    let mut manager = Manager::new(MS(2));
    let questions = manager.run(Duration::from_mins(5));
    let everything = questions.iter().filter(|(_, query)| *query == Query::Everything).count();
    assert!((9..=10).contains(&everything), "{questions:?}");
    assert!(questions.iter().all(|(_, query)| !matches!(query, Query::Services(_))));
    let gaps = questions.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(gaps.max() <= Some(3010), "{questions:?}");
}

#[test]
fn service_of_an_event_is_asked_for_at_once_and_until_nothing_moves_for_2_s() {
    let mut manager = Manager::new(MS(2));
    manager.run(Duration::from_secs(5));
    let at = (manager.now - manager.begun).as_millis();
    manager.pace.mark_busy("web", manager.now);
    let questions = manager.run(Duration::from_secs(4));
    let of_web: Vec<_> = questions.iter().filter(|(_, query)| *query == web()).collect();
    assert_eq!(of_web.first().unwrap().0, at);
    assert!((19..=21).contains(&of_web.len()), "{questions:?}");
    assert!(of_web.last().unwrap().0 <= at + 2200);
}

#[test]
fn service_that_moves_is_asked_for_less_often_as_time_passes() {
    for (updating, expected) in [("", [100, 10, 1]), ("web", [100, 10, 10])] {
        let mut manager = Manager::new(MS(1));
        (manager.moving, manager.updating) = (ids("web"), ids(updating));
        manager.pace.mark_busy("web", manager.now);
        let counts = [10, 120, 1200].map(|at| {
            let passed = manager.now - manager.begun;
            manager.run(Duration::from_secs(at).saturating_sub(passed));
            manager.count(Duration::from_secs(10), &web())
        });
        for (count, expected) in counts.into_iter().zip(expected) {
            let range = expected * 9 / 10..=expected + 1;
            assert!(range.contains(&count), "{updating:?}: {counts:?}");
        }
    }
}

#[test]
fn event_makes_an_old_movement_fast_again() {
    let mut manager = Manager::new(MS(1));
    manager.moving = ids("web");
    manager.pace.mark_busy("web", manager.now);
    manager.run(Duration::from_mins(20));
    manager.pace.mark_busy("web", manager.now);
    assert!(90 < manager.count(Duration::from_secs(10), &web()));
}

#[test]
fn manager_that_answers_slowly_is_asked_less_often() {
    let mut manager = Manager::new(MS(200));
    manager.moving = ids("web");
    manager.pace.mark_busy("web", manager.now);
    let count = manager.count(Duration::from_secs(12), &web());
    assert!((8..=10).contains(&count), "{count}");
}

#[test]
fn what_moves_without_an_event_becomes_busy() {
    let mut manager = Manager::new(MS(1));
    manager.run(Duration::from_secs(10));
    manager.moving = ids("api");
    let questions = manager.run(Duration::from_secs(25));
    assert!(questions.iter().any(|(_, query)| *query == Query::Services(ids("api"))));
}

#[test]
fn removed_service_is_asked_for_no_longer() {
    let mut manager = Manager::new(MS(1));
    manager.pace.mark_busy("gone", manager.now);
    let questions = manager.run(Duration::from_secs(10));
    let gone = Query::Services(ids("gone"));
    let last = questions.iter().rfind(|(_, query)| *query == gone);
    assert!(last.is_some_and(|(at, _)| *at < 2500), "{questions:?}");
}

proptest! {
    /// Whatever happens: a service in an update is asked for at least each second, unless the manager itself is slow; no
    /// manager spends more than half of its time on questions; and a quiet Swarm becomes quiet.
    #[test]
    fn pace_is_neither_too_slow_nor_too_fast(
        took in 1..300_u64,
        steps in prop::collection::vec((0..5_u8, 1..4000_u64), 1..40),
    ) {
        let mut manager = Manager::new(MS(took));
        for (step, time) in steps {
            match step {
                0 => manager.pace.mark_busy("web", manager.now),
                1 => manager.pace.request_everything(manager.now),
                2 => manager.pace.request_nodes(manager.now),
                3 => (manager.moving, manager.updating) = (ids("web"), ids("web")),
                _ => (manager.moving, manager.updating) = (Ids::new(), Ids::new()),
            }
            let is_updating = !manager.updating.is_empty();
            if is_updating {
                manager.pace.mark_busy("web", manager.now);
            }
            let questions = manager.run(MS(time));
            let shortest = questions.windows(2).map(|pair| pair[1].0 - pair[0].0).min();
            let nodes = |query: &Query| *query == Query::Nodes;
            if !questions.iter().any(|(_, query)| nodes(query)) {
                prop_assert!(shortest.is_none_or(|gap| u128::from(2 * took) <= gap + 1));
            }
            if is_updating {
                let times = questions.iter().filter(|(_, query)| !nodes(query)).map(|(at, _)| *at);
                let times: Vec<_> = times.collect();
                let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
                let limit = u128::from(1000_u64.max(6 * took) + 3 * took + 10);
                prop_assert!(longest.is_none_or(|gap| gap <= limit), "{:?}", questions);
            }
        }
        (manager.moving, manager.updating) = (Ids::new(), Ids::new());
        manager.run(Duration::from_mins(1));
        let busy = |(_, query): &(u128, Query)| matches!(query, Query::Services(_));
        prop_assert!(!manager.run(Duration::from_mins(1)).iter().any(busy));
    }
}
