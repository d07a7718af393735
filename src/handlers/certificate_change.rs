//! The differences between the certificates that a handler knows and those that exist: its events `certificate`.
//!
//! Pure.

use crate::sources::certificate::{CertificateLists, PublicCertificate};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The event that all these changes have in common.
pub const CERTIFICATE_EVENT: &str = "certificate";

/// A certificate that was issued or renewed, or that does not exist any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChange {
    pub action: CertificateAction,
    /// The list that has the certificate, or had it.
    pub list: PathBuf,
    /// The last known state.
    pub certificate: PublicCertificate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateAction {
    Issued,
    Renewed,
    Gone,
}

/// A certificate that was delivered to a handler, as it is stored on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    pub list: PathBuf,
    pub certificate: PublicCertificate,
}

/// The certificates that a handler knows, by list and id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownCertificates(BTreeMap<(PathBuf, String), PublicCertificate>);

impl CertificateAction {
    /// Returns the event's full name, as scripts and plugins receive it.
    pub fn event_name(self) -> &'static str {
        match self {
            Self::Issued => "certificate: issued",
            Self::Renewed => "certificate: renewed",
            Self::Gone => "certificate: gone",
        }
    }
}

impl KnownCertificates {
    pub fn from_records(records: impl IntoIterator<Item = CertificateRecord>) -> Self {
        let entry = |CertificateRecord { list, certificate }: CertificateRecord| {
            ((list, certificate.id.clone()), certificate)
        };
        Self(records.into_iter().map(entry).collect())
    }

    /// Takes over the certificates of the lists, and returns the changes: those that are gone come first, because
    /// another one may be for the same hosts. Lists that are absent change nothing.
    pub fn update(&mut self, lists: &CertificateLists) -> Vec<CertificateChange> {
        let mut changes = self.remove_gone(lists);
        for (list, certificates) in lists {
            changes.extend(certificates.iter().filter_map(|found| self.update_one(list, found)));
        }
        changes
    }

    fn remove_gone(&mut self, lists: &CertificateLists) -> Vec<CertificateChange> {
        let ids = |list: &[PublicCertificate]| list.iter().map(|found| found.id.clone()).collect();
        let present: BTreeMap<_, BTreeSet<_>> =
            lists.iter().map(|(list, certificates)| (list, ids(certificates))).collect();
        let is_gone = |(list, id): &(PathBuf, String), _: &mut PublicCertificate| {
            present.get(list).is_some_and(|ids| !ids.contains(id))
        };
        let gone = self.0.extract_if(.., is_gone);
        let change = |((list, _), certificate)| CertificateChange {
            action: CertificateAction::Gone,
            list,
            certificate,
        };
        gone.map(change).collect()
    }

    fn update_one(&mut self, list: &Path, found: &PublicCertificate) -> Option<CertificateChange> {
        let key = (list.to_owned(), found.id.clone());
        let action = match self.0.insert(key, found.clone()) {
            None => CertificateAction::Issued,
            Some(before) if before.digest != found.digest => CertificateAction::Renewed,
            Some(_) => return None,
        };
        Some(CertificateChange { action, list: list.to_owned(), certificate: found.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn certificate(id: &str, digest: &str) -> PublicCertificate {
        PublicCertificate::sample(id, id, digest)
    }

    /// Parses lists such as `one:a=1,b=1 two:`.
    fn parse_lists(text: &str) -> CertificateLists {
        let list = |word: &str| {
            let (list, certificates) = word.split_once(':').unwrap();
            let certificates = certificates.split(',').filter(|entry| !entry.is_empty());
            let certificates = certificates.map(|entry| {
                let (id, digest) = entry.split_once('=').unwrap();
                certificate(id, digest)
            });
            (list.into(), Arc::new(certificates.collect()))
        };
        text.split_whitespace().map(list).collect()
    }

    /// Applies the lists one after the other. The known certificates are stored on disk in between.
    fn run(steps: &[&str]) -> Vec<String> {
        let mut known = KnownCertificates::default();
        let step = |lists: &&str| {
            let changes = known.update(&parse_lists(lists));
            let text = |change: &CertificateChange| {
                let CertificateChange { action, list, certificate } = change;
                let (action, list) = (action.event_name(), list.display());
                format!("{} {list}:{}={}", action, certificate.id, certificate.digest)
            };
            let changes: Vec<_> = changes.iter().map(text).collect();
            changes.join(", ").replace("certificate: ", "")
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn changes_of_lists_are_events() {
        for (steps, expected) in [
            (["", "x:a=1"], ["", "issued x:a=1"]),
            (["x:a=1", "x:a=1"], ["issued x:a=1", ""]),
            (["x:a=1", "x:a=2"], ["issued x:a=1", "renewed x:a=2"]),
            (["x:a=1", "x:"], ["issued x:a=1", "gone x:a=1"]),
            (["x:a=1", "x:b=1"], ["issued x:a=1", "gone x:a=1, issued x:b=1"]),
            // A list that does not exist says nothing.
            (["x:a=1", ""], ["issued x:a=1", ""]),
            (["x:a=1", "y:a=1"], ["issued x:a=1", "issued y:a=1"]),
            (
                ["x:a=1 y:b=1", "x: y:b=2"],
                ["issued x:a=1, issued y:b=1", "gone x:a=1, renewed y:b=2"],
            ),
        ] {
            assert_eq!(run(&steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn stored_records_are_known() {
        let record = CertificateRecord { list: "x".into(), certificate: certificate("a", "1") };
        let text = serde_json::to_string(&record).unwrap();
        let mut known = KnownCertificates::from_records([serde_json::from_str(&text).unwrap()]);
        assert_eq!(known.update(&parse_lists("x:a=1")), []);
        assert_eq!(known.update(&parse_lists("x:a=2")).len(), 1);
    }
}
