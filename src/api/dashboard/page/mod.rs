//! The content of the page: a status as groups, rows and texts.
//!
//! Pure. Templates only print these values; all wording is decided here.

mod group;
mod head;
mod pass;
mod problems;
mod row;
mod status_icon;

pub use group::HostGroup;
pub use head::{Head, ListenerBadge, RollbackBanner, StatusBadge};
pub use pass::{DiffLine, Pass};
pub use problems::{ProblemList, ProblemRow};
pub use row::{PathGroup, ServerRow};
pub use status_icon::StatusIcon;

use crate::{
    haproxy::stats::Counters,
    report::{
        StateSnapshot,
        status::{LastApply, Status},
    },
    support::format::format_count,
};

/// How many of the last passes are shown.
const MAX_RECENT: usize = 20;

/// The whole page, from top to bottom.
#[derive(Debug, Clone)]
pub struct PageView {
    pub head: Head,
    pub problems: ProblemList,
    pub welcome: Option<EmptyState>,
    pub recent: Vec<Pass>,
    pub groups: Vec<HostGroup>,
}

/// Why there are no routes to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmptyState {
    /// The first list of containers has not arrived from Docker.
    Waiting,
    NoRoutes,
}

impl PageView {
    /// `counters` is `None` if HAProxy does not answer.
    pub fn from_snapshot(state: &StateSnapshot, counters: Option<&Counters>, filter: &str) -> Self {
        let recent = state.history.generations().rev().map(|files| LastApply::from(files.as_ref()));
        Self::from_status(&Status::from_snapshot(state, counters), recent, filter)
    }

    /// `recent` is sorted with the newest pass first. Groups that do not contain `filter` are hidden.
    pub fn from_status(
        status: &Status,
        recent: impl Iterator<Item = LastApply>,
        filter: &str,
    ) -> Self {
        let pass = |apply: LastApply| Pass::from_apply(&apply, status.at_ms);
        let groups = group::build_groups(status, &filter.trim().to_lowercase());
        Self {
            head: Head::from_status(status),
            problems: ProblemList::from_statuses(&status.problems),
            welcome: empty_state(status, &groups),
            recent: recent.take(MAX_RECENT).map(pass).collect(),
            groups,
        }
    }
}

fn empty_state(status: &Status, groups: &[HostGroup]) -> Option<EmptyState> {
    match (groups.is_empty(), status.docker.containers) {
        (false, _) => None,
        (true, None) => Some(EmptyState::Waiting),
        (true, Some(_)) => Some(EmptyState::NoRoutes),
    }
}

/// Formats counters: `–` if HAProxy does not answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountFormat(bool);

impl CountFormat {
    /// `None` is a number that is not counted.
    fn format_number(self, number: Option<u64>) -> String {
        number.filter(|_| self.0).map_or_else(|| "–".to_owned(), format_count)
    }
}
