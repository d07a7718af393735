//! Keys are not printed.

use super::fixture::{TestDirectory, render_words};
use crate::{
    model::certificate::{CertificateOrigin, CertificateOriginKind},
    sources::certificate::{
        CertificateShelf, CertificateSnapshot, CertificateStore, CertificateWithKey, SourceUpdate,
        directory::read_scan, pem::parse_pem, retention::Retention, scan::scan_directories,
    },
    support::atomic_file::FileAccess,
};
use std::{fmt::Debug, time::Duration};
use tokio::sync::watch;

/// Checks that no line of the key is printed.
fn check_printed(value: &impl Debug, key: &str) {
    let lines: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!lines.is_empty());
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        let name = std::any::type_name_of_val(value);
        assert!(!printed.contains("PRIVATE KEY"), "{name} prints a key");
        assert!(!lines.iter().any(|line| printed.contains(line)), "{name} prints a key");
    }
}

#[test]
fn debug_and_problems_contain_no_key() {
    let directory = TestDirectory::new(
        "a.pem = leaf:a key:a
         b.pem = leaf:b key:a
         c.pem = leaf:c half:key:a
         state/x =",
    );
    let key = render_words("key:a");
    let scan = scan_directories(&directory.paths());
    let reading = read_scan(&scan);
    assert_eq!((reading.certificates.len(), reading.problems.len()), (1, 3));
    let mut retention = Retention::default();
    let retained = retention.merge(&scan, reading.clone(), 0, Duration::ZERO);
    let update = SourceUpdate {
        kind: CertificateOriginKind::File,
        certificates: retained.certificates.clone(),
        problems: retained.problems.clone(),
    };
    let store =
        CertificateStore::open(&directory.path().join("state"), FileAccess::Private).unwrap();
    let (sender, snapshots) = watch::channel(CertificateSnapshot::default());
    let mut shelf = CertificateShelf::new(store, [CertificateOriginKind::File], sender);
    shelf.replace_source(update.clone(), 0);
    assert_eq!(snapshots.borrow().index.iter().count(), 1);
    let text = render_words("leaf:a key:a");
    let parsed = CertificateWithKey::parse(&text, CertificateOrigin::OwnCa, "a".to_owned());
    check_printed(&parse_pem(&text), &key);
    check_printed(&reading, &key);
    check_printed(&retained, &key);
    check_printed(&retention, &key);
    check_printed(&update, &key);
    check_printed(&*snapshots.borrow(), &key);
    check_printed(&shelf, &key);
    check_printed(&parsed, &key);
    let problems: Vec<_> = reading.problems.iter().map(ToString::to_string).collect();
    check_printed(&problems, &key);
}
