//! Runs the subcommands: sends requests, prints the answers, returns the exit status.

mod certificate;
mod check;
mod check_tls;
mod drain;
pub mod explain;
mod inputs;
mod list;
mod migrate;
mod offline;
mod plan;
mod ready;
mod rollback;
mod status;
pub(super) mod terminal;

use crate::{
    api::control::{client::DaemonUnreachableError, socket_path},
    report::{explain::request::ExplainRequest, label_reference},
    settings::{
        DaemonRequest, Settings, SettingsNote,
        options::{CertificateCommand, DaemonCommand, LabelFormat, LocalCommand},
    },
};
use anyhow::Result;
use inputs::DockerQueryError;
use std::{io::Write, process::ExitCode};
use tokio::runtime::Builder;

/// Docker, or the running docker-balancer, could not be queried.
const EXIT_UNREACHABLE: u8 = 4;

/// Runs a command that needs the running docker-balancer.
pub fn run_remote(request: &DaemonRequest) -> ExitCode {
    print_notes(&request.notes);
    let socket = socket_path(&request.runtime_dir);
    print_output(match &request.command {
        DaemonCommand::Drain { container, wait, cut } => {
            block_on(drain::drain_container(&socket, container, *wait, *cut))
        }
        DaemonCommand::Undrain { container } => {
            block_on(drain::undrain_container(&socket, container))
        }
        DaemonCommand::Status { fleet: true, json: true, .. } => {
            block_on(status::fetch_json(&socket, "/fleet"))
        }
        DaemonCommand::Status { fleet: true, .. } => block_on(status::show_fleet(&socket)),
        DaemonCommand::Status { watch: true, .. } => block_on(status::watch_status(&socket)),
        DaemonCommand::Status { json: true, .. } => {
            block_on(status::fetch_json(&socket, "/status"))
        }
        DaemonCommand::Status { .. } => block_on(status::show_status(&socket)),
        DaemonCommand::Routes { json: true } => block_on(status::fetch_json(&socket, "/routes")),
        DaemonCommand::Routes { json: false } => block_on(list::list_routes(&socket)),
        DaemonCommand::Problems { json } => block_on(list::list_problems(&socket, *json)),
        DaemonCommand::Certificates { json } => {
            block_on(certificate::list_certificates(&socket, *json))
        }
        DaemonCommand::History { json: true, .. } => {
            block_on(status::fetch_json(&socket, "/history"))
        }
        DaemonCommand::History { last, .. } => block_on(list::list_history(&socket, *last)),
        DaemonCommand::Rollback { number: Some(number), .. } => {
            block_on(rollback::start_rollback(&socket, *number))
        }
        DaemonCommand::Rollback { number: None, .. } => {
            block_on(rollback::release_rollback(&socket))
        }
    })
}

/// Runs a command that does not need one.
pub fn run_local(look: &LocalCommand, settings: &Settings) -> ExitCode {
    print_notes(&settings.notes);
    print_output(match look {
        LocalCommand::Explain { url, method, from, header, user, format } => block_on(async {
            let from = from.map(|from| from.0);
            let request = ExplainRequest::with_client(method.clone(), url.clone(), from)?
                .with_headers(header.clone(), user.clone())?;
            explain::run_explain(&request, *format, settings).await
        }),
        LocalCommand::Plan { compose, format } => {
            block_on(plan::run_plan(compose.as_deref(), *format, settings))
        }
        LocalCommand::Check { compose, image } => {
            block_on(check::run_check(compose.as_deref(), image.as_deref(), settings))
        }
        LocalCommand::Migrate { from, compose, running: _ } => {
            block_on(migrate::run_migrate(*from, compose, settings))
        }
        LocalCommand::Certificate(command) => {
            let socket = socket_path(&settings.runtime_dir);
            match command {
                CertificateCommand::Renew { host } => {
                    block_on(certificate::renew_certificate(&socket, host))
                }
                CertificateCommand::Record { domain } => {
                    block_on(certificate::print_record(&socket, domain))
                }
                CertificateCommand::ReplaceAccountKey => {
                    block_on(certificate::replace_account_key(&socket))
                }
                CertificateCommand::Ca => certificate::print_ca(settings),
                CertificateCommand::Import { file, to } => {
                    certificate::import_certificates(file, to.as_deref(), settings)
                }
            }
        }
        LocalCommand::Ready => block_on(ready::report_readiness(settings)),
        LocalCommand::Labels { format } => Ok(CommandOutput::from(match format {
            LabelFormat::Text => label_reference::format_text(),
            LabelFormat::Markdown => label_reference::format_markdown(),
            LabelFormat::Json => label_reference::format_json(),
        })),
    })
}

/// Prints notes about settings that were meant to apply to the command but are ignored.
fn print_notes(notes: &[SettingsNote]) {
    for note in notes.iter().filter(|note| note.concerns_commands()) {
        eprintln!("docker-balancer: {note}");
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Output of a command, and its exit status.
pub(crate) struct CommandOutput {
    text: String,
    status: u8,
}

impl From<String> for CommandOutput {
    fn from(text: String) -> Self {
        Self { text, status: 0 }
    }
}

fn print_output(result: Result<CommandOutput>) -> ExitCode {
    match result {
        Ok(CommandOutput { text, status }) => {
            // The reader may have closed the pipe already.
            let text = text.trim_end_matches('\n');
            if !text.is_empty() {
                let _ = writeln!(anstream::stdout(), "{text}");
            }
            ExitCode::from(status)
        }
        Err(error) => {
            eprintln!("docker-balancer: {error:#}");
            let unreachable =
                error.is::<DaemonUnreachableError>() || error.is::<DockerQueryError>();
            ExitCode::from(if unreachable { EXIT_UNREACHABLE } else { 1 })
        }
    }
}
