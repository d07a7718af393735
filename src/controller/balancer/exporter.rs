//! HAProxy's own numbers, at a frontend of their own. It comes and goes by a reload, and nothing else
//! depends on it: where it cannot be had, that is a problem, and traffic goes on.

use super::Balancer;
use crate::{
    model::problem::{Problem, ProblemSubject, Reason},
    routing::decide::{PORT_RETRY_INTERVAL, PortConflict},
    support::port_owner,
};
use std::{io, net::SocketAddr, time::Instant};

const OPTION: &str = "--haproxy-metrics";

#[derive(Debug, Default)]
pub(crate) enum Exporter {
    #[default]
    Disabled,
    /// This HAProxy has none.
    Unsupported,
    Enabled(SocketAddr),
    /// The port is somebody else's.
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
    /// From the next load on HAProxy tells its numbers there, if it can.
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
        // The short way does not look at the frame.
        self.live.pending_deletions = None;
    }

    /// Whether the port was the exporter's, which is left out then.
    pub(crate) fn release_exporter_port(&mut self, port: u16, why: &str, now: Instant) -> bool {
        let Exporter::Enabled(address) = self.exporter else { return false };
        let is_its = address.port() == port;
        if is_its {
            let taken = PortConflict { reason: why.to_owned(), until: now + PORT_RETRY_INTERVAL };
            self.set_exporter(Exporter::PortTaken(address, taken));
        }
        is_its
    }

    /// A port that is free by now is had with the next load. It is looked at first: to find out by a
    /// load would use up reloads.
    pub(crate) fn retry_exporter(&mut self, now: Instant) {
        let Exporter::PortTaken(address, taken) = &mut self.exporter else { return };
        if now < taken.until {
            return;
        }
        taken.until = now + PORT_RETRY_INTERVAL;
        let in_use = port_owner::try_bind(*address)
            .is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if !in_use {
            let address = *address;
            self.set_exporter(Exporter::Enabled(address));
        }
    }
}
