//! Text of the last changes, each with its cause.
//!
//! Pure.

use super::{join_lines, method_text, wrap_text};
use crate::{
    report::{
        history::GenerationStatus,
        status::ChangeStatus,
        style::{DIM, ERROR, HEADING, OK, PLAIN, WARN, apply_style},
        table::{Cell, Column, TableRow, render_table, truncate_to_width},
    },
    routing::route_diff::ChangeKind,
    support::format::format_plural,
};
use anstyle::Style;
use std::time::{Duration, UNIX_EPOCH};

/// How many changes of one generation are shown.
const MAX_CHANGES: usize = 5;

/// Renders the `last` generations, the newest at the end, where a terminal shows it. Times are in UTC.
pub fn render_history(all: &[GenerationStatus], last: usize, width: Option<usize>) -> String {
    if all.is_empty() {
        return "no changes yet\n".to_owned();
    }
    let earlier = all.len().saturating_sub(last);
    let more = match earlier {
        0 => String::new(),
        _ => {
            apply_style(
                DIM,
                format!("… {} before; --last shows more", format_plural(earlier, "change")),
            ) + "\n"
        }
    };
    all[earlier..]
        .iter()
        .fold(more, |text, generation| text + &render_generation(generation, width))
}

fn render_generation(generation: &GenerationStatus, width: Option<usize>) -> String {
    let heads =
        [Column::left_aligned("", 0), Column::left_aligned("", 2), Column::left_aligned("", 0)];
    let row = vec![
        Cell::new(HEADING, generation.generation.to_string()),
        Cell::new(DIM, format_time(generation.at_ms)),
        join_lines(&generation.cause).into(),
    ];
    let mut text = render_table(&heads, &[TableRow::Cells(row)], width);
    let how = method_text(
        generation.how,
        generation.why.as_deref(),
        generation.commands,
        generation.took_us,
    );
    text += &apply_style(DIM, wrap_text(&how, 4, width).trim_end());
    text += "\n";
    text += &render_changes(&generation.changes, &generation.changed, generation.more, width);
    text + &render_certificates(generation, width)
}

/// Renders the first few hosts whose certificates changed.
fn render_certificates(generation: &GenerationStatus, width: Option<usize>) -> String {
    let GenerationStatus { certificates, more_certificates, .. } = generation;
    let lines: Vec<_> = certificates.iter().map(ToString::to_string).collect();
    let styles: Vec<_> =
        certificates.iter().map(|certificate| change_style(certificate.change)).collect();
    render_lines(&lines, &styles, *more_certificates, width)
}

/// Renders the first few changes, each indented on a line of its own.
pub(crate) fn render_changes(
    changes: &[String],
    statuses: &[ChangeStatus],
    more: usize,
    width: Option<usize>,
) -> String {
    let styles: Vec<_> = statuses.iter().map(|status| change_style(status.change)).collect();
    render_lines(changes, &styles, more, width)
}

fn render_lines(changes: &[String], styles: &[Style], more: usize, width: Option<usize>) -> String {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(4));
    let line = |(at, change): (usize, &String)| {
        let style = styles.get(at).copied().unwrap_or(PLAIN);
        format!("    {}\n", apply_style(style, truncate_to_width(&join_lines(change), room)))
    };
    let text: String = changes.iter().take(MAX_CHANGES).enumerate().map(line).collect();
    match changes.len().saturating_sub(MAX_CHANGES) + more {
        0 => text,
        hidden_count => {
            format!("{text}    {}\n", apply_style(DIM, format!("… and {hidden_count} more")))
        }
    }
}

/// Returns the colour of a changed route.
pub(crate) fn change_style(change: ChangeKind) -> Style {
    match change {
        ChangeKind::Add => OK,
        ChangeKind::Remove => ERROR,
        ChangeKind::Change => WARN,
    }
}

fn format_time(at_ms: u64) -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at_ms));
    time.to_string().replace('T', " ")
}
