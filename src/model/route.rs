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
    Http { host: HostMatch, prefix: PathPrefix },
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
    pub fn host(&self) -> &HostMatch {
        let Match::Http { host, .. } = &self.rule;
        host
    }

    /// Returns the key of HAProxy's map: `host:port/prefix/`.
    pub fn map_key(&self) -> String {
        let Match::Http { host, prefix } = &self.rule;
        format!("{host}:{}{prefix}/", self.listener.port)
    }

    /// Parses the key of HAProxy's map. The key does not contain the protocol; `is_https` returns it for the port.
    pub fn parse_map_key(text: &str, is_https: impl Fn(NonZeroU16) -> bool) -> Option<Self> {
        let (host, port_and_path) = text.split_once(':')?;
        let (port, path) = port_and_path.split_once('/')?;
        let host = HostMatch::parse_pattern(host).ok()?;
        let prefix = format!("/{path}").parse().ok()?;
        let port = port.parse().ok()?;
        let protocol = if is_https(port) { Protocol::Https } else { Protocol::Http };
        Some(Self { listener: Listener { protocol, port }, rule: Match::Http { host, prefix } })
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

/// Text in front of the display of an HTTPS route.
const HTTPS_SCHEME: &str = "https://";

/// Parses `host:port/prefix/` or `https://host:port/prefix/`, and no other spelling.
impl FromStr for RouteKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (is_https, text) = match text.strip_prefix(HTTPS_SCHEME) {
            Some(text) => (true, text),
            None => (false, text),
        };
        Self::parse_map_key(text, |_| is_https).ok_or(())
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Match::Http { host, prefix } = &self.rule;
        let scheme = if self.listener.is_https() { HTTPS_SCHEME } else { "" };
        write!(f, "{scheme}{host}:{}{prefix}/", self.listener.port)
    }
}
