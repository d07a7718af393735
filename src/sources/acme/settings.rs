//! Settings of the orders: the CA, the account, and the proof of control.

use super::{
    acme_host::{AcmeHost, CertificateVariant, NameRules},
    dns::DnsUpdate,
    ledger::Limits,
    shared::SharedSettings,
};
use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use zeroize::Zeroizing;

/// The longest time of an order that HAProxy proves.
const HTTP_ORDER_TIMEOUT: Duration = Duration::from_secs(90);
/// The longest time of an order with a DNS challenge: programs and name servers are slow.
const DNS_ORDER_TIMEOUT: Duration = Duration::from_mins(10);

/// The CA's directory, which is the entry point of the protocol: an https URL, or http on the loopback interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryUrl(String);

/// The text is neither the name of a CA nor a URL that is safe to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a CA: {}; use letsencrypt, letsencrypt-staging, zerossl, google, or the https URL of an ACME directory",
    .0.escape_debug()
)]
pub struct DirectoryUrlError(String);

/// The key of an account at the CA's own system, to which the ACME account is bound (RFC 8555, 7.3.4).
#[derive(Clone)]
pub struct EabKey {
    pub kid: String,
    /// The HMAC key, decoded.
    pub key: Zeroizing<Vec<u8>>,
}

/// How control of a name is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// http-01: HAProxy serves a token on port 80.
    Http,
    /// tls-alpn-01: HAProxy presents a certificate for the challenge on port 443 (RFC 8737).
    TlsAlpn,
    /// dns-01: a TXT record is published for each order.
    Dns(DnsPublisher),
    /// dns-persist-01: a TXT record that an administrator published once.
    DnsPersist,
}

/// How TXT records are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsPublisher {
    /// A program of lego's `exec` protocol: `PROGRAM present|cleanup FQDN VALUE`.
    Program(PathBuf),
    /// DNS UPDATE (RFC 2136).
    Update(Box<DnsUpdate>),
}

/// How a TXT record is looked up before the CA does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsLookup {
    /// The resolvers that look up aliases and name servers; `None` for those of `/etc/resolv.conf`.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// The port of authoritative name servers.
    pub port: u16,
    /// The longest time until all name servers have a record.
    pub limit: Duration,
    /// How long to wait instead, if the name servers cannot be found or reached.
    pub pause: Duration,
}

/// The algorithm of a certificate's key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum AcmeKeyType {
    /// P-256.
    #[default]
    Ecdsa,
    /// 2048 bits. The program `openssl` generates the key.
    Rsa,
}

/// Which certificates a host gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum AcmeKeys {
    /// One with a key of this type.
    #[strum(to_string = "{0}")]
    One(AcmeKeyType),
    /// One for each type. The client's abilities decide which one HAProxy presents.
    Both,
}

impl Default for AcmeKeys {
    fn default() -> Self {
        Self::One(AcmeKeyType::default())
    }
}

impl AcmeKeys {
    /// Returns all certificates that hosts get, which have one each in `hosts`.
    pub fn expand(self, hosts: &BTreeSet<AcmeHost>) -> BTreeSet<AcmeHost> {
        let second = hosts.iter().filter(|_| self == Self::Both).map(AcmeHost::sibling);
        hosts.iter().cloned().chain(second).collect()
    }

    /// Returns the type of a certificate's key.
    pub fn key_type(self, variant: CertificateVariant) -> AcmeKeyType {
        match (self, variant) {
            (_, CertificateVariant::Rsa) => AcmeKeyType::Rsa,
            (Self::One(key_type), CertificateVariant::Main) => key_type,
            (Self::Both, CertificateVariant::Main) => AcmeKeyType::Ecdsa,
        }
    }
}

/// All settings of [`super::follow`].
#[derive(Debug, Clone)]
pub struct AcmeSettings {
    pub directory: DirectoryUrl,
    /// The CA's environment for tries after a failure.
    pub staging: Option<DirectoryUrl>,
    /// The contact of the account.
    pub email: Option<String>,
    pub eab: Option<EabKey>,
    /// The CA's profile of certificates, for example `shortlived`. `None` is the CA's default.
    pub profile: Option<String>,
    pub challenge: Challenge,
    pub dns: DnsLookup,
    pub keys: AcmeKeys,
    /// The root certificates of a private CA. They replace those of the system. Such a CA may sign any name.
    pub ca_file: Option<PathBuf>,
    /// The folder `STATE/acme`, which is created.
    pub folder: PathBuf,
    /// The store that several balancers share, in place of `folder`, which then has copies of the certificates.
    pub shared: Option<SharedSettings>,
    pub limits: Limits,
    /// The longest time of an order.
    pub order_timeout: Duration,
}

impl DirectoryUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the CA's staging environment, if it is known.
    pub fn staging(&self) -> Option<Self> {
        let production = self.0 == "https://acme-v02.api.letsencrypt.org/directory";
        production
            .then(|| Self("https://acme-staging-v02.api.letsencrypt.org/directory".to_owned()))
    }

    /// Returns the name of the CA's folder. It never begins with a dot.
    pub fn folder(&self) -> String {
        let (_, place) = self.0.split_once("://").unwrap_or(("", &self.0));
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        place.trim_matches(['/', '.']).chars().map(safe).take(200).collect()
    }
}

impl FromStr for DirectoryUrl {
    type Err = DirectoryUrlError;

    fn from_str(text: &str) -> Result<Self, DirectoryUrlError> {
        let url = match text.trim() {
            "letsencrypt" => "https://acme-v02.api.letsencrypt.org/directory",
            "letsencrypt-staging" => "https://acme-staging-v02.api.letsencrypt.org/directory",
            "zerossl" => "https://acme.zerossl.com/v2/DV90",
            "google" => "https://dv.acme-v02.api.pki.goog/directory",
            url => url,
        };
        let error = || DirectoryUrlError(text.to_owned());
        let uri: hyper::Uri = url.parse().map_err(|_| error())?;
        let host = uri.host().ok_or_else(error)?;
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match uri.scheme_str() {
            Some("https") => Ok(Self(url.to_owned())),
            Some("http") if local => Ok(Self(url.to_owned())),
            _ => Err(error()),
        }
    }
}

impl Default for DnsLookup {
    fn default() -> Self {
        let (limit, pause) = (Duration::from_mins(2), Duration::from_secs(10));
        Self { resolvers: None, port: 53, limit, pause }
    }
}

impl fmt::Debug for EabKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EabKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Challenge {
    /// Whether it proves control of a domain by its DNS, as wildcard names need it.
    pub fn uses_dns(&self) -> bool {
        matches!(self, Self::Dns(_) | Self::DnsPersist)
    }
}

impl AcmeSettings {
    /// Creates settings with the defaults: http-01, the CA's known staging environment, and keys of type ECDSA.
    pub fn new(directory: DirectoryUrl, folder: PathBuf) -> Self {
        Self {
            staging: directory.staging(),
            directory,
            email: None,
            eab: None,
            profile: None,
            challenge: Challenge::Http,
            dns: DnsLookup::default(),
            keys: AcmeKeys::default(),
            ca_file: None,
            folder,
            shared: None,
            limits: Limits::default(),
            order_timeout: HTTP_ORDER_TIMEOUT,
        }
    }

    /// Sets the challenge, and the longest time of an order with it.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Challenge) -> Self {
        let dns = challenge.uses_dns();
        self.order_timeout = if dns { DNS_ORDER_TIMEOUT } else { HTTP_ORDER_TIMEOUT };
        self.challenge = challenge;
        self
    }

    /// Returns the folder with the ledger, the account and the certificates.
    pub fn store_folder(&self) -> &Path {
        self.shared.as_ref().map_or(&self.folder, |shared| &shared.folder)
    }

    /// Returns which names may be ordered.
    pub fn name_rules(&self) -> NameRules {
        NameRules {
            public_ca: self.ca_file.is_none(),
            dns: self.challenge.uses_dns(),
            addresses: self.profile.as_deref() == Some("shortlived"),
        }
    }

    /// Returns the text of the TXT record that proves control of a host's domain for dns-persist-01, for an account
    /// and one of the CA's domains (the directory's `caaIdentities`).
    pub fn persist_record(host: &AcmeHost, issuer: &str, account: &str) -> (String, String) {
        let policy = if host.wildcard { "; policy=wildcard" } else { "" };
        let name = format!("_validation-persist.{}.", host.host);
        (name, format!("{issuer}; accounturi={account}{policy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_or_url_of_ca_is_a_directory() {
        for (text, expected) in [
            ("letsencrypt", Some("https://acme-v02.api.letsencrypt.org/directory")),
            ("google", Some("https://dv.acme-v02.api.pki.goog/directory")),
            (
                "https://ca.example.com/acme/acme/directory",
                Some("https://ca.example.com/acme/acme/directory"),
            ),
            ("http://127.0.0.1:14000/dir", Some("http://127.0.0.1:14000/dir")),
            ("http://ca.example.com/dir", None),
            ("ftp://ca.example.com/dir", None),
            ("letsencrpyt", None),
            ("", None),
        ] {
            let url: Result<DirectoryUrl, _> = text.parse();
            assert_eq!(url.ok().as_ref().map(DirectoryUrl::as_str), expected, "{text}");
        }
    }

    #[test]
    fn folder_of_ca_is_one_safe_name() {
        for (url, folder) in [
            ("letsencrypt", "acme-v02.api.letsencrypt.org-directory"),
            ("https://localhost:14000/dir", "localhost-14000-dir"),
            ("https://ca.example.com/../../x", "ca.example.com-..-..-x"),
        ] {
            assert_eq!(url.parse::<DirectoryUrl>().unwrap().folder(), folder);
        }
    }

    #[test]
    fn debug_text_has_no_secret() {
        let key = EabKey { kid: "kid-1".to_owned(), key: Zeroizing::new(b"secret".to_vec()) };
        let text = format!("{key:?}");
        assert!(
            text.contains("kid-1") && !text.contains("secret") && !text.contains("115"),
            "{text}"
        );
    }

    #[test]
    fn persist_record_names_account_and_policy() {
        let host = "*.example.com".parse().unwrap();
        let (name, value) =
            AcmeSettings::persist_record(&host, "ca.example", "https://ca.example/1");
        assert_eq!(name, "_validation-persist.example.com.");
        assert_eq!(value, "ca.example; accounturi=https://ca.example/1; policy=wildcard");
    }
}
