//! HTTP/3 on HTTPS listeners. A reload adds or removes it, and nothing else depends on it: if it is not available, that
//! is a problem, and traffic is not affected.

use super::Balancer;
use crate::{
    haproxy::{render::Http3Mode, version::Build},
    model::problem::{Problem, ProblemSubject, Reason},
    routing::decide::PortConflict,
    support::port_owner::{self, Transport},
};
use anyhow::{Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

const OPTION: &str = "--http3";

#[derive(Debug, Default)]
pub(crate) enum Http3 {
    #[default]
    Disabled,
    /// This HAProxy has no HTTP/3.
    Unsupported,
    Enabled,
    /// Another program uses the UDP port.
    PortTaken(u16, PortConflict),
}

impl Http3 {
    /// Returns the state for this HAProxy, if HTTP/3 is not disabled.
    fn for_build(build: Build) -> Self {
        if build.has_quic { Self::Enabled } else { Self::Unsupported }
    }

    pub(crate) fn problem(&self) -> Option<Problem> {
        let reason = match self {
            Self::Disabled | Self::Enabled => return None,
            Self::Unsupported => Reason::NoQuic,
            Self::PortTaken(port, taken) => {
                Reason::UdpPortTaken { port: *port, why: taken.reason.clone() }
            }
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
    /// Makes HTTPS listeners serve HTTP/3 from the next load on, if HAProxy can.
    pub fn enable_http3(&mut self) {
        self.set_http3(Http3::for_build(self.proxy.build()));
    }

    /// Adapts to an HAProxy that was replaced by another build.
    pub(crate) fn adapt_http3(&mut self, build: Build) {
        if !matches!(self.http3, Http3::Disabled) {
            self.set_http3(Http3::for_build(build));
        }
    }

    fn set_http3(&mut self, http3: Http3) {
        self.render_context.http3 = match http3 {
            Http3::Enabled => Http3Mode::On,
            _ => Http3Mode::Off,
        };
        self.http3 = http3;
        // The incremental path does not compare the frame of the configuration, so the next pass must not take it.
        self.live.pending_deletions = None;
    }

    /// Removes HTTP/3 if another program uses one of its ports.
    ///
    /// # Errors
    /// If the port is not one of HTTP/3 but one of the base file.
    pub(crate) fn release_http3_ports(
        &mut self,
        taken: BTreeMap<u16, String>,
        now: Instant,
    ) -> Result<()> {
        let Some((port, why)) = taken.into_iter().next() else { return Ok(()) };
        if !matches!(self.http3, Http3::Enabled) {
            bail!(
                "{}HAProxy cannot listen on UDP port {port}: the port is {why}",
                self.base_hint()
            );
        }
        self.set_http3(Http3::PortTaken(port, PortConflict::new(why, now)));
        Ok(())
    }

    /// Enables HTTP/3 again when its port is free; the next load uses it.
    pub(crate) fn retry_http3(&mut self, now: Instant) {
        let Http3::PortTaken(port, taken) = &mut self.http3 else { return };
        if now < taken.until {
            return;
        }
        *taken = PortConflict::new(taken.reason.clone(), now);
        if port_owner::find_owner(Transport::Udp, *port, &BTreeSet::new()).is_none() {
            self.set_http3(Http3::Enabled);
        }
    }
}
