//! The operator's view: what the balancer knows at one moment, in words and tables.
//!
//! Pure. A [`Picture`] is taken where the balancer lives and carried to whoever looks, so that looking
//! holds up nobody.
//!
//! ```text
//! serve ─ Picture ─▶ status ─▶ status, routes, problems, the dashboard, the metrics
//!                 ├▶ history ─▶ history, rollback, STATE/history.jsonl (record)
//!                 └▶ explain
//! ```

pub mod alone;
pub mod census;
pub mod columns;
pub mod explain;
pub mod foretold;
pub mod history;
pub mod out;
pub mod outlook;
pub mod paint;
pub mod patch;
pub mod record;
pub mod show;
pub mod status;

use crate::{
    decide::{Memory, Rules},
    haproxy::{config::Config, version::Version},
    problem_set::ProblemSet,
    route::Routes,
    world::World,
};
use history::History;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use strum::{IntoStaticStr, VariantNames};

/// What is known at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The moment, in milliseconds since 1970, and by the clock that [`Memory`] is measured with.
    pub at_ms: u64,
    pub now: Instant,
    /// When the program began.
    pub since_ms: u64,
    /// `None` until Docker has answered for the first time.
    pub world: Option<Arc<World>>,
    /// Docker's events are heard now.
    pub docker_is_there: bool,
    /// Since it was heard: an event, or an answer.
    pub docker_age: Duration,
    pub rules: Rules,
    pub memory: Memory,
    /// What is served.
    pub routes: Routes,
    pub problems: ProblemSet,
    /// The same in HAProxy's names.
    pub config: Arc<Config>,
    pub haproxy: Haproxy,
    /// The last pass that changed something.
    pub last: Option<Applied>,
    /// Why the last pass failed, if it did.
    pub trouble: Option<String>,
    /// What was applied before.
    pub history: History,
}

#[derive(Debug, Clone)]
pub struct Haproxy {
    pub version: Version,
    /// The master's, where HAProxy is ours and runs.
    pub pid: Option<u32>,
    pub managed: bool,
    /// It says what it has.
    pub answers: bool,
}

/// A pass that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The container and the event that it answers: `start web`.
    pub cause: String,
    pub how: How,
    pub took: Duration,
    /// In words of routes: `+ app.example.com:80/ → web`.
    pub changes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum How {
    /// That many commands over the runtime API.
    Runtime { commands: usize },
    #[strum(serialize = "start")]
    Started,
    #[strum(serialize = "reload")]
    Reloaded { why: String },
}

impl How {
    /// All there are of [`Self::way`].
    pub const WAYS: &'static [&'static str] = Self::VARIANTS;

    /// One word for programs: a closed set.
    pub fn way(&self) -> &'static str {
        self.into()
    }
}
