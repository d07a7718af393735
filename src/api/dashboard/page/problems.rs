//! The list of problems, with their reasons.
//!
//! Pure.

use crate::{
    report::status::ProblemStatus,
    support::{
        escape::{SingleLine, Truncated},
        format::{format_count, format_plural},
    },
};

/// How many problems are shown.
const MAX_PROBLEMS: usize = 100;

/// All current problems.
#[derive(Debug, Clone, Default)]
pub struct ProblemList {
    /// For example `2 problems, 1 hint`.
    pub title: String,
    pub list: Vec<ProblemRow>,
    /// How many problems are left out, as text.
    pub more: Option<String>,
}

/// One problem.
#[derive(Debug, Clone)]
pub struct ProblemRow {
    pub hint: bool,
    /// The name of the container or the listener.
    pub about: String,
    pub id: Option<String>,
    pub label: Option<String>,
    pub reason: String,
}

impl ProblemList {
    /// Problems come first, hints last.
    pub(crate) fn from_statuses(all: &[ProblemStatus]) -> Self {
        let (hints, real): (Vec<_>, Vec<_>) = all.iter().partition(|status| status.hint);
        let titles = [(real.len(), "problem"), (hints.len(), "hint")];
        let titles = titles.into_iter().filter(|(number, _)| *number != 0);
        let left_out = all.len().saturating_sub(MAX_PROBLEMS);
        Self {
            title: titles
                .map(|(number, what)| format_plural(number, what))
                .collect::<Vec<_>>()
                .join(", "),
            list: real
                .iter()
                .chain(&hints)
                .take(MAX_PROBLEMS)
                .map(|status| ProblemRow::from_status(status))
                .collect(),
            more: (left_out != 0).then(|| format!("and {} more", format_count(left_out as u64))),
        }
    }
}

impl ProblemRow {
    fn from_status(problem: &ProblemStatus) -> Self {
        let about = problem.container.as_ref().or(problem.listener.as_ref());
        let label = problem.label.as_ref().map(|label| match &problem.value {
            Some(value) => {
                format!("{}={}", SingleLine(Truncated(label)), SingleLine(Truncated(value)))
            }
            None => SingleLine(Truncated(label)).to_string(),
        });
        Self {
            hint: problem.hint,
            about: about.cloned().unwrap_or_default(),
            id: problem.id.clone(),
            label,
            reason: problem.reason.clone(),
        }
    }
}
