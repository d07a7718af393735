//! What users asked for: which requests go to which endpoints.
//!
//! Pure. HAProxy's words do not occur here, nor Docker's to the right of it.

use crate::model::{
    container_ref::ContainerRef,
    label_option::OptionValues,
    option_value::{HostMatch, PathPrefix, Weight},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU16, str::FromStr, sync::Arc};

/// Protocol and public port that traffic comes in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    pub protocol: Protocol,
    pub port: NonZeroU16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Http,
}

/// Which of a listener's requests a route answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    Http { host: HostMatch, prefix: PathPrefix },
}

/// A route's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    pub listener: Listener,
    pub rule: Match,
}

/// What belongs to the route, so that all who share it must agree on it.
pub type Policy = OptionValues;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strip {
    /// The container sees the path as the client sent it.
    #[default]
    Keep,
    /// The prefix is taken off before the request is passed on.
    Prefix,
}

/// One container port that serves a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub container: ContainerRef,
    /// The container's port; tells apart two endpoints of one container.
    pub port: u16,
    pub address: SocketAddr,
    /// Options of its server.
    pub options: OptionValues,
    pub readiness: Readiness,
}

impl Endpoint {
    /// Returns its share of the route's requests.
    pub fn weight(&self) -> Weight {
        self.options.get()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    Ready,
    /// Known, and gets no new traffic now: paused, unhealthy, leaving.
    Out,
}

/// A route with all that serve it; without endpoints it answers that nobody is there at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub policy: Policy,
    pub endpoints: Vec<Endpoint>,
}

/// The desired state. What did not change is the very same from one to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(pub BTreeMap<RouteKey, Arc<Route>>);

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Protocol::Http => write!(f, "http :{}", self.port),
        }
    }
}

/// `host:port/prefix/`, or nothing else.
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
