//! The operator's view: what the balancer knows at one moment, in words and tables.
//!
//! Pure. A [`StateSnapshot`] is taken where the balancer lives and carried to whoever looks, so that looking
//! holds up nobody.
//!
//! ```text
//! serve ─ Picture ─▶ status ─▶ status, routes, problems, the dashboard, the metrics
//!                 ├▶ history ─▶ history, rollback, STATE/history.jsonl (record)
//!                 └▶ explain
//! ```

pub mod counts;
pub mod exclusion;
pub mod explain;
pub mod explain_text;
pub mod history;
pub mod history_file;
pub mod label_reference;
pub mod offline;
pub mod preview;
pub mod preview_output;
pub mod status;
pub mod style;
pub mod table;
pub mod text_report;
pub mod unified_diff;

use crate::{
    haproxy::{config::Config, version::Version},
    model::{problem_set::ProblemSet, route::Routes, world::World},
    routing::decide::{DecideState, Rules},
};
use history::History;
use status::ChangeStatus;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use strum::{IntoStaticStr, VariantNames};

/// What is known at one moment.
#[derive(Debug, Clone)]
pub struct StateSnapshot {
    /// The moment, in milliseconds since 1970, and by the clock that [`Memory`] is measured with.
    pub at_ms: u64,
    pub now: Instant,
    /// When the program began.
    pub started_ms: u64,
    /// `None` until Docker has answered for the first time.
    pub world: Option<Arc<World>>,
    /// Docker's events are heard now.
    pub docker_connected: bool,
    /// Since it was heard: an event, or an answer.
    pub docker_age: Duration,
    pub rules: Rules,
    pub decide_state: DecideState,
    /// What is served.
    pub routes: Routes,
    pub problems: ProblemSet,
    /// The same in HAProxy's names.
    pub config: Arc<Config>,
    pub haproxy: HaproxyInfo,
    /// The last pass that changed something.
    pub last_applied: Option<AppliedPass>,
    /// Why the last pass failed, if it did.
    pub last_error: Option<String>,
    /// What was applied before.
    pub history: History,
}

#[derive(Debug, Clone)]
pub struct HaproxyInfo {
    pub version: Version,
    /// The master's, where HAProxy is ours and runs.
    pub pid: Option<u32>,
    pub managed: bool,
    /// It says what it has.
    pub answers: bool,
}

/// A pass that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPass {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The container and the event that it answers: `start web`.
    pub cause: String,
    pub how: ApplyMethod,
    pub duration: Duration,
    pub changes: Vec<ChangeStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ApplyMethod {
    /// That many commands over the runtime API.
    Runtime { commands: usize },
    #[strum(serialize = "start")]
    Started,
    #[strum(serialize = "reload")]
    Reloaded { why: String },
}

impl ApplyMethod {
    /// All there are of [`Self::as_str`].
    pub const NAMES: &'static [&'static str] = Self::VARIANTS;

    /// One word for programs: a closed set.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}
