//! Notifications to the service manager: readiness, one line of status, the watchdog, stopping. Without a service
//! manager nothing is sent.

use sd_notify::NotifyState;
use std::{
    future::pending,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio::time::{Interval, interval};
use tracing::debug;

/// Whether `STOPPING=1` was sent. A later notification would replace that state in the service manager.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Notifies the service manager that startup is complete.
pub fn notify_ready(status: &str) {
    if !STOPPING.load(Ordering::Relaxed) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }
}

/// Sends one line for `systemctl status`.
pub fn notify_status(status: &str) {
    if !STOPPING.load(Ordering::Relaxed) {
        notify(&[NotifyState::Status(status)]);
    }
}

/// Notifies the service manager that the main loop is running, if it asks for that (`WatchdogSec=`).
#[derive(Debug)]
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// The interval is half of the service manager's timeout.
    pub fn from_env() -> Self {
        Self(sd_notify::watchdog_enabled().map(|timeout| interval(timeout / 2)))
    }

    /// One branch of the main loop's `select`. It never completes if the service manager has no watchdog.
    pub async fn ping(&mut self) {
        let Some(interval) = &mut self.0 else { return pending().await };
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// Notifies the service manager that the program stops. Nothing else is sent after this.
pub fn notify_stopping() {
    STOPPING.store(true, Ordering::Relaxed);
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Failures are only logged at debug level, because a program without a service manager is normal.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "could not notify the service manager");
    }
}
