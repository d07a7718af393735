//! The passes that changed something.
//!
//! Pure.

use crate::{
    report::status::{ChangeStatus, HowStatus, LastApply},
    routing::route_diff::ChangeKind,
    support::format::{format_ago, format_clock, format_count, format_elapsed, format_plural},
};
use std::time::Duration;

/// How many changes of a pass are shown.
const MAX_LINES: usize = 6;

/// A pass that changed something.
#[derive(Debug, Clone)]
pub struct Pass {
    pub clock: String,
    pub ago: String,
    pub cause: String,
    /// For example `4 commands in 1.2ms`.
    pub how: String,
    pub why: Option<String>,
    pub lines: Vec<DiffLine>,
    pub more: Option<String>,
}

/// A route that changed.
#[derive(Debug, Clone)]
pub struct DiffLine {
    kind: ChangeKind,
    pub text: String,
}

impl Pass {
    pub(crate) fn from_apply(apply: &LastApply, now_ms: u64) -> Self {
        let took = format_elapsed(apply.took_us);
        let left_out = apply.changed.len().saturating_sub(MAX_LINES);
        Self {
            clock: format_clock(apply.at_ms),
            ago: format_ago(Duration::from_millis(now_ms.saturating_sub(apply.at_ms))),
            cause: apply.cause.clone(),
            how: match apply.how {
                HowStatus::Runtime => {
                    format!("{} in {took}", format_plural(apply.commands, "command"))
                }
                HowStatus::Start => format!("HAProxy started in {took}"),
                HowStatus::Reload => format!("HAProxy reloaded in {took}"),
            },
            why: apply.why.clone(),
            lines: apply.changed.iter().take(MAX_LINES).map(DiffLine::from_change).collect(),
            more: (left_out != 0).then(|| format!("and {} more", format_count(left_out as u64))),
        }
    }
}

impl DiffLine {
    fn from_change(change: &ChangeStatus) -> Self {
        Self { kind: change.change, text: change.text.clone() }
    }

    pub fn sign(&self) -> &'static str {
        match self.kind {
            ChangeKind::Add => "+",
            ChangeKind::Remove => "−",
            ChangeKind::Change => "~",
        }
    }

    pub fn class(&self) -> &'static str {
        match self.kind {
            ChangeKind::Add => "added",
            ChangeKind::Remove => "removed",
            ChangeKind::Change => "changed",
        }
    }
}
