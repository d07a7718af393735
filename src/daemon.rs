//! The shell around the work: one thread, signals, and word to the service manager.

use crate::{
    cli::glue::Verb,
    docker::{self, Access, Engine, SwarmSaid},
    handler::{
        agent,
        ini::Mistake,
        load::{self, Found},
        template::{Fault, Outside, Printer, Source},
    },
    log,
    serve::serve,
    settings::{Command, GlueSettings, GlueTask, Settings, place},
    supervise::log_panics,
};
use anyhow::{Context, Result, anyhow};
use futures_util::future::{BoxFuture, FutureExt};
use sd_notify::NotifyState;
use std::{
    future::pending,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Interval, interval},
};
use tracing::{debug, info, warn};

/// Ends when the work should end.
pub type Stop = BoxFuture<'static, ()>;
pub type Hangups = mpsc::Receiver<()>;

/// No Docker, or no daemon, could be asked.
const UNREACHABLE: u8 = 4;

/// docker-balancer's work, until it is done or a signal ends it. Says why it failed, if it did.
pub fn run(settings: Settings) -> ExitCode {
    log_panics();
    told("docker-balancer", start(settings), ExitCode::FAILURE)
}

/// docker-glue's.
pub fn glue(task: GlueTask, settings: GlueSettings) -> ExitCode {
    log_panics();
    for note in &settings.notes {
        warn!("{note}");
    }
    let access = Access::from(&settings.docker);
    let result = match task {
        GlueTask::Run(Verb::Check) => return check(&settings),
        GlueTask::Run(Verb::Render { template, keep_blank_lines }) => {
            return render(&settings, &template, keep_blank_lines);
        }
        GlueTask::Serve(Command::Once) => {
            block_on(until_stopped(|_, _| agent::once(settings, access)))
        }
        GlueTask::Serve(Command::Watch) => {
            let work = |stop, hangups| agent::follow(settings, access, stop, hangups);
            block_on(until_stopped(work))
        }
    };
    let unreachable = |error: &anyhow::Error| error.is::<agent::Unreachable>();
    let failure = if result.as_ref().is_err_and(unreachable) { UNREACHABLE } else { 1 };
    told("docker-glue", result, ExitCode::from(failure))
}

fn told(program: &str, result: Result<()>, failure: ExitCode) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::flush();
            eprintln!("{program}: {error:#}");
            failure
        }
    }
}

#[allow(clippy::print_stdout, reason = "it is what was asked for")]
fn check(settings: &GlueSettings) -> ExitCode {
    let Found { handlers, mistakes, notes, disabled, nothing } = load::load(settings);
    for (handler, _) in &handlers {
        println!("{}: well", handler.file.display());
    }
    for file in disabled {
        println!("{}: not enabled", file.display());
    }
    for Mistake { file, line, text } in notes {
        let text = format!("note: {text}");
        println!("{}", Mistake { file, line, text });
    }
    for mistake in &mistakes {
        println!("{mistake}");
    }
    if let Some(nothing) = &nothing {
        println!("nothing to check: {nothing}");
    }
    if mistakes.is_empty() && nothing.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The template on standard output.
fn render(settings: &GlueSettings, template: &str, keep_blank_lines: bool) -> ExitCode {
    let wrong = |told: String| {
        eprintln!("docker-glue: {told}");
        ExitCode::FAILURE
    };
    let source = match Source::read(template, Path::new("")) {
        Ok(source) => source,
        Err(told) => return wrong(told),
    };
    let outside = Outside::of(&source, settings);
    let mut printer = Printer::new(source, outside);
    if !keep_blank_lines {
        printer = printer.drop_blank_lines();
    }
    if let Err(fault) = printer.check() {
        return wrong(fault.to_string());
    }
    let access = Access::from(&settings.docker);
    // There is nothing to be tidied up, so that the first signal ends it.
    let asked = block_on(until_stopped(|stop, _| async {
        tokio::select! {
            asked = printed(printer, &access) => asked,
            () = stop => Err(Stopped.into()),
        }
    }));
    match asked {
        Ok((printer, Ok((text, _)))) => {
            if let Some(text) = printer.undefined() {
                eprintln!("docker-glue: {text}; nothing is printed in its place");
            }
            told("docker-glue", write_out(&text), ExitCode::FAILURE)
        }
        Ok((_, Err(fault))) => wrong(fault.to_string()),
        Err(error) if error.is::<Stopped>() => told("docker-glue", Err(error), ExitCode::FAILURE),
        Err(error) => told("docker-glue", Err(error), ExitCode::from(UNREACHABLE)),
    }
}

type Printed = Result<(String, bool), Fault>;

#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal")]
struct Stopped;

/// On a thread of its own, so that a signal is heard meanwhile.
async fn printed(printer: Printer, access: &Access) -> Result<(Printer, Printed)> {
    let roster = docker::take_roll(access).await?;
    let print = |mut printer: Printer, swarm: Option<SwarmSaid>| {
        let roster = Arc::clone(&roster);
        spawn_blocking(move || {
            let text = printer.print(&roster, swarm.as_ref());
            (printer, text)
        })
    };
    let (printer, text) = print(printer, None).await?;
    if !matches!(text, Ok((_, true))) {
        return Ok((printer, text));
    }
    let swarm = Engine::connect(access).await?.swarm().await?;
    Ok(print(printer, swarm).await?)
}

fn write_out(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot print")
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // Threads that still read a file or a name are not waited for.
    runtime.shutdown_background();
    result
}

fn start(settings: Settings) -> Result<()> {
    for note in &settings.notes {
        warn!("{note}");
    }
    place::make(&settings.state_dir)?;
    place::make_private(&settings.runtime_dir, nix::unistd::geteuid().as_raw())?;
    block_on(until_stopped(|stop, hangups| async {
        let ignore = async move {
            let mut hangups = hangups;
            while hangups.recv().await.is_some() {
                info!("sighup changes nothing: docker is followed anyway");
            }
            pending().await
        };
        tokio::select! {
            result = serve(settings, stop) => result,
            result = ignore => result,
        }
    }))
}

/// The first SIGTERM or SIGINT asks the work to end, a second one ends it. The work hears of each SIGHUP.
pub async fn until_stopped<W, T>(work: impl FnOnce(Stop, Hangups) -> W) -> Result<T>
where
    W: Future<Output = Result<T>>,
{
    let signals = Signals::new().context("cannot listen for signals")?;
    let (tell, told) = oneshot::channel();
    let (hangup, hangups) = mpsc::channel(1);
    tokio::select! {
        result = work(told.map(drop).boxed(), hangups) => result,
        () = signals.twice(tell, hangup) => Err(anyhow!("stopped at once by a second signal")),
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

    async fn twice(mut self, tell: oneshot::Sender<()>, hangup: mpsc::Sender<()>) {
        let signal = self.next(&hangup).await;
        info!(signal, "stopping");
        stopping();
        // The work may have ended by itself.
        let _ = tell.send(());
        let signal = self.next(&hangup).await;
        warn!(signal, "stopping at once");
    }

    /// The next one that asks to stop.
    async fn next(&mut self, hangup: &mpsc::Sender<()>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // One that waits already is enough.
                _ = self.hangup.recv() => drop(hangup.try_send(())),
            }
        }
    }
}

/// It was said to the service manager, which takes a later word of another kind for the truth.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// To the service manager: what was there to be done at the start is done.
pub fn ready(status: &str) {
    if !STOPPING.load(Ordering::Relaxed) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }
}

/// To the service manager: one line for `systemctl status`.
pub fn status(status: &str) {
    if !STOPPING.load(Ordering::Relaxed) {
        notify(&[NotifyState::Status(status)]);
    }
}

/// Tells the service manager that the loop goes round, where it wants to know (`WatchdogSec=`).
#[derive(Debug)]
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// Half of what the service manager waits for.
    pub fn of_service_manager() -> Self {
        Self(sd_notify::watchdog_enabled().map(|patience| interval(patience / 2)))
    }

    /// One branch of the loop's `select`; for ever where nobody wants to know.
    pub async fn pat(&mut self) {
        let Some(interval) = &mut self.0 else { return pending().await };
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn stopping() {
    STOPPING.store(true, Ordering::Relaxed);
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

    /// One test, since a signal is for the whole process.
    #[tokio::test]
    async fn one_signal_asks_and_a_second_one_insists() {
        until_stopped(async |_, _| Ok(())).await.unwrap();

        let obedient = async |stop: Stop, mut hangups: Hangups| {
            raise(Signal::SIGHUP)?;
            hangups.recv().await;
            raise(Signal::SIGTERM)?;
            stop.await;
            Ok(())
        };
        until_stopped(obedient).await.unwrap();

        let deaf = async |stop: Stop, _: Hangups| {
            raise(Signal::SIGINT)?;
            stop.await;
            raise(Signal::SIGTERM)?;
            pending::<Result<()>>().await
        };
        let error = until_stopped(deaf).await.unwrap_err();
        assert_eq!(error.to_string(), "stopped at once by a second signal");
    }
}
