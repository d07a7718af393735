//! State that all connections share: settings, health and shutdown.

use std::fs;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::Settings;

/// How long the server waits at its stop for the first request of a connection.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    healthy_from: Instant,
    /// The state that POST /healthy or /unhealthy set; it overrides
    /// `healthy_from`.
    health: Mutex<Option<bool>>,
    stopping: AtomicBool,
    listeners: Mutex<Vec<TcpListener>>,
    /// The listeners whose connections are echoed.
    echoes: Mutex<Vec<TcpListener>>,
    /// Connections that have not sent a request yet.
    pub(crate) unread: Arc<Counter>,
    pub(crate) in_flight: Arc<Counter>,
}

impl Server {
    pub(crate) fn new(settings: Settings) -> io::Result<Self> {
        let name = match &settings.name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        Ok(Self {
            name,
            healthy_from: Instant::now() + settings.healthy_after,
            settings,
            health: Mutex::default(),
            stopping: AtomicBool::new(false),
            listeners: Mutex::default(),
            echoes: Mutex::default(),
            unread: Arc::default(),
            in_flight: Arc::default(),
        })
    }

    pub(crate) fn healthy(&self) -> bool {
        lock(&self.health).unwrap_or_else(|| Instant::now() >= self.healthy_from)
    }

    pub(crate) fn set_healthy(&self, healthy: bool) {
        *lock(&self.health) = Some(healthy);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Stores a listener, which is shut down when the server stops.
    pub(crate) fn keep(&self, listener: TcpListener) {
        lock(&self.listeners).push(listener);
    }

    /// Like [`keep`](Self::keep), for a listener whose connections are echoed.
    pub(crate) fn keep_echo(&self, listener: TcpListener) {
        lock(&self.echoes).push(listener);
    }

    /// Makes each further answer the last one of its connection. Returns the
    /// listeners, and those whose connections are echoed. The caller has to
    /// close both.
    pub(crate) fn stop(&self) -> (Vec<TcpListener>, Vec<TcpListener>) {
        self.stopping.store(true, Ordering::SeqCst);
        (mem::take(&mut *lock(&self.listeners)), mem::take(&mut *lock(&self.echoes)))
    }

    /// Waits for the requests in flight, and for those of new connections that
    /// arrive soon.
    pub(crate) fn wait_until_idle(&self) {
        self.unread.wait_for_zero(FIRST_REQUEST);
        self.in_flight.wait_for_zero(Duration::MAX);
    }
}

/// Counts what is in progress.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    count: Mutex<usize>,
    one_less: Condvar,
}

impl Counter {
    /// Adds one until the guard is dropped.
    pub(crate) fn add(self: &Arc<Self>) -> Counted {
        *lock(&self.count) += 1;
        Counted(Arc::clone(self))
    }

    fn wait_for_zero(&self, limit: Duration) {
        let count = lock(&self.count);
        drop(self.one_less.wait_timeout_while(count, limit, |count| *count > 0));
    }
}

/// A guard for one unit of a [`Counter`].
#[derive(Debug)]
pub(crate) struct Counted(Arc<Counter>);

impl Drop for Counted {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.one_less.notify_all();
    }
}

/// Ignores poisoning: a panic cannot leave these values half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}
