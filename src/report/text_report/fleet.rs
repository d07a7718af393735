//! Text of the balancers of a fleet.
//!
//! Pure.

use super::{join_lines, wrap_text};
use crate::{
    report::{
        fleet::{FleetDrainStatus, FleetMemberStatus, FleetStatus},
        style::{DIM, ERROR, OK, PLAIN, WARN},
        table::{Cell, Column, TableRow, render_table},
    },
    support::format::{format_plural, format_span},
};
use std::time::Duration;

const COLUMNS: [Column; 6] = [
    Column::left_aligned("BALANCER", 0),
    Column::left_aligned("VERSION", 3),
    Column::left_aligned("SERVES", 0),
    Column::left_aligned("SINCE", 2),
    Column::left_aligned("PROBLEMS", 1),
    Column::left_aligned("STATE", 0),
];

/// Renders the balancers, and the drains of all of them.
pub fn render_fleet(fleet: &FleetStatus, width: Option<usize>) -> String {
    let rows: Vec<_> = fleet.balancers.iter().map(|member| member_row(member, fleet)).collect();
    let mut text = match &rows[..] {
        [] => "no balancer is known yet\n".to_owned(),
        rows => render_table(&COLUMNS, rows, width),
    };
    let span = |since: u64| format_span(Duration::from_secs(fleet.at.saturating_sub(since)));
    if let Some(since) = fleet.silent_since {
        let note =
            format!("! etcd has not answered for {}; showing what was known then", span(since));
        text += &wrap_text(&note, 0, width);
    }
    for drain in &fleet.drains {
        text += &wrap_text(&drain_text(drain, &span(drain.since)), 0, width);
    }
    for ignored in &fleet.ignored {
        let note =
            format!("! the record of {} is ignored: {}", ignored.name, join_lines(&ignored.why));
        text += &wrap_text(&note, 0, width);
    }
    text
}

fn member_row(member: &FleetMemberStatus, fleet: &FleetStatus) -> TableRow {
    let own = if member.name == fleet.name { " (this one)" } else { "" };
    let since = format_span(Duration::from_secs(fleet.at.saturating_sub(member.since)));
    let (style, state) = match (member.differs, member.rollback) {
        (true, true) => (ERROR, "differs, rollback"),
        (true, false) => (ERROR, "differs"),
        (false, true) => (WARN, "rollback"),
        (false, false) => (OK, "same"),
    };
    let problems = if member.problems == 0 { DIM } else { WARN };
    TableRow::Cells(vec![
        Cell::new(PLAIN, format!("{}{own}", member.name)),
        // Another machine wrote it.
        Cell::new(DIM, join_lines(&member.version)),
        Cell::new(PLAIN, &member.served),
        Cell::new(DIM, since),
        Cell::new(problems, member.problems.to_string()),
        Cell::new(style, state),
    ])
}

fn drain_text(drain: &FleetDrainStatus, span: &str) -> String {
    let FleetDrainStatus { id, by, open, .. } = drain;
    let left = open.iter().filter(|(_, count)| 0 < **count);
    let left = left.map(|(name, count)| {
        let count = usize::try_from(*count).unwrap_or(usize::MAX);
        format!("{} on {name}", format_plural(count, "request"))
    });
    let left: Vec<_> = left.collect();
    let left = if left.is_empty() { "nothing is open".to_owned() } else { left.join(", ") };
    format!("container {id} is drained by {by} for {span}: {left}")
}
