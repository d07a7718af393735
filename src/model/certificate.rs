//! Certificates as values, and which of them serves a host.
//!
//! Pure. A [`Certificate`] has no secret: the PEM text with the key is in a file that is named by the certificate's
//! digest.

mod choice;
mod digest;
mod index;
mod name;

pub use choice::{CertificateChoice, CertificateChoiceError, CertificateStem};
pub use digest::{CertificateDigest, CertificateDigestError};
pub use index::{CertificateIndex, ChosenCertificate};
pub use name::CertificateName;

use std::{fmt, path::PathBuf, sync::Arc};
use strum::{AsRefStr, EnumIter};

/// Tolerance for the difference between our clock and those of clients, in seconds: for this long before
/// `not_before` and after `not_after` a certificate counts as valid.
pub const CLOCK_TOLERANCE: i64 = 3600;

/// A server certificate with its chain and key, without any secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Identifies the PEM text, and so this certificate in the store and in HAProxy.
    pub digest: CertificateDigest,
    /// The hosts that the certificate is valid for, sorted and without duplicates; at least one.
    pub names: Vec<CertificateName>,
    /// First second of validity, in Unix time.
    pub not_before: i64,
    /// Last second of validity, in Unix time.
    pub not_after: i64,
    pub key_type: KeyType,
    /// The issuer's common name, or else its organisation. Empty if it has neither.
    pub issuer: String,
    pub origin: CertificateOrigin,
    /// The name that a label selects with `cert=NAME`: the file's stem, or the folder's name for files such as
    /// `fullchain.pem` with `privkey.pem`.
    pub name: String,
    /// Length of the PEM text that HAProxy gets, with chain and key.
    pub pem_bytes: usize,
}

/// The algorithm of a key. HAProxy can serve one certificate of each for a host; the client's abilities decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, AsRefStr)]
pub enum KeyType {
    #[strum(serialize = "ECDSA")]
    Ecdsa,
    #[strum(serialize = "RSA")]
    Rsa,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateOrigin {
    /// A file in one of the directories of the setting `certificates`.
    File { path: PathBuf },
    /// Issued by an ACME CA; `ca` is its name in the settings, or its URL.
    Acme { ca: Arc<str> },
    /// Signed by docker-balancer's own CA.
    OwnCa,
}

/// The kind of a [`CertificateOrigin`], in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter)]
pub enum CertificateOriginKind {
    File,
    Acme,
    OwnCa,
}

/// Whether a certificate is valid at a time, with [`CLOCK_TOLERANCE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateValidity {
    Valid,
    NotYetValid,
    Expired,
}

impl Certificate {
    /// Returns the validity at `now`, in Unix time.
    pub fn validity(&self, now: i64) -> CertificateValidity {
        match now {
            _ if now < self.valid_from() => CertificateValidity::NotYetValid,
            _ if now < self.expires_at() => CertificateValidity::Valid,
            _ => CertificateValidity::Expired,
        }
    }

    /// Returns the first change of validity after `now`, in Unix time; `None` if the certificate stays expired.
    pub fn next_change(&self, now: i64) -> Option<i64> {
        [self.valid_from(), self.expires_at()].into_iter().find(|change| now < *change)
    }

    fn valid_from(&self) -> i64 {
        self.not_before.saturating_sub(CLOCK_TOLERANCE)
    }

    /// The first second at which the certificate is expired.
    fn expires_at(&self) -> i64 {
        self.not_after.saturating_add(CLOCK_TOLERANCE + 1).max(self.valid_from())
    }
}

impl CertificateOrigin {
    pub fn kind(&self) -> CertificateOriginKind {
        match self {
            Self::File { .. } => CertificateOriginKind::File,
            Self::Acme { .. } => CertificateOriginKind::Acme,
            Self::OwnCa => CertificateOriginKind::OwnCa,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_ref())
    }
}

#[cfg(test)]
mod tests;
