//! The last changes, each with its cause.
//!
//! Pure.

use super::{count, how, plain, wrap};
use crate::{
    view::paint::{BAD, DOUBT, FAINT, GOOD, HEAD, PLAIN, paint},
    view::{
        columns::{Cell, Column, Row, columns, cut},
        history::GenerationStatus,
    },
};
use anstyle::Style;
use std::time::{Duration, UNIX_EPOCH};

/// Of one generation's changes so many are shown.
const MOST: usize = 5;

/// The last so many, the newest at the end, where a terminal shows it. Times are in UTC.
pub fn history(all: &[GenerationStatus], last: usize, width: Option<usize>) -> String {
    if all.is_empty() {
        return "no changes yet\n".to_owned();
    }
    let earlier = all.len().saturating_sub(last);
    let more = match earlier {
        0 => String::new(),
        _ => {
            paint(FAINT, format!("… {} before; --last shows more", count(earlier, "change"))) + "\n"
        }
    };
    all[earlier..].iter().fold(more, |text, it| text + &one(it, width))
}

fn one(it: &GenerationStatus, width: Option<usize>) -> String {
    let heads = [Column::left("", 0), Column::left("", 2), Column::left("", 0)];
    let row = vec![
        Cell::new(HEAD, it.generation.to_string()),
        Cell::new(FAINT, time(it.at_ms)),
        plain(&it.cause).into(),
    ];
    let mut text = columns(&heads, &[Row::Cells(row)], width);
    let how = how(it.how, it.why.as_deref(), it.commands, it.took_us);
    text += &paint(FAINT, wrap(&how, 4, width).trim_end());
    text += "\n";
    text + &changes(&it.changes, it.more, width)
}

/// The first few, each in a line of its own, further in.
pub(super) fn changes(changes: &[String], more: usize, width: Option<usize>) -> String {
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(4));
    let line = |change: &String| {
        let change = plain(change);
        format!("    {}\n", paint(style(&change), cut(&change, room)))
    };
    let text: String = changes.iter().take(MOST).map(line).collect();
    match changes.len().saturating_sub(MOST) + more {
        0 => text,
        left => format!("{text}    {}\n", paint(FAINT, format!("… and {left} more"))),
    }
}

fn style(change: &str) -> Style {
    match change.chars().next() {
        Some('+') => GOOD,
        Some('-') => BAD,
        Some('~') => DOUBT,
        _ => PLAIN,
    }
}

fn time(at_ms: u64) -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at_ms));
    time.to_string().replace('T', " ")
}
