//! File operations outside of the threads that run the tasks, because a sync to disk can take long.

use std::panic::resume_unwind;

/// Runs work on a thread for blocking work. A panic of the work continues in the caller.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime ends, and drops this future, too.
        Err(_) => std::future::pending().await,
    }
}
