//! The values that labels can carry: text becomes a type here, once, and nobody checks again.
//!
//! Pure. What these types hold is safe to print into a configuration, a map or a command.

use std::{fmt, time::Duration};

/// A host name in lower case and ASCII (international names as punycode), without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(pub(super) String);

/// Which hosts a route answers for. Ordered as HAProxy tries them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    Exact(Host),
    /// `*.` and this host: exactly one more label.
    Wildcard(Host),
    Any,
}

/// A path prefix of whole segments, at most eight; no segments is the whole host.
/// Holds `/a/b` without a trailing slash, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(pub(super) String);

/// A share of the route's requests, 0 to 256; 0 takes no new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(pub(super) u16);

/// How long a container may take to answer: 1 ms to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(pub(super) Duration);

/// HAProxy's own health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    #[default]
    Tcp,
    Off,
    Http(CheckPath),
}

/// The path (and query) of a health check, as it goes into the request line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckPath(pub(super) String);

/// What Docker's HEALTHCHECK means for traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obedience {
    /// Starting and unhealthy containers serve only while the route has no healthy one.
    #[default]
    Obey,
    /// Starting and unhealthy containers never serve.
    Require,
    Ignore,
}

/// Which requests are sent again when a container fails them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// What never reached a container; GET, HEAD and OPTIONS also when it died over them.
    #[default]
    Safe,
    All,
    Off,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As it stands in a map's key.
impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Wildcard(host) => write!(f, "*.{host}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
