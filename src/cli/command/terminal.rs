//! The terminal: its size, and a page that is redrawn in place.

use std::io::{self, IsTerminal, Write};
use terminal_size::terminal_size_of;

/// Switches to the alternate screen and hides the cursor; and back.
const ENTER_ALT_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_ALT_SCREEN: &str = "\x1b[?25h\x1b[?1049l";
/// A terminal that supports synchronized updates shows everything between these at once.
const BEGIN_UPDATE: &str = "\x1b[?2026h\x1b[H";
const END_UPDATE: &str = "\x1b[J\x1b[?2026l";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";

/// Returns `None` if standard output is not a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    terminal_dimensions().map(|(width, _)| width)
}

fn terminal_dimensions() -> Option<(usize, usize)> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let (width, height) = terminal_size_of(out)?;
    // Some terminals report a size of 0.
    let has_size = 0 < width.0 && 0 < height.0;
    has_size.then(|| (width.0.into(), height.0.into()))
}

/// Uses the alternate screen until this is dropped. If standard output is not a terminal, pages are printed one after
/// another.
#[derive(Debug)]
pub(crate) struct AltScreen {
    is_terminal: bool,
}

impl AltScreen {
    pub(crate) fn open() -> io::Result<Self> {
        let screen = Self { is_terminal: io::stdout().is_terminal() };
        if screen.is_terminal {
            write_stdout(ENTER_ALT_SCREEN)?;
        }
        Ok(screen)
    }

    /// Draws as many lines of a page as fit on the screen.
    pub(crate) fn draw_page(
        &mut self,
        page: impl FnOnce(Option<usize>) -> String,
    ) -> io::Result<()> {
        let size = terminal_dimensions();
        let page = apply_colour_choice(&page(size.map(|(width, _)| width)));
        if !self.is_terminal {
            return write_stdout(&format!("{page}\n"));
        }
        let height = size.map_or(usize::MAX, |(_, height)| height);
        let lines: Vec<_> =
            page.lines().take(height).map(|text| format!("{text}{CLEAR_LINE}")).collect();
        write_stdout(&format!("{BEGIN_UPDATE}{}{END_UPDATE}", lines.join("\r\n")))
    }
}

impl Drop for AltScreen {
    fn drop(&mut self) {
        if self.is_terminal {
            // The terminal may be closed already.
            let _ = write_stdout(LEAVE_ALT_SCREEN);
        }
    }
}

/// Removes colours if the terminal does not support them or NO_COLOR is set.
fn apply_colour_choice(text: &str) -> String {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_owned(),
    }
}

/// Writes the text at once, so that no partial page is visible.
fn write_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
