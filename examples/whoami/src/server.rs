//! What all connections share: the settings, the health and the way out.

use std::fs;
use std::io;
use std::mem;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cli::Settings;

/// How long the first request of a connection may take to arrive when the
/// server stops.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    healthy_from: Instant,
    /// What POST /healthy or /unhealthy said, which wins over the clock.
    health: Mutex<Option<bool>>,
    stopping: AtomicBool,
    listeners: Mutex<Vec<TcpListener>>,
    /// Connections without a request so far.
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

    /// Keeps a listener to be shut when the server stops.
    pub(crate) fn keep(&self, listener: TcpListener) {
        lock(&self.listeners).push(listener);
    }

    /// Answers are the last of their connections from now on. Returns the
    /// listeners, which are to be closed.
    pub(crate) fn stop(&self) -> Vec<TcpListener> {
        self.stopping.store(true, Ordering::SeqCst);
        mem::take(&mut *lock(&self.listeners))
    }

    /// Waits for the requests in flight, and for those of new connections that
    /// arrive soon.
    pub(crate) fn wait_until_idle(&self) {
        self.unread.wait_for_zero(FIRST_REQUEST);
        self.in_flight.wait_for_zero(Duration::MAX);
    }
}

/// Counts what is going on.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    count: Mutex<usize>,
    one_less: Condvar,
}

impl Counter {
    /// Counts one more until the guard is dropped.
    pub(crate) fn add(self: &Arc<Self>) -> Counted {
        *lock(&self.count) += 1;
        Counted(Arc::clone(self))
    }

    fn wait_for_zero(&self, limit: Duration) {
        let count = lock(&self.count);
        drop(self.one_less.wait_timeout_while(count, limit, |count| *count > 0));
    }
}

/// One that a [`Counter`] counts.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Counter>);

impl Drop for Counted {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        self.0.one_less.notify_all();
    }
}

/// Nothing here is left half changed by a panic, so a poisoned lock is fine.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}
