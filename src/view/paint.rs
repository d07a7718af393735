//! The colours of what is printed, by what they mean.
//!
//! Pure. The text always has them; where nobody wants any, printing takes them out (`print`).

use anstyle::{AnsiColor, Style};
use std::fmt::Display;

pub const HEAD: Style = Style::new().bold();
pub const FAINT: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const DOUBT: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const PLACE: Style = AnsiColor::Cyan.on_default();
pub const PLAIN: Style = Style::new();

pub fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}
