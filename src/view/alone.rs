//! The picture where no docker-balancer runs: what one would serve that began now.
//!
//! Pure.

use super::{Haproxy, Picture, history::History};
use crate::{
    decide::{Memory, Rules, decide},
    haproxy::{config::Config, layout::Layout, observed::Observed, version},
    rollback::Rollback,
    world::World,
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// `rollback` is one that would hold; `observed` is what a HAProxy of ours has that runs all the same; `wait` is how long a request waits for a
/// container that does not listen yet.
pub fn picture(
    world: World,
    rules: Rules,
    rollback: Option<Rollback>,
    observed: Option<&Observed>,
    wait: Duration,
    (now, at_ms): (Instant, u64),
) -> Picture {
    let mut memory = Memory::default();
    memory.rollback = rollback;
    let decided = decide(&world, memory, now, &rules);
    let layout = match observed {
        Some(observed) => Layout::within(&decided.routes, observed, &BTreeSet::new()).0,
        None => Layout::fresh(&decided.routes, 0),
    };
    let config = Config::new(&decided.routes, layout, |at| rules.bound(at), wait);
    Picture {
        at_ms,
        now,
        since_ms: at_ms,
        world: Some(Arc::new(world)),
        docker_is_there: true,
        docker_age: Duration::ZERO,
        rules,
        memory: decided.memory,
        routes: decided.routes,
        problems: decided.problems,
        config: Arc::new(config),
        haproxy: Haproxy {
            version: version::OLDEST,
            pid: None,
            managed: true,
            answers: observed.is_some(),
        },
        last: None,
        trouble: None,
        history: History::default(),
    }
}
