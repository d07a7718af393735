//! The hosts that a certificate is valid for.

use crate::model::host::{Host, HostMatch};
use std::fmt;

/// A host that a certificate is valid for, in lower-case ASCII; international names as punycode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateName {
    Exact(Host),
    /// `*.` and this host: exactly one more label in front.
    Wildcard(Host),
}

impl CertificateName {
    /// Parses a DNS name of a certificate; `None` if it is not a host name or `*.` and a host name.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse().ok()? {
            HostMatch::Exact(host) => Some(Self::Exact(host)),
            HostMatch::Wildcard(host) => Some(Self::Wildcard(host)),
            HostMatch::Any => None,
        }
    }

    /// Whether clients accept the name for every host that `host` matches.
    pub fn covers(&self, host: &HostMatch) -> bool {
        self.to_host_match().covers(host)
    }

    /// The hosts that the name is valid for.
    pub fn to_host_match(&self) -> HostMatch {
        match self {
            Self::Exact(host) => HostMatch::Exact(host.clone()),
            Self::Wildcard(host) => HostMatch::Wildcard(host.clone()),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Wildcard(host) => write!(f, "*.{host}"),
        }
    }
}
