//! Changes of real files reach the snapshot.

use super::fixture::TestDirectory;
use crate::{
    model::certificate::CertificateOriginKind,
    sources::certificate::{
        CertificateShelf, CertificateSnapshot, CertificateStore, follow, watch::follow_changes,
    },
    support::{atomic_file::FileAccess, inotify::start_without_watch},
};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// Far more than a change takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(50);

struct Running {
    _state: TempDir,
    /// Ended when this is dropped.
    _tasks: JoinSet<()>,
    snapshots: watch::Receiver<CertificateSnapshot>,
}

/// Starts the tasks of a directory. Without `inotify`, changes are noticed by regular looks only.
fn start(directory: &TestDirectory, with_inotify: bool) -> Running {
    let state = tempfile::tempdir().unwrap();
    let store = CertificateStore::open(state.path(), FileAccess::Private).unwrap();
    let (publisher, snapshots) = watch::channel(CertificateSnapshot::default());
    let shelf = CertificateShelf::new(store, [CertificateOriginKind::File], publisher);
    let (sender, receiver) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(shelf.run(receiver));
    let paths = directory.paths();
    if with_inotify {
        tasks.spawn(follow(paths, sender));
    } else {
        let (changes, watch) = start_without_watch();
        tasks.spawn(follow_changes(paths, changes, watch, sender));
    }
    Running { _state: state, _tasks: tasks, snapshots }
}

fn describe(snapshot: &CertificateSnapshot) -> String {
    let hosts = snapshot.index.iter().map(|certificate| certificate.names[0].to_string());
    let mut hosts: Vec<_> = hosts.collect();
    hosts.sort();
    format!("{} ({} problems)", hosts.join(" "), snapshot.problems.len())
}

impl Running {
    /// Waits for a snapshot, as `HOST... (N problems)`.
    async fn wait_for(&mut self, expected: &str) {
        let found = self.snapshots.wait_for(|snapshot| describe(snapshot) == expected);
        let found = timeout(DEADLINE, found).await.map(|snapshot| drop(snapshot.unwrap()));
        assert!(found.is_ok(), "{} instead of {expected}", describe(&self.snapshots.borrow()));
    }
}

#[tokio::test]
async fn changed_files_directories_and_link_targets_are_noticed() {
    let directory = TestDirectory::new(
        ".target/1/tls.pem = leaf:a key:a
         .target/2/tls.pem = leaf:b key:b
         site/tls.pem -> ../.current/tls.pem
         .current -> .target/1",
    );
    let mut running = start(&directory, true);
    running.wait_for("a.test (0 problems)").await;
    directory.write("c.crt", "leaf:c");
    directory.write("c.key", "key:c");
    running.wait_for("a.test c.test (0 problems)").await;
    // In the directory of the link's target.
    directory.write(".target/1/tls.pem", "leaf:d key:d");
    running.wait_for("c.test d.test (0 problems)").await;
    directory.write("new/sub/e.pem", "leaf:e key:e");
    running.wait_for("c.test d.test e.test (0 problems)").await;
    let world_readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(directory.path().join("c.key"), world_readable).unwrap();
    running.wait_for("c.test d.test e.test (1 problems)").await;
    directory.write("c.key", "key:c");
    running.wait_for("c.test d.test e.test (0 problems)").await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_noticed_by_regular_looks_without_inotify() {
    let directory = TestDirectory::new("a.pem = leaf:a key:a");
    let mut running = start(&directory, false);
    let begun = tokio::time::Instant::now();
    timeout(Duration::from_hours(1), running.snapshots.changed()).await.unwrap().unwrap();
    assert_eq!(describe(&running.snapshots.borrow()), "a.test (0 problems)");
    directory.write("b.pem", "leaf:b key:b");
    timeout(Duration::from_hours(1), running.snapshots.changed()).await.unwrap().unwrap();
    assert_eq!(describe(&running.snapshots.borrow()), "a.test b.test (0 problems)");
    assert_eq!(begun.elapsed().as_secs(), 60);
}
