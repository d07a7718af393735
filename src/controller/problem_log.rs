//! Each problem is told when it appears and when it goes, not on each pass.
//!
//! In words for people, and in fields for programs: whose it is, the label, and its kind.

use crate::{
    model::{
        container_ref::ContainerRef,
        problem::{LabelText, Problem, ProblemSubject, Severity},
        problem_set::ProblemSet,
    },
    routing::route_diff::RouteChange,
};
use tracing::{info, warn};

#[derive(Debug, Default)]
pub struct ProblemLog(ProblemSet);

impl ProblemLog {
    /// Those there are.
    pub fn problems(&self) -> &ProblemSet {
        &self.0
    }

    pub fn log_changes(&mut self, problems: ProblemSet) {
        for problem in problems.difference(&self.0) {
            let LogFields { kind, container, id, listener, option, label, value } = problem.into();
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
            let LogFields { kind, container, id, listener, option, label, value } = problem.into();
            info!(
                kind,
                container,
                id,
                listener,
                option,
                label,
                value,
                resolved = true,
                "resolved: {problem}"
            );
        }
        self.0 = problems;
    }
}

/// A route that came, went or is served otherwise.
pub fn log_route_change(change: &RouteChange) {
    let (kind, route) = match change {
        RouteChange::Added { route, .. } => ("route_added", route),
        RouteChange::Removed { route } => ("route_removed", route),
        RouteChange::Changed { route, .. } => ("route_changed", route),
    };
    info!(kind, route = route.to_string(), "{change}");
}

/// Of a problem; what it is not about is absent.
struct LogFields<'a> {
    kind: &'static str,
    container: Option<&'a str>,
    id: Option<&'a str>,
    listener: Option<String>,
    option: Option<&'static str>,
    label: Option<String>,
    value: Option<String>,
}

impl<'a> From<&'a Problem> for LogFields<'a> {
    fn from(problem: &'a Problem) -> Self {
        let Problem { subject: about, label, reason } = problem;
        let (container, listener, option) = match about {
            ProblemSubject::Container(origin) => (Some(origin), None, None),
            ProblemSubject::Listener(listener) => (None, Some(listener.to_string()), None),
            ProblemSubject::Option(option) => (None, None, Some(*option)),
        };
        Self {
            kind: reason.kind(),
            container: container.map(ContainerRef::name),
            id: container.map(ContainerRef::id),
            listener,
            option,
            label: label.as_ref().map(LabelText::key_text),
            value: label.as_ref().map(LabelText::value_text),
        }
    }
}
