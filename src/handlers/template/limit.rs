//! The limits of rendering: steps, time and text. The administrator writes the template, but it loops over content
//! from containers, and a mistake in it must not block docker-glue or use up all memory.

use super::function::invalid_operation;
use minijinja::{Error, ErrorKind};
use std::{
    fmt,
    io::{self, Write},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The longest text in bytes, for the output and for any value.
pub(crate) const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;
/// The most names, operators and brackets in one tag. minijinja recurses for each operator in a chain, and its stack
/// is limited.
pub(crate) const MOST_TOKENS: usize = 1_000;
/// The longest list that two lists may be concatenated to.
pub(crate) const MAX_LIST_ITEMS: usize = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RenderLimits {
    /// Instructions of minijinja. Each iteration of a loop takes a few.
    pub(crate) steps: u64,
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

impl Default for RenderLimits {
    /// A loop over all pairs of 10,000 containers uses half of the steps, if it does little for each pair.
    fn default() -> Self {
        Self { steps: 1_000_000_000, time: Duration::from_secs(30), bytes: MAX_TEXT_BYTES }
    }
}

/// What remains of the limits for one rendering.
#[derive(Debug)]
pub(crate) struct RenderBudget {
    limits: RenderLimits,
    deadline: Mutex<Instant>,
    /// Bytes printed anywhere. The output of a macro or block is counted twice, because it is printed again.
    bytes: AtomicUsize,
}

impl RenderBudget {
    pub(crate) fn new(limits: RenderLimits) -> Self {
        let until = Mutex::new(Instant::now() + limits.time);
        Self { limits, deadline: until, bytes: AtomicUsize::new(0) }
    }

    pub(crate) fn reset(&self) {
        self.bytes.store(0, Relaxed);
        if let Ok(mut until) = self.deadline.lock() {
            *until = Instant::now() + self.limits.time;
        }
    }

    /// Counts printed bytes.
    ///
    /// # Errors
    /// If the time is over, or too much was printed.
    pub(crate) fn charge_output(&self, bytes: usize) -> Result<(), Error> {
        let printed = self.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if 4 * self.limits.bytes < printed {
            return Err(invalid_operation(self.too_long_message()));
        }
        let is_late = self.deadline.lock().is_ok_and(|until| *until < Instant::now());
        if is_late {
            return Err(invalid_operation(format!(
                "rendering was stopped after {}s",
                self.limits.time.as_secs()
            )));
        }
        Ok(())
    }

    pub(crate) fn too_long_message(&self) -> String {
        format!("the output is longer than {} bytes", self.limits.bytes)
    }

    pub(crate) fn new_writer(&self) -> BoundedWriter {
        BoundedWriter { text: Vec::new(), max_bytes: self.limits.bytes }
    }

    /// Returns a message if the error is an exceeded limit.
    pub(crate) fn limit_message(&self, error: &Error) -> Option<String> {
        match error.kind() {
            ErrorKind::OutOfFuel => Some(format!(
                "rendering takes more than {} steps; check nested loops",
                self.limits.steps
            )),
            ErrorKind::WriteFailure if is_text_too_long(error) => Some(self.too_long_message()),
            _ => None,
        }
    }
}

fn is_text_too_long(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    matches!(io.and_then(io::Error::get_ref), Some(inner) if inner.is::<TextTooLongError>())
}

/// A buffer that does not grow beyond its limit.
#[derive(Debug)]
pub(crate) struct BoundedWriter {
    pub(crate) text: Vec<u8>,
    max_bytes: usize,
}

#[derive(Debug)]
struct TextTooLongError;

impl fmt::Display for TextTooLongError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is too long")
    }
}

impl std::error::Error for TextTooLongError {}

impl Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.max_bytes < self.text.len() + bytes.len() {
            return Err(io::Error::other(TextTooLongError));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// # Errors
/// If a text of this many bytes would be too long.
pub(crate) fn check_text_length(bytes: usize) -> Result<(), Error> {
    if bytes <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(invalid_operation(format!("a text of more than {MAX_TEXT_BYTES} bytes is too long")))
}
