//! Ten thousand certificates. The times are printed, not asserted: `cargo test --release --lib scale -- --nocapture`.

use super::fixture::{FAR, TestDirectory, issue};
use crate::{
    model::certificate::{CertificateChoice, CertificateIndex, CertificateOriginKind},
    sources::certificate::{
        CertificateShelf, CertificateSnapshot, CertificateStore, SourceUpdate,
        directory::DirectoryCache, scan::scan_directories,
    },
    support::atomic_file::FileAccess,
};
use std::{fs, time::Instant};
use tokio::sync::watch;

/// Long after the files were written, in Unix time.
const LATER: i64 = i64::MAX / 2;

fn measure<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    eprintln!("{what}: {:?}", begun.elapsed());
    result
}

/// Runs in each test run with few certificates, and with `SCALE=10000` for the measurement.
#[test]
fn each_of_many_certificates_is_found() {
    let count: usize = std::env::var("SCALE").map_or(50, |text| text.parse().unwrap());
    let directory = TestDirectory::new("");
    for number in 0..count {
        let host = format!("site-{number}.test");
        let (leaf, key) = issue(&[&host, &format!("*.{host}")], 0, FAR);
        let text = leaf + &super::fixture::render_words("chain") + &key;
        fs::write(directory.path().join(format!("{host}.pem")), text).unwrap();
    }
    let scan = measure("list", || scan_directories(&directory.paths()));
    measure("list again", || scan_directories(&directory.paths()));
    let mut cache = DirectoryCache::default();
    let reading = measure("read", || cache.read_scan(&scan, LATER));
    assert_eq!(reading.certificates.len(), count);
    let (leaf, key) = issue(&["site-0.test", "*.site-0.test"], 0, FAR);
    fs::write(directory.path().join("site-0.test.pem"), leaf + &key).unwrap();
    let scan = scan_directories(&directory.paths());
    let reading = measure("read the one that changed", || cache.read_scan(&scan, LATER));
    assert_eq!((reading.certificates.len(), cache.count_new()), (count, 1));
    let certificates: Vec<_> = reading.certificates.iter().map(|c| c.certificate.clone()).collect();
    let index = measure("build the index", || CertificateIndex::build(certificates, 1_767_225_600));
    measure("find each host", || {
        for number in 0..count {
            let host = format!("www.site-{number}.test").parse().unwrap();
            assert_eq!(index.find(&host, &CertificateChoice::Auto).len(), 1);
        }
    });
    let state = tempfile::tempdir().unwrap();
    let store = CertificateStore::open(state.path(), FileAccess::Private).unwrap();
    let (sender, _snapshots) = watch::channel(CertificateSnapshot::default());
    let mut shelf = CertificateShelf::new(store, [CertificateOriginKind::File], sender);
    let kind = CertificateOriginKind::File;
    let update =
        SourceUpdate { kind, certificates: reading.certificates, problems: reading.problems };
    measure("store all", || shelf.replace_source(update.clone(), 1_767_225_600));
    measure("store nothing", || shelf.replace_source(update, 1_767_225_601));
}
