//! The CAs that labels name.
//!
//! Pure.

use super::certificate::{CertificateDigest, CertificateStem};
use std::{collections::BTreeMap, fmt};

/// What the certificates of a CA are for. Names of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaPurpose {
    /// Certificates of containers.
    Backend,
    /// Certificates of clients.
    Client,
}

/// The CAs by purpose and name, each with the digest of its certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaIndex(BTreeMap<(CaPurpose, CertificateStem), CertificateDigest>);

impl CaPurpose {
    /// Returns the option that has the directory of these CAs.
    pub fn option(self) -> &'static str {
        match self {
            Self::Backend => "--backend-ca",
            Self::Client => "--client-ca",
        }
    }
}

impl CaIndex {
    pub fn insert(&mut self, purpose: CaPurpose, name: CertificateStem, digest: CertificateDigest) {
        self.0.insert((purpose, name), digest);
    }

    /// Returns the digest of the CA's certificates.
    pub fn find(&self, purpose: CaPurpose, name: &CertificateStem) -> Option<CertificateDigest> {
        self.0.get(&(purpose, name.clone())).copied()
    }

    /// Returns the CAs without those that have one of these digests.
    #[must_use]
    pub fn without(&self, is_excluded: impl Fn(&CertificateDigest) -> bool) -> Self {
        let cas = self.0.iter().filter(|(_, digest)| !is_excluded(digest));
        Self(cas.map(|(key, digest)| (key.clone(), *digest)).collect())
    }

    /// Whether a CA has the digest.
    pub fn contains(&self, digest: &CertificateDigest) -> bool {
        self.0.values().any(|other| other == digest)
    }
}

/// Writes the directory's option.
impl fmt::Display for CaPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.option())
    }
}
