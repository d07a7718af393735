//! The problems, with their reasons.
//!
//! Pure.

use super::super::words::{count, several};
use crate::view::status::ProblemStatus;

/// Of all problems.
const MOST_PROBLEMS: usize = 100;
/// Of what a label says.
const MOST_LETTERS: usize = 200;

/// All that there are.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// `2 problems, 1 hint`
    pub title: String,
    pub list: Vec<Trouble>,
    /// Those that are left out.
    pub more: Option<String>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Trouble {
    pub hint: bool,
    /// The container, or the listener.
    pub about: String,
    pub id: Option<String>,
    pub label: Option<String>,
    pub reason: String,
}

impl Problems {
    /// What was lost comes first, what is merely worth knowing last.
    pub(super) fn of(all: &[ProblemStatus]) -> Self {
        let (hints, real): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.hint);
        let titles = [(real.len(), "problem"), (hints.len(), "hint")];
        let titles = titles.into_iter().filter(|(number, _)| *number != 0);
        let left_out = all.len().saturating_sub(MOST_PROBLEMS);
        Self {
            title: titles
                .map(|(number, what)| several(number, what))
                .collect::<Vec<_>>()
                .join(", "),
            list: real.iter().chain(&hints).take(MOST_PROBLEMS).map(|it| Trouble::of(it)).collect(),
            more: (left_out != 0).then(|| format!("and {} more", count(left_out as u64))),
        }
    }
}

impl Trouble {
    fn of(problem: &ProblemStatus) -> Self {
        let about = problem.container.as_ref().or(problem.listener.as_ref());
        let label = problem.label.as_ref().map(|label| match &problem.value {
            Some(value) => format!("{}={}", plain(label), plain(value)),
            None => plain(label),
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

/// What somebody else wrote: what cannot be seen, or turns the direction of writing, as its number.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().take(MOST_LETTERS) {
        match c {
            '"' | '\'' | '\\' => plain.push(c),
            c => plain.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MOST_LETTERS).is_some() { plain + "…" } else { plain }
}
