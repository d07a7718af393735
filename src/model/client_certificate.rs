//! Value of the label option for client certificates.
//!
//! Pure.

use crate::model::{certificate::CertificateStem, option_value::OptionType, problem::Reason};
use std::{fmt, str::FromStr};

/// Whether clients of an HTTPS host have to present a certificate. Its text may contain a blank.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientCertificate {
    /// Clients are not asked for one.
    #[default]
    Off,
    /// Connections without a certificate of this CA are refused.
    Required(CertificateStem),
    /// A certificate has to be of this CA, but clients may have none.
    Optional(CertificateStem),
}

impl ClientCertificate {
    /// Returns the name of the CA. `None` if clients are not asked for a certificate.
    pub fn ca(&self) -> Option<&CertificateStem> {
        match self {
            Self::Off => None,
            Self::Required(ca) | Self::Optional(ca) => Some(ca),
        }
    }
}

impl OptionType for ClientCertificate {}

/// Parses `off`, or the name of a CA, optionally followed by `optional`.
impl FromStr for ClientCertificate {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words: Vec<_> = text.split_whitespace().collect();
        let name = |name: &str| name.parse().map_err(|_| Reason::NotAClientCertificate);
        match words[..] {
            [off] if off.eq_ignore_ascii_case("off") => Ok(Self::Off),
            [ca] => name(ca).map(Self::Required),
            [ca, mode] if mode.eq_ignore_ascii_case("optional") => name(ca).map(Self::Optional),
            _ => Err(Reason::NotAClientCertificate),
        }
    }
}

impl fmt::Display for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Required(ca) => ca.fmt(f),
            Self::Optional(ca) => write!(f, "{ca} optional"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_client_certificate_parses_to_its_canonical_text() {
        for (text, expected) in [
            ("Off", Some("off")),
            (" staff ", Some("staff")),
            ("staff  Optional", Some("staff optional")),
            ("staff required", None),
            ("staff optional x", None),
            ("../staff", None),
            ("", None),
        ] {
            let parsed = text.parse::<ClientCertificate>().map(|value| value.to_string());
            assert_eq!(parsed.ok().as_deref(), expected, "{text:?}");
        }
    }
}
