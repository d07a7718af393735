//! Values of the label options for the connections to containers.
//!
//! Pure. Their texts consist of printable ASCII without blanks.

use crate::model::{
    certificate::CertificateStem,
    host::Host,
    option_value::{self, OptionType},
    problem::Reason,
};
use std::{fmt, str::FromStr};

/// Protocol that a container's port accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP/1.1 without TLS.
    #[default]
    Http,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113, section 3.3).
    H2c,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS, or HTTP/1.1 if the container does not offer it.
    H2,
}

/// How a container's certificate is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verification {
    /// Every certificate is accepted.
    #[default]
    Off,
    /// By the CAs of the system.
    System,
    /// By the CA with this name.
    Ca(CertificateStem),
}

/// Name that a container's certificate is requested and verified by. The default is the request's host.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerName(pub Option<Host>);

impl Scheme {
    /// Whether the connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }
}

impl Verification {
    /// Returns the name of the CA, if it is not one of the system.
    pub fn ca(&self) -> Option<&CertificateStem> {
        match self {
            Self::Ca(name) => Some(name),
            Self::Off | Self::System => None,
        }
    }
}

impl OptionType for Scheme {}

impl OptionType for Verification {}

impl OptionType for ServerName {}

impl FromStr for Scheme {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words =
            [("http", Self::Http), ("h2c", Self::H2c), ("https", Self::Https), ("h2", Self::H2)];
        option_value::match_word(text, &words).ok_or(Reason::NotAScheme)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
            Self::H2 => "h2",
        })
    }
}

impl FromStr for Verification {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words = [("off", Self::Off), ("system", Self::System)];
        option_value::match_word(text, &words)
            .or_else(|| text.trim().parse().ok().map(Self::Ca))
            .ok_or(Reason::NotAVerification)
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::System => "system",
            Self::Ca(name) => name.as_str(),
        })
    }
}

impl FromStr for ServerName {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        text.parse().map(|host| Self(Some(host)))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(host) => host.fmt(f),
            None => f.write_str("default"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how the value is written, or the kind of its problem.
    fn parse<T: OptionType>(text: &str) -> String {
        text.parse::<T>().map_or_else(|reason| format!("{reason:?}"), |value| value.to_string())
    }

    #[test]
    fn value_of_backend_option_parses_to_its_canonical_text() {
        for (parsed, expected) in [
            (parse::<Scheme>("HTTPS"), "https"),
            (parse::<Scheme>(" h2c "), "h2c"),
            (parse::<Scheme>("h2"), "h2"),
            (parse::<Scheme>("grpc"), "NotAScheme"),
            (parse::<Verification>("Off"), "off"),
            (parse::<Verification>("SYSTEM"), "system"),
            (parse::<Verification>("Internal-CA"), "Internal-CA"),
            (parse::<Verification>("../ca"), "NotAVerification"),
            (parse::<Verification>("a b"), "NotAVerification"),
            (parse::<ServerName>("DB.internal."), "db.internal"),
            (parse::<ServerName>("*.internal"), r#"MisplacedWildcard("*.internal")"#),
        ] {
            assert_eq!(parsed, expected);
        }
    }
}
