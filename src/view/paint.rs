//! Colours, for a terminal: where it is none, and with NO_COLOR, they are taken out when it is printed.
//!
//! Pure.

use anstyle::{AnsiColor, Style};
use std::fmt::Display;

pub const HEAD: Style = Style::new().bold();
pub const NEW: Style = AnsiColor::Green.on_default();
pub const GONE: Style = AnsiColor::Red.on_default();
pub const OTHER: Style = AnsiColor::Yellow.on_default();
pub const PLACE: Style = AnsiColor::Cyan.on_default();
pub const FAINT: Style = Style::new().dimmed();

/// The text in a style.
pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
