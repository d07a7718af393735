//! When to ping an engine that is silent: an engine that hangs keeps its connections open.

use super::engine::Engine;
use anyhow::Result;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The next ping. At most one is in progress.
#[derive(Debug)]
pub(crate) struct Ping {
    /// `None` while one is in progress.
    at: Option<Instant>,
    /// An engine that has been silent for this long is pinged.
    after: Duration,
}

impl Ping {
    pub(crate) fn new(after: Duration) -> Self {
        Self { at: Some(Instant::now() + after), after }
    }

    /// Waits until a ping is due; forever while one is in progress. For a `select!`.
    pub(crate) async fn wait(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn send(&mut self, engine: &Engine) -> impl Future<Output = Result<()>> + use<> {
        self.at = None;
        let engine = engine.clone();
        async move { engine.ping().await }
    }

    /// Postpones the next ping, because the engine sent something.
    pub(crate) fn postpone(&mut self) {
        if self.at.is_some() {
            self.end();
        }
    }

    /// Ends the ping in progress, whether it was answered or not.
    pub(crate) fn end(&mut self) {
        self.at = Some(Instant::now() + self.after);
    }
}
