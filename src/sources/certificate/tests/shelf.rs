//! Certificates are stored before they are published.

use super::fixture::{FAR, START, issue, render_words};
use crate::{
    model::certificate::{CertificateChoice, CertificateOrigin, CertificateOriginKind},
    sources::certificate::{
        CertificateProblem, CertificateProblemKind, CertificateShelf, CertificateSnapshot,
        CertificateStore, CertificateWithKey, SourceUpdate,
    },
    support::atomic_file::FileAccess,
};
use std::fs;
use tempfile::TempDir;
use tokio::sync::watch;

/// 2026-01-01 in Unix time.
const NOW: i64 = 1_767_225_600;

/// The sources of a test.
const EXPECTED: [CertificateOriginKind; 2] =
    [CertificateOriginKind::File, CertificateOriginKind::Acme];

struct Fixture {
    state: TempDir,
    store: CertificateStore,
    shelf: CertificateShelf,
    snapshots: watch::Receiver<CertificateSnapshot>,
}

impl Fixture {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = CertificateStore::open(state.path(), FileAccess::Private).unwrap();
        let (sender, snapshots) = watch::channel(CertificateSnapshot::default());
        let shelf = CertificateShelf::new(store.clone(), EXPECTED, sender);
        Self { state, store, shelf, snapshots }
    }

    fn replace(&mut self, kind: CertificateOriginKind, certificates: &[&CertificateWithKey]) {
        let certificates = certificates.iter().map(|c| (*c).clone()).collect();
        self.shelf.replace_source(SourceUpdate { kind, certificates, problems: Vec::new() }, NOW);
    }

    fn hosts(&self) -> Vec<String> {
        let index = self.snapshots.borrow().index.clone();
        let mut hosts: Vec<_> = index.iter().map(|c| c.names[0].to_string()).collect();
        hosts.sort();
        hosts
    }

    fn problems(&self) -> Vec<String> {
        let root = self.state.path().display().to_string();
        let problems = self.snapshots.borrow().problems.clone();
        problems.iter().map(|problem| problem.to_string().replace(&root, "STATE")).collect()
    }

    fn is_stored(&self, certificate: &CertificateWithKey) -> bool {
        let digest = &certificate.certificate.digest;
        let file = fs::read_to_string(self.store.path(digest)).unwrap_or_default();
        file == certificate.pem.reveal()
    }
}

fn certificate(words: &str, origin: CertificateOrigin) -> CertificateWithKey {
    CertificateWithKey::parse(&render_words(words), origin, "x".to_owned()).unwrap()
}

fn from_file(words: &str) -> CertificateWithKey {
    certificate(words, CertificateOrigin::File { path: "/x.pem".into() })
}

#[test]
fn certificates_of_all_sources_are_stored_and_published() {
    let mut fixture = Fixture::new();
    let file = from_file("leaf:a chain key:a");
    let acme =
        certificate("key:b leaf:b root chain", CertificateOrigin::Acme { ca: "test".into() });
    fixture.replace(CertificateOriginKind::File, &[&file]);
    assert!(!fixture.snapshots.borrow().is_complete, "the other source is missing");
    fixture.replace(CertificateOriginKind::Acme, &[&acme]);
    assert_eq!(fixture.hosts(), ["a.test", "b.test"]);
    assert!(fixture.snapshots.borrow().is_complete);
    assert!(fixture.is_stored(&file) && fixture.is_stored(&acme));
    fixture.replace(CertificateOriginKind::File, &[]);
    assert_eq!(fixture.hosts(), ["b.test"]);
}

#[test]
fn certificate_that_cannot_be_stored_is_not_published_and_old_one_serves() {
    let mut fixture = Fixture::new();
    let (old, new) = (from_file("leaf:a key:a"), from_file("leaf:b key:b"));
    fixture.replace(CertificateOriginKind::File, &[&old]);
    let obstacle = fixture.store.path(&new.certificate.digest);
    fs::create_dir(&obstacle).unwrap();
    fixture.replace(CertificateOriginKind::File, &[&new]);
    assert_eq!(fixture.hosts(), ["a.test"]);
    let problem = &fixture.problems()[0];
    assert!(
        problem.starts_with("/x.pem: cannot store the certificate, so it is not used: "),
        "{problem}"
    );
    fs::remove_dir(&obstacle).unwrap();
    fixture.replace(CertificateOriginKind::File, &[&new]);
    assert_eq!((fixture.hosts(), fixture.problems().len()), (vec!["b.test".to_owned()], 0));
}

#[test]
fn removed_file_is_written_again() {
    let mut fixture = Fixture::new();
    let file = from_file("leaf:a key:a");
    fixture.replace(CertificateOriginKind::File, &[&file]);
    crate::support::durable::remove(&fixture.store.path(&file.certificate.digest)).unwrap();
    fixture.replace(CertificateOriginKind::File, &[&file]);
    assert!(fixture.is_stored(&file));
}

#[test]
fn equal_update_publishes_nothing_and_problems_are_sorted() {
    let mut fixture = Fixture::new();
    let file = from_file("leaf:a key:a");
    fixture.replace(CertificateOriginKind::File, &[&file]);
    fixture.snapshots.mark_unchanged();
    fixture.replace(CertificateOriginKind::File, &[&file]);
    assert!(!fixture.snapshots.has_changed().unwrap());
    let problem = |path: &str| CertificateProblem::new(path, CertificateProblemKind::NoKey);
    let problems = vec![problem("/b"), problem("/a"), problem("/b")];
    let kind = CertificateOriginKind::Acme;
    fixture.shelf.replace_source(SourceUpdate { kind, certificates: Vec::new(), problems }, NOW);
    assert!(fixture.snapshots.has_changed().unwrap());
    assert_eq!(*fixture.snapshots.borrow().problems, [problem("/a"), problem("/b")]);
}

#[test]
fn index_is_published_when_validity_changes() {
    let mut fixture = Fixture::new();
    let issued = |name: &str, to: u64| {
        let (leaf, key) = issue(&[name], 0, to);
        let origin = CertificateOrigin::File { path: name.into() };
        CertificateWithKey::parse(&(leaf + &key), origin, name.to_owned()).unwrap()
    };
    let short = issued("a.test", 1_000_000);
    let long = issued("*.test", FAR);
    let now = START + 500_000;
    let certificates = vec![short.clone(), long.clone()];
    let update =
        SourceUpdate { kind: CertificateOriginKind::File, certificates, problems: Vec::new() };
    fixture.shelf.replace_source(update, now);
    let found = |fixture: &Fixture| {
        let host = "a.test".parse().unwrap();
        let index = fixture.snapshots.borrow().index.clone();
        index.find(&host, &CertificateChoice::Auto)[0].certificate.digest
    };
    assert_eq!(found(&fixture), short.certificate.digest);
    let change = fixture.snapshots.borrow().index.next_change().unwrap();
    assert_eq!(change, START + 1_000_000 + 3601);
    for (now, expected, changed) in [
        (change - 1, &short, false),
        (change, &long, true),
        (change + 1, &long, false),
        (change - 1, &short, true),
    ] {
        fixture.snapshots.mark_unchanged();
        fixture.shelf.publish_changes(now);
        assert_eq!(fixture.snapshots.has_changed().unwrap(), changed, "at {now}");
        assert_eq!(found(&fixture), expected.certificate.digest, "at {now}");
    }
}
