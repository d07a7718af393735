//! The log: for people on a terminal, for the journal, or one object per line for programs.

use crate::settings::{Log, LogFormat};
use anyhow::{Context, Result};
use std::io::{IsTerminal, stderr};
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

pub fn start(log: &Log) -> Result<()> {
    let filter: Targets = log.filter.parse().with_context(|| {
        format!("RUST_LOG={:?} is no level and no list of target=level", log.filter)
    })?;
    let layer = match log.format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(stderr).boxed(),
        LogFormat::Text => text(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// The journal has its own clock.
fn text() -> Box<dyn Layer<Registry> + Send + Sync> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
    let layer = fmt::layer()
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && !plain);
    match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => layer.without_time().boxed(),
        None => layer.boxed(),
    }
}
