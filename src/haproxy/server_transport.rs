//! How HAProxy connects to a container: protocol, TLS and verification, as words of a server.
//!
//! Pure. Configuration Manual, section 5.2. The words are the same on a `server` line and in `add server`. HAProxy can
//! neither change them while it runs nor return them, so a server with other words has another name.

use super::{command::Escaped, config::Probe, name, stream_options, tls::TlsContext};
use crate::model::{
    backend_tls::{Scheme, ServerName, Verification},
    ca_index::CaPurpose,
    option_value::{CheckMethod, HostMatch},
    route::{Policy, RouteKey},
    stream::Cut,
};
use std::fmt::{self, Write as _};

/// The words of a server for its connections. None for plain HTTP/1.1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerTransport {
    kind: TransportKind,
    /// Each with the space before it.
    words: String,
    /// Path of the CA's file, which is its name in HAProxy.
    ca: Option<String>,
}

/// What is sent to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransportKind {
    Requests(Scheme),
    /// Connections as they are.
    Connections(Cut),
}

impl Default for TransportKind {
    fn default() -> Self {
        Self::Requests(Scheme::default())
    }
}

/// Stands for the scheme in names of servers of connections.
const TCP: &str = "tcp";

/// HAProxy's name of the CAs of the system.
const SYSTEM_CA: &str = "@system-ca";

/// Expression of the request's host, as it is in certificates.
const REQUEST_HOST: &str = "req.hdr(host),host_only,lower,rtrim(.)";

impl ServerTransport {
    /// Returns how the servers of a route are reached. `None` if their CA is not known: they must not be used.
    pub fn new(key: &RouteKey, policy: &Policy, tls: TlsContext<'_>) -> Option<Self> {
        let (scheme, check) = (policy.get::<Scheme>(), policy.get::<CheckMethod>());
        let probe = match check {
            CheckMethod::Off => None,
            CheckMethod::Tcp | CheckMethod::TcpOn(_) => Some(Probe::Tcp),
            CheckMethod::Http(_) | CheckMethod::HttpOn(..) => Some(Probe::Http),
        };
        let kind = TransportKind::Requests(scheme);
        let port = check.port().map(|port| format!(" port {port}")).unwrap_or_default();
        if !scheme.has_tls() {
            let words = match (scheme, probe) {
                (Scheme::H2c, Some(Probe::Http)) => " proto h2 check-proto h2",
                (Scheme::H2c, _) => " proto h2",
                _ => "",
            };
            return Some(Self { kind, words: words.to_owned() + &port, ca: None });
        }
        let ca = match policy.get::<Verification>() {
            Verification::Off => None,
            Verification::System => Some(SYSTEM_CA.to_owned()),
            Verification::Ca(name) => {
                Some(tls.directory.ca_path(tls.cas.find(CaPurpose::Backend, &name)?))
            }
        };
        let words = tls_words(scheme, ca.as_deref(), server_name(key, policy), probe) + &port;
        Some(Self { kind, words, ca: ca.filter(|ca| ca != SYSTEM_CA) })
    }

    /// Returns how the servers of a route of connections are reached.
    pub fn of_connections(policy: &Policy) -> Self {
        let kind = TransportKind::Connections(policy.get());
        Self { kind, words: stream_options::server_words(policy), ca: None }
    }

    /// Whether a failed check, and maintenance, end the connections of a server.
    pub fn cuts_at_failed_check(&self) -> bool {
        self.kind == TransportKind::Connections(Cut::Down)
    }

    /// Whether the connections are encrypted.
    pub fn has_tls(&self) -> bool {
        matches!(self.kind, TransportKind::Requests(scheme) if scheme.has_tls())
    }

    /// Returns HAProxy's name of the CA, if a file has it.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// Returns the part of a server's name that distinguishes it from servers with other words.
    pub fn name_suffix(&self) -> String {
        if self.words.is_empty() {
            return String::new();
        }
        let kind = match self.kind {
            TransportKind::Requests(scheme) => scheme.to_string(),
            TransportKind::Connections(_) => TCP.to_owned(),
        };
        format!(":{kind}-{:08x}", name::hash(&self.words) >> 32)
    }
}

/// Whether it is the last part of a name with [`ServerTransport::name_suffix`].
pub fn is_name_suffix(text: &str) -> bool {
    let Some((kind, hash)) = text.split_once('-') else { return false };
    let is_kind = kind == TCP || kind.parse::<Scheme>().is_ok();
    is_kind && hash.len() == 8 && u32::from_str_radix(hash, 16).is_ok()
}

/// Returns the name that the container's certificate is requested and verified by, if it is the same for all requests
/// of the route.
fn server_name(key: &RouteKey, policy: &Policy) -> Option<String> {
    let ServerName(name) = policy.get();
    match (name, key.host()) {
        (Some(name), _) => Some(name.to_string()),
        (None, HostMatch::Exact(host)) => Some(host.to_string()),
        (None, HostMatch::Wildcard(_) | HostMatch::Any) => None,
    }
}

/// Returns the words of connections with TLS. A server that is added at run time inherits none of them for its checks.
fn tls_words(
    scheme: Scheme,
    ca: Option<&str>,
    name: Option<String>,
    probe: Option<Probe>,
) -> String {
    let alpn = if scheme == Scheme::H2 { "h2,http/1.1" } else { "http/1.1" };
    let verify = match ca {
        Some(ca) => format!("verify required ca-file {}", Escaped(ca)),
        None => "verify none".to_owned(),
    };
    let sni = name.as_ref().map_or_else(|| REQUEST_HOST.to_owned(), |name| format!("str({name})"));
    let mut words = format!(" ssl {verify} sni {sni} alpn {alpn}");
    if probe.is_some() {
        words.push_str(" check-ssl");
        if let Some(name) = name {
            write!(words, " check-sni {name}").expect("writing to a string cannot fail");
        }
    }
    if probe == Some(Probe::Http) {
        write!(words, " check-alpn {alpn}").expect("writing to a string cannot fail");
    }
    words
}

/// Writes words of a `server` line, each with the space before it.
impl fmt::Display for ServerTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// Returns the options as one word of a map's value. `None` if all of them are the default.
pub fn format_options(policy: &Policy) -> Option<String> {
    let (scheme, verification) = (policy.get::<Scheme>(), policy.get::<Verification>());
    let ServerName(name) = policy.get();
    let mut text = scheme.to_string();
    if verification != Verification::Off {
        write!(text, ",verify={verification}").expect("writing to a string cannot fail");
    }
    if let Some(name) = name {
        write!(text, ",server_name={name}").expect("writing to a string cannot fail");
    }
    if let Some(port) = policy.get::<CheckMethod>().port() {
        write!(text, ",check_port={port}").expect("writing to a string cannot fail");
    }
    (text != Scheme::Http.to_string()).then_some(text)
}

/// Adds the options in a text by [`format_options`] to the policy.
#[must_use]
pub fn parse_options(text: &str, mut policy: Policy) -> Policy {
    for part in text.split(',') {
        let (option, value) = part.split_once('=').unwrap_or(("scheme", part));
        policy = match option {
            "scheme" => value.parse::<Scheme>().map_or(policy.clone(), |value| policy.with(value)),
            "verify" => {
                value.parse::<Verification>().map_or(policy.clone(), |value| policy.with(value))
            }
            "server_name" => {
                value.parse::<ServerName>().map_or(policy.clone(), |value| policy.with(value))
            }
            "check_port" => match value.parse() {
                Ok(port) => stream_options::with_check_port(policy, port),
                Err(_) => policy,
            },
            _ => policy,
        };
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        haproxy::tls::CertificateDirectory,
        model::{
            ca_index::CaIndex,
            certificate::{CertificateDigest, CertificateIndex},
            label_option::{LabelOption, LabelProtocol, OptionValues},
            tls::TlsPolicy,
        },
    };

    fn policy(labels: &str) -> Policy {
        let mut policy = OptionValues::default();
        for (name, value) in labels.split_whitespace().filter_map(|label| label.split_once('=')) {
            let option = LabelOption::from_port_name(LabelProtocol::Http, name).unwrap();
            policy.set(option.parse_value(value).unwrap().unwrap().0);
        }
        policy
    }

    fn transport(host: &str, labels: &str) -> Option<ServerTransport> {
        let mut cas = CaIndex::default();
        let digest = CertificateDigest::of_pem("internal");
        cas.insert(CaPurpose::Backend, "internal".parse().unwrap(), digest);
        let directory = CertificateDirectory::new("/c");
        let (certificates, policy_of_hosts) = (CertificateIndex::default(), TlsPolicy::default());
        let context = TlsContext {
            certificates: &certificates,
            cas: &cas,
            directory: &directory,
            policy: policy_of_hosts,
            http3: false,
            has_default: false,
        };
        let key = format!("{host}:80/").parse().unwrap();
        ServerTransport::new(&key, &policy(labels), context)
    }

    #[test]
    fn options_yield_words_of_server() {
        let ca = format!("/c/{}.ca.pem", CertificateDigest::of_pem("internal"));
        let verified = format!(
            " ssl verify required ca-file {ca} sni str(a.test) alpn http/1.1 check-ssl check-sni a.test"
        );
        for (host, labels, expected) in [
            ("a.test", "", Some("")),
            ("a.test", "check=8008", Some(" port 8008")),
            ("a.test", "scheme=h2c check=8008/x", Some(" proto h2 check-proto h2 port 8008")),
            ("a.test", "scheme=h2c", Some(" proto h2")),
            ("a.test", "scheme=h2c check=/x", Some(" proto h2 check-proto h2")),
            (
                "a.test",
                "scheme=https",
                Some(" ssl verify none sni str(a.test) alpn http/1.1 check-ssl check-sni a.test"),
            ),
            (
                "*.a.test",
                "scheme=https check=/x",
                Some(
                    " ssl verify none sni req.hdr(host),host_only,lower,rtrim(.) alpn http/1.1 check-ssl check-alpn http/1.1",
                ),
            ),
            (
                "*",
                "scheme=h2 check=/x server_name=b.test",
                Some(
                    " ssl verify none sni str(b.test) alpn h2,http/1.1 check-ssl check-sni b.test check-alpn h2,http/1.1",
                ),
            ),
            (
                "a.test",
                "scheme=https verify=system check=off",
                Some(" ssl verify required ca-file @system-ca sni str(a.test) alpn http/1.1"),
            ),
            ("a.test", "scheme=https verify=internal", Some(verified.as_str())),
            ("a.test", "scheme=https verify=other", None),
        ] {
            let words = transport(host, labels).map(|transport| transport.to_string());
            assert_eq!(words.as_deref(), expected, "{host} {labels}");
        }
    }

    #[test]
    fn other_words_yield_another_server() {
        let suffix = |labels| transport("a.test", labels).unwrap().name_suffix();
        let suffixes =
            ["scheme=https", "scheme=h2", "scheme=https verify=internal", "scheme=h2c"].map(suffix);
        for (at, suffix) in suffixes.iter().enumerate() {
            assert!(suffix.strip_prefix(':').is_some_and(is_name_suffix), "{suffix}");
            assert!(!suffixes[..at].contains(suffix), "{suffix}");
        }
        assert_eq!(suffix(""), "");
        for text in ["80", "single", "https", "https-", "https-0123456", "ftp-01234567"] {
            assert!(!is_name_suffix(text), "{text}");
        }
    }

    #[test]
    fn options_are_recovered_from_word_of_map() {
        for labels in [
            "",
            "scheme=h2c",
            "scheme=https verify=system",
            "scheme=h2 verify=internal server_name=b.test",
            "server_name=b.test",
            "check=8008",
            "scheme=h2c check=8008",
        ] {
            let policy = policy(labels);
            let text = format_options(&policy);
            assert_eq!(text.is_none(), labels.is_empty(), "{labels}");
            let recovered = parse_options(text.as_deref().unwrap_or("http"), Policy::default());
            assert_eq!(recovered, policy, "{labels}");
        }
    }
}
