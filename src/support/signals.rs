//! Signals: the first SIGTERM or SIGINT stops the work in order, a second one ends the program at once. SIGHUP reads
//! files again.

use crate::support::systemd;
use anyhow::{Context, Result, anyhow};
use futures_util::future::{BoxFuture, FutureExt};
use std::io;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{info, warn};

/// Resolves when the work should stop.
pub type StopSignal = BoxFuture<'static, ()>;
pub type ReloadRequests = mpsc::Receiver<()>;

/// Runs `work`. The first SIGTERM or SIGINT resolves its stop signal, a second one ends it at once. Each SIGHUP is
/// passed on as a reload request.
pub async fn run_until_stopped<W, T>(
    work: impl FnOnce(StopSignal, ReloadRequests) -> W,
) -> Result<T>
where
    W: Future<Output = Result<T>>,
{
    let signals = Signals::new().context("cannot listen for signals")?;
    let (sender, receiver) = oneshot::channel();
    let (hangup, hangups) = mpsc::channel(1);
    tokio::select! {
        result = work(receiver.map(drop).boxed(), hangups) => result,
        () = signals.handle_signals(sender, hangup) => Err(anyhow!("stopped immediately by a second signal")),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn handle_signals(mut self, sender: oneshot::Sender<()>, hangup: mpsc::Sender<()>) {
        let signal = self.next_signal(&hangup).await;
        info!(signal, "stopping");
        systemd::notify_stopping();
        // The work may have ended already.
        let _ = sender.send(());
        let signal = self.next_signal(&hangup).await;
        warn!(signal, "stopping immediately");
    }

    /// Returns the next signal that asks to stop.
    async fn next_signal(&mut self, hangup: &mpsc::Sender<()>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // If a reload request is pending already, a second one is not needed.
                _ = self.hangup.recv() => drop(hangup.try_send(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};
    use std::future::pending;

    /// One test only, because a signal affects the whole process.
    #[tokio::test]
    async fn first_signal_requests_stop_and_second_ends_at_once() {
        run_until_stopped(async |_, _| Ok(())).await.unwrap();

        let obedient = async |stop: StopSignal, mut hangups: ReloadRequests| {
            raise(Signal::SIGHUP)?;
            hangups.recv().await;
            raise(Signal::SIGTERM)?;
            stop.await;
            Ok(())
        };
        run_until_stopped(obedient).await.unwrap();

        let deaf = async |stop: StopSignal, _: ReloadRequests| {
            raise(Signal::SIGINT)?;
            stop.await;
            raise(Signal::SIGTERM)?;
            pending::<Result<()>>().await
        };
        let error = run_until_stopped(deaf).await.unwrap_err();
        assert_eq!(error.to_string(), "stopped immediately by a second signal");
    }
}
