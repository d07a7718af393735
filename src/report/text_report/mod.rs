//! Status, routes, problems and history as people read them.
//!
//! Pure. Text with colours in it; `width` is the terminal's, and without one nothing is cut or wrapped.

mod history;
mod problems;
mod routes;
mod status;

pub use history::render_history;
pub use problems::render_problems;
pub use routes::render_routes;
pub use status::render_status;

use super::status::HowStatus;
use crate::model::problem::is_unprintable;
use std::{fmt::Display, time::Duration};
use textwrap::WordSplitter;

/// `1 route`, `2 routes`.
fn count_noun(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Of one unit, or of two: `4s`, `2m 10s`, `3d 4h`.
fn format_span(from_ms: u64, to_ms: u64) -> String {
    let seconds = to_ms.saturating_sub(from_ms) / 1000;
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let largest = units.iter().position(|(_, size)| *size <= seconds).unwrap_or(3);
    let mut remaining = seconds;
    let shown = units[largest..].iter().take(2).map(|(name, size)| {
        let number = remaining / size;
        remaining %= size;
        (number, name)
    });
    let shown: Vec<_> = shown.collect();
    let parts = shown.iter().enumerate().filter(|(at, (number, _))| *at == 0 || 0 < *number);
    parts.map(|(_, (number, name))| format!("{number}{name}")).collect::<Vec<_>>().join(" ")
}

/// `told HAProxy 3 commands in 1.2ms`.
fn method_text(how: HowStatus, why: Option<&str>, commands: usize, took_us: u64) -> String {
    let took = format_micros(took_us);
    match how {
        HowStatus::Runtime if commands == 0 => format!("HAProxy had it already, {took}"),
        HowStatus::Runtime => format!("told HAProxy {} in {took}", count_noun(commands, "command")),
        HowStatus::Start => format!("started HAProxy in {took}"),
        HowStatus::Reload => {
            format!("reloaded HAProxy in {took}: {}", to_plain(why.unwrap_or_default()))
        }
    }
}

/// Three digits of it are enough.
fn format_micros(micros: u64) -> String {
    let duration = Duration::from_micros(micros);
    match micros {
        0..1000 => format!("{micros}µs"),
        1000..10_000 => format!("{:.1}ms", duration.as_secs_f64() * 1000.0),
        10_000..1_000_000 => format!("{}ms", micros / 1000),
        _ => format!("{:.1}s", duration.as_secs_f64()),
    }
}

/// What others said may have anything in it.
fn to_plain(text: impl Display) -> String {
    text.to_string().chars().map(|c| if is_unprintable(c) { ' ' } else { c }).collect()
}

/// Lines of at most the width; those after the first begin further in.
fn wrap_text(text: &str, indent: usize, width: Option<usize>) -> String {
    let (first, remaining) = (" ".repeat(indent), " ".repeat(indent + 2));
    // Narrower than this nobody could read it.
    let width = width.map_or(usize::MAX, |width| width.max(indent + 20));
    let options =
        textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&remaining);
    let options = options.break_words(false).word_splitter(WordSplitter::NoHyphenation);
    let mut wrapped = textwrap::wrap(text, options).join("\n");
    wrapped.push('\n');
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_is_formatted_with_at_most_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (130, "2m 10s"),
            (3600, "1h"),
            (3661, "1h 1m"),
            (90_000, "1d 1h"),
            (86_460, "1d"),
        ] {
            assert_eq!(format_span(1_000_000, 1_000_000 + seconds * 1000), expected);
        }
        assert_eq!(format_span(5000, 0), "0s");
    }

    #[test]
    fn duration_is_formatted_with_at_most_three_digits() {
        for (micros, expected) in
            [(0, "0µs"), (999, "999µs"), (1200, "1.2ms"), (83_400, "83ms"), (1_250_000, "1.2s")]
        {
            assert_eq!(format_micros(micros), expected);
        }
    }
}
