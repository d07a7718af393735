//! Rows of cells in columns, as wide as there is room.
//!
//! Pure. Where there is too little room the columns that matter least are left out, and then the first one
//! is cut.

use crate::view::paint::{HEAD, PLAIN, paint};
use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 2;
/// What the first column keeps, however narrow it is.
const LEAST: usize = 8;

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub head: &'static str,
    pub side: Side,
    /// Those with the highest go first; 0 stays.
    pub rank: u8,
}

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

#[derive(Debug, Clone)]
pub struct Cell {
    pub text: String,
    pub style: Style,
}

#[derive(Debug, Clone)]
pub enum Row {
    /// One for each column.
    Cells(Vec<Cell>),
    /// Takes the whole width.
    Line(Cell),
}

/// Lines with their ends. `width` is that of the terminal; without one there is room for all.
pub fn columns(columns: &[Column], rows: &[Row], width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let natural: Vec<_> = (0..columns.len()).map(|at| natural(columns, rows, at)).collect();
    let mut shown: Vec<_> = (0..columns.len()).collect();
    while width < total(&natural, &shown) {
        let least = shown.iter().copied().filter(|at| 0 < columns[*at].rank);
        let Some(least) = least.max_by_key(|at| columns[*at].rank) else { break };
        shown.retain(|at| *at != least);
    }
    let mut widths = natural;
    let over = total(&widths, &shown).saturating_sub(width);
    widths[0] = widths[0].saturating_sub(over).max(LEAST.min(widths[0]));
    let head: Vec<_> = columns.iter().map(|it| Cell::new(HEAD, it.head)).collect();
    let line = |cells: &[Cell]| {
        let cells = shown.iter().map(|at| (&cells[*at], columns[*at].side, widths[*at]));
        lay(cells)
    };
    let rows = rows.iter().map(|row| match row {
        Row::Cells(cells) => line(cells),
        Row::Line(cell) => paint(cell.style, cut(&cell.text, width)) + "\n",
    });
    let head = (!head.iter().all(|it| it.text.is_empty())).then(|| line(&head));
    head.into_iter().chain(rows).collect()
}

fn natural(columns: &[Column], rows: &[Row], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| match row {
        Row::Cells(cells) => Some(cells[at].text.width()),
        Row::Line(_) => None,
    });
    cells.chain([columns[at].head.width()]).max().unwrap_or_default()
}

fn total(widths: &[usize], shown: &[usize]) -> usize {
    let wide: usize = shown.iter().map(|at| widths[*at]).sum();
    wide + GAP * shown.len().saturating_sub(1)
}

/// Nothing is put behind the last one.
fn lay<'a>(cells: impl Iterator<Item = (&'a Cell, Side, usize)>) -> String {
    let (mut line, mut pending) = (String::new(), 0);
    for (cell, side, width) in cells {
        let text = cut(&cell.text, width);
        let room = width.saturating_sub(text.width());
        let (before, after) = if side == Side::Left { (0, room) } else { (room, 0) };
        if text.is_empty() {
            pending += width + GAP;
            continue;
        }
        line += &" ".repeat(pending + before);
        line += &paint(cell.style, text);
        pending = after + GAP;
    }
    line + "\n"
}

/// As much of it as there is room for, with a mark where it was cut.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or_default();
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

impl Column {
    pub const fn left(head: &'static str, rank: u8) -> Self {
        Self { head, side: Side::Left, rank }
    }

    pub const fn right(head: &'static str, rank: u8) -> Self {
        Self { head, side: Side::Right, rank }
    }
}

impl Cell {
    pub fn new(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(PLAIN, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: Option<usize>, expected: &[&str]) {
        let heads = [Column::left("NAME", 0), Column::right("N", 0), Column::left("WHERE", 1)];
        let row = |cells: [&str; 3]| Row::Cells(cells.map(Cell::from).to_vec());
        let rows = [
            Row::Line("a long line above".into()),
            row(["äöü-first", "7", "here"]),
            row(["b", "1234", ""]),
        ];
        assert_eq!(
            anstream::adapter::strip_str(&columns(&heads, &rows, width)).to_string(),
            expected.join("\n") + "\n"
        );
    }

    #[test]
    fn columns_go_and_are_cut_where_there_is_too_little_room() {
        let whole = [
            "NAME          N  WHERE",
            "a long line above",
            "äöü-first     7  here",
            "b          1234",
        ];
        check(None, &whole);
        check(Some(22), &whole);
        check(
            Some(18),
            &["NAME          N", "a long line above", "äöü-first     7", "b          1234"],
        );
        check(Some(14), &["NAME         N", "a long line a…", "äöü-fir…     7", "b         1234"]);
    }
}
