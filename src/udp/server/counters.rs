//! Counters that one thread writes and the control socket reads.

use crate::udp::answer::{UdpCounters, UdpDrops, UdpEndpointReport, UdpTraffic};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only one thread writes, so that it needs no atomic addition.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.read().wrapping_add(more), Relaxed);
    }

    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn decrement(&self) {
        self.add(u64::MAX);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(super) struct TrafficCounters {
    pub datagrams_in: Counter,
    pub bytes_in: Counter,
    pub datagrams_out: Counter,
    pub bytes_out: Counter,
}

/// What one thread counts of one listener.
#[derive(Debug, Default)]
pub(super) struct ListenerCounters {
    pub traffic: TrafficCounters,
    /// Sessions now.
    pub open_sessions: Counter,
    pub sessions: Counter,
    pub refused: Counter,
    pub moved: Counter,
    pub resent: Counter,
    pub evicted: Counter,
    pub no_endpoint: Counter,
    pub session_limit: Counter,
    pub send_error: Counter,
    pub kernel: Counter,
}

/// What one thread counts of one endpoint of a listener.
#[derive(Debug, Default)]
pub(super) struct EndpointCounters {
    pub traffic: TrafficCounters,
    pub open_sessions: Counter,
    pub refused: Counter,
}

impl TrafficCounters {
    pub(super) fn record_in(&self, bytes: usize) {
        self.datagrams_in.increment();
        self.bytes_in.add(bytes as u64);
    }

    pub(super) fn record_out(&self, bytes: usize) {
        self.datagrams_out.increment();
        self.bytes_out.add(bytes as u64);
    }

    fn read(&self) -> UdpTraffic {
        UdpTraffic {
            datagrams_in: self.datagrams_in.read(),
            bytes_in: self.bytes_in.read(),
            datagrams_out: self.datagrams_out.read(),
            bytes_out: self.bytes_out.read(),
        }
    }
}

impl ListenerCounters {
    pub(super) fn read(&self) -> UdpCounters {
        UdpCounters {
            traffic: self.traffic.read(),
            sessions: self.sessions.read(),
            refused: self.refused.read(),
            moved: self.moved.read(),
            resent: self.resent.read(),
            evicted: self.evicted.read(),
            dropped: UdpDrops {
                no_endpoint: self.no_endpoint.read(),
                session_limit: self.session_limit.read(),
                send_error: self.send_error.read(),
                kernel: self.kernel.read(),
            },
        }
    }
}

impl EndpointCounters {
    /// Adds this thread's numbers to those of others.
    pub(super) fn add_to(&self, report: &mut UdpEndpointReport) {
        report.sessions += self.open_sessions.read();
        report.traffic = report.traffic + self.traffic.read();
        report.refused += self.refused.read();
    }
}
