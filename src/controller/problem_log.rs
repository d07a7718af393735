//! Logs each problem when it appears and when it is resolved, not on each pass.
//!
//! Each entry has a text for people and fields for programs: the container, the label and the kind.

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
    /// Returns the current problems.
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

/// Logs a route that was added, removed or changed.
pub fn log_route_change(change: &RouteChange) {
    let (kind, route) = match change {
        RouteChange::Added { route, .. } => ("route_added", route),
        RouteChange::Removed { route } => ("route_removed", route),
        RouteChange::Changed { route, .. } => ("route_changed", route),
    };
    info!(kind, route = route.to_string(), "{change}");
}

/// Log fields of a problem; those that do not apply are absent.
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
