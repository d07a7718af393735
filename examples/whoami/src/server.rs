//! What all connections share: the settings, the health and the way out.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::cli::Settings;

/// How long a request that has just arrived may take to be noticed before the
/// server believes that none is in flight.
const SETTLE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) name: String,
    healthy_from: Instant,
    /// What POST /healthy or /unhealthy said, which wins over the clock.
    health: Mutex<Option<bool>>,
    stopping: AtomicBool,
    listeners: Mutex<Vec<TcpListener>>,
    in_flight: Mutex<usize>,
    one_less: Condvar,
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
            in_flight: Mutex::default(),
            one_less: Condvar::new(),
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

    /// Notes that a request is in flight until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        *lock(&self.in_flight) += 1;
        InFlight(self)
    }

    /// Accepts no more connections and waits for the requests in flight.
    pub(crate) fn finish(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for listener in lock(&self.listeners).iter() {
            // Only a listener that is gone already refuses, which is as good.
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
        thread::sleep(SETTLE);
        let count = lock(&self.in_flight);
        drop(self.one_less.wait_while(count, |count| *count > 0));
    }
}

/// A request in flight, which a server that stops waits for.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a Server);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *lock(&self.0.in_flight) -= 1;
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
