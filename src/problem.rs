//! Everything that is said to a user about what could not be honoured, on one page.
//!
//! Pure. A problem is data: it is told when it appears and when it goes, and never stops a pass.

use crate::{origin::Origin, route::Listener};
use std::fmt;

/// A thing that was asked for and could not be had, with the reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub about: About,
    /// The label as it was written; absent where no single label is to blame.
    pub label: Option<Label>,
    pub reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Container(Origin),
    Listener(Listener),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub key: String,
    pub value: String,
}

/// Why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No label of ours has that name.
    UnknownLabel {
        nearest: Option<String>,
    },
    /// A `glue_tcp_…` or `glue_udp_…` label.
    NotYet,
    Empty,
    ControlCharacter,
    TooLong,
    NotAPort(String),
    NotAWeight,
    WeightTooHigh,
    HostWithScheme(String),
    HostWithPath(String),
    HostWithPort(String),
    LoneWildcard,
    NotAHost(String),
    PrefixTooDeep(String),
    NotAPrefix(String),
    NotASwitch,
    NotATimeout,
    NotACheck,
    NotAnObedience,
    NotARetry,
    NotARouteName(String),
    /// The port names neither a host nor a prefix, and `glue_http_ports` does not name it.
    NothingToServe {
        port: u16,
    },
    /// No host, prefix or public port of the label was understood, so the port is out.
    NoneLeft {
        port: u16,
    },
    HostFenced(String),
    PortFenced(u16),
    /// A hint: EXPOSE is documentation.
    NotExposed {
        port: u16,
    },
    NotOnNetwork {
        network: String,
        on: Vec<String>,
    },
    /// Nothing of the container can be reached from where HAProxy runs.
    NoAddress {
        way_out: String,
    },
    Conflict {
        route: String,
        with: Origin,
        over: &'static str,
    },
    PortTaken {
        holder: String,
    },
    Refused {
        route: String,
        text: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing, nothing was lost.
    Hint,
    Problem,
}

impl Reason {
    pub fn severity(&self) -> Severity {
        match self {
            Self::NotExposed { .. } => Severity::Hint,
            _ => Severity::Problem,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.about {
            About::Container(origin) => write!(f, "container {origin}: ")?,
            About::Listener(listener) => write!(f, "listener {listener}: ")?,
        }
        if let Some(label) = &self.label {
            write!(f, "label {label}: ")?;
        }
        write!(f, "{}", self.reason)
    }
}

/// Quoted and escaped, and cut where it would fill a screen.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}={:?}",
            Cut(&self.key).to_string().escape_debug(),
            Cut(&self.value).to_string()
        )
    }
}

struct Cut<'a>(&'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(80) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{}… ({} bytes)", &self.0[..end], self.0.len()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLabel { nearest: Some(nearest) } => {
                write!(f, "no label has that name; did you mean {nearest}?")
            }
            Self::UnknownLabel { nearest: None } => {
                f.write_str("no label has that name; the README lists those there are")
            }
            Self::NotYet => f.write_str("only glue_http_ labels are served so far"),
            Self::Empty => f.write_str("the value is empty; leave the label away for its default"),
            Self::ControlCharacter => f.write_str("control characters are not allowed in a value"),
            Self::TooLong => f.write_str("a value has at most 4096 bytes"),
            Self::NotAPort(text) => {
                write!(f, "{:?} is no port; a port is a whole number from 1 to 65535", Cut(text).to_string())
            }
            Self::NotAWeight => {
                f.write_str("a weight is a whole number from 0 to 256; 100 is used")
            }
            Self::WeightTooHigh => f.write_str("a weight is at most 256; 256 is used"),
            Self::HostWithScheme(text) => {
                write!(f, "{:?} is a URL; a host is only its name", Cut(text).to_string())
            }
            Self::HostWithPath(text) => write!(
                f,
                "{:?} has a path; write the host alone and the path in the prefix label",
                Cut(text).to_string()
            ),
            Self::HostWithPort(text) => write!(
                f,
                "{:?} has a port; write the host alone and the port in the bind label",
                Cut(text).to_string()
            ),
            Self::LoneWildcard => f.write_str(
                "a wildcard stands for one label before a name, as in *.example.com; \
                 for any host leave the host away and name a prefix, or the port in glue_http_ports",
            ),
            Self::NotAHost(text) => write!(f, "{:?} is not a host name", Cut(text).to_string()),
            Self::PrefixTooDeep(text) => {
                write!(f, "{:?} has more than 8 segments", Cut(text).to_string())
            }
            Self::NotAPrefix(text) => write!(
                f,
                "{:?} is not a path as it stands in a URL (no empty or dot segments, \
                 no query, other characters as %XX)",
                Cut(text).to_string()
            ),
            Self::NotASwitch => {
                f.write_str("it is one of 1 0 true false yes no on off; the default is used")
            }
            Self::NotATimeout => {
                f.write_str("a timeout is a duration from 1ms to 24h such as 30s or 5m; 60s is used")
            }
            Self::NotACheck => {
                f.write_str("a check is tcp, off, or a path such as /healthz; tcp is used")
            }
            Self::NotAnObedience => f.write_str("it is obey, require or ignore; obey is used"),
            Self::NotARetry => f.write_str("it is safe, all or off; safe is used"),
            Self::NotARouteName(text) => write!(
                f,
                "{:?} is no route name; one has 1 to 63 letters, digits, - and _",
                Cut(text).to_string()
            ),
            Self::NothingToServe { port } => write!(
                f,
                "port {port} has no host and no prefix; give it glue_http_{port}_host, \
                 or name it in glue_http_ports to serve every host"
            ),
            Self::NoneLeft { port } => write!(f, "nothing of it is left, so port {port} is out"),
            Self::HostFenced(host) => {
                write!(f, "{host} is not among the hosts that --allow-hosts lets containers take")
            }
            Self::PortFenced(port) => {
                write!(f, "{port} is not among the ports that --allow-ports lets containers take")
            }
            Self::NotExposed { port } => write!(
                f,
                "the container does not expose port {port} (a hint: it may well listen there)"
            ),
            Self::NotOnNetwork { network, on } if on.is_empty() => {
                write!(f, "the container is on no network, so not on {network:?}")
            }
            Self::NotOnNetwork { network, on } => {
                write!(f, "the container is not on network {network:?}, only on {}", on.join(", "))
            }
            Self::NoAddress { way_out } => write!(f, "HAProxy cannot reach it; {way_out}"),
            Self::Conflict { route, with, over } => write!(
                f,
                "{route} is served by container {with} with another {over}; \
                 this container waits until that one is gone or they agree"
            ),
            Self::PortTaken { holder } => write!(
                f,
                "the port is taken by {holder}; it is tried again, the other listeners are served"
            ),
            Self::Refused { route, text } => {
                write!(f, "HAProxy refused {route}, so it is left out: {text}")
            }
        }
    }
}
