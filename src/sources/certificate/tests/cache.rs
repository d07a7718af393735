//! Files that did not change are not read again, and the result is that of a first reading.

use super::fixture::TestDirectory;
use crate::sources::certificate::{
    directory::{DirectoryCache, DirectoryReading},
    read_directories,
    scan::scan_directories,
};
use std::fs;

/// Long after the files were written, in Unix time.
const LATER: i64 = i64::MAX / 2;

const FILES: &str = "
    a.pem = leaf:a chain key:a
    b.crt = leaf:b
    b.key = key:b
    chain.pem = chain
    site/cert.pem = leaf:c
    site/fullchain.pem = leaf:c chain
    site/privkey.pem = key:c";
const COUNT: usize = 7;

/// Changes a file: `PATH = WORDS`, or `PATH` to remove it.
fn edit(directory: &TestDirectory, line: &str) {
    match line.split_once(" = ") {
        Some((path, words)) => {
            // As programs replace a file. Its stamp differs in any case.
            directory.write(".new", words);
            fs::rename(directory.path().join(".new"), directory.path().join(path)).unwrap();
        }
        None => fs::remove_file(directory.path().join(line)).unwrap(),
    }
}

fn assert_equal(found: &DirectoryReading, expected: &DirectoryReading, after: &str) {
    assert_eq!(found.certificates, expected.certificates, "after {after}");
    assert_eq!(found.problems, expected.problems, "after {after}");
}

#[test]
fn only_changed_files_are_read_again() {
    let directory = TestDirectory::new(FILES);
    let mut cache = DirectoryCache::default();
    let mut check = |after: &str, read: usize| {
        let found = cache.read_scan(&scan_directories(&directory.paths()), LATER);
        assert_equal(&found, &read_directories(&directory.paths()), after);
        assert_eq!(cache.count_new(), read, "after {after}");
    };
    check("nothing", COUNT);
    check("nothing", 0);
    for (line, read) in [
        ("a.pem = leaf:d chain key:d", 1),
        // The key of another certificate, then the right one again.
        ("b.key = key:a", 1),
        ("b.key = key:b", 1),
        // The key did not change.
        ("b.crt = leaf:b chain", 1),
        ("b.crt = leaf:e", 1),
        ("b.key = key:e", 1),
        // A file that does not serve, as long as the other one exists.
        ("copy.pem = leaf:d key:d", 1),
        ("a.pem", 0),
        // The same key in another file.
        ("other.key = key:e", 1),
        ("b.key", 0),
        ("b.crt = half:leaf:e", 1),
        ("b.crt = leaf:e", 1),
        ("site/fullchain.pem = leaf:f", 1),
        ("site/privkey.pem = key:f", 1),
        ("site/fullchain.pem", 0),
        ("nameless.pem = leaf:nameless key:nameless", 1),
        ("ca.pem = leaf:ca key:ca", 1),
        ("text.pem = text", 1),
        ("text.pem", 0),
    ] {
        edit(&directory, line);
        check(line, read);
    }
}

/// A later write may leave the stamp of a file as it is.
#[test]
fn file_that_was_just_written_is_read_again() {
    let directory = TestDirectory::new(FILES);
    let mut cache = DirectoryCache::default();
    for (now, read) in [(0, COUNT), (0, COUNT), (LATER, COUNT), (LATER, 0)] {
        let found = cache.read_scan(&scan_directories(&directory.paths()), now);
        assert_equal(&found, &read_directories(&directory.paths()), "nothing");
        assert_eq!(cache.count_new(), read);
    }
}
