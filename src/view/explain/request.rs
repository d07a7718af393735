//! A request as a client would send it, and what the generated frontend makes of its host and path.
//!
//! Pure. What stands in a URL is sent as it is written, byte for byte; the path is routed as [`crate::path`] reads it.

use crate::{
    label::value,
    path::{PathError, Reading},
};
use std::{fmt, num::NonZeroU16, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub url: Url,
}

/// A method's name, case-sensitive as HTTP's are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method(String);

/// `http://host[:port][/path][?query]`; displays as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    written: String,
    /// As the client sends it, but for the port; an international name in ASCII.
    sent: String,
    /// As routes name it.
    host: String,
    port: NonZeroU16,
    /// Begins with a slash.
    path: String,
    /// The path as it is routed, or why it is not.
    reading: Result<Reading, PathError>,
    /// With its question mark, or empty.
    query: String,
}

/// Why HAProxy refuses a request before it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Path(PathError),
    #[error("no container is asked by this method")]
    Method,
}

/// Why it is no URL, or no method, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("it has no scheme; begin it with http://, as in http://app.example.com/")]
    NoScheme,
    #[error("explain knows plain HTTP alone; write http:// and the listener's port")]
    NotHttp,
    #[error("it has no host")]
    NoHost,
    #[error("{0:?} is no host name; one has letters, digits, - and _, and dots between them")]
    NotAHost(String),
    #[error(
        "a name before the host goes into a header, not into the request's target; leave it away"
    )]
    User,
    #[error("{0:?} is no port; one is a whole number from 1 to 65535")]
    NotAPort(String),
    #[error("{0:?} cannot stand in a URL; write its bytes as %XX, as clients do")]
    NotAPath(char),
    #[error("a method is a word such as GET")]
    NotAMethod,
}

impl Request {
    pub fn refusal(&self) -> Option<Refusal> {
        let is_refused = matches!(self.method.as_str(), "CONNECT" | "TRACE" | "TRACK");
        let of_path = || self.url.reading.as_ref().err().copied().map(Refusal::Path);
        is_refused.then_some(Refusal::Method).or_else(of_path)
    }
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Self::Path(_) => 400,
            Self::Method => 405,
        }
    }
}

impl Method {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// HAProxy sends these again although the container may have begun with them.
    pub fn is_safe(&self) -> bool {
        matches!(self.0.as_str(), "GET" | "HEAD" | "OPTIONS")
    }
}

impl Url {
    /// The public port.
    pub fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// The same on another port.
    #[must_use]
    pub fn on(&self, port: NonZeroU16) -> Self {
        Self { port, ..self.clone() }
    }

    /// Without the query, as it is sent.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path as it is routed; `None` where HAProxy refuses it.
    pub fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref().ok()
    }

    /// With its question mark, or empty.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// As routes name it: in lower case, without port and trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What is left of the host when its first label is taken off; `None` where that leaves nothing.
    pub fn parent(&self) -> Option<&str> {
        let (first, parent) = self.host.split_once('.')?;
        (!first.is_empty()).then_some(parent)
    }

    /// What clients see on another port.
    pub fn on_port(&self, port: NonZeroU16) -> String {
        let Self { sent, path, query, .. } = self;
        match port.get() {
            80 => format!("http://{sent}{path}{query}"),
            port => format!("http://{sent}:{port}{path}{query}"),
        }
    }
}

impl FromStr for Method {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
        let is_token = !text.is_empty() && text.bytes().all(legal);
        if is_token { Ok(Self(text.to_owned())) } else { Err(Mistake::NotAMethod) }
    }
}

impl FromStr for Url {
    type Err = Mistake;

    fn from_str(text: &str) -> Result<Self, Mistake> {
        let (scheme, rest) = text.split_once("://").ok_or(Mistake::NoScheme)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(Mistake::NotHttp);
        }
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        let (sent, port) = host_and_port(authority)?;
        // An IPv6 address is cut at its first colon, so no label can name one.
        let name = sent.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let host = name.trim_end_matches('.').to_owned();
        // No client sends what follows a hash.
        let target = target.split('#').next().unwrap_or_default();
        if let Some(wrong) = target.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(Mistake::NotAPath(wrong));
        }
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let path = if path.is_empty() { "/" } else { path };
        let reading = Reading::of(path);
        let (path, query) = (path.to_owned(), query.to_owned());
        Ok(Self { written: text.to_owned(), sent, host, port, path, reading, query })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn host_and_port(authority: &str) -> Result<(String, NonZeroU16), Mistake> {
    if authority.contains('@') {
        return Err(Mistake::User);
    }
    if authority.starts_with('[') && !authority.contains(']') {
        return Err(Mistake::NotAHost(authority.to_owned()));
    }
    let after_address = authority.find(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_address..].find(':') {
        Some(at) => authority.split_at(after_address + at),
        None => (authority, ""),
    };
    let port = match port.strip_prefix(':').unwrap_or_default() {
        "" => value::port("80").map_err(|_| Mistake::NoHost)?,
        port => value::port(port).map_err(|_| Mistake::NotAPort(port.to_owned()))?,
    };
    Ok((sent(host)?, port))
}

fn sent(host: &str) -> Result<String, Mistake> {
    let wrong = || Mistake::NotAHost(host.to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let address = |text: &str| {
        let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        inside.is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok())
    };
    match host {
        "" => Err(Mistake::NoHost),
        _ if address(host) || host.chars().all(plain) => Ok(host.to_owned()),
        _ if !host.is_ascii() => {
            idna::domain_to_ascii(host).ok().filter(|it| it.chars().all(plain)).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_as_it_is_sent() {
        for (url, expected) in [
            ("http://a.test", "a.test 80 / "),
            ("HTTP://A.Test.:8080", "a.test 8080 / "),
            ("http://a.test:", "a.test 80 / "),
            ("http://a.test?q=/x", "a.test 80 / ?q=/x"),
            ("http://a.test/%61//../b?x?y#z", "a.test 80 /%61//../b ?x?y"),
            ("http://bücher.test/", "xn--bcher-kva.test 80 / "),
            ("http://10.0.0.1:81/", "10.0.0.1 81 / "),
            ("http://[::1]:81/x", "[ 81 /x "),
        ] {
            let it: Url = url.parse().unwrap();
            let Url { port, path, query, .. } = &it;
            assert_eq!(format!("{} {port} {path} {query}", it.host()), expected, "{url}");
            assert_eq!(it.to_string(), url);
        }
    }

    #[test]
    fn what_is_none_is_told_why() {
        for (url, expected) in [
            ("", Mistake::NoScheme),
            ("app.example.com/x", Mistake::NoScheme),
            ("https://a.test/", Mistake::NotHttp),
            ("http:///x", Mistake::NoHost),
            ("http://:80/", Mistake::NoHost),
            ("http://u:p@a.test/", Mistake::User),
            ("http://a b.test/", Mistake::NotAHost("a b.test".to_owned())),
            ("http://[::1/", Mistake::NotAHost("[::1".to_owned())),
            ("http://a.test:0/", Mistake::NotAPort("0".to_owned())),
            ("http://a.test:99999/", Mistake::NotAPort("99999".to_owned())),
            ("http://a.test/a b", Mistake::NotAPath(' ')),
            ("http://a.test/ä", Mistake::NotAPath('ä')),
        ] {
            assert_eq!(url.parse::<Url>(), Err(expected), "{url:?}");
        }
        assert_eq!("".parse::<Method>(), Err(Mistake::NotAMethod));
        assert_eq!("GET /".parse::<Method>(), Err(Mistake::NotAMethod));
    }
}
