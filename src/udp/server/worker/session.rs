//! The sessions of a thread: each has a socket that is connected to an endpoint.

use super::{
    super::{session_table::SessionId, socket},
    Burst, EndpointSetup, Worker,
    datagram::Datagram,
    refusal::AfterRefusal,
    token_of,
};
use crate::udp::config::UdpListener;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// What the datagrams of one session have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub listener: usize,
    /// `None` if no answers are expected: all clients share a session for each endpoint.
    pub client: Option<(SocketAddr, Option<IpAddr>)>,
    /// `None` if the flow stays with its endpoint.
    pub endpoint: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub key: FlowKey,
    /// Connected to `endpoint`.
    pub socket: OwnedFd,
    pub endpoint: SocketAddr,
    /// The position of the endpoint in the listener of this generation.
    pub index: usize,
    pub generation: u64,
    pub setup: EndpointSetup,
    /// The client of the last datagram, and the address that it used.
    pub client: SocketAddr,
    pub local: Option<IpAddr>,
    /// The last datagram, with its PROXY header, until there are as many answers as datagrams. A refusal concerns the
    /// last datagram: the kernel reports it before it sends another one.
    pub kept: Option<Box<[u8]>>,
    /// The number of endpoints that have refused it.
    pub attempts: u8,
    /// When the last datagram was sent, in milliseconds since the start of the plane.
    pub sent_at: u64,
    pub datagrams: u64,
    pub answers: u64,
    /// Whether the flow has a session with another endpoint, and this one only waits for answers.
    pub retired: bool,
    pub burst: Burst,
}

/// How long a session at most waits for answers of an endpoint that has left.
const RETIRED_IDLE: Duration = Duration::from_secs(5);

impl Session {
    /// Returns how long the session may be silent.
    pub(super) fn idle(&self, listener: &UdpListener) -> Duration {
        if self.retired { listener.idle.min(RETIRED_IDLE) } else { listener.idle }
    }
}

impl Worker {
    /// Opens a session. The datagram is counted as dropped if that is not possible.
    pub(super) fn open(
        &mut self,
        key: FlowKey,
        datagram: Datagram<'_>,
        index: usize,
    ) -> Option<SessionId> {
        let counters = Arc::clone(&self.listeners[key.listener].counters);
        if self.shared.session_limit <= self.shared.sessions.load(Relaxed) && !self.evict() {
            counters.session_limit.increment();
            return None;
        }
        let endpoint = self.listeners[key.listener].listener.endpoints[index].address;
        let socket = match socket::open_connected(endpoint) {
            // Another session may have what is missing.
            Err(error) if socket::is_exhaustion(error) && self.evict() => {
                socket::open_connected(endpoint)
            }
            result => result,
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) if socket::is_exhaustion(error) => {
                counters.session_limit.increment();
                return None;
            }
            Err(_) => {
                self.record_refusal(key.listener, index);
                self.enqueue(datagram, endpoint, datagram.attempts + 1);
                return None;
            }
        };
        let token = EventData::new_u64(token_of(self.sessions.next_id()));
        if epoll::add(&self.epoll, &socket, token, EventFlags::IN).is_err() {
            counters.session_limit.increment();
            return None;
        }
        let served = &self.listeners[key.listener];
        let setup = served.endpoints[index].clone();
        setup.counters.open_sessions.increment();
        counters.open_sessions.increment();
        counters.sessions.increment();
        let session = Session {
            key,
            socket,
            endpoint,
            index,
            generation: served.generation,
            setup,
            client: datagram.client,
            local: datagram.local,
            kept: None,
            attempts: 0,
            sent_at: 0,
            datagrams: 0,
            answers: 0,
            retired: false,
            burst: Burst::default(),
        };
        let id = self.sessions.insert(session, served.listener.idle, self.now);
        self.flows.insert(key, id);
        self.shared.sessions.fetch_add(1, Relaxed);
        Some(id)
    }

    /// Ends a session to make room for another one. Returns whether there was one.
    pub(super) fn evict(&mut self) -> bool {
        let Some(id) = self.sessions.eviction_candidate() else { return false };
        if let Some(session) = self.sessions.get_mut(id) {
            self.listeners[session.key.listener].counters.evicted.increment();
        }
        self.end_session(id);
        true
    }

    /// Whether the session's endpoint still belongs to the listener.
    pub(super) fn revalidate(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let served = &self.listeners[session.key.listener];
        if session.generation == served.generation {
            return true;
        }
        let mut endpoints = served.listener.endpoints.iter();
        let Some(index) = endpoints.position(|endpoint| endpoint.address == session.endpoint)
        else {
            return false;
        };
        (session.index, session.generation) = (index, served.generation);
        session.setup.counters.open_sessions.decrement();
        session.setup = served.endpoints[index].clone();
        session.setup.counters.open_sessions.increment();
        true
    }

    /// Sends a datagram by an existing session.
    pub(super) fn send(&mut self, id: SessionId, datagram: Datagram<'_>) {
        let now = self.now_ms();
        let Some(session) = self.sessions.get_mut(id) else { return };
        let endpoint = session.endpoint;
        let mut result = socket::send_connected(&session.socket, datagram.bytes);
        if let Err(error) = result
            && socket::is_refusal(error)
        {
            // The kernel reports the refusal of the datagram before, and has not sent this one.
            if self.refuse(id) == AfterRefusal::Ended {
                return self.enqueue(datagram, endpoint, datagram.attempts + 1);
            }
            let Some(session) = self.sessions.get_mut(id) else { return };
            result = socket::send_connected(&session.socket, datagram.bytes);
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        let served = &self.listeners[datagram.listener];
        if result.is_err() {
            return served.counters.send_error.increment();
        }
        session.setup.counters.traffic.record_in(datagram.bytes.len());
        (session.client, session.local) = (datagram.client, datagram.local);
        (session.attempts, session.sent_at) = (datagram.attempts, now);
        session.datagrams += 1;
        let before = session.kept.take().map_or(0, |kept| kept.len());
        self.kept_bytes -= before;
        if self.kept_bytes + datagram.bytes.len() <= self.shared.kept_limit {
            self.kept_bytes += datagram.bytes.len();
            session.kept = Some(datagram.bytes.into());
        }
        self.sessions.touch(id, served.listener.idle, self.now);
    }

    /// Ends a session whose flow continues elsewhere. If its endpoint has still to answer, it waits for that.
    pub(super) fn retire(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let expects_nothing = session.datagrams <= session.answers
            || session.setup.health.is_refusing()
            || session.retired;
        if expects_nothing {
            self.end_session(id);
            return;
        }
        session.retired = true;
        let (key, at) = (session.key, session.key.listener);
        let idle = session.idle(&self.listeners[at].listener);
        self.flows.remove(&key);
        self.sessions.touch(id, idle, self.now);
    }

    pub(super) fn end_session(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        if !session.retired {
            self.flows.remove(&session.key);
        }
        self.shared.sessions.fetch_sub(1, Relaxed);
        self.kept_bytes -= session.kept.as_ref().map_or(0, |kept| kept.len());
        session.setup.counters.open_sessions.decrement();
        self.listeners[session.key.listener].counters.open_sessions.decrement();
        Some(session)
    }
}
