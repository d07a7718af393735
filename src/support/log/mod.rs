//! The log: text for people on a terminal, entries for the journal, or one JSON object per line for programs.
//!
//! An event is a message for people and fields for programs. A line of text contains the message and the fields that
//! the message does not contain itself ([`fields`]); this is also the `MESSAGE` in the journal. In the journal and in
//! JSON each field is separate as well. Logging never waits for a reader ([`queue`]).

mod fields;
mod journald;
mod queue;
mod stream;

pub use queue::lost_lines;

use anyhow::{Context, Result};
use clap::ValueEnum;
use fields::FieldFormatter;
use journald::JournaldLayer;
use std::{
    io::{IsTerminal, stderr},
    sync::OnceLock,
};
use stream::StderrWriter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// The format of the log, and the filter for events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub format: LogFormat,
    /// In the syntax of `RUST_LOG`.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

/// Waits until the queued lines are written.
static FLUSH: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Starts to write events as the settings say. Call [`flush`] before the program ends.
///
/// # Errors
/// If `RUST_LOG` is not a valid filter, or the thread that writes cannot be started.
pub fn start_logging(settings: &Settings, program: &str) -> Result<()> {
    let filter: Targets = settings.filter.parse().with_context(|| {
        format!("RUST_LOG={:?} is not a level or a list of target=level", settings.filter)
    })?;
    let layer = match settings.format {
        LogFormat::Json => {
            let lines = stderr_lines()?;
            fmt::layer().json().flatten_event(true).with_writer(lines).boxed()
        }
        // If the journal's socket cannot be reached, the log goes to stderr, which the journal reads.
        LogFormat::Text => match JournaldLayer::for_stderr(program, &filter)? {
            Some(journal) => {
                let entries = journal.queue();
                let _ = FLUSH.set(Box::new(move || entries.flush()));
                journal.boxed()
            }
            None => text_layer()?,
        },
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// Waits until all queued lines are written, for at most one second.
pub fn flush() {
    if let Some(flush) = FLUSH.get() {
        flush();
    }
}

fn stderr_lines() -> Result<StderrWriter> {
    let lines = StderrWriter::to_stderr()?;
    let last = lines.clone();
    let _ = FLUSH.set(Box::new(move || last.flush()));
    Ok(lines)
}

/// Without a time if stderr is the journal, which adds its own.
fn text_layer() -> Result<Box<dyn Layer<Registry> + Send + Sync>> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
    let layer = fmt::layer()
        .fmt_fields(FieldFormatter)
        .with_writer(stderr_lines()?)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && !plain);
    Ok(if journald::is_stderr_journal() { layer.without_time().boxed() } else { layer.boxed() })
}
