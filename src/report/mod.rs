//! Reports for operators: the balancer's state at one moment, as text, tables and JSON.
//!
//! Pure. A [`StateSnapshot`] is taken by the balancer and handed to the reader, so that reports do not delay the
//! balancer.
//!
//! ```text
//! balancer ─ StateSnapshot ─▶ status ─▶ status, routes, problems, the dashboard, the metrics
//!                          ├▶ history ─▶ history, rollback, STATE/history.jsonl (history_file)
//!                          └▶ explain
//! ```

pub mod certificate_history;
pub mod certificates;
pub mod counts;
pub mod exclusion;
pub mod explain;
pub mod explain_text;
pub mod fleet;
pub mod history;
pub mod history_file;
pub mod label_reference;
pub mod offline;
pub mod preview;
pub mod preview_output;
pub mod source_status;
pub mod status;
pub mod style;
pub mod table;
pub mod text_report;
pub mod udp_status;
pub mod udp_table;
pub mod unified_diff;

use self::source_status::SourceReport;
use crate::{
    haproxy::{config::Config, version::Version},
    model::{problem_set::ProblemSet, route::Routes, world::World},
    routing::decide::{DecideState, Rules},
    sources::acme::AcmeStatus,
    udp::answer::UdpReport,
};
use history::History;
use status::ChangeStatus;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use strum::{IntoStaticStr, VariantNames};

/// State of the balancer at one moment.
#[derive(Debug, Clone)]
pub struct StateSnapshot {
    /// When the snapshot was taken: in milliseconds since 1970, and on the clock of [`DecideState`].
    pub at_ms: u64,
    pub now: Instant,
    /// When the program started.
    pub started_ms: u64,
    /// `None` until Docker has answered for the first time.
    pub world: Option<Arc<World>>,
    /// Whether Docker's events are received.
    pub docker_connected: bool,
    /// Time since the last message from Docker: an event, or an answer.
    pub docker_age: Duration,
    /// Those with names.
    pub sources: Vec<SourceReport>,
    pub rules: Rules,
    pub decide_state: DecideState,
    /// The served routes.
    pub routes: Routes,
    pub problems: ProblemSet,
    /// The state of orders. `None` without `--acme`, and until they begin.
    pub orders: Option<Arc<AcmeStatus>>,
    /// The same routes in HAProxy's terms.
    pub config: Arc<Config>,
    pub haproxy: HaproxyInfo,
    /// What docker-glue-udp reported. `None` if it does not answer.
    pub udp: Option<Arc<UdpReport>>,
    /// The last pass that changed something.
    pub last_applied: Option<AppliedPass>,
    /// Why the last pass failed, if it did.
    pub last_error: Option<String>,
    /// The changes that were applied before.
    pub history: History,
}

#[derive(Debug, Clone)]
pub struct HaproxyInfo {
    pub version: Version,
    /// The master's pid, if HAProxy is managed and runs.
    pub pid: Option<u32>,
    pub managed: bool,
    /// Whether HAProxy's state could be read.
    pub answers: bool,
}

/// A pass that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPass {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The event that caused the pass, with its container: `start web`.
    pub cause: String,
    pub how: ApplyMethod,
    pub duration: Duration,
    pub changes: Vec<ChangeStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum ApplyMethod {
    /// This many commands over the runtime API.
    Runtime { commands: usize },
    #[strum(serialize = "start")]
    Started,
    #[strum(serialize = "reload")]
    Reloaded { why: String },
}

impl ApplyMethod {
    /// All values of [`Self::as_str`].
    pub const NAMES: &'static [&'static str] = Self::VARIANTS;

    /// Returns the method as one word for programs: a closed set.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}
