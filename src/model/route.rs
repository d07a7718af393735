//! The desired routes: which requests go to which endpoints.
//!
//! Pure. This module does not use HAProxy's terms, and the modules that use routes do not use Docker's.

use crate::model::{
    container_ref::ContainerRef,
    label_option::OptionValues,
    option_value::{HostMatch, PathPrefix, Weight},
    tls::TlsMode,
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU16, str::FromStr, sync::Arc};

/// Protocol and public port of incoming traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    pub protocol: Protocol,
    pub port: NonZeroU16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Http,
    /// HTTP over TLS. No port has listeners of both protocols.
    Https,
}

/// Which requests of a listener a route matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    Http {
        host: HostMatch,
        prefix: PathPrefix,
    },
    /// Connections of a TLS listener whose client asks for the name (SNI). They are not decrypted.
    Tcp {
        server_name: HostMatch,
    },
}

/// The identity of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    pub listener: Listener,
    pub rule: Match,
}

/// Options of the whole route, on which all containers that share it must agree.
pub type Policy = OptionValues;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strip {
    /// The container gets the path as the client sent it.
    #[default]
    Keep,
    /// The prefix is stripped before the request is forwarded.
    Prefix,
}

/// One container port that serves a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub container: ContainerRef,
    /// The container's port, which distinguishes two endpoints of one container.
    pub port: u16,
    pub address: SocketAddr,
    /// Options of the endpoint's server.
    pub options: OptionValues,
    pub readiness: Readiness,
}

impl Endpoint {
    /// Returns the endpoint's share of the route's requests.
    pub fn weight(&self) -> Weight {
        self.options.get()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    Ready,
    /// Gets no new traffic at the moment: paused, unhealthy, or stopping.
    Out,
}

/// A route with all its endpoints. Without endpoints it answers 503.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    pub policy: Policy,
    /// Options of the host on an HTTPS listener, the same for all routes of the host.
    pub terms: OptionValues,
    pub endpoints: Vec<Endpoint>,
}

/// The desired state. Unchanged routes share one `Arc` from one state to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(pub BTreeMap<RouteKey, Arc<Route>>);

impl Listener {
    pub fn is_https(self) -> bool {
        self.protocol == Protocol::Https
    }
}

impl RouteKey {
    /// Returns the host of the requests, or the server name of the connections.
    pub fn host(&self) -> &HostMatch {
        match &self.rule {
            Match::Http { host, .. } | Match::Tcp { server_name: host } => host,
        }
    }

    /// Returns the path prefix. `None` for a route of connections.
    pub fn prefix(&self) -> Option<&PathPrefix> {
        match &self.rule {
            Match::Http { prefix, .. } => Some(prefix),
            Match::Tcp { .. } => None,
        }
    }

    /// Whether HAProxy forwards whole connections, and does not see their requests.
    pub fn is_tcp(&self) -> bool {
        matches!(self.rule, Match::Tcp { .. })
    }

    /// Whether HAProxy decrypts the requests of the route.
    pub fn is_https(&self) -> bool {
        self.listener.is_https() && !self.is_tcp()
    }

    /// Returns the key of HAProxy's map: `host:port/prefix/`, or `name:port` for a route of connections.
    pub fn map_key(&self) -> String {
        let port = self.listener.port;
        match &self.rule {
            Match::Http { host, prefix } => format!("{host}:{port}{prefix}/"),
            Match::Tcp { server_name } => format!("{server_name}:{port}"),
        }
    }

    /// Parses the key of HAProxy's map. The key does not contain the protocol; `is_https` returns it for the port.
    pub fn parse_map_key(text: &str, is_https: impl Fn(NonZeroU16) -> bool) -> Option<Self> {
        let (host, port_and_path) = text.split_once(':')?;
        let (port, path) = match port_and_path.split_once('/') {
            Some((port, path)) => (port, Some(path)),
            None => (port_and_path, None),
        };
        let host = HostMatch::parse_pattern(host).ok()?;
        let port = port.parse().ok()?;
        let protocol = if is_https(port) { Protocol::Https } else { Protocol::Http };
        let rule = match path {
            Some(path) => Match::Http { host, prefix: format!("/{path}").parse().ok()? },
            None if protocol == Protocol::Https => Match::Tcp { server_name: host },
            None => return None,
        };
        Some(Self { listener: Listener { protocol, port }, rule })
    }
}

impl Route {
    /// Returns a route without endpoints.
    pub fn new(policy: Policy, terms: OptionValues) -> Self {
        Self { policy, terms, endpoints: Vec::new() }
    }

    #[must_use]
    pub fn without_endpoints(&self) -> Self {
        Self::new(self.policy.clone(), self.terms.clone())
    }

    /// Whether requests are redirected to HTTPS.
    pub fn redirects(&self, listener: Listener) -> bool {
        !listener.is_https() && self.policy.get::<TlsMode>() == TlsMode::On
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} :{}", self.protocol, self.port)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Parses `host:port/prefix/`, `https://host:port/prefix/` or `tls://name:port`, and no other spelling.
impl FromStr for RouteKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let key = match text.split_once("://") {
            Some((_, key)) => Self::parse_map_key(key, |_| true),
            None => Self::parse_map_key(text, |_| false),
        };
        key.filter(|key| key.to_string() == text).ok_or(())
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.listener.port;
        match &self.rule {
            Match::Tcp { server_name } => write!(f, "tls://{server_name}:{port}"),
            Match::Http { host, prefix } => {
                let scheme = if self.listener.is_https() { "https://" } else { "" };
                write!(f, "{scheme}{host}:{port}{prefix}/")
            }
        }
    }
}
