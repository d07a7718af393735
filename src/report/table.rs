//! Renders rows of cells in columns that fit the width of the terminal.
//!
//! Pure. If there is too little room, the least important columns are left out, and then the first column is cut.

use crate::report::style::{HEADING, PLAIN, apply_style};
use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Spaces between two columns.
const GAP: usize = 2;
/// Minimum width of the first column.
const MIN_FIRST_WIDTH: usize = 8;

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub title: &'static str,
    pub alignment: Alignment,
    /// Columns with the highest rank are left out first; 0 is always shown.
    pub drop_rank: u8,
}

/// Alignment of the cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    Left,
    Right,
}

#[derive(Debug, Clone)]
pub struct Cell {
    pub text: String,
    pub style: Style,
}

#[derive(Debug, Clone)]
pub enum TableRow {
    /// One for each column.
    Cells(Vec<Cell>),
    /// Takes the whole width.
    Line(Cell),
}

/// Returns lines with line ends. `width` is that of the terminal; `None` means unlimited.
pub fn render_table(columns: &[Column], rows: &[TableRow], width: Option<usize>) -> String {
    let width = width.unwrap_or(usize::MAX);
    let natural: Vec<_> = (0..columns.len()).map(|at| natural_width(columns, rows, at)).collect();
    let mut visible: Vec<_> = (0..columns.len()).collect();
    while width < total_width(&natural, &visible) {
        let dropped = visible.iter().copied().filter(|at| 0 < columns[*at].drop_rank);
        let Some(dropped) = dropped.max_by_key(|at| columns[*at].drop_rank) else { break };
        visible.retain(|at| *at != dropped);
    }
    let mut widths = natural;
    let excess = total_width(&widths, &visible).saturating_sub(width);
    widths[0] = widths[0].saturating_sub(excess).max(MIN_FIRST_WIDTH.min(widths[0]));
    let head: Vec<_> = columns.iter().map(|column| Cell::new(HEADING, column.title)).collect();
    let line = |cells: &[Cell]| {
        let cells = visible.iter().map(|at| (&cells[*at], columns[*at].alignment, widths[*at]));
        render_row(cells, 0)
    };
    let rows = rows.iter().map(|row| match row {
        TableRow::Cells(cells) => line(cells),
        TableRow::Line(cell) => {
            apply_style(cell.style, truncate_to_width(&cell.text, width)) + "\n"
        }
    });
    let head = (!head.iter().all(|cell| cell.text.is_empty())).then(|| line(&head));
    head.into_iter().chain(rows).collect()
}

/// A longer cell moves only the cells after it in its own row, and does not widen the column.
const MAX_LIST_WIDTH: usize = 60;

/// Renders rows without titles, indented by two spaces. Rows may have different numbers of cells. Nothing is left out
/// or cut.
pub fn render_list(rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.width());
        cells.filter(|width| *width <= MAX_LIST_WIDTH).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<Cell>| {
        let cells = row.iter().zip(&widths);
        let cells =
            cells.map(|(cell, width)| (cell, Alignment::Left, cell.text.width().max(*width)));
        render_row(cells, GAP)
    };
    rows.iter().map(line).collect()
}

fn natural_width(columns: &[Column], rows: &[TableRow], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| match row {
        TableRow::Cells(cells) => Some(cells[at].text.width()),
        TableRow::Line(_) => None,
    });
    cells.chain([columns[at].title.width()]).max().unwrap_or_default()
}

fn total_width(widths: &[usize], visible: &[usize]) -> usize {
    let wide: usize = visible.iter().map(|at| widths[*at]).sum();
    wide + GAP * visible.len().saturating_sub(1)
}

/// Adds no spaces after the last cell.
fn render_row<'a>(
    cells: impl Iterator<Item = (&'a Cell, Alignment, usize)>,
    indent: usize,
) -> String {
    let (mut line, mut pending) = (String::new(), indent);
    for (cell, alignment, width) in cells {
        let text = truncate_to_width(&cell.text, width);
        let room = width.saturating_sub(text.width());
        let (before, after) = if alignment == Alignment::Left { (0, room) } else { (room, 0) };
        if text.is_empty() {
            pending += width + GAP;
            continue;
        }
        line += &" ".repeat(pending + before);
        line += &apply_style(cell.style, text);
        pending = after + GAP;
    }
    line + "\n"
}

/// Cuts the text to the width, with `…` where it was cut.
pub fn truncate_to_width(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut remaining = width.saturating_sub(1);
    let fits = |c: &char| {
        let wide = c.width().unwrap_or_default();
        let fits = wide <= remaining;
        remaining = remaining.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

impl Column {
    pub const fn left_aligned(head: &'static str, rank: u8) -> Self {
        Self { title: head, alignment: Alignment::Left, drop_rank: rank }
    }

    pub const fn right_aligned(head: &'static str, rank: u8) -> Self {
        Self { title: head, alignment: Alignment::Right, drop_rank: rank }
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
        let heads = [
            Column::left_aligned("NAME", 0),
            Column::right_aligned("N", 0),
            Column::left_aligned("WHERE", 1),
        ];
        let row = |cells: [&str; 3]| TableRow::Cells(cells.map(Cell::from).to_vec());
        let rows = [
            TableRow::Line("a long line above".into()),
            row(["äöü-first", "7", "here"]),
            row(["b", "1234", ""]),
        ];
        assert_eq!(
            anstream::adapter::strip_str(&render_table(&heads, &rows, width)).to_string(),
            expected.join("\n") + "\n"
        );
    }

    #[test]
    fn list_row_may_exceed_column_without_moving_others() {
        let long = "x".repeat(MAX_LIST_WIDTH + 1);
        let row = |cells: &[&str]| cells.iter().map(|text| Cell::from(*text)).collect::<Vec<_>>();
        let rows =
            [row(&["a", "ü", "c"]), row(&["long", &long, "d"]), row(&["", "b", ""]), row(&[])];
        let text = anstream::adapter::strip_str(&render_list(&rows)).to_string();
        assert_eq!(text, format!("  a     ü  c\n  long  {long}  d\n        b\n\n"));
    }

    #[test]
    fn narrow_table_drops_and_truncates_columns() {
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
