//! A request as a client would send it, and the host and path by which the generated frontend routes it.
//!
//! Pure. The parts of a URL are sent byte for byte as written. The path is routed in the normalized form of
//! [`crate::model::path`].

use crate::{
    haproxy::request_pattern,
    model::{
        option_value,
        path::{NormalizedPath, PathError},
        route::{Listener, Protocol},
        tls::{HTTP_PORT, HTTPS_PORT},
    },
};
use std::{
    fmt,
    net::{AddrParseError, IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    str::FromStr,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainRequest {
    pub method: Method,
    pub url: Url,
    /// The client: see [`Self::with_client`]. Without a port it has port 0.
    pub from: Option<SocketAddr>,
    /// Besides those that follow from the URL.
    pub headers: Vec<RequestHeader>,
    /// The user whose password the request has.
    pub user: Option<UserName>,
}

/// A header of a request: `NAME: VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// In lower case.
    pub name: String,
    /// Without whitespace around it.
    pub value: String,
}

/// Name of a user: 1 to 64 printable ASCII characters, without `:` and `,`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName(String);

/// Headers that are no part of an explanation, and why not.
const REFUSED_HEADERS: [(&str, &str); 4] = [
    ("authorization", "a password is a secret; give the name of the user with --user"),
    ("cookie", "no route depends on it"),
    ("host", "it is part of the URL"),
    ("proxy-authorization", "a password is a secret"),
];

impl RequestHeader {
    /// Whether the header has this name, in lower case.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

impl FromStr for RequestHeader {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (name, value) = text.split_once(':').ok_or(RequestError::NotAHeader)?;
        let name = name.trim().to_ascii_lowercase();
        let value = value.trim();
        let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        if !is_name || !value.bytes().all(|c| matches!(c, b' '..=b'~')) {
            return Err(RequestError::NotAHeader);
        }
        match REFUSED_HEADERS.iter().find(|(refused, _)| *refused == name) {
            Some((name, why)) => Err(RequestError::RefusedHeader { name, why }),
            None => Ok(Self { name, value: value.to_owned() }),
        }
    }
}

/// Writes `NAME: VALUE`.
impl fmt::Display for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value)
    }
}

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        if text.contains(':') {
            return Err(RequestError::PasswordOfUser);
        }
        let is_legal = text.bytes().all(|c| c.is_ascii_graphic() && c != b',');
        let is_name = is_legal && (1..=64).contains(&text.len());
        if is_name { Ok(Self(text.to_owned())) } else { Err(RequestError::NotAUser) }
    }
}

/// Address of a client, with or without a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);

impl FromStr for ClientAddress {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let address =
            text.parse().or_else(|error| bare.map(|ip| (ip, 0).into()).map_err(|_| error));
        address.map(Self)
    }
}

/// A method's name; case-sensitive, as in HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method(String);

/// `http://host[:port][/path][?query]`, or the same with `https`; `tcp://[name]:port` for a connection whose client asks
/// for the name (SNI), or is silent; `udp://:port`. Displays as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    /// As the client sends it, without the port; an international name in ASCII.
    sent_host: String,
    /// As in routes: see [`Self::host`].
    host: String,
    listener: Listener,
    /// Starts with a slash.
    path: String,
    /// The path for routing, or the error with which HAProxy rejects it.
    normalized: Result<NormalizedPath, PathError>,
    /// With its question mark; empty if there is none.
    query: String,
}

/// Why HAProxy rejects a request before routing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RejectionError {
    #[error("{0}")]
    Path(PathError),
    #[error("requests with this method are not forwarded to containers")]
    Method,
    #[error(
        "a Content-Length of more than {} digits is refused",
        request_pattern::MAX_LENGTH_DIGITS
    )]
    Length,
}

/// Why a text is not a URL or not a method, and how to correct it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the URL has no scheme; start it with http://, as in http://app.example.com/")]
    NoScheme,
    #[error(
        "explain supports http://, https://, tcp:// and udp://; write the listener's port after it"
    )]
    UnknownScheme,
    #[error("the URL has no port; write it, as in tcp://:5432 or udp://:53")]
    NoPort,
    #[error("connections and datagrams have no path; write only the port, as in tcp://:5432")]
    HasPath,
    #[error("the URL has no host")]
    NoHost,
    #[error(
        "{0:?} is not a host name; a host name has letters, digits, - and _, with dots between \
         labels"
    )]
    NotAHost(String),
    #[error("a user name is sent in a header, not in the URL; remove it")]
    User,
    #[error("{0:?} is not a port; a port is a whole number from 1 to 65535")]
    NotAPort(String),
    #[error("{0:?} is not allowed in a URL; write its bytes as %XX, as clients do")]
    NotAPath(char),
    #[error("a method must be a word such as GET")]
    NotAMethod,
    #[error("the address of a client is not used with tcp://; labels do not choose by it")]
    ClientOfOther,
    #[error("a header is NAME:VALUE, as in Origin:https://app.example.com")]
    NotAHeader,
    #[error("the header {name} is not explained: {why}")]
    RefusedHeader { name: &'static str, why: &'static str },
    #[error("the name of a user has at most 64 printable characters")]
    NotAUser,
    #[error("explain takes no password; give the name of the user alone")]
    PasswordOfUser,
    #[error("only requests have headers and users; the URL begins with http:// or https://")]
    HeadersOfOther,
    #[error("the client of a flow has a port, as in 192.0.2.7:4444")]
    ClientWithoutPort,
}

impl ExplainRequest {
    /// Returns a request without a client, a user and headers of its own.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, from: None, headers: Vec::new(), user: None }
    }

    /// Adds headers, and the user whose password the request has.
    ///
    /// # Errors
    /// If there are any and the URL is one of TCP or UDP.
    pub fn with_headers(
        self,
        headers: Vec<RequestHeader>,
        user: Option<UserName>,
    ) -> Result<Self, RequestError> {
        let is_http = matches!(self.url.listener().protocol, Protocol::Http | Protocol::Https);
        if !is_http && (!headers.is_empty() || user.is_some()) {
            return Err(RequestError::HeadersOfOther);
        }
        Ok(Self { headers, user, ..self })
    }

    /// Returns the value of the first header with this name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.is(name)).map(|header| header.value.as_str())
    }

    /// # Errors
    /// If there is a client and the URL is one of TCP, or if the client of datagrams has no port.
    pub fn with_client(
        method: Method,
        url: Url,
        from: Option<SocketAddr>,
    ) -> Result<Self, RequestError> {
        match from {
            Some(_) if url.listener().is_tcp() => Err(RequestError::ClientOfOther),
            Some(from) if url.listener().is_udp() && from.port() == 0 => {
                Err(RequestError::ClientWithoutPort)
            }
            from => Ok(Self { from, ..Self::new(method, url) }),
        }
    }

    pub fn rejection(&self) -> Option<RejectionError> {
        let is_refused = matches!(self.method.as_str(), "CONNECT" | "TRACE" | "TRACK");
        let of_path = || self.url.normalized.as_ref().err().copied().map(RejectionError::Path);
        let length = self.header("content-length").unwrap_or_default();
        let of_length =
            (request_pattern::MAX_LENGTH_DIGITS < length.len()).then_some(RejectionError::Length);
        is_refused.then_some(RejectionError::Method).or(of_length).or_else(of_path)
    }
}

impl RejectionError {
    pub fn http_status(self) -> u16 {
        match self {
            Self::Path(_) | Self::Length => 400,
            Self::Method => 405,
        }
    }
}

impl Method {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether HAProxy sends such a request again even if a container may have started to process it.
    pub fn is_safe(&self) -> bool {
        matches!(self.0.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

impl Url {
    /// The protocol and the public port.
    pub fn listener(&self) -> Listener {
        self.listener
    }

    /// The public port.
    pub fn port(&self) -> NonZeroU16 {
        self.listener.port
    }

    /// Returns the same URL on another port.
    #[must_use]
    pub fn with_port(&self, port: NonZeroU16) -> Self {
        let listener = Listener { port, ..self.listener };
        Self { listener, ..self.clone() }
    }

    /// The path as it is sent, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path for routing; `None` if HAProxy rejects it.
    pub fn normalized_path(&self) -> Option<&NormalizedPath> {
        self.normalized.as_ref().ok()
    }

    /// With its question mark; empty if there is none.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// As in routes: in lower case, without port and trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host without its first label; `None` if nothing remains.
    pub fn parent(&self) -> Option<&str> {
        let (first, parent) = self.host.split_once('.')?;
        (!first.is_empty()).then_some(parent)
    }

    /// Returns the URL that clients use on another listener.
    pub fn format_on(&self, listener: Listener) -> String {
        let Self { sent_host: sent, path, query, .. } = self;
        let Listener { protocol, port } = listener;
        if matches!(protocol, Protocol::Tcp | Protocol::Udp) {
            format!("{protocol}://{sent}:{port}")
        } else if default_port(protocol) == Some(port) {
            format!("{protocol}://{sent}{path}{query}")
        } else {
            format!("{protocol}://{sent}:{port}{path}{query}")
        }
    }
}

impl FromStr for Method {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        let is_token = !text.is_empty() && text.bytes().all(legal);
        if is_token { Ok(Self(text.to_owned())) } else { Err(RequestError::NotAMethod) }
    }
}

impl FromStr for Url {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let (scheme, after_scheme) = text.split_once("://").ok_or(RequestError::NoScheme)?;
        let (protocol, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Protocol::Http, HTTP_PORT),
            "https" => (Protocol::Https, HTTPS_PORT),
            "tcp" => return parse_stream(text, Protocol::Tcp, after_scheme),
            "udp" => return parse_stream(text, Protocol::Udp, after_scheme),
            _ => return Err(RequestError::UnknownScheme),
        };
        let at = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
        let (authority, target) = after_scheme.split_at(at);
        let (sent_host, port) = parse_authority(authority)?;
        let listener = Listener { protocol, port: port.unwrap_or(default_port) };
        // HAProxy cuts an IPv6 address at its first colon, so no label can match one.
        let name = sent_host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let host = name.trim_end_matches('.').to_owned();
        // Clients do not send the fragment after `#`.
        let target = target.split('#').next().unwrap_or_default();
        if let Some(not_a_host) = target.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(RequestError::NotAPath(not_a_host));
        }
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let path = if path.is_empty() { "/" } else { path };
        let normalized = NormalizedPath::from_request(path);
        let (path, query) = (path.to_owned(), query.to_owned());
        Ok(Self { text: text.to_owned(), sent_host, host, listener, path, normalized, query })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses `[name]:port`. An address is no name: clients do not ask for it.
fn parse_stream(text: &str, protocol: Protocol, target: &str) -> Result<Url, RequestError> {
    let authority = target.strip_suffix('/').unwrap_or(target);
    if authority.contains(['/', '?', '#']) {
        return Err(RequestError::HasPath);
    }
    // A name in front of the port, so that a port alone is parsed like one with a name.
    let nameless = authority.starts_with(':').then(|| format!("0.0.0.0{authority}"));
    let (sent_host, port) = parse_authority(nameless.as_deref().unwrap_or(authority))?;
    let port = port.ok_or(RequestError::NoPort)?;
    let is_address = sent_host.starts_with('[') || sent_host.parse::<Ipv4Addr>().is_ok();
    let host = match protocol {
        Protocol::Tcp if !is_address => sent_host.to_ascii_lowercase(),
        _ => String::new(),
    };
    Ok(Url {
        text: text.to_owned(),
        host: host.trim_end_matches('.').to_owned(),
        sent_host: host,
        listener: Listener { protocol, port },
        path: "/".to_owned(),
        normalized: NormalizedPath::from_request("/"),
        query: String::new(),
    })
}

/// Returns the port of URLs that name none.
fn default_port(protocol: Protocol) -> Option<NonZeroU16> {
    match protocol {
        Protocol::Http => Some(HTTP_PORT),
        Protocol::Https => Some(HTTPS_PORT),
        Protocol::Tcp | Protocol::Udp => None,
    }
}

/// Returns the host and the port; `None` if there is no port.
fn parse_authority(authority: &str) -> Result<(String, Option<NonZeroU16>), RequestError> {
    if authority.contains('@') {
        return Err(RequestError::User);
    }
    if authority.starts_with('[') && !authority.contains(']') {
        return Err(RequestError::NotAHost(authority.to_owned()));
    }
    let after_address = authority.find(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_address..].find(':') {
        Some(at) => authority.split_at(after_address + at),
        None => (authority, ""),
    };
    let port = match port.strip_prefix(':').unwrap_or_default() {
        "" => None,
        port => Some(
            option_value::parse_port(port).map_err(|_| RequestError::NotAPort(port.to_owned()))?,
        ),
    };
    Ok((parse_sent_host(host)?, port))
}

fn parse_sent_host(host: &str) -> Result<String, RequestError> {
    let not_a_host = || RequestError::NotAHost(host.to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let address = |text: &str| {
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        inside.is_some_and(|parsed| parsed.parse::<std::net::Ipv6Addr>().is_ok())
    };
    match host {
        "" => Err(RequestError::NoHost),
        _ if address(host) || host.chars().all(plain) => Ok(host.to_owned()),
        _ if !host.is_ascii() => idna::domain_to_ascii(host)
            .ok()
            .filter(|parsed| parsed.chars().all(plain))
            .ok_or_else(not_a_host),
        _ => Err(not_a_host()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_parsed_as_clients_send_it() {
        for (url, expected) in [
            ("http://a.test", "a.test 80 / "),
            ("HTTP://A.Test.:8080", "a.test 8080 / "),
            ("http://a.test:", "a.test 80 / "),
            ("http://a.test?q=/x", "a.test 80 / ?q=/x"),
            ("http://a.test/%61//../b?x?y#z", "a.test 80 /%61//../b ?x?y"),
            ("http://bücher.test/", "xn--bcher-kva.test 80 / "),
            ("http://10.0.0.1:81/", "10.0.0.1 81 / "),
            ("http://[::1]:81/x", "[ 81 /x "),
            ("HTTPS://a.test", "a.test 443 / "),
            ("https://a.test:80/", "a.test 80 / "),
            ("tcp://DB.test.:5432", "db.test 5432 / "),
            ("tcp://:5432/", " 5432 / "),
            ("tcp://10.0.0.1:5432", " 5432 / "),
            ("tcp://[::1]:5432", " 5432 / "),
            ("udp://:53", " 53 / "),
            ("UDP://ns.test:53", " 53 / "),
        ] {
            let parsed: Url = url.parse().unwrap();
            let Url { listener, path, query, .. } = &parsed;
            let actual = format!("{} {} {path} {query}", parsed.host(), listener.port);
            assert_eq!(actual, expected, "{url}");
            assert_eq!(parsed.to_string(), url);
        }
    }

    #[test]
    fn invalid_url_or_method_is_refused_with_reason() {
        for (url, expected) in [
            ("", RequestError::NoScheme),
            ("app.example.com/x", RequestError::NoScheme),
            ("ftp://a.test/", RequestError::UnknownScheme),
            ("tcp://a.test", RequestError::NoPort),
            ("udp://", RequestError::NoHost),
            ("tcp://a.test:1/x", RequestError::HasPath),
            ("udp://:53?x", RequestError::HasPath),
            ("tcp://:0", RequestError::NotAPort("0".to_owned())),
            ("tcp://a b:1", RequestError::NotAHost("a b".to_owned())),
            ("http:///x", RequestError::NoHost),
            ("http://:80/", RequestError::NoHost),
            ("http://u:p@a.test/", RequestError::User),
            ("http://a b.test/", RequestError::NotAHost("a b.test".to_owned())),
            ("http://[::1/", RequestError::NotAHost("[::1".to_owned())),
            ("http://a.test:0/", RequestError::NotAPort("0".to_owned())),
            ("http://a.test:99999/", RequestError::NotAPort("99999".to_owned())),
            ("http://a.test/a b", RequestError::NotAPath(' ')),
            ("http://a.test/ä", RequestError::NotAPath('ä')),
        ] {
            assert_eq!(url.parse::<Url>(), Err(expected), "{url:?}");
        }
        assert_eq!("".parse::<Method>(), Err(RequestError::NotAMethod));
        assert_eq!("GET /".parse::<Method>(), Err(RequestError::NotAMethod));
    }
}
