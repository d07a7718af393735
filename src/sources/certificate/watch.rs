//! The task that follows directories of certificates.

use super::{
    directory::{DirectoryCache, DirectoryReading},
    retention::Retention,
    scan::{Scan, scan_directories},
    shelf::{SourceUpdate, unix_time},
    thread::run_in_thread,
};
use crate::{
    model::certificate::CertificateOriginKind,
    support::inotify::{ChangeReceiver, DirectoryWatch, start_watch},
};
use std::{mem, path::PathBuf, time::Duration};
use tokio::{
    pin,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

/// Files are read when nothing has changed for this long.
const QUIET: Duration = Duration::from_millis(250);
/// Files are read after this time even if something still changes.
const MAX_BURST: Duration = Duration::from_secs(5);
/// Network file systems report no changes of other computers.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_mins(1);
/// A reading that takes longer is logged. It cannot be cancelled.
const SLOW_READING: Duration = Duration::from_secs(30);
/// Directories may appear while others are listed; the next event or look finds those beyond this limit.
pub(super) const MAX_SCANS: usize = 4;

/// What is read and watched; used by one thread at a time.
#[derive(Debug)]
struct DirectoryFollower {
    directories: Vec<PathBuf>,
    watch: DirectoryWatch,
    scan: Scan,
    cache: DirectoryCache,
    reading: DirectoryReading,
}

/// Why the directories are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trigger {
    /// Something changed.
    Change,
    /// Time has passed. If no file has another time or size, nothing is read.
    Look,
}

/// Follows directories of certificates, and sends all their certificates after each change and at least every minute,
/// until the receiver is dropped.
pub async fn follow(directories: Vec<PathBuf>, updates: mpsc::Sender<SourceUpdate>) {
    let (changes, watch) = start_watch();
    follow_changes(directories, changes, watch, updates).await;
}

pub(super) async fn follow_changes(
    directories: Vec<PathBuf>,
    changes: ChangeReceiver,
    watch: DirectoryWatch,
    updates: mpsc::Sender<SourceUpdate>,
) {
    let (scan, cache) = (Scan::default(), DirectoryCache::default());
    let reading = DirectoryReading::default();
    let mut reader = DirectoryFollower { directories, watch, scan, cache, reading };
    let (mut retention, start, mut trigger) =
        (Retention::default(), Instant::now(), Trigger::Change);
    loop {
        reader = read_in_thread(reader, trigger).await;
        let reading = reader.reading.clone();
        let retained = retention.merge(&reader.scan, reading, unix_time(), start.elapsed());
        let update = SourceUpdate {
            kind: CertificateOriginKind::File,
            certificates: retained.certificates,
            problems: retained.problems,
        };
        if updates.send(update).await.is_err() {
            return;
        }
        let look = Instant::now() + LOOK_INTERVAL;
        let due = retained.look_again.map_or(look, |due| start + due);
        trigger = wait_for_trigger(&changes, look.min(due)).await;
    }
}

/// Waits for a change, and then until the changes pause, or for the next regular look.
pub(super) async fn wait_for_trigger(changes: &ChangeReceiver, look: Instant) -> Trigger {
    tokio::select! {
        () = changes.wait_for_change() => {}
        () = sleep_until(look) => return Trigger::Look,
    }
    let burst = async { while timeout(QUIET, changes.wait_for_change()).await.is_ok() {} };
    // A burst that does not end is read as it is.
    let _ = timeout(MAX_BURST, burst).await;
    Trigger::Change
}

/// Reads in a thread, because a network file system may not answer. Until it does, the last certificates serve.
async fn read_in_thread(mut reader: DirectoryFollower, trigger: Trigger) -> DirectoryFollower {
    let directories = reader.directories.clone();
    let work = run_in_thread(move || {
        reader.read(trigger);
        reader
    });
    pin!(work);
    if let Ok(reader) = timeout(SLOW_READING, &mut work).await {
        return reader;
    }
    warn!(?directories, "reading certificates takes longer than {SLOW_READING:?}; waiting");
    work.await
}

impl DirectoryFollower {
    fn read(&mut self, trigger: Trigger) {
        let scan = self.scan_watched();
        let last = mem::replace(&mut self.scan, scan);
        if trigger == Trigger::Change || last != self.scan {
            self.reading = self.cache.read_scan(&self.scan, unix_time());
        }
    }

    /// Lists the directories, and again until all of them were watched before they were listed, so that no change is
    /// missed.
    fn scan_watched(&mut self) -> Scan {
        let mut scan = scan_directories(&self.directories);
        for _ in 1..MAX_SCANS {
            if !self.watch.watch_only(&scan.watched) {
                break;
            }
            scan = scan_directories(&self.directories);
        }
        scan
    }
}
