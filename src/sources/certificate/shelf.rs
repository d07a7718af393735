//! The certificates of all sources: stored for HAProxy, then published.

use super::{
    assemble::CertificateWithKey,
    problem::{CertificateProblem, CertificateProblemKind as Kind},
    store::CertificateStore,
    thread::run_in_thread,
};
use crate::model::certificate::{
    Certificate, CertificateDigest, CertificateIndex, CertificateOrigin, CertificateOriginKind,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem, panic,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

/// The longest time between two looks at the clock, which may be set.
const CLOCK_INTERVAL: Duration = Duration::from_mins(1);

/// Threads that write files, and the number of files for which one more is started.
const WRITERS: usize = 32;
const MIN_FILES_OF_WRITER: usize = 8;

/// All certificates that may serve, and what is wrong with the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateSnapshot {
    pub index: Arc<CertificateIndex>,
    /// Sorted, without duplicates.
    pub problems: Arc<Vec<CertificateProblem>>,
    /// Whether every source has sent its certificates. Until then, a missing certificate may exist.
    pub is_complete: bool,
}

/// All certificates that a source has now, in place of those that it had.
#[derive(Debug, Clone)]
pub struct SourceUpdate {
    pub kind: CertificateOriginKind,
    pub certificates: Vec<CertificateWithKey>,
    pub problems: Vec<CertificateProblem>,
}

/// The certificates of all sources. A certificate is in the store before it is published.
#[derive(Debug)]
pub struct CertificateShelf {
    store: CertificateStore,
    /// The sources that send certificates.
    expected: BTreeSet<CertificateOriginKind>,
    sources: BTreeMap<CertificateOriginKind, SourceUpdate>,
    /// What was published.
    digests: BTreeSet<CertificateDigest>,
    sender: watch::Sender<CertificateSnapshot>,
}

impl CertificateShelf {
    /// Publishes to `sender`. The first snapshot, before the `expected` sources have sent theirs, is empty.
    pub fn new(
        store: CertificateStore,
        expected: impl IntoIterator<Item = CertificateOriginKind>,
        sender: watch::Sender<CertificateSnapshot>,
    ) -> Self {
        let (expected, sources) = (expected.into_iter().collect(), BTreeMap::new());
        Self { store, expected, sources, digests: BTreeSet::new(), sender }
    }

    /// Applies updates until all senders are dropped, and publishes the index again when a certificate becomes valid or
    /// expires.
    pub async fn run(mut self, mut updates: mpsc::Receiver<SourceUpdate>) {
        loop {
            let pause = self.pause_before_change(unix_time());
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => self = self.apply_update(update).await,
                    None => return,
                },
                () = sleep(pause) => self.publish_changes(unix_time()),
            }
        }
    }

    /// Files are written in a thread: thousands of them take seconds.
    async fn apply_update(mut self, update: SourceUpdate) -> Self {
        run_in_thread(move || {
            self.replace_source(update, unix_time());
            self
        })
        .await
    }

    /// Replaces the certificates of a source, stores the new ones, and publishes a snapshot if it differs from the last
    /// one. `now` is in Unix time. Blocks while files are written.
    ///
    /// A certificate that cannot be stored is not published; the one that it replaces continues to serve.
    pub fn replace_source(&mut self, mut update: SourceUpdate, now: i64) {
        let old = self.sources.remove(&update.kind);
        let old = old.map_or_else(Vec::new, |update| update.certificates);
        let results = self.store_certificates(&update.certificates);
        for (new, result) in mem::take(&mut update.certificates).into_iter().zip(results) {
            match result {
                Ok(()) => update.certificates.push(new),
                Err(problem) => {
                    update.problems.push(problem);
                    update.certificates.extend(find_predecessor(&old, &new.certificate).cloned());
                }
            }
        }
        self.sources.insert(update.kind, update);
        self.publish(now);
    }

    /// Stores certificates in several threads: the file system syncs the files of all of them at once.
    fn store_certificates(
        &self,
        certificates: &[CertificateWithKey],
    ) -> Vec<Result<(), CertificateProblem>> {
        let store_all = |chunk: &[CertificateWithKey]| -> Vec<_> {
            chunk.iter().map(|certificate| self.store_certificate(certificate)).collect()
        };
        let size = certificates.len().div_ceil(WRITERS).max(MIN_FILES_OF_WRITER);
        thread::scope(|scope| {
            let spawn = |chunk| scope.spawn(move || store_all(chunk));
            let writers: Vec<_> = certificates.chunks(size).map(spawn).collect();
            let results = writers.into_iter().map(thread::ScopedJoinHandle::join);
            results.flat_map(|result| result.unwrap_or_else(|e| panic::resume_unwind(e))).collect()
        })
    }

    fn store_certificate(&self, new: &CertificateWithKey) -> Result<(), CertificateProblem> {
        let digest = &new.certificate.digest;
        if self.digests.contains(digest) && self.store.is_present(digest, new.pem.len()) {
            return Ok(());
        }
        let saved = self.store.save(digest, &new.pem);
        saved.map_err(|error| {
            let path = match &new.certificate.origin {
                CertificateOrigin::File { path } => path.clone(),
                _ => error.path.clone(),
            };
            CertificateProblem::new(path, Kind::NotStored { why: error.to_string() })
        })
    }

    /// Publishes the index for a new time, if the validity of a certificate changed or the clock was set back.
    pub(super) fn publish_changes(&self, now: i64) {
        let last = self.sender.borrow().index.clone();
        if last.time() > now || last.next_change().is_some_and(|change| change <= now) {
            self.send_snapshot(now);
        }
    }

    fn publish(&mut self, now: i64) {
        let certificates = self.sources.values().flat_map(|update| &update.certificates);
        self.digests = certificates.map(|stored| stored.certificate.digest).collect();
        self.send_snapshot(now);
    }

    fn send_snapshot(&self, now: i64) {
        let certificates = self.sources.values().flat_map(|update| &update.certificates);
        let certificates = certificates.map(|stored| stored.certificate.clone()).collect();
        let problems = self.sources.values().flat_map(|update| update.problems.clone());
        let problems: BTreeSet<_> = problems.collect();
        let snapshot = CertificateSnapshot {
            index: Arc::new(CertificateIndex::build(certificates, now)),
            problems: Arc::new(problems.into_iter().collect()),
            is_complete: self.expected.iter().all(|kind| self.sources.contains_key(kind)),
        };
        self.sender.send_if_modified(|last| {
            let differs = !last.index.is_equivalent(&snapshot.index)
                || last.problems != snapshot.problems
                || last.is_complete != snapshot.is_complete;
            *last = snapshot;
            differs
        });
    }

    fn pause_before_change(&self, now: i64) -> Duration {
        let change = self.sender.borrow().index.next_change();
        let seconds =
            change.map(|change| u64::try_from(change.saturating_sub(now)).unwrap_or_default());
        seconds.map_or(CLOCK_INTERVAL, Duration::from_secs).min(CLOCK_INTERVAL)
    }
}

/// Returns the certificate that a new one replaces: from the same file, or of the same CA and name.
fn find_predecessor<'a>(
    old: &'a [CertificateWithKey],
    new: &Certificate,
) -> Option<&'a CertificateWithKey> {
    old.iter().find(|old| {
        let old = &old.certificate;
        (&old.origin, &old.name, old.key_type) == (&new.origin, &new.name, new.key_type)
    })
}

/// Returns the time of the system's clock in Unix time.
pub(super) fn unix_time() -> i64 {
    let elapsed = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}
