//! Each problem is told when it appears and when it goes, not on each pass.

use crate::problem::{Problem, Severity};
use std::collections::BTreeSet;
use tracing::{info, warn};

#[derive(Debug, Default)]
pub struct Told(BTreeSet<Problem>);

impl Told {
    /// Those there are.
    pub fn problems(&self) -> &BTreeSet<Problem> {
        &self.0
    }

    pub fn tell(&mut self, problems: BTreeSet<Problem>) {
        for problem in problems.difference(&self.0) {
            match problem.reason.severity() {
                Severity::Problem => warn!("{problem}"),
                Severity::Hint => info!("{problem}"),
            }
        }
        for problem in self.0.difference(&problems) {
            info!("no longer a problem: {problem}");
        }
        self.0 = problems;
    }
}
