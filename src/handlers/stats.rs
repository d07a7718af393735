//! Counters of a handler's results.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

#[derive(Debug, Default)]
pub struct HandlerStats {
    name: String,
    succeeded: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    dropped: AtomicU64,
}

impl HandlerStats {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Returns the name of the handler: its file name without the suffix.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn record_success(&self) {
        self.succeeded.fetch_add(1, Relaxed);
    }

    /// Returns the number of failures including this one, for the log.
    pub fn record_failure(&self) -> u64 {
        self.failed.fetch_add(1, Relaxed) + 1
    }

    /// Counts a timeout, which is a failure too. Returns the number of failures.
    pub fn record_timeout(&self) -> u64 {
        self.timed_out.fetch_add(1, Relaxed);
        self.record_failure()
    }

    /// Counts an event that was lost, for example because the mailbox was full.
    pub fn record_dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// Whether nothing has failed and nothing was lost.
    pub fn all_succeeded(&self) -> bool {
        self.failed.load(Relaxed) + self.dropped.load(Relaxed) == 0
    }
}

/// Prints for example `12 done, 2 failed (1 timed out), 3 lost`.
impl fmt::Display for HandlerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |count: &AtomicU64| count.load(Relaxed);
        write!(f, "{} done, {} failed", get(&self.succeeded), get(&self.failed))?;
        if get(&self.timed_out) != 0 {
            write!(f, " ({} timed out)", get(&self.timed_out))?;
        }
        if get(&self.dropped) != 0 {
            write!(f, ", {} lost", get(&self.dropped))?;
        }
        Ok(())
    }
}
