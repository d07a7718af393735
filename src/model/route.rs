//! The desired routes: which requests go to which endpoints.
//!
//! Pure. This module does not use HAProxy's terms, and the modules that use routes do not use Docker's.

use crate::model::{
    container::Transport,
    container_ref::ContainerRef,
    http::{closed::Closed, redirect::Redirect},
    label_option::{LabelProtocol, OptionValues},
    option_value::{HostMatch, PathPrefix, PathRule, Weight},
    tls::TlsMode,
};
use std::{
    collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU16, ops::RangeInclusive,
    str::FromStr, sync::Arc,
};

/// Protocol and public port of incoming traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    pub protocol: Protocol,
    pub port: NonZeroU16,
}

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum Protocol {
    Http,
    /// HTTP over TLS.
    Https,
    /// Connections of any protocol. No port has listeners of two protocols, except of UDP and another one.
    Tcp,
    /// Datagrams, which HAProxy does not forward.
    Udp,
}

/// Which requests of a listener a route matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    Http {
        host: HostMatch,
        path: PathRule,
    },
    /// Connections whose client asks for the name (SNI), or all connections for which there is no closer route if the
    /// name is any. They are not decrypted.
    Tcp {
        server_name: HostMatch,
    },
    /// Datagrams.
    Udp,
}

/// The identity of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    pub listener: Listener,
    pub rule: Match,
}

/// What an owner has with `--own-hosts-by`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnedName {
    Host(HostMatch),
    /// A public port of TCP or UDP of which all clients reach the same containers.
    Port(Listener),
}

/// Options of the whole route, on which all containers that share it must agree.
pub type Policy = OptionValues;

/// Which leading part of the path is removed before a request is forwarded.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strip {
    /// The container gets the path as the client sent it.
    #[default]
    Keep,
    /// The prefix is stripped.
    Prefix,
    /// This leading part of the prefix is stripped. Not empty.
    Part(PathPrefix),
}

/// What HAProxy looks up after the path of a request. No path contains the last character.
pub const PATH_END: &str = "/#";

impl Strip {
    /// Returns how many segments are stripped from the paths of a route: none if the part is not one of its prefix.
    pub fn depth(&self, prefix: &PathPrefix) -> usize {
        match self {
            Self::Keep => 0,
            Self::Prefix => prefix.depth(),
            Self::Part(part) => {
                if prefix.starts_with(part) {
                    part.depth()
                } else {
                    0
                }
            }
        }
    }
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
    /// All listeners whose clients can ask for a host.
    pub const BY_HOST: RangeInclusive<Self> =
        Self { protocol: Protocol::Http, port: NonZeroU16::MIN }..=Self {
            protocol: Protocol::Tcp,
            port: NonZeroU16::MAX,
        };

    pub fn is_https(self) -> bool {
        self.protocol == Protocol::Https
    }

    pub fn is_tcp(self) -> bool {
        self.protocol == Protocol::Tcp
    }

    pub fn is_udp(self) -> bool {
        self.protocol == Protocol::Udp
    }
}

impl Protocol {
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;
    /// All values of [`Self::as_str`].
    pub const NAMES: &'static [&'static str] = <Self as strum::VariantNames>::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the protocol in the names of the labels for it.
    pub fn label_protocol(self) -> LabelProtocol {
        match self {
            Self::Http | Self::Https => LabelProtocol::Http,
            Self::Tcp => LabelProtocol::Tcp,
            Self::Udp => LabelProtocol::Udp,
        }
    }

    pub fn transport(self) -> Transport {
        self.label_protocol().into()
    }
}

impl RouteKey {
    /// Returns what the owner of the route has.
    pub fn owned_name(&self) -> OwnedName {
        match self.host() {
            HostMatch::Any if self.listener.is_tcp() || self.listener.is_udp() => {
                OwnedName::Port(self.listener)
            }
            host => OwnedName::Host(host.clone()),
        }
    }

    /// Returns the host of the requests, or the server name of the connections.
    pub fn host(&self) -> &HostMatch {
        match &self.rule {
            Match::Http { host, .. } | Match::Tcp { server_name: host } => host,
            Match::Udp => &HostMatch::Any,
        }
    }

    /// Returns the paths that match. `None` for a route of connections or datagrams.
    pub fn path(&self) -> Option<&PathRule> {
        match &self.rule {
            Match::Http { path, .. } => Some(path),
            Match::Tcp { .. } | Match::Udp => None,
        }
    }

    /// Whether HAProxy forwards whole connections, and does not see their requests.
    pub fn is_tcp(&self) -> bool {
        matches!(self.rule, Match::Tcp { .. })
    }

    /// Whether connections of an HTTPS listener reach the container as they are.
    pub fn is_passed(&self) -> bool {
        self.listener.is_https() && self.is_tcp()
    }

    pub fn is_udp(&self) -> bool {
        matches!(self.rule, Match::Udp)
    }

    /// Whether HAProxy decrypts the requests of the route.
    pub fn is_https(&self) -> bool {
        self.listener.is_https() && !self.is_tcp()
    }

    /// Returns the key of HAProxy's map: `host:port/prefix/`, `host:port/path/#` for an exact path, or `name:port` for a
    /// route of connections. HAProxy has no routes of datagrams. It looks up the longest key at the beginning of a
    /// request's host, port and path with [`PATH_END`] at the end, which is a key of this form if the path is exact.
    pub fn map_key(&self) -> String {
        let port = self.listener.port;
        match &self.rule {
            Match::Http { host, path: PathRule::Prefix(prefix) } => {
                format!("{host}:{port}{prefix}/")
            }
            Match::Http { host, path: PathRule::Exact(path) } => {
                format!("{host}:{port}{path}{PATH_END}")
            }
            Match::Tcp { .. } | Match::Udp => format!("{}:{port}", self.host()),
        }
    }

    /// Parses the key of HAProxy's map. The key does not contain the protocol; `protocol_of` returns it for the port.
    pub fn parse_map_key(text: &str, protocol_of: impl Fn(NonZeroU16) -> Protocol) -> Option<Self> {
        let (host, port_and_path) = text.split_once(':')?;
        let (port, path) = match port_and_path.split_once('/') {
            Some((port, path)) => (port, Some(path)),
            None => (port_and_path, None),
        };
        let host = host.parse().ok()?;
        let port = port.parse().ok()?;
        let protocol = protocol_of(port);
        let rule = match (path, protocol) {
            (Some(path), Protocol::Http | Protocol::Https) => {
                let path = format!("/{path}");
                let path = match path.strip_suffix(PATH_END) {
                    Some(path) => PathRule::Exact(path.parse().ok()?),
                    None => PathRule::Prefix(path.parse().ok()?),
                };
                Match::Http { host, path }
            }
            (None, Protocol::Https | Protocol::Tcp) => Match::Tcp { server_name: host },
            (None, Protocol::Udp) if host == HostMatch::Any => Match::Udp,
            _ => return None,
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

    /// Returns what HAProxy itself answers to all requests of the route, in a few words. `None` if containers do.
    pub fn own_answer(&self, listener: Listener) -> Option<String> {
        match (self.policy.get(), self.policy.get()) {
            (Closed(Some(option)), _) => Some(format!("503, because {option} is not understood")),
            (_, Redirect::Off) if self.redirects(listener) => Some("redirect to HTTPS".to_owned()),
            (_, Redirect::Off) => None,
            (_, redirect) => Some(format!("redirect to {redirect}")),
        }
    }

    /// Whether requests are redirected to HTTPS.
    pub fn redirects(&self, listener: Listener) -> bool {
        !listener.is_https() && self.policy.get::<TlsMode>() == TlsMode::On
    }
}

/// Parses a host, or `tcp://*:port` or `udp://*:port`.
impl FromStr for OwnedName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.contains("://") {
            let name = text.parse::<RouteKey>()?.owned_name();
            return Some(name).filter(|name| matches!(name, Self::Port(_))).ok_or(());
        }
        text.parse().map(Self::Host).map_err(drop)
    }
}

impl fmt::Display for OwnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::Port(Listener { protocol, port }) => write!(f, "{protocol}://*:{port}"),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} :{}", self.protocol, self.port)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses the word that the display writes.
impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|protocol| protocol.as_str() == text).ok_or(())
    }
}

/// Parses `host:port/prefix/`, `host:port/path$`, the same after `https://`, `tls://name:port`, `tcp://name:port` or `udp://*:port`, and
/// no other spelling.
impl FromStr for RouteKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (scheme, key) = text.split_once("://").unwrap_or(("http", text));
        let protocol = if scheme == "tls" { Protocol::Https } else { scheme.parse()? };
        let exact = key.strip_suffix('$').map(|path| format!("{path}{PATH_END}"));
        let key = Self::parse_map_key(exact.as_deref().unwrap_or(key), |_| protocol);
        key.filter(|key| key.to_string() == text).ok_or(())
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.listener.port;
        match &self.rule {
            Match::Tcp { server_name } => {
                let scheme = if self.listener.is_https() { "tls" } else { "tcp" };
                write!(f, "{scheme}://{server_name}:{port}")
            }
            Match::Udp => write!(f, "udp://*:{port}"),
            Match::Http { host, path } => {
                let scheme = if self.listener.is_https() { "https://" } else { "" };
                match path {
                    PathRule::Prefix(prefix) => write!(f, "{scheme}{host}:{port}{prefix}/"),
                    PathRule::Exact(path) => write!(f, "{scheme}{host}:{port}{path}$"),
                }
            }
        }
    }
}
