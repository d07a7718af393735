//! The owner of all listeners: opens their sockets, distributes them to the threads, and reports what the threads count.

use super::{
    counters::{EndpointCounters, ListenerCounters},
    health::EndpointHealth,
    socket,
    worker::{Change, EndpointSetup, ListenerSetup, Shared, Worker, wake_up},
};
use crate::udp::{
    answer::{
        FlowReport, PlaneReport, UdpAnswer, UdpCounters, UdpEndpointReport, UdpListenerReport,
    },
    command::{PROTOCOL, UdpCommand},
    config::{UdpEndpoint, UdpListener},
    engine::Engine,
};
use anyhow::{Context, Result};
use nix::errno::Errno;
use rustix::{
    event::{EventfdFlags, eventfd},
    io,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Instant, SystemTime},
};
use tokio::sync::{mpsc, oneshot};
use tracing::error;

/// The greatest number of bytes of datagrams that are kept for another attempt, by all threads together.
const KEPT_BYTES: usize = 64 << 20;

#[derive(Debug)]
pub(super) struct Plane {
    threads: Vec<WorkerThread>,
    listeners: BTreeMap<SocketAddr, PlaneListener>,
    shared: Arc<Shared>,
    /// Unix time in seconds.
    started: u64,
    revision: u64,
    /// The counters of deleted listeners.
    deleted: UdpCounters,
}

#[derive(Debug)]
struct WorkerThread {
    changes: std::sync::mpsc::Sender<Change>,
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct PlaneListener {
    listener: Arc<UdpListener>,
    /// By thread.
    counters: Vec<Arc<ListenerCounters>>,
    /// By identifier and address.
    endpoints: BTreeMap<(String, SocketAddr), PlaneEndpoint>,
}

#[derive(Debug)]
struct PlaneEndpoint {
    endpoint: UdpEndpoint,
    health: Arc<EndpointHealth>,
    /// By thread.
    counters: Vec<Arc<EndpointCounters>>,
}

impl Plane {
    /// Starts the threads. Each of them holds `running` until it ends.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn start(
        count: usize,
        session_limit: usize,
        running: &mpsc::Sender<()>,
    ) -> Result<Self> {
        let started = Instant::now();
        let (sessions, kept_limit) = (AtomicUsize::new(0), KEPT_BYTES / count);
        let wake = |_| Ok(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?));
        let wakes = (0..count).map(wake).collect::<io::Result<Vec<_>>>()?;
        let refusals = AtomicU64::new(0);
        let shared =
            Arc::new(Shared { started, sessions, session_limit, kept_limit, refusals, wakes });
        let threads = (0..count).map(|number| {
            WorkerThread::start(number, Arc::clone(&shared), running.clone())
                .context("cannot start a thread")
        });
        let threads = threads.collect::<Result<_>>()?;
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started = started.map_or(0, |time| time.as_secs());
        let (listeners, deleted) = (BTreeMap::new(), UdpCounters::default());
        Ok(Self { threads, listeners, shared, started, revision: 0, deleted })
    }

    /// Carries out a command. Returns the lines of the answer.
    pub(super) async fn execute(&mut self, command: UdpCommand) -> Vec<UdpAnswer> {
        match command {
            UdpCommand::Set(listener) => {
                let bind = listener.bind;
                vec![match self.set(*listener).await {
                    Ok(()) => UdpAnswer::Listener(Box::new(self.report_listener(bind))),
                    Err(reason) => UdpAnswer::Error(reason),
                }]
            }
            UdpCommand::Delete(bind) => {
                self.delete(bind).await;
                vec![UdpAnswer::Deleted(bind)]
            }
            UdpCommand::Totals => vec![UdpAnswer::Plane(self.report())],
            UdpCommand::Flows(start) => vec![UdpAnswer::Flows(self.count_flows(&start))],
            UdpCommand::Show => {
                let listeners = self.listeners.keys().map(|bind| self.report_listener(*bind));
                let listeners = listeners.map(|report| UdpAnswer::Listener(Box::new(report)));
                std::iter::once(UdpAnswer::Plane(self.report())).chain(listeners).collect()
            }
        }
    }

    /// The number of changes since the start.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn listeners(&self) -> Vec<Arc<UdpListener>> {
        self.listeners.values().map(|entry| Arc::clone(&entry.listener)).collect()
    }

    /// Ends the threads and all flows.
    pub(super) fn stop(self) {
        for thread in &self.threads {
            thread.send(Change::Stop);
        }
        for thread in self.threads {
            let _ = thread.thread.join();
        }
    }

    /// Serves a listener. If one with its address and port exists, its flows stay.
    async fn set(&mut self, listener: UdpListener) -> Result<(), String> {
        let bind = listener.bind;
        if self.listeners.get(&bind).is_some_and(|entry| *entry.listener == listener) {
            return Ok(());
        }
        let count = self.threads.len();
        let sockets: Vec<_> = if self.listeners.contains_key(&bind) {
            (0..count).map(|_| None).collect()
        } else {
            let opened = self.open_sockets(bind).map_err(|error| bind_error(bind, error))?;
            opened.into_iter().map(Some).collect()
        };
        let entry = self.listeners.entry(bind).or_insert_with(|| PlaneListener::new(bind, count));
        entry.replace(listener, count);
        self.revision += 1;
        let mut pending = Vec::new();
        for (number, (thread, socket)) in self.threads.iter().zip(sockets).enumerate() {
            let (done, effective) = oneshot::channel();
            thread.send(Change::Set { setup: entry.setup(number, socket), done });
            pending.push(effective);
        }
        for effective in pending {
            if let Err(reason) = wait_for(effective).await {
                self.delete(bind).await;
                return Err(format!("cannot listen on {bind}: {reason}"));
            }
        }
        Ok(())
    }

    fn open_sockets(&self, bind: SocketAddr) -> Result<Vec<OwnedFd>, Errno> {
        // The own listeners of one port share it: `[::]` serves what `0.0.0.0` does not.
        if !self.listeners.keys().any(|other| other.port() == bind.port()) {
            socket::check_available(bind)?;
        }
        socket::open_listeners(bind, self.threads.len())
    }

    async fn delete(&mut self, bind: SocketAddr) {
        let Some(entry) = self.listeners.remove(&bind) else { return };
        self.revision += 1;
        for thread in &self.threads {
            let (done, effective) = oneshot::channel();
            thread.send(Change::Delete { bind, done });
            let _ = wait_for(effective).await;
        }
        self.deleted += entry.sum();
    }

    fn report(&self) -> PlaneReport {
        PlaneReport {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: Engine::User,
            pid: std::process::id(),
            revision: self.revision,
            threads: self.threads.len(),
            started: self.started,
            listeners: self.listeners.len(),
            sessions: self.shared.sessions.load(Relaxed) as u64,
            session_limit: self.shared.session_limit as u64,
            counters: self.deleted + self.listeners.values().map(PlaneListener::sum).sum(),
        }
    }

    fn count_flows(&self, start: &str) -> FlowReport {
        let mut report = FlowReport::default();
        for entry in self.listeners.values() {
            let endpoints = entry.endpoints.values();
            for endpoint in endpoints.filter(|entry| entry.endpoint.id.starts_with(start)) {
                report.accepting += usize::from(endpoint.endpoint.accepts_flows());
                // No answer is expected, and the session that the clients share gets no new datagrams.
                if !entry.listener.is_one_way() {
                    report.open += endpoint.report().sessions;
                }
            }
        }
        report
    }

    /// The listener exists.
    fn report_listener(&self, bind: SocketAddr) -> UdpListenerReport {
        let entry = &self.listeners[&bind];
        let endpoint = |entry: &PlaneEndpoint| (entry.endpoint.id.clone(), entry.report());
        UdpListenerReport {
            listener: UdpListener::clone(&entry.listener),
            sessions: entry.counters.iter().map(|counters| counters.open_sessions.read()).sum(),
            counters: entry.sum(),
            endpoints: entry.endpoints.values().map(endpoint).collect(),
        }
    }
}

impl PlaneListener {
    fn new(bind: SocketAddr, threads: usize) -> Self {
        Self {
            listener: Arc::new(UdpListener::new(bind)),
            counters: (0..threads).map(|_| Arc::default()).collect(),
            endpoints: BTreeMap::new(),
        }
    }

    /// Endpoints that remain keep their counters. A changed endpoint gets another chance if it has refused.
    fn replace(&mut self, listener: UdpListener, threads: usize) {
        let mut old = std::mem::take(&mut self.endpoints);
        let entry = |endpoint: &UdpEndpoint| {
            let key = key_of(endpoint);
            let mut entry = old.remove(&key).unwrap_or_else(|| PlaneEndpoint {
                endpoint: endpoint.clone(),
                health: Arc::default(),
                counters: (0..threads).map(|_| Arc::default()).collect(),
            });
            if entry.endpoint != *endpoint {
                (entry.endpoint, entry.health) = (endpoint.clone(), Arc::default());
            }
            (key, entry)
        };
        self.endpoints = listener.endpoints.iter().map(entry).collect();
        self.listener = Arc::new(listener);
    }

    fn setup(&self, thread: usize, socket: Option<OwnedFd>) -> ListenerSetup {
        let endpoint = |endpoint| {
            let PlaneEndpoint { health, counters, .. } = &self.endpoints[&key_of(endpoint)];
            let counters = Arc::clone(&counters[thread]);
            EndpointSetup { health: Arc::clone(health), counters }
        };
        ListenerSetup {
            listener: Arc::clone(&self.listener),
            socket,
            counters: Arc::clone(&self.counters[thread]),
            endpoints: self.listener.endpoints.iter().map(endpoint).collect(),
        }
    }

    fn sum(&self) -> UdpCounters {
        self.counters.iter().map(|counters| counters.read()).sum()
    }
}

impl PlaneEndpoint {
    fn report(&self) -> UdpEndpointReport {
        let refusing = self.health.is_refusing();
        let mut report = UdpEndpointReport { refusing, ..UdpEndpointReport::default() };
        for counters in &self.counters {
            counters.add_to(&mut report);
        }
        report
    }
}

fn key_of(endpoint: &UdpEndpoint) -> (String, SocketAddr) {
    (endpoint.id.clone(), endpoint.address)
}

impl WorkerThread {
    fn start(number: usize, shared: Arc<Shared>, running: mpsc::Sender<()>) -> Result<Self> {
        let wake = Arc::clone(&shared.wakes[number]);
        let (changes, receiver) = std::sync::mpsc::channel();
        let mut worker = Worker::new(receiver, Arc::clone(&wake), shared)?;
        let thread = thread::Builder::new().name(format!("udp-{number}")).spawn(move || {
            // Dropped when the thread ends or panics.
            let _running = running;
            if let Err(error) = worker.run() {
                error!("a thread of the data plane ended: {error}");
            }
        })?;
        Ok(Self { changes, wake, thread })
    }

    /// A thread that has ended is noticed elsewhere.
    fn send(&self, change: Change) {
        let _ = self.changes.send(change);
        wake_up(&self.wake);
    }
}

async fn wait_for(effective: oneshot::Receiver<io::Result<()>>) -> Result<(), String> {
    match effective.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("a thread of the data plane has ended".to_owned()),
    }
}

pub(super) fn bind_error(bind: SocketAddr, error: Errno) -> String {
    let hint = match error {
        Errno::EADDRINUSE => "another program has the port",
        Errno::EADDRNOTAVAIL => "this machine does not have the address",
        Errno::EACCES => "ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        Errno::EMFILE | Errno::ENFILE => "there are too many open files",
        error => error.desc(),
    };
    format!("cannot listen on {bind}: {hint}")
}
