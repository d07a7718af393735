//! What the service manager is sent: readiness, one line of status, the watchdog, the end. Without a service manager
//! nothing is sent.

use sd_notify::NotifyState;
use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::time::{Interval, interval};
use tracing::debug;

/// It was said to the service manager, which takes a later word of another kind for the truth.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// To the service manager: what was there to be done at the start is done.
pub fn notify_ready(status: &str) {
    if !STOPPING.load(Ordering::Relaxed) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }
}

/// To the service manager: one line for `systemctl status`.
pub fn notify_status(status: &str) {
    if !STOPPING.load(Ordering::Relaxed) {
        notify(&[NotifyState::Status(status)]);
    }
}

/// Tells the service manager that the loop goes round, where it wants to know (`WatchdogSec=`).
#[derive(Debug)]
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// Half of what the service manager waits for.
    pub fn from_env() -> Self {
        Self(sd_notify::watchdog_enabled().map(|timeout| interval(timeout / 2)))
    }

    /// One branch of the loop's `select`; for ever where nobody wants to know.
    pub async fn ping(&mut self) {
        let Some(interval) = &mut self.0 else { return pending().await };
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// From now on nothing else is sent.
pub fn notify_stopping() {
    STOPPING.store(true, Ordering::Relaxed);
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Nobody listens where no service manager runs, and that is fine.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "could not notify the service manager");
    }
}
