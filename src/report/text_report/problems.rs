//! Text of the problems with their reasons.
//!
//! Pure.

use super::{join_lines, wrap_text};
use crate::{
    report::{
        status::ProblemStatus,
        style::{ERROR, HEADING, WARN, apply_style},
    },
    support::format::format_plural,
};

/// Renders the problems by container or listener, and their number.
pub fn render_problems(all: &[ProblemStatus], width: Option<usize>) -> String {
    if all.is_empty() {
        return "no problems\n".to_owned();
    }
    format!("{}\n{}\n", list_problems(all, width), summarize_problems(all))
}

pub(crate) fn list_problems(all: &[ProblemStatus], width: Option<usize>) -> String {
    let mut text = String::new();
    let mut before = None;
    for problem in all {
        let subject = subject_text(problem);
        if before.as_ref() != Some(&subject) {
            text += &(apply_style(HEADING, &subject) + "\n");
        }
        before = Some(subject);
        text += &mark_line(problem, &wrap_text(&problem_text(problem), 2, width));
    }
    text
}

/// `2 problems, 1 hint`.
pub(crate) fn summarize_problems(all: &[ProblemStatus]) -> String {
    let hints = all.iter().filter(|status| status.hint).count();
    let (bad, hints) = (all.len() - hints, (hints, format_plural(hints, "hint")));
    match (bad, hints) {
        (0, (_, hints)) => hints,
        (bad, (0, _)) => format_plural(bad, "problem"),
        (bad, (_, hints)) => format!("{}, {hints}", format_plural(bad, "problem")),
    }
}

fn subject_text(problem: &ProblemStatus) -> String {
    match (&problem.container, &problem.id, &problem.listener) {
        (Some(name), Some(id), _) => format!("container {name} ({id})"),
        (.., Some(listener)) => format!("listener {listener}"),
        _ => "docker-balancer".to_owned(),
    }
}

/// Returns the text without the subject.
fn problem_text(problem: &ProblemStatus) -> String {
    let subject = format!("{}: ", subject_text(problem));
    join_lines(problem.text.strip_prefix(&subject).unwrap_or(&problem.text))
}

/// Puts a sign in front of the first line, so that the severity is visible without colours.
fn mark_line(problem: &ProblemStatus, lines: &str) -> String {
    let (style, sign) = if problem.hint { (WARN, '·') } else { (ERROR, '!') };
    format!("{} {}", apply_style(style, sign), lines.trim_start_matches(' '))
}
