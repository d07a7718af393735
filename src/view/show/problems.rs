//! What could not be honoured, and why.
//!
//! Pure.

use super::{count, plain, wrap};
use crate::{
    view::paint::{BAD, DOUBT, HEAD, paint},
    view::status::ProblemStatus,
};

/// By container or listener, and how many there are.
pub fn problems(all: &[ProblemStatus], width: Option<usize>) -> String {
    if all.is_empty() {
        return "no problems\n".to_owned();
    }
    format!("{}\n{}\n", list(all, width), sum(all))
}

pub(super) fn list(all: &[ProblemStatus], width: Option<usize>) -> String {
    let mut text = String::new();
    let mut before = None;
    for problem in all {
        let about = about(problem);
        if before.as_ref() != Some(&about) {
            text += &(paint(HEAD, &about) + "\n");
        }
        before = Some(about);
        text += &mark(problem, &wrap(&sentence(problem), 2, width));
    }
    text
}

/// `2 problems, 1 hint`.
pub(super) fn sum(all: &[ProblemStatus]) -> String {
    let hints = all.iter().filter(|it| it.hint).count();
    let (bad, hints) = (all.len() - hints, (hints, count(hints, "hint")));
    match (bad, hints) {
        (0, (_, hints)) => hints,
        (bad, (0, _)) => count(bad, "problem"),
        (bad, (_, hints)) => format!("{}, {hints}", count(bad, "problem")),
    }
}

fn about(problem: &ProblemStatus) -> String {
    match (&problem.container, &problem.id, &problem.listener) {
        (Some(name), Some(id), _) => format!("container {name} ({id})"),
        (.., Some(listener)) => format!("listener {listener}"),
        _ => "docker-balancer".to_owned(),
    }
}

/// All of it, but for whom it is about.
fn sentence(problem: &ProblemStatus) -> String {
    let about = format!("{}: ", about(problem));
    plain(problem.text.strip_prefix(&about).unwrap_or(&problem.text))
}

/// The first line has a sign at its beginning, which colours need not be seen to read.
fn mark(problem: &ProblemStatus, lines: &str) -> String {
    let (style, sign) = if problem.hint { (DOUBT, '·') } else { (BAD, '!') };
    format!("{} {}", paint(style, sign), lines.trim_start_matches(' '))
}
