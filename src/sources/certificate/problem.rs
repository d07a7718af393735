//! What is wrong with a file of a certificate, as the operator sees it.

use crate::support::{escape::SingleLine, format::format_date};
use std::{fmt, path::PathBuf};

/// A file, or a directory, and what is wrong with it. Its text has one line and no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateProblem {
    pub path: PathBuf,
    pub kind: CertificateProblemKind,
}

/// What is wrong. A certificate with a problem serves only where the text says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CertificateProblemKind {
    #[error("no private key for this certificate in its file or its directory")]
    NoKey,
    #[error("the private key in {} does not belong to this certificate", SingleLine(key.display()))]
    KeyMismatch { key: PathBuf },
    #[error(
        "the private key is encrypted; write it without a passphrase, for example with `openssl pkey`"
    )]
    EncryptedKey,
    #[error("the key is not one of ECDSA P-256, ECDSA P-384 and RSA with 2048 to 8192 bits")]
    UnsupportedKey,
    #[error("the file is not PEM; convert it, for example with `openssl x509 -inform der`")]
    NotPem,
    #[error("a certificate or key in the file is damaged or incomplete")]
    Damaged,
    #[error("the certificate has no host name")]
    NoNames,
    #[error(
        "the certificate expired on {}; it serves only hosts without a valid certificate",
        format_date(*not_after)
    )]
    Expired { not_after: i64 },
    #[error(
        "the certificate is not valid before {}; it serves only hosts without a valid certificate",
        format_date(*not_before)
    )]
    NotYetValid { not_before: i64 },
    #[error("the private key in {} can be read by all users; remove this permission", SingleLine(key.display()))]
    KeyReadableByOthers { key: PathBuf },
    #[error("the file has more than {limit} bytes")]
    FileTooLarge { limit: u64 },
    #[error(
        "the files in the directory have more than {limit} bytes in total; the others are ignored"
    )]
    DirectoryTooLarge { limit: u64 },
    #[error("the certificates of the CA have more than {limit} bytes")]
    CaTooLarge { limit: usize },
    #[error("the directory has more than {limit} files; the others are ignored")]
    TooManyFiles { limit: usize },
    #[error("cannot read it: {why}")]
    Unreadable { why: String },
    #[error("cannot store the certificate, so it is not used: {why}")]
    NotStored { why: String },
    #[error("the file does not exist any more; its certificate serves until {}", format_date(*not_after))]
    SourceVanished { not_after: i64 },
}

impl CertificateProblem {
    pub fn new(path: impl Into<PathBuf>, kind: CertificateProblemKind) -> Self {
        Self { path: path.into(), kind }
    }
}

impl CertificateProblemKind {
    /// Whether the problem may be the moment between two writes of a program that replaces a certificate.
    pub(super) fn may_be_half_written(&self) -> bool {
        matches!(
            self,
            Self::NoKey
                | Self::KeyMismatch { .. }
                | Self::NotPem
                | Self::Damaged
                | Self::Unreadable { .. }
                | Self::SourceVanished { .. }
        )
    }

    /// Whether the certificate of the file serves nevertheless.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::KeyReadableByOthers { .. } | Self::SourceVanished { .. })
    }
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", SingleLine(self.path.display()), SingleLine(&self.kind))
    }
}
