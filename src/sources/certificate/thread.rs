//! Runs work with files in a thread, so that a slow disk does not delay other tasks.

use std::{future::pending, panic};
use tokio::task::spawn_blocking;

/// Runs `work` in a thread. A panic of the work is one of the caller.
pub(super) async fn run_in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => panic::resume_unwind(panic),
        // The runtime shuts down, and drops this task as well.
        Err(Err(_)) => pending().await,
    }
}
