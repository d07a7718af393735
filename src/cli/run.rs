//! Runs the work of each program on one thread, and prints why it failed.

use crate::{
    api::start::start,
    controller::event_loop::run_command,
    handlers::{
        dispatcher,
        ini::IniError,
        load::{self, LoadedHandlers},
        source::query_swarm,
        source_store::list_sources,
        template::{RenderError, TemplateEnv, TemplateRenderer, TemplateSource},
    },
    settings::{GlueSettings, GlueTask, RunMode, Settings, options::glue::GlueCommand, paths},
    sources::{ContainerMap, certificate, docker::SwarmState},
    support::{log, signals::run_until_stopped, supervise::log_panics},
};
use anyhow::{Context, Result};
use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};
use tokio::{runtime::Builder, task::spawn_blocking};
use tracing::warn;

/// Neither Docker nor the running program answered.
pub(super) const EXIT_UNREACHABLE: u8 = 4;

/// Runs docker-balancer until the work is done or a signal stops it. Prints the error if it failed.
pub fn run_balancer(settings: Settings) -> ExitCode {
    log_panics();
    exit_code("docker-balancer", start_balancer(settings), ExitCode::FAILURE)
}

/// Runs docker-glue in the same way.
pub fn run_glue(task: GlueTask, settings: GlueSettings) -> ExitCode {
    log_panics();
    for note in &settings.notes {
        warn!("{note}");
    }
    let result = match task {
        GlueTask::Run(GlueCommand::Check) => return check_handlers(&settings),
        GlueTask::Run(GlueCommand::Render { template, keep_blank_lines }) => {
            return print_template(&settings, &template, keep_blank_lines);
        }
        GlueTask::Serve(RunMode::Once) => {
            block_on(run_until_stopped(|_, _| dispatcher::run_once(settings)))
        }
        GlueTask::Serve(RunMode::Watch) => {
            let work = |stop, hangups| dispatcher::run_until_stopped(settings, stop, hangups);
            block_on(run_until_stopped(work))
        }
    };
    let unreachable = |error: &anyhow::Error| error.is::<dispatcher::NothingRunError>();
    let failure = if result.as_ref().is_err_and(unreachable) { EXIT_UNREACHABLE } else { 1 };
    exit_code("docker-glue", result, ExitCode::from(failure))
}

pub(super) fn exit_code(program: &str, result: Result<()>, failure: ExitCode) -> ExitCode {
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
fn check_handlers(settings: &GlueSettings) -> ExitCode {
    let LoadedHandlers { handlers, errors: mistakes, notes, disabled, no_files_reason: nothing } =
        load::load_handlers(settings);
    for (handler, _) in &handlers {
        println!("{}: ok", handler.file.display());
    }
    for file in disabled {
        println!("{}: disabled", file.display());
    }
    for IniError { file, line, text } in notes {
        let text = format!("note: {text}");
        println!("{}", IniError { file, line, text });
    }
    for error in &mistakes {
        println!("{error}");
    }
    if let Some(nothing) = &nothing {
        println!("nothing to check: {nothing}");
    }
    if mistakes.is_empty() && nothing.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the rendered template to standard output.
fn print_template(settings: &GlueSettings, template: &str, keep_blank_lines: bool) -> ExitCode {
    let fail = |message: String| {
        eprintln!("docker-glue: {message}");
        ExitCode::FAILURE
    };
    let source = match TemplateSource::parse(template, Path::new("")) {
        Ok(source) => source,
        Err(message) => return fail(message),
    };
    let environment = TemplateEnv::from_source(&source, settings);
    let mut printer = TemplateRenderer::new(source, environment);
    if !keep_blank_lines {
        printer = printer.drop_blank_lines();
    }
    if let Err(fault) = printer.check_syntax() {
        return fail(fault.to_string());
    }
    // Nothing needs to be cleaned up, so the first signal stops the program at once.
    let result = block_on(run_until_stopped(|stop, _| async {
        tokio::select! {
            result = render_template(printer, settings) => result,
            () = stop => Err(StoppedError.into()),
        }
    }));
    match result {
        Ok((printer, Ok((text, _)))) => {
            if let Some(text) = printer.first_undefined() {
                eprintln!("docker-glue: {text}; printed as empty");
            }
            exit_code("docker-glue", write_stdout(&text), ExitCode::FAILURE)
        }
        Ok((_, Err(fault))) => fail(fault.to_string()),
        Err(error) if error.is::<StoppedError>() => {
            exit_code("docker-glue", Err(error), ExitCode::FAILURE)
        }
        Err(error) => exit_code("docker-glue", Err(error), ExitCode::from(EXIT_UNREACHABLE)),
    }
}

type RenderResult = Result<(String, bool), RenderError>;

#[derive(Debug, thiserror::Error)]
#[error("interrupted by a signal")]
struct StoppedError;

/// Renders on a separate thread, so that signals are still handled.
async fn render_template(
    mut printer: TemplateRenderer,
    settings: &GlueSettings,
) -> Result<(TemplateRenderer, RenderResult)> {
    let sources = list_sources(settings).await?;
    let containers = sources.iter().flat_map(|(_, containers)| containers.iter());
    let roster: ContainerMap =
        containers.map(|(id, container)| (id.clone(), Arc::clone(container))).collect();
    let roster = Arc::new(roster);
    let list_files = [settings.certificate_list.clone()];
    printer.set_certificates(certificate::read_lists(list_files.into()).await);
    let print = |mut printer: TemplateRenderer, swarm: Option<SwarmState>| {
        let roster = Arc::clone(&roster);
        spawn_blocking(move || {
            let text = printer.render(&roster, swarm.as_ref());
            (printer, text)
        })
    };
    let (printer, text) = print(printer, None).await?;
    if !matches!(text, Ok((_, true))) {
        return Ok((printer, text));
    }
    let swarm = query_swarm(&settings.sources).await?;
    Ok(print(printer, swarm).await?)
}

fn write_stdout(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot print")
}

pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // Threads that are still reading a file or resolving a name are not waited for.
    runtime.shutdown_background();
    result
}

fn start_balancer(settings: Settings) -> Result<()> {
    for note in &settings.notes {
        warn!("{note}");
    }
    paths::create_dir(&settings.state_dir)?;
    paths::create_private_dir(&settings.runtime_dir, nix::unistd::geteuid().as_raw())?;
    block_on(run_until_stopped(|stop, hangups| {
        run_command(settings, Vec::new(), start, stop, Some(hangups))
    }))
}
