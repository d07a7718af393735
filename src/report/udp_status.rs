//! What docker-glue-udp does, as part of the status: its engine, and the datagrams of each route.
//!
//! Pure. Counts are docker-glue-udp's own, since its start, at most some seconds old.

use super::{StateSnapshot, status::Load};
use crate::{
    model::route::{Endpoint, Listener},
    routing::{decide::Rules, udp_listener::endpoint_id},
    udp::{
        answer::{PlaneReport, UdpCounters, UdpEndpointReport, UdpListenerReport, UdpReport},
        engine::Engine,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The running docker-glue-udp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpStatus {
    pub version: String,
    pub pid: u32,
    pub engine: Engine,
    /// Whether datagrams arrive at containers from the client's address.
    pub client_address: bool,
    /// Absent of an engine that does not count.
    #[serde(flatten)]
    pub counts: Option<PlaneCounts>,
}

/// Flows and datagrams of all routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneCounts {
    /// Flows that are remembered now, and their greatest number.
    pub sessions: u64,
    pub session_limit: u64,
    #[serde(flatten)]
    pub datagrams: DatagramCounts,
}

/// Datagrams of a route, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramCounts {
    /// From clients.
    pub datagrams_in: u64,
    /// Answers of containers.
    pub datagrams_out: u64,
    /// Datagrams that containers refused, because no program listens on the port.
    pub refused: u64,
    /// Lost datagrams.
    pub dropped: u64,
}

impl UdpStatus {
    pub(crate) fn from_report(report: &UdpReport) -> Self {
        let PlaneReport { pid, engine, sessions, session_limit, counters, .. } = report.plane;
        let datagrams = DatagramCounts::from_counters(&counters);
        let counts = PlaneCounts { sessions, session_limit, datagrams };
        Self {
            version: report.plane.version.clone(),
            pid,
            engine,
            client_address: engine.keeps_client_address(),
            counts: engine.counts_datagrams().then_some(counts),
        }
    }
}

impl DatagramCounts {
    fn from_counters(counters: &UdpCounters) -> Self {
        Self {
            datagrams_in: counters.traffic.datagrams_in,
            datagrams_out: counters.traffic.datagrams_out,
            refused: counters.refused,
            dropped: counters.dropped.total(),
        }
    }
}

/// The listeners that docker-glue-udp serves, by port. Built once for all routes of a report: to search all listeners for
/// each route would take seconds for 5,000 routes.
#[derive(Debug)]
pub(crate) struct ListenerIndex<'a> {
    rules: &'a Rules,
    by_port: BTreeMap<u16, Vec<&'a UdpListenerReport>>,
    /// 0 is a count: it must not be shown of datagrams that nothing counts.
    counts_datagrams: bool,
}

impl<'a> ListenerIndex<'a> {
    pub(crate) fn from_snapshot(snapshot: &'a StateSnapshot) -> Self {
        let mut by_port: BTreeMap<u16, Vec<&UdpListenerReport>> = BTreeMap::new();
        for report in snapshot.udp.iter().flat_map(|report| report.listeners.values()) {
            by_port.entry(report.listener.bind.port()).or_default().push(report);
        }
        let engine = snapshot.udp.as_ref().map(|report| report.plane.engine);
        let counts_datagrams = engine.is_some_and(Engine::counts_datagrams);
        Self { rules: &snapshot.rules, by_port, counts_datagrams }
    }

    /// Returns the datagrams of a listener. `None` if docker-glue-udp does not serve it, or does not count.
    pub(crate) fn listener_datagrams(&self, listener: Listener) -> Option<DatagramCounts> {
        let reports = self.find_reports(listener);
        let counters = || reports.iter().map(|report| report.counters).sum();
        (self.counts_datagrams && !reports.is_empty())
            .then(|| DatagramCounts::from_counters(&counters()))
    }

    /// Returns the load of a listener. `None` if docker-glue-udp does not count, or does not answer.
    pub(crate) fn listener_load(&self, listener: Listener) -> Option<Load> {
        let reports = self.find_reports(listener).iter().copied();
        self.counts_datagrams.then(|| reports.fold(Load::default(), add_listener))
    }

    /// Returns the load of a server of a listener. `None` as that of the listener.
    pub(crate) fn endpoint_load(&self, listener: Listener, endpoint: &Endpoint) -> Option<Load> {
        let id = endpoint_id(endpoint);
        let reports = self.find_reports(listener).iter();
        let reports = reports.filter_map(|report| report.endpoints.get(&id));
        self.counts_datagrams.then(|| reports.fold(Load::default(), add_endpoint))
    }

    /// A listener is served at one or more addresses.
    fn find_reports(&self, listener: Listener) -> &[&'a UdpListenerReport] {
        let port = self.rules.bound_port(listener).get();
        let reports = self.by_port.get(&port).filter(|_| listener.is_udp());
        reports.map(Vec::as_slice).unwrap_or_default()
    }
}

fn add_listener(load: Load, report: &UdpListenerReport) -> Load {
    let DatagramCounts { datagrams_in, refused, dropped, .. } =
        DatagramCounts::from_counters(&report.counters);
    Load {
        sessions: load.sessions + report.sessions,
        requests: load.requests + datagrams_in,
        errors: load.errors + refused + dropped,
        ..load
    }
}

fn add_endpoint(load: Load, report: &UdpEndpointReport) -> Load {
    Load {
        sessions: load.sessions + report.sessions,
        requests: load.requests + report.traffic.datagrams_in,
        errors: load.errors + report.refused,
        ..load
    }
}
