//! Host names, and which hosts a route serves.
//!
//! Pure. A host consists of lower-case ASCII letters, digits, `-`, `_`, and dots between labels.

use super::{label_text, problem::Reason};
use std::{fmt, str::FromStr, sync::Arc};

/// A host name in lower-case ASCII (international names as punycode), without a trailing dot. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Arc<str>);

/// The hosts that a route serves. Ordered as HAProxy tries them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    Exact(Host),
    /// `*.` and this host: exactly one more label in front.
    Wildcard(Host),
    Any,
}

impl Host {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without its first label; `None` if it has only one.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once('.').map(|(_, above)| Self(above.into()))
    }
}

impl HostMatch {
    /// Whether there is a host that both match.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether this matches every host that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Wildcard(above), Self::Exact(host)) => {
                host.0.split_once('.').is_some_and(|(_, remaining)| *remaining == *above.0)
            }
            _ => self == other,
        }
    }
}

impl FromStr for Host {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        parse_host(text).ok_or_else(|| diagnose_host(text, text))
    }
}

/// As users write it in a label. `*` is any host, as is a label that is left out.
impl FromStr for HostMatch {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::Any),
            _ if text == "*." => Err(Reason::LoneWildcard),
            None => text.parse().map(Self::Exact),
            Some(above) => {
                parse_host(above).map(Self::Wildcard).ok_or_else(|| diagnose_host(above, text))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As in the key of a map.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Wildcard(host) => write!(f, "*.{host}"),
            Self::Any => f.write_str("*"),
        }
    }
}

fn parse_host(text: &str) -> Option<Host> {
    let mut host = to_ascii(text)?;
    if host.ends_with('.') {
        host.pop();
    }
    (host.len() <= 253 && host.split('.').all(is_label)).then(|| Host(host.into()))
}

/// Converts to lower-case ASCII. Plain ASCII does not need the tables of international names, which cost time.
fn to_ascii(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if lower.is_ascii() && !lower.contains("xn--") {
        return Some(lower);
    }
    idna::domain_to_ascii(&lower).ok()
}

fn is_label(label: &str) -> bool {
    let legal = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(legal)
}

/// Returns what is wrong with a host; `whole` is the whole value, including `*.`.
fn diagnose_host(text: &str, whole: &str) -> Reason {
    let name_and_port = |(name, port): (&str, &str)| {
        !name.is_empty() && !name.contains(':') && port.bytes().all(|c| c.is_ascii_digit())
    };
    let whole = whole.to_owned();
    match text {
        "" => Reason::Empty,
        _ if is_placeholder(text) => Reason::VariableInValue(whole),
        _ if text.contains("Host") && text.contains(['(', '`']) => {
            let instead = Some(label_text::hosts_of_rule(text)).filter(|text| !text.is_empty());
            Reason::HostPattern { text: whole, instead }
        }
        _ if text.contains(label_text::QUOTES) => Reason::QuotedValue(whole),
        _ if text.contains("://") => Reason::HostWithScheme(whole),
        _ if text.contains(['^', '$', '\\', '(', ')', '[', ']', '{', '}', '+', '|', '~'])
            && !text.contains(':') =>
        {
            Reason::HostPattern { text: whole, instead: None }
        }
        _ if text.contains('/') => Reason::HostWithPath(whole),
        _ if text.contains('*') => Reason::MisplacedWildcard(whole),
        _ if text.starts_with('.') || text.contains("..") => Reason::HostWithEmptyLabel(whole),
        _ if text.rsplit_once(':').is_some_and(name_and_port) => Reason::HostWithPort(whole),
        _ if text.contains(['{', '[', '(']) && !text.contains("::") => {
            Reason::HostPattern { text: whole, instead: None }
        }
        _ => Reason::NotAHost(whole),
    }
}

/// Whether the text contains a variable that was not substituted: `${DOMAIN}`, `$DOMAIN`, `{{ domain }}`, `<domain>`.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let named = |remaining: &str| {
        remaining.starts_with(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic())
    };
    text.split('$').skip(1).any(named)
        || text.contains("{{")
        || text.contains("{$")
        || (text.contains('<') && text.contains('>'))
}
