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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn member(name: &str, served: &str, since: u64, differs: bool) -> FleetMemberStatus {
        FleetMemberStatus {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            served: served.to_owned(),
            since,
            differs,
            generation: 7,
            rollback: differs,
            problems: differs.into(),
        }
    }

    #[test]
    fn fleet_is_a_table_with_notes() {
        let fleet = FleetStatus {
            name: "lb1".to_owned(),
            at: 1000,
            silent_since: Some(990),
            balancers: vec![
                member("lb1", "8b54724fa9d02849", 880, false),
                member("lb2", "02d1c6f9e35b7a10", 960, true),
            ],
            drains: vec![FleetDrainStatus {
                id: "0123456789ab".to_owned(),
                by: "lb2".to_owned(),
                since: 995,
                open: BTreeMap::from([("lb1".to_owned(), 2), ("lb2".to_owned(), 0)]),
            }],
            ignored: Vec::new(),
        };
        let text = anstream::adapter::strip_str(&render_fleet(&fleet, None)).to_string();
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "BALANCER        VERSION  SERVES            SINCE  PROBLEMS  STATE",
                "lb1 (this one)  0.1.0    8b54724fa9d02849  2m     0         same",
                "lb2             0.1.0    02d1c6f9e35b7a10  40s    1         differs, rollback",
                "! etcd has not answered for 10s; showing what was known then",
                "container 0123456789ab is drained by lb2 for 5s: 2 requests on lb1",
            ]
        );
    }
}
