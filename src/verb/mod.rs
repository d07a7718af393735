//! What the commands do besides following Docker: ask, print, and end with a status.

mod alone;
mod asked;
mod check;
mod drain;
pub mod explain;
mod list;
mod plan;
mod rollback;
mod screen;
mod status;

use crate::{
    cli::{Ask, Look},
    control::{client::NoDaemon, socket},
    settings::{Errand, Note, Settings},
    view::explain::request::Request,
};
use anyhow::Result;
use asked::DockerAway;
use std::{io::Write, process::ExitCode};
use tokio::runtime::Builder;

/// Docker, or the docker-balancer that runs, could not be asked.
const UNREACHABLE: u8 = 4;

/// Does what needs the docker-balancer that runs.
pub fn ask(errand: &Errand) -> ExitCode {
    tell(&errand.notes);
    let socket = socket(&errand.runtime_dir);
    done(match &errand.ask {
        Ask::Drain { container, wait } => block_on(drain::drain(&socket, container, *wait)),
        Ask::Undrain { container } => block_on(drain::undrain(&socket, container)),
        Ask::Status { watch: true, .. } => block_on(status::watch(&socket)),
        Ask::Status { json: true, .. } => block_on(status::json(&socket, "/status")),
        Ask::Status { .. } => block_on(status::status(&socket)),
        Ask::Routes { json: true } => block_on(status::json(&socket, "/routes")),
        Ask::Routes { json: false } => block_on(list::routes(&socket)),
        Ask::Problems { json } => block_on(list::problems(&socket, *json)),
        Ask::History { json: true, .. } => block_on(status::json(&socket, "/history")),
        Ask::History { last, .. } => block_on(list::history(&socket, *last)),
        Ask::Rollback { number: Some(number), .. } => {
            block_on(rollback::rollback(&socket, *number))
        }
        Ask::Rollback { number: None, .. } => block_on(rollback::release(&socket)),
    })
}

/// Does what can be done without one.
pub fn look(look: &Look, settings: &Settings) -> ExitCode {
    tell(&settings.notes);
    done(match look {
        Look::Explain { url, method, format } => {
            let request = Request { method: method.clone(), url: url.clone() };
            block_on(explain::explain(&request, *format, settings))
        }
        Look::Plan { compose, format } => {
            block_on(plan::plan(compose.as_deref(), *format, settings))
        }
        Look::Check { compose, image } => {
            block_on(check::check(compose.as_deref(), image.as_deref(), settings))
        }
    })
}

/// What a command is to know of the machine: options that were meant, and are not read.
fn tell(notes: &[Note]) {
    for note in notes.iter().filter(|note| note.is_of_machine()) {
        eprintln!("docker-balancer: {note}");
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// What is to be told, and the exit status that goes with it.
struct Told {
    text: String,
    status: u8,
}

impl From<String> for Told {
    fn from(text: String) -> Self {
        Self { text, status: 0 }
    }
}

fn done(result: Result<Told>) -> ExitCode {
    match result {
        Ok(Told { text, status }) => {
            // Nobody need be there to read it.
            let text = text.trim_end_matches('\n');
            if !text.is_empty() {
                let _ = writeln!(anstream::stdout(), "{text}");
            }
            ExitCode::from(status)
        }
        Err(error) => {
            eprintln!("docker-balancer: {error:#}");
            let unreachable = error.is::<NoDaemon>() || error.is::<DockerAway>();
            ExitCode::from(if unreachable { UNREACHABLE } else { 1 })
        }
    }
}
