//! Notices changes in directories, by the kernel's inotify.

use rustix::{
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::{Errno, read},
};
use std::{collections::BTreeSet, future::pending, io, os::fd::OwnedFd, path::PathBuf, sync::Arc};
use tokio::io::{Interest, unix::AsyncFd};
use tracing::warn;

const EVENTS: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR);

/// Receives the events of all watched directories.
#[derive(Debug)]
pub(crate) struct ChangeReceiver(Option<AsyncFd<Arc<OwnedFd>>>);

/// The directories that are watched.
#[derive(Debug, Default)]
pub(crate) struct DirectoryWatch {
    inotify: Option<Arc<OwnedFd>>,
    watches: BTreeSet<i32>,
    has_warned: bool,
}

/// Starts to watch. If the kernel refuses, changes are noticed only by regular looks.
pub(crate) fn start_watch() -> (ChangeReceiver, DirectoryWatch) {
    match open_inotify() {
        Ok((receiver, inotify)) => {
            let watch = DirectoryWatch { inotify: Some(inotify), ..DirectoryWatch::default() };
            (ChangeReceiver(Some(receiver)), watch)
        }
        Err(error) => {
            warn!("cannot watch directories: {error}; reading them every minute");
            start_without_watch()
        }
    }
}

/// Returns a receiver that never receives a change.
pub(crate) fn start_without_watch() -> (ChangeReceiver, DirectoryWatch) {
    (ChangeReceiver(None), DirectoryWatch::default())
}

/// Sound although it is deprecated: an `OwnedFd` stays valid. The replacement needs `unsafe`.
#[allow(deprecated)]
fn open_inotify() -> io::Result<(AsyncFd<Arc<OwnedFd>>, Arc<OwnedFd>)> {
    let inotify = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
    Ok((AsyncFd::with_interest(inotify.clone(), Interest::READABLE)?, inotify))
}

impl ChangeReceiver {
    /// Waits until something changes in a watched directory.
    pub(crate) async fn wait_for_change(&self) {
        let Some(inotify) = &self.0 else { return pending().await };
        loop {
            // This error occurs only while the runtime shuts down; no event will follow.
            let Ok(mut ready) = inotify.readable().await else { return pending().await };
            let has_events = discard_events(inotify.get_ref());
            ready.clear_ready();
            if has_events {
                return;
            }
        }
    }
}

impl DirectoryWatch {
    /// Watches these directories and no others. Returns whether a directory is watched that was not before.
    pub(crate) fn watch_only(&mut self, directories: &BTreeSet<PathBuf>) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let added = directories.iter().map(|path| inotify::add_watch(inotify, path, EVENTS));
        let (added, errors): (Vec<_>, Vec<_>) = added.partition(Result::is_ok);
        let added: BTreeSet<i32> = added.into_iter().flatten().collect();
        for unused in self.watches.difference(&added) {
            // The kernel has removed it already if the directory was deleted.
            let _ = inotify::remove_watch(inotify, *unused);
        }
        let is_new = !added.is_subset(&self.watches);
        self.watches = added;
        self.warn_about_limit(errors.into_iter().filter_map(Result::err));
        is_new
    }

    /// A directory that does not exist or may not be read is a problem of the scan, not of the watch.
    fn warn_about_limit(&mut self, mut errors: impl Iterator<Item = Errno>) {
        let is_limit = errors.any(|error| error == Errno::NOSPC);
        if is_limit && !self.has_warned {
            warn!(
                "cannot watch all directories, because fs.inotify.max_user_watches is reached; reading them every minute"
            );
        }
        self.has_warned = is_limit;
    }
}

/// Reads all events. Their content does not matter: the directories are listed again.
fn discard_events(inotify: &OwnedFd) -> bool {
    let (mut buffer, mut has_events) = ([0_u8; 4096], false);
    while read(inotify, &mut buffer).is_ok_and(|bytes| 0 < bytes) {
        has_events = true;
    }
    has_events
}
