//! Values of the label options for HTTPS.
//!
//! Pure. Their texts consist of printable ASCII without blanks, except where a type says otherwise.

use crate::model::{
    certificate::CertificateChoice,
    option_value::{self, OptionType},
    problem::Reason,
};
use serde_json::Value;
use std::{fmt, num::NonZeroU16, str::FromStr, time::Duration};

/// Whether a route is served over HTTPS, and what its plain requests get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Plain HTTP only.
    #[default]
    Off,
    /// HTTPS; plain requests are redirected to it with status 308.
    On,
    /// HTTPS and plain HTTP.
    Both,
    /// HTTPS; the route has no plain listener.
    Only,
    /// Like `Only`, but the container decrypts: its connections are forwarded as they are, by their server name (SNI).
    Pass,
}

/// Public ports on which a route is served over HTTPS, sorted. At least one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsBind(Vec<NonZeroU16>);

/// Which certificate a host gets. The default is any that is valid for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateOption(pub CertificateChoice);

/// TLS versions and ciphers that clients may use, by the names of Mozilla's recommendations. The default is the policy
/// of the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsPolicyChoice(pub Option<TlsPolicy>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsPolicy {
    /// TLS 1.3.
    Modern,
    /// TLS 1.2 and 1.3.
    #[default]
    Intermediate,
    /// TLS 1.0 and later.
    Old,
}

/// Value of the Strict-Transport-Security header of HTTPS responses (RFC 6797). The default is no header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hsts(Option<HstsHeader>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct HstsHeader {
    /// In seconds: 1 minute to 10 years.
    max_age: u64,
    subdomains: bool,
    preload: bool,
}

impl TlsMode {
    /// Whether the route has HTTPS listeners.
    pub fn has_https(self) -> bool {
        self != Self::Off
    }

    /// Whether the route has plain listeners: for its requests, or to redirect them.
    pub fn has_plain(self) -> bool {
        !matches!(self, Self::Only | Self::Pass)
    }
}

impl TlsBind {
    /// Returns `None` if there are no ports.
    pub fn new(mut ports: Vec<NonZeroU16>) -> Option<Self> {
        ports.sort_unstable();
        ports.dedup();
        (!ports.is_empty()).then_some(Self(ports))
    }

    pub fn ports(&self) -> &[NonZeroU16] {
        &self.0
    }

    /// Returns the port that plain requests are redirected to: that of HTTPS, if it is one of them.
    pub fn redirect_port(&self) -> NonZeroU16 {
        if self.0.contains(&HTTPS_PORT) { HTTPS_PORT } else { self.0[0] }
    }
}

/// Port of HTTP (RFC 9110, section 4.2.1).
pub const HTTP_PORT: NonZeroU16 = NonZeroU16::new(80).expect("not 0");
/// Port of HTTPS (RFC 9110, section 4.2.2).
pub const HTTPS_PORT: NonZeroU16 = NonZeroU16::new(443).expect("not 0");

impl Default for TlsBind {
    fn default() -> Self {
        Self(vec![HTTPS_PORT])
    }
}

impl Hsts {
    const MAX: Duration = Duration::from_hours(10 * 366 * 24);
    const MIN: Duration = Duration::from_mins(1);

    /// Returns the header's value without blanks.
    pub fn header(self) -> Option<String> {
        let HstsHeader { max_age, subdomains, preload } = self.0?;
        let subdomains = if subdomains { ";includeSubDomains" } else { "" };
        let preload = if preload { ";preload" } else { "" };
        Some(format!("max-age={max_age}{subdomains}{preload}"))
    }
}

impl OptionType for TlsMode {}

impl OptionType for CertificateOption {}

impl OptionType for TlsPolicyChoice {}

impl OptionType for Hsts {}

impl OptionType for TlsBind {
    fn to_json(&self) -> Value {
        self.0.iter().map(|port| port.get()).collect()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let port = |value: &Value| NonZeroU16::new(u16::try_from(value.as_u64()?).ok()?);
        Self::new(value.as_array()?.iter().map(port).collect::<Option<_>>()?)
    }
}

impl FromStr for TlsMode {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let on = ["on", "1", "true", "yes"].map(|word| (word, Self::On));
        let off = ["off", "0", "false", "no"].map(|word| (word, Self::Off));
        let other = [("both", Self::Both), ("only", Self::Only), ("pass", Self::Pass)];
        let words: Vec<_> = on.into_iter().chain(off).chain(other).collect();
        option_value::match_word(text, &words).ok_or(Reason::NotATlsMode)
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Both => "both",
            Self::Only => "only",
            Self::Pass => "pass",
        })
    }
}

/// Parses a comma-separated list of ports.
impl FromStr for TlsBind {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let ports = text.split(',').map(|port| option_value::parse_port(port.trim()));
        Self::new(ports.collect::<Result<_, _>>()?).ok_or(Reason::Empty)
    }
}

impl fmt::Display for TlsBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, port) in self.0.iter().enumerate() {
            write!(f, "{}{port}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl FromStr for CertificateOption {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        let word = text.to_ascii_lowercase();
        let is_word = matches!(word.as_str(), "auto" | "acme" | "files" | "self");
        let choice = if is_word { word.parse() } else { text.parse() };
        choice.map(Self).map_err(|_| Reason::NotACertificate)
    }
}

impl fmt::Display for CertificateOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TlsPolicy {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let words =
            [("modern", Self::Modern), ("intermediate", Self::Intermediate), ("old", Self::Old)];
        option_value::match_word(text, &words).ok_or(Reason::NotATlsPolicy)
    }
}

impl fmt::Display for TlsPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modern => "modern",
            Self::Intermediate => "intermediate",
            Self::Old => "old",
        })
    }
}

impl FromStr for TlsPolicyChoice {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        text.parse().map(|policy| Self(Some(policy)))
    }
}

impl fmt::Display for TlsPolicyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(policy) => policy.fmt(f),
            None => f.write_str("default"),
        }
    }
}

/// Parses `off`, or a time with the words `subdomains` and `preload` after it.
impl FromStr for Hsts {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let mut words = text.split_whitespace();
        let time = words.next().ok_or(Reason::NotHsts)?;
        if time.eq_ignore_ascii_case("off") && words.next().is_none() {
            return Ok(Self(None));
        }
        let time = humantime::parse_duration(time).map_err(|_| Reason::NotHsts)?;
        let mut header = HstsHeader { max_age: time.as_secs(), subdomains: false, preload: false };
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "subdomains" => header.subdomains = true,
                "preload" => header.preload = true,
                _ => return Err(Reason::NotHsts),
            }
        }
        let is_valid = (Self::MIN..=Self::MAX).contains(&time);
        is_valid.then_some(Self(Some(header))).ok_or(Reason::NotHsts)
    }
}

impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(HstsHeader { max_age, subdomains, preload }) = self.0 else {
            return f.write_str("off");
        };
        let subdomains = if subdomains { " subdomains" } else { "" };
        let preload = if preload { " preload" } else { "" };
        write!(f, "{max_age}s{subdomains}{preload}")
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
    fn value_of_https_option_parses_to_its_canonical_text() {
        for (parsed, expected) in [
            (parse::<TlsMode>("On"), "on"),
            (parse::<TlsMode>("true"), "on"),
            (parse::<TlsMode>(" no "), "off"),
            (parse::<TlsMode>("only"), "only"),
            (parse::<TlsMode>("onn"), "NotATlsMode"),
            (parse::<TlsBind>("8443, 443"), "443,8443"),
            (parse::<TlsBind>("443,443"), "443"),
            (parse::<TlsBind>("0"), r#"NotAPort("0")"#),
            (parse::<CertificateOption>("Auto"), "auto"),
            (parse::<CertificateOption>("shop.example"), "shop.example"),
            (parse::<CertificateOption>("acme"), "acme"),
            (parse::<CertificateOption>("Self"), "self"),
            (parse::<CertificateOption>("../key"), "NotACertificate"),
            (parse::<TlsPolicyChoice>("Modern"), "modern"),
            (parse::<TlsPolicyChoice>("tls13"), "NotATlsPolicy"),
            (parse::<Hsts>("off"), "off"),
            (parse::<Hsts>("180d"), "15552000s"),
            (parse::<Hsts>("1y subdomains"), "31557600s subdomains"),
            (parse::<Hsts>("2y Preload subdomains"), "63115200s subdomains preload"),
            (parse::<Hsts>("1y always"), "NotHsts"),
            (parse::<Hsts>("1s"), "NotHsts"),
            (parse::<Hsts>("100y"), "NotHsts"),
            (parse::<Hsts>("off subdomains"), "NotHsts"),
        ] {
            assert_eq!(parsed, expected);
        }
    }

    #[test]
    fn hsts_header_has_no_blanks() {
        for (text, expected) in [
            ("off", None),
            ("180d", Some("max-age=15552000")),
            ("365d subdomains preload", Some("max-age=31536000;includeSubDomains;preload")),
        ] {
            assert_eq!(text.parse::<Hsts>().unwrap().header().as_deref(), expected);
        }
    }

    #[test]
    fn plain_requests_are_redirected_to_https_port_or_lowest() {
        for (ports, expected) in [("443", 443), ("8443,443", 443), ("9443,8443", 8443)] {
            assert_eq!(ports.parse::<TlsBind>().unwrap().redirect_port().get(), expected);
        }
    }
}
