//! What a handler did so far, in numbers.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

#[derive(Debug, Default)]
pub struct Tally {
    name: String,
    done: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The handler's: its file without the suffix.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn succeed(&self) {
        self.done.fetch_add(1, Relaxed);
    }

    /// It returns how many there were with this one, for the log.
    pub fn fail(&self) -> u64 {
        self.failed.fetch_add(1, Relaxed) + 1
    }

    /// It took too long; that is a failure too.
    pub fn time_out(&self) -> u64 {
        self.late.fetch_add(1, Relaxed);
        self.fail()
    }

    /// An event found no room in the mailbox.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// Whether all went well so far.
    pub fn is_clean(&self) -> bool {
        self.failed.load(Relaxed) + self.lost.load(Relaxed) == 0
    }
}

/// `12 done, 2 failed (1 too late), 3 lost`
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |count: &AtomicU64| count.load(Relaxed);
        write!(f, "{} done, {} failed", get(&self.done), get(&self.failed))?;
        if get(&self.late) != 0 {
            write!(f, " ({} too late)", get(&self.late))?;
        }
        if get(&self.lost) != 0 {
            write!(f, ", {} lost", get(&self.lost))?;
        }
        Ok(())
    }
}
