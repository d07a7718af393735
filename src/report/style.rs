//! The text styles of printed output, by meaning.
//!
//! Pure. Texts always contain the colours; printing removes them where they are not wanted (`print`).

use anstyle::{AnsiColor, Style};
use std::fmt::Display;

pub const HEADING: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const OK: Style = AnsiColor::Green.on_default();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
pub const LOCATION: Style = AnsiColor::Cyan.on_default();
pub const PLAIN: Style = Style::new();

pub fn apply_style(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
