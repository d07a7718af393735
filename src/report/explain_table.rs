//! Rows of painted cells, as `explain` shows its steps.

use crate::report::style::apply_style;
use anstyle::Style;
use std::fmt::{self, Write as _};

/// A piece of text in one colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StyledText {
    pub(crate) style: Style,
    pub(crate) text: String,
}

pub(crate) fn styled_text(style: Style, text: impl fmt::Display) -> StyledText {
    StyledText { style, text: text.to_string() }
}

impl StyledText {
    /// In columns of a terminal, as near as counting characters gets.
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl fmt::Display for StyledText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { style, text } = self;
        if text.is_empty() { Ok(()) } else { f.write_str(&apply_style(*style, text)) }
    }
}

/// What is longer pushes what follows it, and not the rows above and below.
const MAX_COLUMN_WIDTH: usize = 60;

/// Rows whose columns stand under each other, two blanks between them and before them; no blanks at the end.
pub(crate) fn format_table(rows: &[Vec<StyledText>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<_> =
        (0..columns).map(|n| column_width(cells(n).map(StyledText::width))).collect();
    let mut text = String::new();
    for row in rows {
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |n| n + 1);
        for (at, (cell, width)) in row[..last].iter().zip(&widths).enumerate() {
            let pad = if at + 1 == last { 0 } else { width.saturating_sub(cell.width()) };
            write!(text, "  {cell}{:pad$}", "").expect("writing to a string cannot fail");
        }
        text.push('\n');
    }
    text
}

fn column_width(widths: impl Iterator<Item = usize>) -> usize {
    widths.filter(|width| *width <= MAX_COLUMN_WIDTH).max().unwrap_or(0)
}
