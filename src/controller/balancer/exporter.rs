//! HAProxy's own metrics, at a frontend of their own. A reload adds or removes it, and nothing else depends on it: if
//! it is not available, that is a problem, and traffic is not affected.

use super::Balancer;
use crate::{
    model::problem::{Problem, ProblemSubject, Reason},
    routing::decide::{PORT_RETRY_INTERVAL, PortConflict},
    support::port_owner::{self, Transport},
};
use std::{io, net::SocketAddr, time::Instant};

const OPTION: &str = "--haproxy-metrics";

#[derive(Debug, Default)]
pub(crate) enum Exporter {
    #[default]
    Disabled,
    /// This HAProxy has no exporter.
    Unsupported,
    Enabled(SocketAddr),
    /// Another program uses the port.
    PortTaken(SocketAddr, PortConflict),
}

impl Exporter {
    pub(crate) fn problem(&self) -> Option<Problem> {
        let reason = match self {
            Self::Disabled | Self::Enabled(_) => return None,
            Self::Unsupported => Reason::NoExporter,
            Self::PortTaken(_, taken) => Reason::PortTaken { why: taken.reason.clone() },
        };
        Some(Problem { subject: ProblemSubject::Option(OPTION), label: None, reason })
    }

    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match self {
            Self::PortTaken(_, taken) => Some(taken.until),
            _ => None,
        }
    }
}

impl Balancer {
    /// Makes HAProxy serve its metrics at this address from the next load on, if it can.
    pub async fn enable_exporter(&mut self, address: SocketAddr) {
        let has = self.proxy.has_exporter().await;
        self.set_exporter(if has { Exporter::Enabled(address) } else { Exporter::Unsupported });
    }

    fn set_exporter(&mut self, exporter: Exporter) {
        self.render_context.exporter = match exporter {
            Exporter::Enabled(address) => Some(address),
            _ => None,
        };
        self.exporter = exporter;
        // The incremental path does not compare the frame of the configuration, so the next pass must not take it.
        self.live.pending_deletions = None;
    }

    /// Removes the exporter if the port is its own. Returns whether it was.
    pub(crate) fn release_exporter_port(&mut self, port: u16, why: &str, now: Instant) -> bool {
        let Exporter::Enabled(address) = self.exporter else { return false };
        let is_its = address.port() == port;
        if is_its {
            let taken = PortConflict { reason: why.to_owned(), until: now + PORT_RETRY_INTERVAL };
            self.set_exporter(Exporter::PortTaken(address, taken));
        }
        is_its
    }

    /// Enables the exporter again when its port is free; the next load uses it. The port is tested first, because
    /// trying it by a load would use up the budget of reloads.
    pub(crate) fn retry_exporter(&mut self, now: Instant) {
        let Exporter::PortTaken(address, taken) = &mut self.exporter else { return };
        if now < taken.until {
            return;
        }
        taken.until = now + PORT_RETRY_INTERVAL;
        let in_use = port_owner::try_bind(Transport::Tcp, *address)
            .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if !in_use {
            let address = *address;
            self.set_exporter(Exporter::Enabled(address));
        }
    }
}
