//! When an engine that says nothing is pinged: one that hangs keeps its connections open.

use super::engine::Engine;
use anyhow::Result;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// An engine that said nothing for so long is asked whether it is there.
const AFTER: Duration = Duration::from_secs(5);

/// The next ping. At most one is under way.
#[derive(Debug)]
pub(crate) struct Ping {
    /// `None` while one is under way.
    at: Option<Instant>,
}

impl Ping {
    pub(crate) fn new() -> Self {
        Self { at: Some(Instant::now() + AFTER) }
    }

    /// Waits until a ping is due; without an end while one is under way. For a `select!`.
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

    /// The engine said something, so that it need not be pinged soon.
    pub(crate) fn postpone(&mut self) {
        if self.at.is_some() {
            self.end();
        }
    }

    /// The ping was answered, or was not.
    pub(crate) fn end(&mut self) {
        self.at = Some(Instant::now() + AFTER);
    }
}
