//! Lost datagrams: an endpoint on whose port no program listens refuses them, and one that has left may not have read them.
//! They go to other endpoints.

use super::{super::session_table::SessionId, Worker, datagram::Datagram, wake_up};
use crate::udp::config::UdpListener;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// When an endpoint refuses, the unanswered datagrams of all its flows that are not older than this are sent to others, in
/// milliseconds: no program has them any more, but the kernel does not report each of them.
const RESCUE_WINDOW: u64 = 100;
/// When an endpoint leaves, the unanswered datagrams of its flows that are not older than this are sent to others, in
/// milliseconds. Its container has probably ended, and Docker reports that late on a busy machine.
const LEAVING_WINDOW: u64 = 1000;
/// The greatest number of endpoints that a datagram is sent to.
const MAX_ATTEMPTS: u8 = 4;

/// A datagram that waits for another endpoint.
#[derive(Debug)]
pub(super) struct RefusedDatagram {
    /// The listener at this address: its position may change.
    pub bind: SocketAddr,
    pub client: SocketAddr,
    pub local: Option<IpAddr>,
    pub bytes: Box<[u8]>,
    pub attempts: u8,
    pub refused_by: SocketAddr,
}

/// Whether the kept datagram of a session is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The kernel has reported so.
    Certainly,
    /// The endpoint refuses, and the datagram was sent shortly before the first report, or after it.
    IfRecent,
}

/// The state of a session after a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterRefusal {
    /// No other endpoint accepts flows: the session stays with its endpoint.
    Stays,
    /// The session has ended, and its kept datagram waits for another endpoint.
    Ended,
}

impl Worker {
    /// Records that the endpoint of a session refuses. The session ends if there is another endpoint.
    pub(super) fn refuse(&mut self, id: SessionId) -> AfterRefusal {
        self.drain_answers(id);
        let known = self.revalidate(id);
        let Some(session) = self.sessions.get_mut(id) else { return AfterRefusal::Ended };
        let (at, index, endpoint) = (session.key.listener, session.index, session.endpoint);
        if known {
            self.record_refusal(at, index);
        }
        if self.listeners[at].has_other(endpoint) {
            self.leave(id, Lost::Certainly);
            return AfterRefusal::Ended;
        }
        let kept = self.sessions.get_mut(id).and_then(|session| session.kept.take());
        if let Some(kept) = kept {
            self.kept_bytes -= kept.len();
            self.listeners[at].counters.no_endpoint.increment();
        }
        AfterRefusal::Stays
    }

    /// The first report wakes all threads, so that they look for lost datagrams.
    pub(super) fn record_refusal(&mut self, at: usize, index: usize) {
        let now = self.now_ms();
        let served = &self.listeners[at];
        served.counters.refused.increment();
        served.endpoints[index].counters.refused.increment();
        if served.endpoints[index].health.record_refusal(now) {
            self.shared.refusals.fetch_add(1, Relaxed);
            for wake in &self.shared.wakes {
                wake_up(wake);
            }
        }
    }

    /// Lets flows leave that had just sent a datagram to an endpoint when it first refused one, if that was reported to any
    /// thread.
    pub(super) fn rescue_lost(&mut self) {
        let reports = self.shared.refusals.load(Relaxed);
        if std::mem::replace(&mut self.seen_refusals, reports) == reports {
            return;
        }
        let lost = self.sessions.find_all(|session| {
            let is_lost = |at| session.sent_at <= at && at <= session.sent_at + RESCUE_WINDOW;
            session.kept.is_some() && session.setup.health.refused_at().is_some_and(is_lost)
        });
        for id in lost {
            let Some(session) = self.sessions.get_mut(id) else { continue };
            if self.listeners[session.key.listener].has_other(session.endpoint) {
                self.leave(id, Lost::IfRecent);
            }
        }
    }

    /// Sends the last datagrams that endpoints of the earlier listener have not answered to others, if these endpoints
    /// have left. A late answer still arrives.
    pub(super) fn rescue_from_left(&mut self, before: &UdpListener) {
        let Some(at) = self.by_bind.get(&before.bind).copied() else {
            return;
        };
        let (listener, now) = (Arc::clone(&self.listeners[at].listener), self.now_ms());
        let addresses = |listener: &UdpListener| -> BTreeSet<SocketAddr> {
            listener.endpoints.iter().map(|endpoint| endpoint.address).collect()
        };
        let left = &addresses(before) - &addresses(&listener);
        if left.is_empty() || listener.is_one_way() {
            return;
        }
        let lost = self.sessions.find_all(|session| {
            // A program that has received many and answered none does not answer.
            let expects_answer = 0 < session.answers || session.datagrams == 1;
            session.key.listener == at
                && session.kept.is_some()
                && !session.retired
                && expects_answer
                && now <= session.sent_at + LEAVING_WINDOW
                && left.contains(&session.endpoint)
        });
        for id in lost {
            self.drain_answers(id);
            let Some(session) = self.sessions.get_mut(id) else { continue };
            if !self.listeners[at].has_other(session.endpoint) {
                continue;
            }
            let Some(kept) = session.kept.take() else { continue };
            self.kept_bytes -= kept.len();
            self.refused.push_back(RefusedDatagram {
                bind: before.bind,
                client: session.client,
                local: session.local,
                bytes: kept,
                attempts: session.attempts + 1,
                refused_by: session.endpoint,
            });
            self.listeners[at].counters.moved.increment();
            self.retire(id);
        }
    }

    /// Ends a session whose flow begins again. Its kept datagram waits for another endpoint, if it is lost. Returns the
    /// endpoint if there is such a datagram.
    pub(super) fn leave(&mut self, id: SessionId, lost: Lost) -> Option<SocketAddr> {
        self.drain_answers(id);
        let session = self.sessions.get_mut(id)?;
        let served = &self.listeners[session.key.listener];
        served.counters.moved.increment();
        let is_lost = match (lost, session.setup.health.refused_at()) {
            (Lost::Certainly, _) => true,
            (Lost::IfRecent, Some(refused_at)) => refused_at <= session.sent_at + RESCUE_WINDOW,
            (Lost::IfRecent, None) => false,
        };
        if !is_lost || session.kept.is_none() {
            self.retire(id);
            return None;
        }
        let session = self.end_session(id)?;
        let served = &self.listeners[session.key.listener];
        let kept = session.kept?;
        self.refused.push_back(RefusedDatagram {
            bind: served.listener.bind,
            client: session.client,
            local: session.local,
            bytes: kept,
            attempts: session.attempts + 1,
            refused_by: session.endpoint,
        });
        Some(session.endpoint)
    }

    /// Lets a datagram wait behind those that were refused before.
    pub(super) fn enqueue(&mut self, datagram: Datagram<'_>, refused_by: SocketAddr, attempts: u8) {
        self.refused.push_back(RefusedDatagram {
            bind: self.listeners[datagram.listener].listener.bind,
            client: datagram.client,
            local: datagram.local,
            bytes: datagram.bytes.into(),
            attempts,
            refused_by,
        });
    }

    /// Sends the datagrams that were refused to other endpoints, which may refuse them, too.
    pub(super) fn send_refused(&mut self) {
        while let Some(refused) = self.refused.pop_front() {
            let Some(at) = self.by_bind.get(&refused.bind).copied() else { continue };
            let counters = &self.listeners[at].counters;
            if MAX_ATTEMPTS <= refused.attempts {
                counters.no_endpoint.increment();
                continue;
            }
            if refused.attempts > 0 {
                counters.resent.increment();
            }
            let RefusedDatagram { client, local, attempts, .. } = refused;
            let (bytes, refused_by) = (&*refused.bytes, Some(refused.refused_by));
            self.forward(Datagram { listener: at, client, local, bytes, attempts, refused_by });
        }
    }
}
