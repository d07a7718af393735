//! Rows of painted cells, as `explain` shows its steps.

use crate::view::paint::paint;
use anstyle::Style;
use std::fmt::{self, Write as _};

/// A piece of text in one colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Painted {
    pub(super) style: Style,
    pub(super) text: String,
}

pub(super) fn painted(style: Style, text: impl fmt::Display) -> Painted {
    Painted { style, text: text.to_string() }
}

impl Painted {
    /// In columns of a terminal, as near as counting characters gets.
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl fmt::Display for Painted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { style, text } = self;
        if text.is_empty() { Ok(()) } else { f.write_str(&paint(*style, text)) }
    }
}

/// What is longer pushes what follows it, and not the rows above and below.
const WIDEST: usize = 60;

/// Rows whose columns stand under each other, two blanks between them and before them; no blanks at the end.
pub(super) fn table(rows: &[Vec<Painted>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<_> = (0..columns).map(|it| widest(cells(it).map(Painted::width))).collect();
    let mut text = String::new();
    for row in rows {
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |it| it + 1);
        for (at, (cell, width)) in row[..last].iter().zip(&widths).enumerate() {
            let pad = if at + 1 == last { 0 } else { width.saturating_sub(cell.width()) };
            write!(text, "  {cell}{:pad$}", "").expect("writing to a string cannot fail");
        }
        text.push('\n');
    }
    text
}

fn widest(widths: impl Iterator<Item = usize>) -> usize {
    widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
}
