//! Supervision of tasks that run as long as the program: if one ends, this is logged and the task starts again.
//!
//! A task that panics loses the work in progress. The main loop is not supervised: if it panics, the program ends
//! with a nonzero status, and the service manager restarts it.

use crate::support::backoff::Backoff;
use futures_util::FutureExt;
use std::{
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tracing::error;

/// The shortest and the longest pause before a task starts again.
const RESTART_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Returns the backoff between two starts of a task.
pub fn new_backoff() -> Backoff {
    Backoff::new(RESTART_BACKOFF)
}

/// Runs a task, and starts it again whenever it ends or panics, until this future is dropped.
pub async fn supervise<F: Future<Output = ()>>(task: &'static str, mut start: impl FnMut() -> F) {
    let mut backoff = new_backoff();
    loop {
        let begun = Instant::now();
        let run = AssertUnwindSafe(async { fault::inject(task, start()).await });
        let outcome = if run.catch_unwind().await.is_ok() { "ended" } else { "panicked" };
        let pause = backoff.pause_after(begun.elapsed());
        error!(task, "{task} {outcome} because of a bug in this program; restarting in {pause:?}");
        sleep(pause).await;
    }
}

/// Logs each panic through the log, even if no code waits for the task that panicked.
pub fn log_panics() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let location = info.location().map_or_else(String::new, |at| format!(" at {at}"));
        error!("panicked{location}: {}", panic_message(info));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            default(info);
        }
    }));
}

fn panic_message<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload_as_str().unwrap_or("no message")
}

#[cfg(not(debug_assertions))]
pub mod fault {
    /// Only runs the work: tasks panic on demand only in debug builds.
    pub async fn inject<T>(_task: &str, work: impl Future<Output = T>) -> T {
        work.await
    }
}

/// Lets a task panic on demand, so that tests can see the consequences. Not in a release build.
#[cfg(debug_assertions)]
pub mod fault {
    use std::{env, fs, future::pending, path::PathBuf, time::Duration};
    use tokio::time::sleep;

    /// Environment variable that names a folder. A task panics if a file with its name appears there; the file is
    /// removed.
    const FOLDER: &str = "DOCKER_GLUE_TEST_PANICS";
    const LOOK: Duration = Duration::from_millis(20);

    pub async fn inject<T>(task: &str, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = demand(task) => panic!("{task} panics as requested by a test"),
        }
    }

    async fn demand(task: &str) {
        let Some(folder) = env::var_os(FOLDER) else { return pending().await };
        let file = PathBuf::from(folder).join(task.replace(' ', "-"));
        while fs::remove_file(&file).is_err() {
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn task_that_ends_or_panics_starts_again_after_growing_pauses() {
        let begun = Instant::now();
        let starts = RefCell::new(Vec::new());
        let task = || {
            let number = starts.borrow().len();
            starts.borrow_mut().push(begun.elapsed().as_millis());
            async move {
                match number {
                    0 => {}
                    1 => panic!("for a test"),
                    2 => sleep(Duration::from_mins(2)).await,
                    _ => std::future::pending().await,
                }
            }
        };
        let ended = timeout(Duration::from_hours(1), supervise("the task", task)).await;
        assert!(ended.is_err());
        assert_eq!(*starts.borrow(), [0, 100, 300, 120_400]);
    }

    #[tokio::test(start_paused = true)]
    async fn task_whose_start_panics_is_started_again() {
        let starts = RefCell::new(0);
        let task = || {
            *starts.borrow_mut() += 1;
            assert!(*starts.borrow() != 1, "for a test");
            std::future::pending()
        };
        let ended = timeout(Duration::from_secs(1), supervise("the task", task)).await;
        assert!(ended.is_err());
        assert_eq!(*starts.borrow(), 2);
    }
}
