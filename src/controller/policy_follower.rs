//! The task that reads the policies of the settings file and the error pages again when a file changes, and on SIGHUP.

use crate::{
    model::policy_book::PolicyBook,
    settings::{ErrorPageDirectory, ErrorPageReading, PolicyFile, Settings},
    support::{inotify::start_watch, signals::ReloadRequests},
};
use std::{collections::BTreeSet, future::pending, path::Path, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tracing::info;

/// The file is read when nothing has changed for this long, because editors write it in steps.
const QUIET: Duration = Duration::from_millis(100);

/// The file is read after this time even if its directory still changes.
const MAX_BURST: Duration = Duration::from_secs(2);

/// Network file systems report no changes of other computers.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// The policies, or why they could not be read.
pub(super) type PolicyReading = Result<Arc<PolicyBook>, String>;

/// What was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileReading {
    pub(super) policies: PolicyReading,
    pub(super) error_pages: ErrorPageReading,
}

/// Follows the policies and the error pages until it is dropped.
#[derive(Debug)]
pub(super) struct PolicyFollower {
    readings: watch::Receiver<FileReading>,
    _task: JoinSet<()>,
}

impl PolicyFollower {
    /// Starts to follow the files of the settings, which have the first policies and pages.
    pub(super) fn start(settings: &Settings, hangups: Option<ReloadRequests>) -> Self {
        let policies = Ok(Arc::clone(&settings.fences.policies));
        let error_pages = settings.error_pages.clone();
        let (sender, readings) = watch::channel(FileReading { policies, error_pages });
        let mut task = JoinSet::new();
        let files = (settings.policy_file.clone(), settings.error_page_directory.clone());
        task.spawn(follow(files, sender, hangups));
        Self { readings, _task: task }
    }

    /// Waits until the policies or the pages, or what is wrong with them, have changed.
    pub(super) async fn next_reading(&mut self) -> FileReading {
        if self.readings.changed().await.is_err() {
            return pending().await;
        }
        self.readings.borrow_and_update().clone()
    }
}

async fn follow(
    (file, pages): (PolicyFile, ErrorPageDirectory),
    sender: watch::Sender<FileReading>,
    mut hangups: Option<ReloadRequests>,
) {
    let (changes, mut watch) = start_watch();
    let directory = file.path.parent().filter(|path| !path.as_os_str().is_empty());
    let mut directories = BTreeSet::from([directory.unwrap_or(Path::new(".")).to_owned()]);
    directories.extend(pages.0.clone());
    loop {
        watch.watch_only(&directories);
        // A change between the last reading and the start of the watch is found here.
        let (file, pages) = (file.clone(), pages.clone());
        let read = spawn_blocking(move || (file.read_with_files(), pages.read()));
        let Ok(((policies, files), error_pages)) = read.await else { return };
        let parents = files.iter().filter_map(|path| Some(path.parent()?.to_owned()));
        let new: BTreeSet<_> = parents.filter(|parent| !directories.contains(parent)).collect();
        if !new.is_empty() {
            directories.extend(new);
            continue;
        }
        let policies = policies.map(Arc::new).map_err(|error| format!("{error:#}"));
        let reading = FileReading { policies, error_pages };
        sender.send_if_modified(|last| {
            let differs = *last != reading;
            *last = reading;
            differs
        });
        tokio::select! {
            () = changes.wait_for_change() => {
                let burst = async { while timeout(QUIET, changes.wait_for_change()).await.is_ok() {} };
                let _ = timeout(MAX_BURST, burst).await;
            }
            () = next_hangup(&mut hangups) => info!("SIGHUP: reading the policies and error pages again"),
            () = sleep(LOOK_INTERVAL) => {}
        }
    }
}

async fn next_hangup(hangups: &mut Option<ReloadRequests>) {
    if let Some(hangups) = hangups
        && hangups.recv().await.is_some()
    {
        return;
    }
    pending::<()>().await;
}
