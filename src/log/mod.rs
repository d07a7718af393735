//! The log: for people on a terminal, for the journal, or one object per line for programs.
//!
//! An event is a sentence, and fields for programs. Who reads lines gets the sentence with the fields that
//! it does not say itself ([`words`]), in the journal too; there, and in JSON, each field is one of its own.

mod journal;
mod words;

use crate::settings::{Log, LogFormat};
use anyhow::{Context, Result};
use journal::Journal;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};
use words::Words;

pub fn start(log: &Log, program: &str) -> Result<()> {
    let filter: Targets = log.filter.parse().with_context(|| {
        format!("RUST_LOG={:?} is no level and no list of target=level", log.filter)
    })?;
    let layer = match log.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
        // Where its socket cannot be reached, the journal reads what is written to it.
        LogFormat::Text => Journal::of_stderr(program).map_or_else(text, Layer::boxed),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// The journal has its own clock.
fn text() -> Box<dyn Layer<Registry> + Send + Sync> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
    let layer = fmt::layer()
        .fmt_fields(Words)
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && !plain);
    if journal::is_stderr() { layer.without_time().boxed() } else { layer.boxed() }
}
