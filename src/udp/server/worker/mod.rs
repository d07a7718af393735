//! One thread of the data plane: receives datagrams from clients, forwards each to the endpoint of its flow, and
//! returns the answers.
//!
//! Each flow has a socket that is connected to its endpoint, so that the kernel reports refusals. The last datagram of a
//! flow is kept until an answer arrives: if it is refused, it is sent to another endpoint. The threads share counters, the
//! number of sessions, and which endpoints refuse.

mod answer;
mod datagram;
mod refusal;
mod session;

use super::{
    counters::{EndpointCounters, ListenerCounters},
    health::EndpointHealth,
    session_table::{SessionId, SessionTable},
    socket::MAX_DATAGRAM_BYTES,
};
use crate::udp::{config::UdpListener, pick::Seed, proxy_header::MAX_HEADER_BYTES};
use refusal::RefusedDatagram;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io,
};
use session::{FlowKey, Session};
use slab::Slab;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The greatest number of datagrams that are read from one socket before other sockets have their turn.
const MAX_BURST: u8 = 64;
const MAX_EVENTS: usize = 256;
/// Events of listeners have this bit; those of sessions have not.
const LISTENER_EVENT: u64 = 1 << 63;
/// The event of the wake-up descriptor.
const WAKE_EVENT: u64 = u64::MAX;

/// A change of what the thread serves. `done` is used when the change is effective.
#[derive(Debug)]
pub(super) enum Change {
    Set { setup: ListenerSetup, done: oneshot::Sender<io::Result<()>> },
    Delete { bind: SocketAddr, done: oneshot::Sender<io::Result<()>> },
    Stop,
}

/// A listener for one thread.
#[derive(Debug)]
pub(super) struct ListenerSetup {
    pub listener: Arc<UdpListener>,
    /// The thread's socket, if the listener is new.
    pub socket: Option<OwnedFd>,
    pub counters: Arc<ListenerCounters>,
    /// In the order of the listener's endpoints.
    pub endpoints: Vec<EndpointSetup>,
}

/// An endpoint for one thread.
#[derive(Debug, Clone)]
pub(super) struct EndpointSetup {
    pub health: Arc<EndpointHealth>,
    pub counters: Arc<EndpointCounters>,
}

/// What all threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub started: Instant,
    pub sessions: AtomicUsize,
    pub session_limit: usize,
    /// The greatest number of bytes of kept datagrams of one thread.
    pub kept_limit: usize,
    /// The number of first reports of refusals.
    pub refusals: AtomicU64,
    /// Wakes each thread.
    pub wakes: Vec<Arc<OwnedFd>>,
}

#[derive(Debug)]
pub(super) struct Worker {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    changes: Receiver<Change>,
    shared: Arc<Shared>,
    listeners: Slab<ServedListener>,
    by_bind: HashMap<SocketAddr, usize>,
    flows: HashMap<FlowKey, SessionId>,
    sessions: SessionTable<Session>,
    kept_bytes: usize,
    /// The number of forwarded datagrams, by which those are distributed that have no other key.
    spread: u64,
    now: Instant,
    /// The number of reports after which lost datagrams were looked for.
    seen_refusals: u64,
    /// Datagrams that have to be sent to another endpoint.
    refused: VecDeque<RefusedDatagram>,
    /// Space for a header, then a datagram.
    buffer: Vec<u8>,
    /// Space for answers that are read while a datagram is sent.
    answers: Vec<u8>,
}

#[derive(Debug)]
struct ServedListener {
    socket: OwnedFd,
    listener: Arc<UdpListener>,
    seeds: Vec<Seed>,
    counters: Arc<ListenerCounters>,
    endpoints: Vec<EndpointSetup>,
    /// Differs after each change. A session of an earlier generation looks for its endpoint again.
    generation: u64,
    /// The last report of the kernel.
    discarded: u32,
    burst: Burst,
}

/// How many datagrams are read from a socket when it has some. It follows the traffic, so that a socket with one datagram
/// at a time is not read twice. The kernel reports again what remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Burst(u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    Serving,
    Stopped,
}

impl Worker {
    /// # Errors
    /// If the kernel has no more files.
    pub(super) fn new(
        changes: Receiver<Change>,
        wake: Arc<OwnedFd>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE_EVENT), EventFlags::IN)?;
        Ok(Self {
            epoll,
            wake,
            changes,
            shared,
            listeners: Slab::new(),
            by_bind: HashMap::new(),
            flows: HashMap::new(),
            sessions: SessionTable::new(),
            kept_bytes: 0,
            spread: 0,
            now: Instant::now(),
            seen_refusals: 0,
            refused: VecDeque::new(),
            buffer: vec![0; MAX_HEADER_BYTES + MAX_DATAGRAM_BYTES],
            answers: vec![0; MAX_DATAGRAM_BYTES],
        })
    }

    /// Forwards datagrams until [`Change::Stop`] arrives.
    ///
    /// # Errors
    /// If the kernel reports no more events.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(MAX_EVENTS);
        loop {
            events.clear();
            let timeout = self.time_to_expiry();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            self.now = Instant::now();
            for event in &events {
                match event.data.u64() {
                    WAKE_EVENT => {
                        if self.apply_changes() == Running::Stopped {
                            return Ok(());
                        }
                    }
                    token if token & LISTENER_EVENT != 0 => {
                        self.receive_datagrams(
                            usize::try_from(token & !LISTENER_EVENT).unwrap_or(usize::MAX),
                        );
                    }
                    token => self.receive_answers(session_of(token)),
                }
            }
            self.rescue_lost();
            self.send_refused();
            while let Some(id) = self.sessions.expired(self.now) {
                self.end_session(id);
            }
        }
    }

    fn time_to_expiry(&self) -> Option<Timespec> {
        let wait = self.sessions.next_expiry()?.saturating_duration_since(Instant::now());
        // Rounded up: the kernel may count in milliseconds, and would return too early.
        Timespec::try_from(wait + Duration::from_millis(1)).ok()
    }

    fn apply_changes(&mut self) -> Running {
        let mut count = [0; 8];
        let _ = io::read(&self.wake, &mut count);
        while let Ok(change) = self.changes.try_recv() {
            let (done, result) = match change {
                Change::Set { setup, done } => (done, self.set_listener(setup)),
                Change::Delete { bind, done } => {
                    self.delete_listener(bind);
                    (done, Ok(()))
                }
                Change::Stop => return Running::Stopped,
            };
            // The requester may have left.
            let _ = done.send(result);
        }
        Running::Serving
    }

    fn set_listener(&mut self, setup: ListenerSetup) -> io::Result<()> {
        let ListenerSetup { listener, socket, counters, endpoints } = setup;
        let seeds = listener.endpoints.iter().map(Seed::new).collect();
        let bind = listener.bind;
        let existing = self.by_bind.get(&bind).and_then(|at| self.listeners.get_mut(*at));
        if let Some(served) = existing {
            let before = std::mem::replace(&mut served.listener, listener);
            (served.seeds, served.endpoints) = (seeds, endpoints);
            served.generation += 1;
            self.rescue_from_left(&before);
            return Ok(());
        }
        let socket = socket.ok_or(io::Errno::BADF)?;
        let entry = self.listeners.vacant_entry();
        let token = LISTENER_EVENT | entry.key() as u64;
        epoll::add(&self.epoll, &socket, EventData::new_u64(token), EventFlags::IN)?;
        self.by_bind.insert(bind, entry.key());
        let generation = 0;
        let discarded = 0;
        entry.insert(ServedListener {
            socket,
            listener,
            seeds,
            counters,
            endpoints,
            generation,
            discarded,
            burst: Burst::default(),
        });
        Ok(())
    }

    fn delete_listener(&mut self, bind: SocketAddr) {
        let Some(at) = self.by_bind.remove(&bind) else { return };
        for id in self.sessions.find_all(|session| session.key.listener == at) {
            self.end_session(id);
        }
        self.listeners.remove(at);
    }

    fn now_ms(&self) -> u64 {
        let since = self.now.saturating_duration_since(self.shared.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self(1)
    }
}

impl Burst {
    /// Returns the next one after so many datagrams were read.
    fn after(self, read: u8) -> Self {
        if self.0 <= read { Self((self.0 * 2).min(MAX_BURST)) } else { Self(read.max(1)) }
    }
}

impl ServedListener {
    /// Whether an endpoint gets new flows.
    fn accepts(&self, index: usize, except: Option<SocketAddr>) -> bool {
        let endpoint = &self.listener.endpoints[index];
        endpoint.accepts_flows() && Some(endpoint.address) != except
    }

    /// Whether another endpoint gets new flows.
    fn has_other(&self, endpoint: SocketAddr) -> bool {
        (0..self.seeds.len()).any(|index| self.accepts(index, Some(endpoint)))
    }
}

/// Wakes the thread that reads this descriptor.
pub(super) fn wake_up(wake: &OwnedFd) {
    // If the counter is at its limit, the thread is awake.
    let _ = io::write(wake, &1_u64.to_ne_bytes());
}

fn token_of(id: SessionId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.index)
}

#[allow(clippy::cast_possible_truncation, reason = "the halves of the token")]
fn session_of(token: u64) -> SessionId {
    SessionId { index: token as u32, generation: (token >> 32) as u32 }
}
