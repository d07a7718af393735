//! The names for which a certificate is requested, and why a CA would not sign some of them.
//!
//! Pure. Names that the CA would refuse are refused here, because each refusal by the CA counts against its limits.

use crate::model::host::{Host, HostMatch};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

/// The longest name in a certificate, in bytes (RFC 1035).
const MAX_NAME_BYTES: usize = 253;

/// Domains that no public CA signs: RFC 2606, RFC 6761, RFC 6762, RFC 7686, RFC 8375, and ICANN's `.internal`.
const PRIVATE_DOMAINS: [&str; 8] =
    ["local", "internal", "test", "localhost", "invalid", "onion", "home.arpa", "lan"];

/// A host, or all direct subdomains of a host together with the host itself. One certificate is issued for each, or two
/// with keys of different types, which are ordered and renewed independently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AcmeHost {
    pub host: Host,
    /// Whether the certificate is for `*.host` and `host`.
    pub wildcard: bool,
    pub variant: CertificateVariant,
}

/// Which of the certificates of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateVariant {
    /// The only one, or the first of two.
    #[default]
    Main,
    /// The one with an RSA key, next to one with an ECDSA key.
    Rsa,
}

/// End of the text and of the folder of [`CertificateVariant::Rsa`]. No host contains this character.
const RSA_SUFFIX: &str = "+rsa";

/// What the CA and the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRules {
    /// The CA is trusted by browsers, and therefore signs public names only.
    pub public_ca: bool,
    /// The challenge proves control of the domain's DNS, which wildcards need.
    pub dns: bool,
    /// The profile of certificates includes addresses (`shortlived`).
    pub addresses: bool,
}

/// Why no certificate is ordered for a name. The text names the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameRefusal {
    #[error("a name without a dot is not public; use a full domain, or add a certificate file")]
    NoDot,
    #[error(
        "`.{0}` is a private domain, which no public CA signs; use a public domain, or add a certificate file"
    )]
    PrivateDomain(&'static str),
    #[error("CAs do not sign names with an underscore; use a hyphen, or add a certificate file")]
    Underscore,
    #[error(
        "the CA signs addresses only with the profile `shortlived`; set acme_profile, or use a name"
    )]
    Address,
    #[error(
        "a wildcard needs a DNS challenge; set acme_challenge to `dns` or `dns-persist`, or give a certificate file"
    )]
    WildcardWithoutDns,
    #[error("the name has more than 253 characters; use a shorter one")]
    TooLong,
    #[error(
        "a label of the name begins or ends with a hyphen, which CAs do not sign; use another name"
    )]
    Hyphen,
}

impl AcmeHost {
    /// Returns the requested certificate of one host.
    pub fn exact(host: Host) -> Self {
        Self { host, wildcard: false, variant: CertificateVariant::Main }
    }

    /// Returns the requested certificate of a host's direct subdomains and of the host.
    pub fn wildcard(host: Host) -> Self {
        Self { host, wildcard: true, variant: CertificateVariant::Main }
    }

    /// Returns the other certificate for the same names.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let variant = match self.variant {
            CertificateVariant::Main => CertificateVariant::Rsa,
            CertificateVariant::Rsa => CertificateVariant::Main,
        };
        Self { variant, ..self.clone() }
    }

    /// Returns `None` for any host, for which no certificate is requested.
    pub fn from_host_match(host: &HostMatch) -> Option<Self> {
        match host {
            HostMatch::Exact(host) => Some(Self::exact(host.clone())),
            HostMatch::Wildcard(host) => Some(Self::wildcard(host.clone())),
            HostMatch::Any => None,
        }
    }

    /// Returns the host as routes have it.
    pub fn to_host_match(&self) -> HostMatch {
        let host = self.host.clone();
        if self.wildcard { HostMatch::Wildcard(host) } else { HostMatch::Exact(host) }
    }

    /// Returns the certificate of a host: that of a domain in `wildcards` if the host is the domain or one of its direct
    /// subdomains, else its own.
    pub fn for_host(host: &Host, wildcards: &BTreeSet<Host>) -> Self {
        let parent = host.as_str().split_once('.').and_then(|(_, parent)| parent.parse().ok());
        let mut shared = [Some(host.clone()), parent].into_iter().flatten();
        let shared = shared.find(|domain| wildcards.contains(domain));
        match shared {
            Some(host) => Self::wildcard(host),
            None => Self::exact(host.clone()),
        }
    }

    /// Returns the names in the certificate, the first of which identifies it.
    pub fn names(&self) -> Vec<String> {
        let host = self.host.to_string();
        if self.wildcard { vec![format!("*.{host}"), host] } else { vec![host] }
    }

    /// Returns the address, if the host is one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.host.as_str().parse().ok()
    }

    /// Returns the name of the folder that holds its certificates. No host contains an empty first label or only an
    /// underscore in it, because a CA signs neither.
    pub fn folder(&self) -> String {
        let prefix = if self.wildcard { "_." } else { "" };
        format!("{prefix}{}{}", self.host, self.variant.suffix())
    }

    /// Returns the requested host whose certificates a folder holds.
    pub fn from_folder(name: &str) -> Option<Self> {
        let (name, variant) = CertificateVariant::split(name);
        let main = match name.strip_prefix("_.") {
            Some(host) => Self::wildcard(host.parse().ok()?),
            None => Self::exact(name.parse().ok()?),
        };
        Some(Self { variant, ..main })
    }

    /// Returns the domain whose names the CA counts together: the last two labels.
    ///
    /// The CA counts by registered domain, which has at least two labels. The domain here is therefore never longer
    /// than the CA's, and a limit that holds for it holds for the CA. Hosts below `co.uk` share one limit, which is
    /// stricter than needed. A list of public suffixes would be exact, but adds about 1 MB to the program.
    pub fn parent(&self) -> &str {
        let host = self.host.as_str();
        let dots = host.rmatch_indices('.').nth(1);
        dots.map_or(host, |(at, _)| &host[at + 1..])
    }

    /// Whether no public CA signs the name, whatever the challenge and the profile are.
    pub fn is_private(&self) -> bool {
        let rules = NameRules { public_ca: true, dns: true, addresses: true };
        self.refusal(rules).is_some()
    }

    /// Returns why the CA would not sign the name.
    pub fn refusal(&self, rules: NameRules) -> Option<NameRefusal> {
        let host = self.host.as_str();
        let length = host.len() + if self.wildcard { 2 } else { 0 };
        match () {
            () if MAX_NAME_BYTES < length => Some(NameRefusal::TooLong),
            () if host.contains('_') => Some(NameRefusal::Underscore),
            () if self.wildcard && !rules.dns => Some(NameRefusal::WildcardWithoutDns),
            () if self.address().is_some() => (!rules.addresses).then_some(NameRefusal::Address),
            () if host.split('.').any(has_outer_hyphen) => Some(NameRefusal::Hyphen),
            () if !rules.public_ca => None,
            () => refuse_private(host),
        }
    }
}

fn refuse_private(host: &str) -> Option<NameRefusal> {
    let within = |domain: &&str| {
        host.strip_suffix(domain).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    };
    match PRIVATE_DOMAINS.iter().find(|domain| within(domain)) {
        Some(domain) if host.contains('.') => Some(NameRefusal::PrivateDomain(domain)),
        _ if !host.contains('.') => Some(NameRefusal::NoDot),
        _ => None,
    }
}

fn has_outer_hyphen(label: &str) -> bool {
    label.starts_with('-') || label.ends_with('-')
}

impl CertificateVariant {
    fn suffix(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Rsa => RSA_SUFFIX,
        }
    }

    /// Returns a text without its suffix, and the variant.
    fn split(text: &str) -> (&str, Self) {
        text.strip_suffix(RSA_SUFFIX).map_or((text, Self::Main), |host| (host, Self::Rsa))
    }
}

impl fmt::Display for AcmeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.wildcard { "*." } else { "" };
        write!(f, "{prefix}{}{}", self.host, self.variant.suffix())
    }
}

impl FromStr for AcmeHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, variant) = CertificateVariant::split(text);
        let (host, wildcard) = name.strip_prefix("*.").map_or((name, false), |host| (host, true));
        let host = host.parse().map_err(|_| format!("not a host: {}", text.escape_debug()))?;
        Ok(Self { host, wildcard, variant })
    }
}

impl TryFrom<String> for AcmeHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<AcmeHost> for String {
    fn from(host: AcmeHost) -> Self {
        host.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: NameRules = NameRules { public_ca: true, dns: false, addresses: false };

    #[test]
    fn unsignable_name_is_refused() {
        let long = format!("{}.com", vec!["a".repeat(60); 5].join("."));
        for (name, expected) in [
            ("app.example.com", None),
            ("localhost", Some(NameRefusal::NoDot)),
            ("nas", Some(NameRefusal::NoDot)),
            ("nas.local", Some(NameRefusal::PrivateDomain("local"))),
            ("a.home.arpa", Some(NameRefusal::PrivateDomain("home.arpa"))),
            ("home.arpa", Some(NameRefusal::PrivateDomain("home.arpa"))),
            ("notlocal.com", None),
            ("my.internal", Some(NameRefusal::PrivateDomain("internal"))),
            ("my.notinternal", None),
            ("a_b.example.com", Some(NameRefusal::Underscore)),
            ("10.0.0.1", Some(NameRefusal::Address)),
            ("*.example.com", Some(NameRefusal::WildcardWithoutDns)),
            ("-a.example.com", Some(NameRefusal::Hyphen)),
            (&long, Some(NameRefusal::TooLong)),
        ] {
            // `Host` itself refuses names of more than 253 characters.
            let Ok(host) = name.parse::<AcmeHost>() else {
                assert_eq!(expected, Some(NameRefusal::TooLong), "{name}");
                continue;
            };
            assert_eq!(host.refusal(PUBLIC), expected, "{name}");
        }
    }

    #[test]
    fn settings_permit_more_names() {
        let rules = NameRules { public_ca: false, dns: true, addresses: true };
        for name in ["nas", "nas.local", "10.0.0.1", "*.example.com"] {
            assert_eq!(name.parse::<AcmeHost>().unwrap().refusal(rules), None, "{name}");
        }
    }

    #[test]
    fn folder_and_text_return_to_the_same_host() {
        for name in ["a.example.com", "*.example.com", "nas", "a.example.com+rsa", "*.b.com+rsa"] {
            let host: AcmeHost = name.parse().unwrap();
            assert_eq!(host.to_string(), name);
            assert_eq!(AcmeHost::from_folder(&host.folder()), Some(host.clone()));
            assert_eq!(host.sibling().sibling(), host);
            assert_eq!(host.sibling().names(), host.names());
        }
    }

    #[test]
    fn direct_subdomains_share_the_certificate_of_a_wildcard() {
        let domains = ["example.com", "b.example.com"];
        let domains: BTreeSet<_> = domains.map(|domain| domain.parse().unwrap()).into();
        for (host, expected) in [
            ("a.example.com", "*.example.com"),
            ("example.com", "*.example.com"),
            ("a.a.example.com", "a.a.example.com"),
            // The more specific domain has the name itself.
            ("b.example.com", "*.b.example.com"),
            ("a.b.example.com", "*.b.example.com"),
            ("example.net", "example.net"),
            ("notexample.com", "notexample.com"),
            ("com", "com"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            let found = AcmeHost::for_host(&host.parse().unwrap(), &domains);
            assert_eq!(found.to_string(), expected, "{host}");
        }
    }

    #[test]
    fn parent_is_the_last_two_labels() {
        for (name, parent) in [
            ("a.b.example.com", "example.com"),
            ("example.com", "example.com"),
            ("nas", "nas"),
            ("*.example.com", "example.com"),
        ] {
            assert_eq!(name.parse::<AcmeHost>().unwrap().parent(), parent);
        }
    }
}
