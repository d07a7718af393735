//! The shell around the work: one thread, signals, and word to the service manager.

use crate::{
    serve::serve,
    settings::{Settings, place},
};
use anyhow::{Context, Result, anyhow};
use futures_util::future::{BoxFuture, FutureExt};
use sd_notify::NotifyState;
use std::{io, process::ExitCode};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use tracing::{debug, info, warn};

/// Ends when the work should end.
pub type Stop = BoxFuture<'static, ()>;

/// Works until the work is done, or a signal ends it. Says why it failed, if it did.
pub fn run(settings: Settings) -> ExitCode {
    match start(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("docker-balancer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: Settings) -> Result<()> {
    for note in &settings.notes {
        warn!("{note}");
    }
    place::make(&settings.state_dir)?;
    place::make_private(&settings.runtime_dir, nix::unistd::geteuid().as_raw())?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(until_stopped(|stop| serve(settings, stop)));
    // Threads that still read a file or a name are not waited for.
    runtime.shutdown_background();
    result
}

/// The first SIGTERM or SIGINT asks the work to end, a second one ends it.
pub async fn until_stopped<W>(work: impl FnOnce(Stop) -> W) -> Result<()>
where
    W: Future<Output = Result<()>>,
{
    let signals = Signals::new().context("cannot listen for signals")?;
    let (tell, told) = oneshot::channel();
    tokio::select! {
        result = work(told.map(drop).boxed()) => result,
        () = signals.twice(tell) => Err(anyhow!("stopped at once by a second signal")),
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

    async fn twice(mut self, tell: oneshot::Sender<()>) {
        let signal = self.next().await;
        info!(signal, "stopping");
        stopping();
        // The work may have ended by itself.
        let _ = tell.send(());
        let signal = self.next().await;
        warn!(signal, "stopping at once");
    }

    /// The next one that asks to stop. SIGHUP is kept for later, and does not end us meanwhile.
    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hangup.recv() => info!("sighup changes nothing: docker is followed anyway"),
            }
        }
    }
}

/// To the service manager: what was there to be done at the start is done.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// To the service manager: one line for `systemctl status`.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Nobody listens where no service manager runs, and that is fine.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, raise};
    use std::future::pending;

    /// One test, since a signal is for the whole process.
    #[tokio::test]
    async fn one_signal_asks_and_a_second_one_insists() {
        until_stopped(async |_| Ok(())).await.unwrap();

        let obedient = async |stop: Stop| {
            raise(Signal::SIGHUP)?;
            raise(Signal::SIGTERM)?;
            stop.await;
            Ok(())
        };
        until_stopped(obedient).await.unwrap();

        let deaf = async |stop: Stop| {
            raise(Signal::SIGINT)?;
            stop.await;
            raise(Signal::SIGTERM)?;
            pending().await
        };
        let error = until_stopped(deaf).await.unwrap_err();
        assert_eq!(error.to_string(), "stopped at once by a second signal");
    }
}
