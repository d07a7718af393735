//! The certificates that hosts were served with, and their changes, as the history records them. They contain no secret.
//!
//! Pure.

use super::certificates::{self, CertificateInfo};
use crate::{
    model::{
        certificate::{Certificate, CertificateDigest, CertificateIndex},
        route::Routes,
    },
    routing::route_diff::ChangeKind,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, UNIX_EPOCH},
};

/// How many digits of a digest are shown to people.
const SHORT_DIGEST: usize = 8;
/// The last second of the year 9999; RFC 3339 cannot express a later one.
const MAX_TIMESTAMP: i64 = 253_402_300_799;

/// A certificate in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedCertificate {
    pub digest: CertificateDigest,
    /// In a few words: `letsencrypt`, `file shop.pem`, `own CA`.
    pub origin: String,
    /// Unix seconds.
    pub not_after: i64,
}

/// The certificates of each HTTPS host that has one: at most one for each type of key. A host is written with its
/// public port: `app.example.com:443`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedCertificates(pub BTreeMap<String, Vec<ServedCertificate>>);

/// The hosts whose certificates differ, with those before and after. Without a certificate the list is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateDelta(pub BTreeMap<String, CertificatesBeforeAfter>);

pub type CertificatesBeforeAfter = (Vec<ServedCertificate>, Vec<ServedCertificate>);

/// A host whose certificate changed, in the JSON of `GET /history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateChangeStatus {
    pub change: ChangeKind,
    /// The host with its public port: `app.example.com:443`.
    pub host: String,
    /// The certificates after the change; there is one for each type of key, and none for `remove`.
    pub certificates: Vec<CertificateFacts>,
    /// For people, without the sign.
    pub text: String,
}

/// What the history says about a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// As in the list of certificates: 32 hexadecimal digits.
    pub digest: String,
    /// In a few words: `letsencrypt`, `file shop.pem`, `own CA`.
    pub origin: String,
    /// Unix seconds.
    pub not_after: i64,
}

impl ServedCertificates {
    /// Finds the certificates of all HTTPS hosts.
    pub fn of_routes(routes: &Routes, index: &CertificateIndex) -> Self {
        let hosts = certificates::hosts_with_certificates(routes, index);
        let hosts = hosts.filter(|(_, certificates)| !certificates.is_empty());
        let served = |certificates: Vec<&Certificate>| {
            certificates.into_iter().map(ServedCertificate::from).collect()
        };
        Self(hosts.map(|(host, certificates)| (host, served(certificates))).collect())
    }
}

impl From<&Certificate> for ServedCertificate {
    fn from(certificate: &Certificate) -> Self {
        let origin = CertificateInfo::new(certificate).origin_text();
        Self { digest: certificate.digest, origin, not_after: certificate.not_after }
    }
}

impl CertificateDelta {
    pub fn new(before: &ServedCertificates, after: &ServedCertificates) -> Self {
        let find = |served: &ServedCertificates, host: &String| {
            served.0.get(host).cloned().unwrap_or_default()
        };
        let hosts: BTreeSet<_> = before.0.keys().chain(after.0.keys()).collect();
        let both = hosts.into_iter().map(|host| (host, find(before, host), find(after, host)));
        let differences = both.filter(|(_, before, after)| before != after);
        Self(differences.map(|(host, before, after)| (host.clone(), (before, after))).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes the certificates from those before to those after.
    pub fn apply_to(&self, served: &mut ServedCertificates) {
        for (host, (_, after)) in &self.0 {
            if after.is_empty() {
                served.0.remove(host);
            } else {
                served.0.insert(host.clone(), after.clone());
            }
        }
    }

    /// Describes the first `limit` changes.
    pub fn describe_changes(&self, limit: usize) -> Vec<CertificateChangeStatus> {
        let changes = self.0.iter().take(limit);
        changes.map(|(host, change)| CertificateChangeStatus::new(host, change)).collect()
    }
}

impl CertificateChangeStatus {
    fn new(host: &str, (before, after): &CertificatesBeforeAfter) -> Self {
        let texts = |certificates: &[ServedCertificate]| {
            certificates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
        };
        let (change, text) = match (before.as_slice(), after.as_slice()) {
            (before, []) => (ChangeKind::Remove, digests(before)),
            ([], after) => (ChangeKind::Add, texts(after)),
            (before, after) => {
                (ChangeKind::Change, format!("{}, instead of {}", texts(after), digests(before)))
            }
        };
        let certificates = after.iter().map(CertificateFacts::from).collect();
        let text = format!("{host}: certificate {text}");
        Self { change, host: host.to_owned(), certificates, text }
    }
}

fn digests(certificates: &[ServedCertificate]) -> String {
    let digests = certificates.iter().map(ServedCertificate::short_digest);
    digests.collect::<Vec<_>>().join(" and ")
}

impl From<&ServedCertificate> for CertificateFacts {
    fn from(certificate: &ServedCertificate) -> Self {
        let ServedCertificate { digest, origin, not_after } = certificate;
        Self { digest: digest.to_string(), origin: origin.clone(), not_after: *not_after }
    }
}

impl ServedCertificate {
    fn short_digest(&self) -> String {
        self.digest.to_string()[..SHORT_DIGEST].to_owned()
    }
}

/// `1a2b3c4d of letsencrypt, valid until 2027-02-10`
impl fmt::Display for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = u64::try_from(self.not_after.min(MAX_TIMESTAMP)).unwrap_or_default();
        let end = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(end));
        let day = end.to_string();
        let day = day.split('T').next().unwrap_or_default();
        write!(f, "{} of {}, valid until {day}", self.short_digest(), self.origin)
    }
}

/// `+ app.example.com:443: certificate 1a2b3c4d of letsencrypt, valid until 2027-02-10`
impl fmt::Display for CertificateChangeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.change.sign(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(text: &str) -> ServedCertificates {
        let certificate = |pem: &str| ServedCertificate {
            digest: CertificateDigest::of_pem(pem),
            origin: format!("file {pem}.pem"),
            not_after: 1_800_000_000,
        };
        let host = |word: &str| {
            let (host, certificates) = word.split_once('=').unwrap();
            (format!("{host}:443"), certificates.split('+').map(certificate).collect())
        };
        ServedCertificates(text.split_whitespace().map(host).collect())
    }

    /// Returns the changes with the names of the certificates instead of their digests.
    #[track_caller]
    fn check(before: &str, after: &str, expected: &[&str]) {
        let (before, after) = (served(before), served(after));
        let delta = CertificateDelta::new(&before, &after);
        let named = |change: &CertificateChangeStatus| {
            let names = ["one", "two", "rsa"];
            names.iter().fold(change.to_string(), |text, name| {
                text.replace(&CertificateDigest::of_pem(name).to_string()[..8], name)
            })
        };
        let changes = delta.describe_changes(9);
        assert_eq!(changes.iter().map(named).collect::<Vec<_>>(), expected);
        let mut replayed = before;
        delta.apply_to(&mut replayed);
        assert_eq!(replayed, after);
    }

    #[test]
    fn changes_name_host_digest_origin_and_expiry() {
        check("a=one", "a=one", &[]);
        check("", "a=one", &["+ a:443: certificate one of file one.pem, valid until 2027-01-15"]);
        check(
            "a=one",
            "a=two",
            &["~ a:443: certificate two of file two.pem, valid until 2027-01-15, instead of one"],
        );
        check("a=one+rsa", "", &["- a:443: certificate one and rsa"]);
    }
}
