//! Writes the state file after changes, in a thread of its own: with thousands of listeners it takes longer than commands
//! may wait.

use super::{data_plane::DataPlane, state_file};
use anyhow::{Context, Result};
use std::{path::PathBuf, time::Duration};
use tokio::{
    task::{JoinError, JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::warn;

/// The file is written so long after a change, so that many changes are written once.
const WRITE_DELAY: Duration = Duration::from_millis(100);
/// The pause after a failure.
const WRITE_RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct StateWriter {
    path: PathBuf,
    /// The revision in the file, or in the file that is being written.
    written: u64,
    due: Option<Instant>,
    job: Option<JoinHandle<Result<()>>>,
    failing: bool,
}

/// What [`StateWriter::next_step`] waits for.
#[derive(Debug)]
pub(super) enum WriteStep {
    Due,
    Ended(Result<Result<()>, JoinError>),
}

impl StateWriter {
    pub(super) fn new(path: PathBuf, written: u64) -> Self {
        Self { path, written, due: None, job: None, failing: false }
    }

    pub(super) fn record_change(&mut self, plane: &DataPlane) {
        if plane.revision() != self.written && self.due.is_none() {
            self.due = Some(Instant::now() + WRITE_DELAY);
        }
    }

    /// Waits until the file has to be written, or is written.
    pub(super) async fn next_step(&mut self) -> WriteStep {
        match (&mut self.job, self.due) {
            (Some(job), _) => {
                let result = job.await;
                self.job = None;
                WriteStep::Ended(result)
            }
            (None, Some(due)) => {
                sleep_until(due).await;
                WriteStep::Due
            }
            (None, None) => std::future::pending().await,
        }
    }

    pub(super) fn take_step(&mut self, step: WriteStep, plane: &DataPlane) {
        match step {
            WriteStep::Due => {
                let (path, listeners) = (self.path.clone(), plane.listeners());
                (self.due, self.written) = (None, plane.revision());
                let write = move || state_file::write_listeners(&path, &listeners);
                self.job = Some(spawn_blocking(write));
            }
            WriteStep::Ended(result) => {
                self.record_result(result.context("the thread has ended").flatten());
            }
        }
    }

    /// Writes what is not written yet.
    pub(super) async fn finish(&mut self, plane: &DataPlane) {
        while self.job.is_some() || (self.due.is_some() && !self.failing) {
            self.due = self.due.map(|_| Instant::now());
            let step = self.next_step().await;
            self.take_step(step, plane);
        }
    }

    /// A failure is logged once and retried: traffic does not depend on the file.
    fn record_result(&mut self, result: Result<()>) {
        let Err(error) = result else {
            self.failing = false;
            return;
        };
        if !self.failing {
            let path = self.path.display();
            warn!("could not write {path}: {error:#}; retrying every {WRITE_RETRY:?}");
        }
        (self.due, self.failing) = (Some(Instant::now() + WRITE_RETRY), true);
    }
}
