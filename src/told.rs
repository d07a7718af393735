//! Each problem is told when it appears and when it goes, not on each pass.
//!
//! In words for people, and in fields for programs: whose it is, the label, and its kind.

use crate::{
    change::Change,
    origin::Origin,
    problem::{About, Label, Problem, Severity},
    problem_set::ProblemSet,
};
use tracing::{info, warn};

#[derive(Debug, Default)]
pub struct Told(ProblemSet);

impl Told {
    /// Those there are.
    pub fn problems(&self) -> &ProblemSet {
        &self.0
    }

    pub fn tell(&mut self, problems: ProblemSet) {
        for problem in problems.difference(&self.0) {
            let Fields { kind, container, id, listener, option, label, value } = problem.into();
            match problem.reason.severity() {
                Severity::Problem => {
                    warn!(kind, container, id, listener, option, label, value, "{problem}");
                }
                Severity::Hint => {
                    info!(kind, container, id, listener, option, label, value, "{problem}");
                }
            }
        }
        for problem in self.0.difference(&problems) {
            let Fields { kind, container, id, listener, option, label, value } = problem.into();
            info!(
                kind,
                container,
                id,
                listener,
                option,
                label,
                value,
                over = true,
                "no longer a problem: {problem}"
            );
        }
        self.0 = problems;
    }
}

/// A route that came, went or is served otherwise.
pub fn tell_change(change: &Change) {
    let (kind, route) = match change {
        Change::Came { route, .. } => ("route_came", route),
        Change::Went { route } => ("route_went", route),
        Change::Differs { route, .. } => ("route_differs", route),
    };
    info!(kind, route = route.to_string(), "{change}");
}

/// Of a problem; what it is not about is absent.
struct Fields<'a> {
    kind: &'static str,
    container: Option<&'a str>,
    id: Option<&'a str>,
    listener: Option<String>,
    option: Option<&'static str>,
    label: Option<String>,
    value: Option<String>,
}

impl<'a> From<&'a Problem> for Fields<'a> {
    fn from(problem: &'a Problem) -> Self {
        let Problem { about, label, reason } = problem;
        let (container, listener, option) = match about {
            About::Container(origin) => (Some(origin), None, None),
            About::Listener(listener) => (None, Some(listener.to_string()), None),
            About::Option(option) => (None, None, Some(*option)),
        };
        Self {
            kind: reason.kind(),
            container: container.map(Origin::name),
            id: container.map(Origin::id),
            listener,
            option,
            label: label.as_ref().map(Label::key_text),
            value: label.as_ref().map(Label::value_text),
        }
    }
}
