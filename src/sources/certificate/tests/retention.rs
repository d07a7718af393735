//! What serves while files are replaced, broken or removed.

use super::fixture::TestDirectory;
use crate::sources::certificate::{
    directory::read_scan, retention::Retention, scan::scan_directories,
};
use crate::support::durable;
use std::time::Duration;

/// 2026-01-01 in Unix time.
const NOW: i64 = 1_767_225_600;

/// A directory that is read after each step, at the given second.
struct Story {
    directory: TestDirectory,
    retention: Retention,
}

impl Story {
    fn new(files: &str) -> Self {
        Self { directory: TestDirectory::new(files), retention: Retention::default() }
    }

    /// Each step is `SECOND WHAT => HOST..., PROBLEM; ...`; `WHAT` is `read`, `PATH = WORDS` or `rm PATH`.
    fn check(&mut self, steps: &[(u64, &str, &str)]) {
        for (second, action, expected) in steps {
            if let Some((path, words)) = action.split_once(" =") {
                self.directory.write(path, words);
            } else if let Some(path) = action.strip_prefix("rm ") {
                durable::remove(&self.directory.path().join(path)).unwrap();
            }
            assert_eq!(self.read(*second), **expected, "at {second} after {action:?}");
        }
    }

    fn read(&mut self, second: u64) -> String {
        let scan = scan_directories(&self.directory.paths());
        let reading = read_scan(&scan);
        let retained = self.retention.merge(&scan, reading, NOW, Duration::from_secs(second));
        let hosts = retained.certificates.iter().map(|c| c.certificate.names[0].to_string());
        let mut parts: Vec<_> = hosts.collect();
        parts.extend(retained.problems.iter().map(|problem| {
            let text = self.directory.relative(&problem.to_string());
            format!("[{}]", text.chars().take(40).collect::<String>())
        }));
        parts.extend(retained.look_again.map(|at| format!("look at {}", at.as_secs())));
        parts.join(" ")
    }
}

#[test]
fn half_written_pair_keeps_old_certificate_and_is_reported_after_10_seconds() {
    Story::new("x.crt = leaf:a\nx.key = key:a").check(&[
        (0, "read", "a.test"),
        (100, "x.crt = leaf:b", "a.test look at 110"),
        (109, "read", "a.test look at 110"),
        (110, "read", "a.test [x.crt: the private key in x.key does not]"),
        (111, "x.key = key:b", "b.test"),
        (200, "x.key = half:key:b", "b.test look at 210"),
        (201, "x.key = key:b", "b.test"),
    ]);
}

#[test]
fn new_file_that_is_broken_is_reported_after_10_seconds() {
    Story::new("").check(&[
        (0, "read", ""),
        (5, "x.pem = leaf:a", "look at 15"),
        (15, "read", "[x.pem: no private key for this certifica]"),
        (16, "x.pem = leaf:a key:a", "a.test"),
    ]);
}

#[test]
fn broken_file_is_reported_at_once_after_start() {
    Story::new("x.pem = leaf:a").check(&[(
        0,
        "read",
        "[x.pem: no private key for this certifica]",
    )]);
}

#[test]
fn vanished_file_serves_and_is_reported() {
    Story::new("x.pem = leaf:a key:a\ny.pem = leaf:b key:b").check(&[
        (0, "read", "a.test b.test"),
        (20, "rm x.pem", "a.test b.test look at 30"),
        (30, "read", "a.test b.test [x.pem: the file does not exist any more;]"),
        (90, "x.pem = leaf:c key:c", "c.test b.test"),
    ]);
}

#[test]
fn vanished_file_of_expired_certificate_is_forgotten() {
    Story::new("x.pem = leaf:old key:old").check(&[
        (0, "read", "old.test [x.pem: the certificate expired on 2021-0]"),
        (20, "rm x.pem", ""),
    ]);
}

#[test]
fn renamed_file_is_not_vanished() {
    Story::new("x.pem = leaf:a key:a").check(&[
        (0, "read", "a.test"),
        (1, "y.pem = leaf:a key:a", "a.test"),
        (2, "rm x.pem", "a.test"),
    ]);
}

#[test]
fn file_with_other_content_on_purpose_drops_certificate() {
    Story::new("x.pem = leaf:a key:a").check(&[(0, "read", "a.test"), (1, "x.pem = chain", "")]);
}

#[test]
fn certificate_outside_its_validity_is_reported_at_once() {
    Story::new("").check(&[
        (0, "read", ""),
        (1, "x.pem = leaf:old key:old", "old.test [x.pem: the certificate expired on 2021-0]"),
        (
            2,
            "x.pem = leaf:future key:future",
            "future.test [x.pem: the certificate is not valid befo]",
        ),
    ]);
}
