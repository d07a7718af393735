//! The digest that identifies a certificate.

use ring::digest::{SHA256, digest};
use std::{fmt, str::FromStr};

/// First 16 bytes of the SHA-256 of the PEM text that HAProxy gets: certificate, chain, key. Printed as 32 lower-case
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateDigest([u8; 16]);

/// A text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: a digest has 32 lower-case hexadecimal digits")]
pub struct CertificateDigestError;

impl CertificateDigest {
    /// Computes the digest of a normalised PEM text.
    pub fn of_pem(pem: &str) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest(&SHA256, pem.as_bytes()).as_ref()[..16]);
        Self(bytes)
    }
}

impl FromStr for CertificateDigest {
    type Err = CertificateDigestError;

    fn from_str(text: &str) -> Result<Self, CertificateDigestError> {
        let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        let legal = text.len() == 32 && text.bytes().all(is_digit);
        let number = legal.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(CertificateDigestError)
    }
}

impl fmt::Display for CertificateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for CertificateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateDigest({self})")
    }
}
