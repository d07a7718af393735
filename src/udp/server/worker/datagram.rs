//! The way of a datagram from a client to the endpoint of its flow.

use super::{
    super::{session_table::SessionId, socket},
    Burst, Worker,
    refusal::Lost,
    session::FlowKey,
};
use crate::udp::{
    config::{ProxyHeader, Sticky},
    pick,
    proxy_header::{MAX_HEADER_BYTES, write_proxy_header},
};
use nix::errno::Errno;
use std::net::{IpAddr, SocketAddr};

/// A datagram on its way to an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub listener: usize,
    pub client: SocketAddr,
    pub local: Option<IpAddr>,
    /// With the PROXY header, if there is one.
    pub bytes: &'a [u8],
    /// The number of endpoints that have refused it.
    pub attempts: u8,
    /// The last of them.
    pub refused_by: Option<SocketAddr>,
}

impl Worker {
    pub(super) fn receive_datagrams(&mut self, at: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let burst = self.listeners.get(at).map_or(Burst::default(), |served| served.burst);
        let mut read = 0;
        while read < burst.0 {
            // An earlier event may have deleted the listener.
            let Some(served) = self.listeners.get_mut(at) else { break };
            let received = match socket::receive(&served.socket, &mut buffer[MAX_HEADER_BYTES..]) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                Err(_) => break,
            };
            read += 1;
            if let Some(discarded) = received.discarded {
                served.counters.kernel.add(discarded.wrapping_sub(served.discarded).into());
                served.discarded = discarded;
            }
            served.counters.traffic.record_in(received.length);
            let (client, local) = (received.client, received.local);
            let mut start = MAX_HEADER_BYTES;
            if served.listener.proxy == ProxyHeader::V2 {
                let bind = served.listener.bind;
                let destination = SocketAddr::new(local.unwrap_or(bind.ip()), bind.port());
                if let Some(space) = buffer.first_chunk_mut() {
                    start -= write_proxy_header(space, client, destination);
                }
            }
            let bytes = &buffer[start..MAX_HEADER_BYTES + received.length];
            let (attempts, refused_by) = (0, None);
            self.forward(Datagram { listener: at, client, local, bytes, attempts, refused_by });
            self.send_refused();
        }
        if let Some(served) = self.listeners.get_mut(at) {
            served.burst = burst.after(read);
        }
        self.buffer = buffer;
    }

    /// Sends a datagram to the endpoint of its flow, or begins a flow.
    pub(super) fn forward(&mut self, datagram: Datagram<'_>) {
        let at = datagram.listener;
        self.spread += 1;
        let served = &self.listeners[at];
        let one_way = served.listener.is_one_way();
        let stays = served.listener.sticky != Sticky::None && !one_way;
        let client = (!one_way).then_some((datagram.client, datagram.local));
        let mut key = FlowKey { listener: at, client, endpoint: None };
        if stays && let Some(id) = self.flows.get(&key).copied() {
            if self.revalidate(id) && !self.should_leave(id, datagram) {
                return self.send(id, datagram);
            }
            // The endpoint has left or refuses: the flow begins again at another one, with what it has lost.
            if let Some(endpoint) = self.leave(id, Lost::IfRecent) {
                return self.enqueue(datagram, endpoint, datagram.attempts);
            }
        }
        let Some(index) = self.pick(datagram, datagram.refused_by) else {
            return self.listeners[at].counters.no_endpoint.increment();
        };
        if !stays {
            key.endpoint = Some(self.listeners[at].listener.endpoints[index].address);
        }
        let existing = self.flows.get(&key).copied();
        if let Some(id) = existing.or_else(|| self.open(key, datagram, index)) {
            // The endpoint has just been chosen, so it still belongs to the listener.
            self.revalidate(id);
            self.send(id, datagram);
        }
    }

    /// Whether a flow should change to an endpoint that does not refuse.
    fn should_leave(&mut self, id: SessionId, datagram: Datagram<'_>) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        if !session.setup.health.is_refusing() {
            return false;
        }
        let endpoint = session.endpoint;
        self.find_healthy(datagram, Some(endpoint)).is_some()
    }

    /// Chooses an endpoint for a new flow: first one that does not refuse or may be tried again, then any but the one that has
    /// just refused.
    fn pick(&self, datagram: Datagram<'_>, except: Option<SocketAddr>) -> Option<usize> {
        let index = match except {
            None => self.find_due_or_healthy(datagram),
            Some(_) => self.find_healthy(datagram, except),
        };
        if index.is_some() {
            return index;
        }
        let served = &self.listeners[datagram.listener];
        let usable = |index: usize| served.accepts(index, except);
        pick::pick_index(&served.seeds, self.hash(datagram), usable)
    }

    /// Only flows that belong to a refusing endpoint try it again.
    fn find_due_or_healthy(&self, datagram: Datagram<'_>) -> Option<usize> {
        let served = &self.listeners[datagram.listener];
        let accepts = |index: usize| served.accepts(index, None);
        let best = pick::pick_index(&served.seeds, self.hash(datagram), accepts)?;
        if served.endpoints[best].health.claim_attempt(self.now_ms()) {
            return Some(best);
        }
        self.find_healthy(datagram, None)
    }

    fn find_healthy(&self, datagram: Datagram<'_>, except: Option<SocketAddr>) -> Option<usize> {
        let served = &self.listeners[datagram.listener];
        let usable = |index: usize| {
            served.accepts(index, except) && !served.endpoints[index].health.is_refusing()
        };
        pick::pick_index(&served.seeds, self.hash(datagram), usable)
    }

    fn hash(&self, datagram: Datagram<'_>) -> u64 {
        match self.listeners[datagram.listener].listener.sticky {
            Sticky::Flow => pick::hash_flow(datagram.client),
            Sticky::Source => pick::hash_source(datagram.client.ip()),
            Sticky::None => pick::hash_number(self.spread),
        }
    }
}
