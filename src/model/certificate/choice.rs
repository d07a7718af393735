//! Which certificate a host asks for.

use std::{fmt, str::FromStr, sync::Arc};

const MAX_STEM_BYTES: usize = 64;

/// Which certificates may serve a host, as in the label `cert`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateChoice {
    /// `auto`: any certificate that covers the host.
    #[default]
    Auto,
    /// `acme`: only certificates that an ACME CA issued.
    Acme,
    /// `files`: only certificates from directories.
    Files,
    /// `self`: only certificates of docker-balancer's own CA.
    Own,
    /// Only certificates with this name.
    Named(CertificateStem),
}

/// A certificate's name in a label: 1 to 64 ASCII letters, digits, `.`, `_` and `-`. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateStem(Arc<str>);

/// A text selects no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not auto, acme, files, self or a certificate's name; a name has 1 to 64 letters, digits, \".\", \"_\" and \"-\""
)]
pub struct CertificateChoiceError;

impl CertificateStem {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateStem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CertificateStem {
    type Err = CertificateChoiceError;

    fn from_str(text: &str) -> Result<Self, CertificateChoiceError> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let valid = (1..=MAX_STEM_BYTES).contains(&text.len()) && text.bytes().all(legal);
        valid.then(|| Self(text.into())).ok_or(CertificateChoiceError)
    }
}

impl FromStr for CertificateChoice {
    type Err = CertificateChoiceError;

    fn from_str(text: &str) -> Result<Self, CertificateChoiceError> {
        Ok(match text {
            "auto" => Self::Auto,
            "acme" => Self::Acme,
            "files" => Self::Files,
            "self" => Self::Own,
            name => Self::Named(name.parse()?),
        })
    }
}

/// As in the label.
impl fmt::Display for CertificateChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Acme => "acme",
            Self::Files => "files",
            Self::Own => "self",
            Self::Named(stem) => stem.as_str(),
        })
    }
}
