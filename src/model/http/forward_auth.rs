//! Routes whose requests an authentication server judges before a container gets them.
//!
//! Pure.

use super::{
    OFF,
    header::{self, HeaderName},
    not,
};
use crate::model::{label_option::LabelOption, option_value::OptionType, problem::Reason};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

/// Maximum length of a URL in bytes.
const MAX_URL: usize = 512;

/// Start of the keys of servers that labels name.
const BY_LABEL: &str = "label:";

/// Follows the URL in the history if a policy has it.
const BY_POLICY: &str = " by policy";

/// The URL that is asked, if the route has one.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardAuth(pub Option<AuthUrl>);

/// Header fields of the authentication server's answer that the container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardAuthHeaders(pub BTreeSet<HeaderName>);

/// URL of an authentication server. Its host is a container's name, an address, or a name of DNS with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuthUrl {
    scheme: AuthScheme,
    host: AuthHost,
    port: NonZeroU16,
    /// With the query. Begins with a slash.
    path: String,
    author: AuthAuthor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthScheme {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthHost {
    Address(IpAddr),
    Name(String),
}

/// Who wrote the URL, which decides what it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthAuthor {
    /// A label. The URL may only name a path that a container serves to everyone: HAProxy reaches more than clients do,
    /// and passes answers on.
    Label,
    /// The administrator.
    Policy,
}

/// Where HAProxy reaches an authentication server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthServer {
    pub scheme: AuthScheme,
    pub place: AuthPlace,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthPlace {
    Address(SocketAddr),
    /// HAProxy asks the name servers of its machine.
    Name {
        name: String,
        port: NonZeroU16,
    },
}

impl AuthServer {
    /// Word of servers whose address HAProxy has to find.
    pub const NAME: &str = "name";

    /// Word of servers that are asked over TLS.
    pub const TLS: &str = "https";

    /// Whether HAProxy has to find the address.
    pub fn is_resolved(&self) -> bool {
        matches!(self.place, AuthPlace::Name { .. })
    }

    /// Whether HAProxy asks over TLS.
    pub fn has_tls(&self) -> bool {
        self.scheme == AuthScheme::Https
    }

    /// Whether an entry of the map of servers has a word.
    pub fn entry_has(entry: &str, word: &str) -> bool {
        entry.split(' ').skip(2).any(|other| other == word)
    }
}

/// The words of an entry in the map of servers: an address or a name, the port, which of both it is, and the scheme.
impl fmt::Display for AuthServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            AuthPlace::Address(address) => {
                write!(f, "{} {} address", address.ip(), address.port())?;
            }
            AuthPlace::Name { name, port } => write!(f, "{name} {port} name")?,
        }
        write!(f, " {}", self.scheme)
    }
}

/// Why an authentication server cannot be asked. Completes "the routes answer 503, because …".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthServerFault {
    /// No container has the name, or is up.
    NoContainer { name: String },
    /// A container and another service, or services of several projects, have the name.
    Ambiguous { name: String, containers: Vec<String> },
    /// A label names a path that the container does not serve to everyone.
    NotServed { container: String, port: u16, path: String },
    /// HAProxy cannot reach the container.
    NotReached { container: String, reason: Box<Reason> },
}

impl fmt::Display for AuthServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoContainer { name } => write!(
                f,
                "no running container is called {name}; the host is the name of a container, or of a service of a compose file"
            ),
            Self::Ambiguous { name, containers } => write!(
                f,
                "{name} is the name of several containers or of their services; write that of one container, or \
                 rename one: {}",
                containers.join(", ")
            ),
            Self::NotServed { container, port, path } => write!(
                f,
                "a label may only name a path that is served to everyone, and {path} of port {port} of {container} \
                 is not; write the URL into a policy of the settings file, or give {container} a route for it"
            ),
            Self::NotReached { container, reason } => {
                write!(f, "HAProxy cannot reach {container}: {reason}")
            }
        }
    }
}

impl AuthScheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for AuthScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl fmt::Display for AuthHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl ForwardAuth {
    /// Returns the value as an administrator's.
    #[must_use]
    pub fn by_policy(self) -> Self {
        Self(self.0.map(|url| AuthUrl { author: AuthAuthor::Policy, ..url }))
    }
}

impl AuthUrl {
    pub fn scheme(&self) -> AuthScheme {
        self.scheme
    }

    pub fn host(&self) -> &AuthHost {
        &self.host
    }

    /// Whether the host is an address and no name.
    pub fn has_address(&self) -> bool {
        matches!(self.host, AuthHost::Address(_))
    }

    pub fn port(&self) -> NonZeroU16 {
        self.port
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn author(&self) -> AuthAuthor {
        self.author
    }

    /// Returns the value of the `Host` header: the port is in it unless it is the scheme's.
    pub fn authority(&self) -> String {
        let Self { scheme, host, port, .. } = self;
        if port.get() == scheme.default_port() {
            host.to_string()
        } else {
            format!("{host}:{port}")
        }
    }

    /// Returns the path without the query.
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Returns the key of the server in the map of servers. What labels name has keys of its own, one for each path,
    /// because they may name less.
    pub fn server_key(&self) -> String {
        let Self { scheme, host, port, author, .. } = self;
        let server = format!("{scheme}://{host}:{port}");
        match author {
            AuthAuthor::Label => format!("{BY_LABEL}{server}{}", self.bare_path()),
            AuthAuthor::Policy => server,
        }
    }

    /// Returns the URL with this key and path.
    pub fn from_server_key(key: &str, path: &str) -> Option<Self> {
        let Some(url) = key.strip_prefix(BY_LABEL) else {
            return Some(Self {
                author: AuthAuthor::Policy,
                ..parse_url(&format!("{key}{path}"))?
            });
        };
        let (bare_path, _) = path.split_once('?').unwrap_or((path, ""));
        parse_url(&format!("{}{path}", url.strip_suffix(bare_path)?))
    }

    /// Parses the text of the history, which also says who wrote the URL.
    pub fn parse_stored(text: &str) -> Option<Self> {
        let (text, author) = match text.strip_suffix(BY_POLICY) {
            Some(url) => (url, AuthAuthor::Policy),
            None => (text, AuthAuthor::Label),
        };
        Some(Self { author, ..parse_url(text)? })
    }

    /// Returns the text that [`Self::parse_stored`] parses.
    pub fn to_stored(&self) -> String {
        let author = match self.author {
            AuthAuthor::Label => "",
            AuthAuthor::Policy => BY_POLICY,
        };
        format!("{self}{author}")
    }
}

/// Parses a URL as a label's.
fn parse_url(text: &str) -> Option<AuthUrl> {
    if MAX_URL < text.len() {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let scheme = match scheme {
        "http" => AuthScheme::Http,
        "https" => AuthScheme::Https,
        _ => return None,
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        Some(port) if port.starts_with(['+', '0']) => return None,
        Some(port) => port.parse().ok()?,
        None => NonZeroU16::new(scheme.default_port())?,
    };
    // HAProxy evaluates no `%` in values of maps. Blanks would end the word.
    let is_url = |c: u8| c.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&c);
    if !path.bytes().all(is_url) {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    let (host, path) = (parse_host(host)?, format!("{slash}{path}"));
    Some(AuthUrl { scheme, host, port, path, author: AuthAuthor::Label })
}

/// Parses an address, or a name of a container or of DNS. Upper case is kept, because names of containers have it.
fn parse_host(text: &str) -> Option<AuthHost> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse().ok().map(|address| AuthHost::Address(IpAddr::V6(address)));
    }
    if let Ok(address) = text.parse() {
        return Some(AuthHost::Address(IpAddr::V4(address)));
    }
    let is_name = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
    // What consists of digits and dots is meant as an address.
    let has_letter = text.bytes().any(|c| c.is_ascii_alphabetic());
    let is_name = (1..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(is_name)
        && has_letter;
    is_name.then(|| AuthHost::Name(text.to_owned()))
}

/// As in a label, without the port and the path if they are the default.
impl fmt::Display for AuthUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == "/" { "" } else { &self.path };
        write!(f, "{}://{}{path}", self.scheme, self.authority())
    }
}

impl OptionType for ForwardAuth {
    fn to_json(&self) -> Value {
        self.0.as_ref().map_or_else(|| OFF.to_owned(), AuthUrl::to_stored).into()
    }

    fn from_json(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        if text == OFF {
            return Some(Self::default());
        }
        AuthUrl::parse_stored(text).map(|url| Self(Some(url)))
    }
}

impl FromStr for ForwardAuth {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        if text.eq_ignore_ascii_case(OFF) {
            return Ok(Self::default());
        }
        parse_url(text).map(|url| Self(Some(url))).ok_or_else(|| {
            not(
                LabelOption::ForwardAuth,
                text,
                "the URL of an authentication server: http://CONTAINER:PORT/PATH, or off",
            )
        })
    }
}

impl fmt::Display for ForwardAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(url) => url.fmt(f),
            None => f.write_str(OFF),
        }
    }
}

impl OptionType for ForwardAuthHeaders {}

impl FromStr for ForwardAuthHeaders {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        header::parse_names(LabelOption::ForwardAuthHeaders, text).map(Self)
    }
}

impl fmt::Display for ForwardAuthHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        header::write_names(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_default_parts_displays_shortest() {
        for (text, expected) in [
            ("http://authelia:9091/api/authz/forward-auth", ""),
            ("http://oauth2-proxy:4180", ""),
            ("http://auth:80/", "http://auth"),
            (
                "https://auth.example.com:443/verify?rd=https://a.test/",
                "https://auth.example.com/verify?rd=https://a.test/",
            ),
            ("http://auth?x=1", "http://auth/?x=1"),
            ("http://[fd00::5]:9091/x", ""),
            ("http://10.0.0.5:9091", ""),
            ("http://Auth_1.x:9091", ""),
        ] {
            let ForwardAuth(url) = text.parse().unwrap();
            let url = url.unwrap();
            let expected = if expected.is_empty() { text } else { expected };
            assert_eq!(url.to_string(), expected, "{text}");
            for url in [url.clone(), ForwardAuth(Some(url)).by_policy().0.unwrap()] {
                assert_eq!(AuthUrl::parse_stored(&url.to_stored()), Some(url), "{text}");
            }
        }
    }

    #[test]
    fn url_with_ambiguous_parts_is_invalid() {
        for text in [
            "",
            "authelia",
            "authelia:9091",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:+80",
            "http://a:080",
            "http://a:70000",
            "http://a:",
            "http://a b",
            "http://a/b c",
            "http://a/\nb",
            "http://a/#x",
            "http://user@a/",
            "http://-a",
            "http://1.2.3",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://::1/",
            "http://a/\"",
            "http://a by policy",
            "HTTP://a",
        ] {
            assert!(text.parse::<ForwardAuth>().is_err(), "{text:?}");
        }
        assert!(format!("http://a/{}", "x".repeat(MAX_URL)).parse::<ForwardAuth>().is_err());
    }
}
