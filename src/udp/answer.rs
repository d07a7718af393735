//! Answers of docker-glue-udp: JSON, one object a line.
//!
//! Pure. `set` is answered with the listener as it is served now, so that each change is read back. Fields that a newer
//! plane adds are ignored. Numbers that are 0 are left out.

use super::{config::UdpListener, engine::Engine};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    iter::Sum,
    net::SocketAddr,
    ops::{Add, AddAssign},
    sync::Arc,
};

/// A line of an answer. `show` is answered with [`Plane`](Self::Plane), then with one
/// [`Listener`](Self::Listener) for each of the plane's listeners; all other commands with one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpAnswer {
    Plane(PlaneReport),
    Listener(Box<UdpListenerReport>),
    /// There is no listener at this address and port, or no longer.
    Deleted(SocketAddr),
    Flows(FlowReport),
    /// The command was not carried out.
    Error(String),
}

/// The state of the plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlaneReport {
    pub protocol: u32,
    /// The version of docker-glue-udp.
    pub version: String,
    /// A plane that does not report it has only the default.
    pub engine: Engine,
    /// The process: a new one has counted from 0.
    pub pid: u32,
    /// The number of changes that were made since the start. While it stays the same, so do the listeners.
    pub revision: u64,
    #[serde(skip_serializing_if = "is_absent")]
    pub threads: usize,
    /// Unix time of the start, in seconds.
    pub started: u64,
    /// The number of listeners.
    pub listeners: usize,
    /// Flows that are remembered now.
    #[serde(skip_serializing_if = "is_absent")]
    pub sessions: u64,
    /// The greatest number of sessions.
    #[serde(skip_serializing_if = "is_absent")]
    pub session_limit: u64,
    /// The sum of all listeners, including deleted ones.
    #[serde(skip_serializing_if = "is_absent")]
    pub counters: UdpCounters,
}

impl PlaneReport {
    /// Returns whether a later report is of the same process, which has made this number of changes since.
    pub fn is_followed_by(&self, later: &Self, changes: usize) -> bool {
        (self.pid, self.started) == (later.pid, later.started)
            && self.revision.checked_add(changes as u64) == Some(later.revision)
    }
}

/// The flows of some endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlowReport {
    /// The number of endpoints that get new flows.
    pub accepting: usize,
    /// The number of flows that expect answers. Those of listeners with `replies` 0 do not.
    pub open: u64,
}

/// The whole answer to `show`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UdpReport {
    pub plane: PlaneReport,
    /// By address and port.
    pub listeners: BTreeMap<SocketAddr, Arc<UdpListenerReport>>,
}

/// A listener as it is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpListenerReport {
    pub listener: UdpListener,
    #[serde(default, skip_serializing_if = "is_absent")]
    pub sessions: u64,
    /// Since the listener was set first.
    #[serde(default, skip_serializing_if = "is_absent")]
    pub counters: UdpCounters,
    /// By the identifier of the endpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, UdpEndpointReport>,
}

/// An endpoint's sessions and datagrams, since it became an endpoint of the listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UdpEndpointReport {
    pub sessions: u64,
    /// Whether it refused a datagram and has not answered since. One flow in each second tries it.
    pub refusing: bool,
    pub traffic: UdpTraffic,
    /// Refusals: datagrams for which the container's kernel reported that no program listens.
    pub refused: u64,
}

/// Datagrams and their bytes. `in` is from clients to endpoints, `out` is the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UdpTraffic {
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UdpCounters {
    /// `in` counts all datagrams that were received from clients.
    pub traffic: UdpTraffic,
    /// Sessions that were begun.
    pub sessions: u64,
    /// Refusals of endpoints.
    pub refused: u64,
    /// Flows that went from one endpoint to another, because the first one left or refused.
    pub moved: u64,
    /// Refused datagrams that were sent to another endpoint.
    pub resent: u64,
    /// Sessions that were ended early to make room for others.
    pub evicted: u64,
    pub dropped: UdpDrops,
}

/// Lost datagrams, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UdpDrops {
    /// No endpoint accepts the datagram.
    pub no_endpoint: u64,
    /// There were too many sessions.
    pub session_limit: u64,
    /// The kernel did not send the datagram: it is too long with its PROXY header, or a buffer was full.
    pub send_error: u64,
    /// The kernel discarded datagrams before they were read, because the receive buffer was full.
    pub kernel: u64,
}

/// Whether a number, or all of several, is 0. They are left out of the answer: an engine that does not count must not
/// report that there was nothing ([`Engine::counts_datagrams`]).
fn is_absent<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl UdpDrops {
    /// Returns the sum of all reasons.
    pub fn total(&self) -> u64 {
        let Self { no_endpoint, session_limit, send_error, kernel } = *self;
        no_endpoint + session_limit + send_error + kernel
    }
}

impl Add for UdpTraffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            datagrams_in: self.datagrams_in + other.datagrams_in,
            bytes_in: self.bytes_in + other.bytes_in,
            datagrams_out: self.datagrams_out + other.datagrams_out,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }
}

impl Add for UdpCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (drops, others) = (self.dropped, other.dropped);
        Self {
            traffic: self.traffic + other.traffic,
            sessions: self.sessions + other.sessions,
            refused: self.refused + other.refused,
            moved: self.moved + other.moved,
            resent: self.resent + other.resent,
            evicted: self.evicted + other.evicted,
            dropped: UdpDrops {
                no_endpoint: drops.no_endpoint + others.no_endpoint,
                session_limit: drops.session_limit + others.session_limit,
                send_error: drops.send_error + others.send_error,
                kernel: drops.kernel + others.kernel,
            },
        }
    }
}

impl AddAssign for UdpCounters {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for UdpCounters {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), Add::add)
    }
}
