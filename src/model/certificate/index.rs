//! The certificates by the hosts that they cover.

use super::{
    Certificate, CertificateChoice, CertificateDigest, CertificateName, CertificateOriginKind,
    CertificateValidity, KeyType,
};
use crate::model::host::{Host, HostMatch};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};
use strum::IntoEnumIterator;

/// All certificates, searchable by host. Built for one moment: the preference depends on the validity then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateIndex {
    /// Sorted by digest, without duplicates.
    certificates: Vec<Arc<Certificate>>,
    /// By exact name. Each list begins with the preferred certificate.
    exact: BTreeMap<Host, Vec<Arc<Certificate>>>,
    /// By the host below the `*.` of a wildcard. Each list begins with the preferred certificate.
    wildcard: BTreeMap<Host, Vec<Arc<Certificate>>>,
    now: i64,
}

/// A certificate that serves a host, and its name that covers the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenCertificate {
    pub certificate: Arc<Certificate>,
    pub name: CertificateName,
}

/// Only certificates of one class serve a host together.
type RankClass = (CertificateValidity, CertificateOriginKind);

impl CertificateIndex {
    /// Builds the index for the time `now`, in Unix time. Of certificates with the same digest the first one counts.
    pub fn build(mut certificates: Vec<Arc<Certificate>>, now: i64) -> Self {
        certificates.sort_by_key(|certificate| certificate.digest);
        certificates.dedup_by_key(|certificate| certificate.digest);
        let mut index = Self { now, ..Self::default() };
        for certificate in &certificates {
            for name in &certificate.names {
                index.add_name(name, certificate);
            }
        }
        for list in index.exact.values_mut().chain(index.wildcard.values_mut()) {
            list.sort_by_key(|certificate| rank(certificate, now));
        }
        index.certificates = certificates;
        index
    }

    fn add_name(&mut self, name: &CertificateName, certificate: &Arc<Certificate>) {
        let list = match name {
            CertificateName::Exact(host) => self.exact.entry(host.clone()),
            CertificateName::Wildcard(host) => self.wildcard.entry(host.clone()),
        };
        list.or_default().push(certificate.clone());
    }

    /// Returns the certificates for a host, at most one per key type, in the order of [`KeyType`]. Only certificates of
    /// the best class are returned: valid over not yet valid over expired, exact name over wildcard, files over ACME
    /// over our own CA. In a class, the latest `not_after` wins.
    ///
    /// A certificate for `*.example.com` needs exactly this name. No certificate covers all hosts.
    pub fn find(&self, host: &HostMatch, choice: &CertificateChoice) -> Vec<ChosenCertificate> {
        let ranked = self.lists(host).filter_map(|(name, list)| {
            let preferred = list.iter().find(|certificate| allows(choice, certificate))?;
            Some((rank_class(preferred, self.now), name, list))
        });
        // The exact name comes first, and is chosen unless the wildcard's certificate is valid and the other is not.
        let best = ranked.min_by_key(|((validity, _), ..)| *validity);
        let Some((class, name, list)) = best else { return Vec::new() };
        let allowed = list.iter().filter(|certificate| allows(choice, certificate));
        let allowed = allowed.filter(|certificate| rank_class(certificate, self.now) == class);
        let first = |key_type| allowed.clone().find(|certificate| certificate.key_type == key_type);
        let chosen = KeyType::iter().filter_map(first).cloned();
        chosen.map(|certificate| ChosenCertificate { certificate, name: name.clone() }).collect()
    }

    /// Returns the names that cover a host, the exact one first, each with its certificates.
    fn lists(
        &self,
        host: &HostMatch,
    ) -> impl Iterator<Item = (CertificateName, &[Arc<Certificate>])> {
        let (exact, above) = match host {
            HostMatch::Exact(host) => (Some(host.clone()), host.parent()),
            HostMatch::Wildcard(above) => (None, Some(above.clone())),
            HostMatch::Any => (None, None),
        };
        let exact = exact.and_then(|host| {
            Some((self.exact.get(&host)?.as_slice(), CertificateName::Exact(host)))
        });
        let wildcard = above.and_then(|host| {
            Some((self.wildcard.get(&host)?.as_slice(), CertificateName::Wildcard(host)))
        });
        exact.into_iter().chain(wildcard).map(|(list, name)| (name, list))
    }

    /// Returns all certificates, sorted by digest.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.iter()
    }

    /// Returns the certificate with a digest.
    pub fn get(&self, digest: &CertificateDigest) -> Option<&Arc<Certificate>> {
        let found =
            self.certificates.binary_search_by_key(digest, |certificate| certificate.digest);
        found.ok().map(|position| &self.certificates[position])
    }

    /// The time that the index was built for, in Unix time.
    pub fn time(&self) -> i64 {
        self.now
    }

    /// Whether `other` has the same certificates and finds the same ones for each host: only the time may differ.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let lists =
            |index: &Self| (&index.exact, &index.wildcard) == (&other.exact, &other.wildcard);
        let valid = |index: &Self| -> Vec<_> {
            let validity = |certificate: &Arc<Certificate>| certificate.validity(index.now);
            index.certificates.iter().map(validity).collect()
        };
        self.certificates == other.certificates && lists(self) && valid(self) == valid(other)
    }

    /// Returns when the index must be built again, in Unix time: the next time at which a certificate becomes valid or
    /// expires.
    pub fn next_change(&self) -> Option<i64> {
        self.certificates.iter().filter_map(|certificate| certificate.next_change(self.now)).min()
    }
}

/// The smallest is preferred.
fn rank(certificate: &Certificate, now: i64) -> impl Ord + use<> {
    let latest = Reverse(certificate.not_after);
    (rank_class(certificate, now), latest, certificate.digest)
}

fn rank_class(certificate: &Certificate, now: i64) -> RankClass {
    (certificate.validity(now), certificate.origin.kind())
}

fn allows(choice: &CertificateChoice, certificate: &Certificate) -> bool {
    let kind = certificate.origin.kind();
    match choice {
        CertificateChoice::Auto => true,
        CertificateChoice::Acme => kind == CertificateOriginKind::Acme,
        CertificateChoice::Files => kind == CertificateOriginKind::File,
        CertificateChoice::Own => kind == CertificateOriginKind::OwnCa,
        CertificateChoice::Named(stem) => certificate.name == stem.as_str(),
    }
}
