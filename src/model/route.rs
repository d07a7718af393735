//! The desired routes: which requests go to which endpoints.
//!
//! Pure. This module does not use HAProxy's terms, and the modules that use routes do not use Docker's.

use crate::model::{
    container_ref::ContainerRef,
    label_option::OptionValues,
    option_value::{HostMatch, PathPrefix, Weight},
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub policy: Policy,
    pub endpoints: Vec<Endpoint>,
}

/// The desired state. Unchanged routes share one `Arc` from one state to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(pub BTreeMap<RouteKey, Arc<Route>>);

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Http => write!(f, "http :{}", self.port),
        }
    }
}

/// Parses `host:port/prefix/`, and no other spelling.
impl FromStr for RouteKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port_and_path) = text.split_once(':').ok_or(())?;
        let (port, path) = port_and_path.split_once('/').ok_or(())?;
        let host = HostMatch::parse_pattern(host).map_err(drop)?;
        let prefix = format!("/{path}").parse().map_err(drop)?;
        let port = port.parse().map_err(drop)?;
        let listener = Listener { protocol: Protocol::Http, port };
        Ok(Self { listener, rule: Match::Http { host, prefix } })
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Match::Http { host, prefix } = &self.rule;
        write!(f, "{host}:{}{prefix}/", self.listener.port)
    }
}
