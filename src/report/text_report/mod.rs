//! Status, routes, problems and history as text for people.
//!
//! Pure. Texts contain colours. `width` is that of the terminal; without it nothing is cut or wrapped.

mod certificates;
mod fleet;
mod history;
mod problems;
mod routes;
mod status;

pub use certificates::render_certificates;
pub use fleet::render_fleet;
pub(crate) use history::change_style;
pub use history::render_history;
pub use problems::render_problems;
pub use routes::render_routes;
pub use status::render_status;

use super::status::HowStatus;
use crate::support::{
    escape::SingleLine,
    format::{format_elapsed, format_plural},
};
use textwrap::WordSplitter;

/// `updated HAProxy with 3 commands in 1.2ms`.
fn method_text(how: HowStatus, why: Option<&str>, commands: usize, took_us: u64) -> String {
    let took = format_elapsed(took_us);
    match how {
        HowStatus::Runtime if commands == 0 => format!("HAProxy was up to date, {took}"),
        HowStatus::Runtime => {
            format!("updated HAProxy with {} in {took}", format_plural(commands, "command"))
        }
        HowStatus::Start => format!("started HAProxy in {took}"),
        HowStatus::Reload => {
            format!("reloaded HAProxy in {took}: {}", join_lines(why.unwrap_or_default()))
        }
    }
}

/// Returns foreign text as one line. Messages of HAProxy have several lines, each of which reads as a sentence.
fn join_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    SingleLine(lines.join(" ")).to_string()
}

/// Wraps text to the width; lines after the first are indented further.
fn wrap_text(text: &str, indent: usize, width: Option<usize>) -> String {
    let (first, remaining) = (" ".repeat(indent), " ".repeat(indent + 2));
    // Narrower text would not be readable.
    let width = width.map_or(usize::MAX, |width| width.max(indent + 20));
    let options =
        textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&remaining);
    let options = options.break_words(false).word_splitter(WordSplitter::NoHyphenation);
    let mut wrapped = textwrap::wrap(text, options).join("\n");
    wrapped.push('\n');
    wrapped
}
