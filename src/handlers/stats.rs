//! What a handler did so far, in numbers.

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

    /// The handler's: its file without the suffix.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn record_success(&self) {
        self.succeeded.fetch_add(1, Relaxed);
    }

    /// It returns how many there were with this one, for the log.
    pub fn record_failure(&self) -> u64 {
        self.failed.fetch_add(1, Relaxed) + 1
    }

    /// It took too long; that is a failure too.
    pub fn record_timeout(&self) -> u64 {
        self.timed_out.fetch_add(1, Relaxed);
        self.record_failure()
    }

    /// An event found no room in the mailbox.
    pub fn record_dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// Whether all went well so far.
    pub fn all_succeeded(&self) -> bool {
        self.failed.load(Relaxed) + self.dropped.load(Relaxed) == 0
    }
}

/// `12 done, 2 failed (1 too late), 3 lost`
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
