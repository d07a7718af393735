//! The shell around the work: one thread, and what a failure prints.

use crate::{
    api,
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
    signals::until_stopped,
    supervise::log_panics,
};
use anyhow::{Context, Result};
use std::{
    future::pending,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};
use tokio::{runtime::Builder, task::spawn_blocking};
use tracing::{info, warn};

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
            result = serve(settings, api::start, stop) => result,
            result = ignore => result,
        }
    }))
}
