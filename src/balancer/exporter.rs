//! HAProxy's own numbers, at a frontend of their own. It comes and goes by a reload, and nothing else
//! depends on it: where it cannot be had, that is a problem, and traffic goes on.

use super::Balancer;
use crate::{
    decide::{TAKEN_RETRY, Taken},
    listening,
    problem::{About, Problem, Reason},
};
use std::{io, net::SocketAddr, time::Instant};

const OPTION: &str = "--haproxy-metrics";

#[derive(Debug, Default)]
pub(super) enum Exporter {
    #[default]
    NotWanted,
    /// This HAProxy has none.
    Missing,
    At(SocketAddr),
    /// The port is somebody else's.
    Taken(SocketAddr, Taken),
}

impl Exporter {
    pub(super) fn problem(&self) -> Option<Problem> {
        let reason = match self {
            Self::NotWanted | Self::At(_) => return None,
            Self::Missing => Reason::NoExporter,
            Self::Taken(_, taken) => Reason::PortTaken { why: taken.why.clone() },
        };
        Some(Problem { about: About::Option(OPTION), label: None, reason })
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self {
            Self::Taken(_, taken) => Some(taken.until),
            _ => None,
        }
    }
}

impl Balancer {
    /// From the next load on HAProxy tells its numbers there, if it can.
    pub async fn export(&mut self, address: SocketAddr) {
        let has = self.proxy.has_exporter().await;
        self.set_exporter(if has { Exporter::At(address) } else { Exporter::Missing });
    }

    fn set_exporter(&mut self, exporter: Exporter) {
        self.frame.exporter = match exporter {
            Exporter::At(address) => Some(address),
            _ => None,
        };
        self.exporter = exporter;
        // The short way does not look at the frame.
        self.running.settled = None;
    }

    /// Whether the port was the exporter's, which is left out then.
    pub(super) fn exporter_gives_up(&mut self, port: u16, why: &str, now: Instant) -> bool {
        let Exporter::At(address) = self.exporter else { return false };
        let is_its = address.port() == port;
        if is_its {
            let taken = Taken { why: why.to_owned(), until: now + TAKEN_RETRY };
            self.set_exporter(Exporter::Taken(address, taken));
        }
        is_its
    }

    /// A port that is free by now is had with the next load. It is looked at first: to find out by a
    /// load would use up reloads.
    pub(super) fn try_exporter_again(&mut self, now: Instant) {
        let Exporter::Taken(address, taken) = &mut self.exporter else { return };
        if now < taken.until {
            return;
        }
        taken.until = now + TAKEN_RETRY;
        let in_use =
            listening::probe(*address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if !in_use {
            let address = *address;
            self.set_exporter(Exporter::At(address));
        }
    }
}
