//! What the commands do besides following Docker: ask, print, and end with a status.

mod alone;
mod drain;
pub mod explain;
pub mod paint;

use crate::{
    cli::{Ask, Look},
    control::{client::NoDaemon, socket},
    settings::{Errand, Settings},
    view::explain::request::Request,
};
use alone::NoDocker;
use anyhow::Result;
use std::{io::Write, process::ExitCode};
use tokio::runtime::Builder;

/// Docker, or the docker-balancer that runs, could not be asked.
const UNREACHABLE: u8 = 4;

/// Does what needs the docker-balancer that runs.
pub fn ask(errand: &Errand) -> ExitCode {
    let socket = socket(&errand.runtime_dir);
    done(match &errand.ask {
        Ask::Drain { container, wait } => block_on(drain::drain(&socket, container, *wait)),
        Ask::Undrain { container } => block_on(drain::undrain(&socket, container)),
        Ask::Status { .. }
        | Ask::Routes { .. }
        | Ask::Problems { .. }
        | Ask::History { .. }
        | Ask::Rollback { .. } => Err(anyhow::anyhow!("not yet")),
    })
}

/// Does what can be done without one.
pub fn look(look: &Look, settings: &Settings) -> ExitCode {
    done(match look {
        Look::Explain { url, method, format } => {
            let request = Request { method: method.clone(), url: url.clone() };
            block_on(explain::explain(&request, *format, settings))
        }
        Look::Plan { .. } | Look::Check { .. } => Err(anyhow::anyhow!("not yet")),
    })
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
            let _ = writeln!(anstream::stdout(), "{}", text.trim_end_matches('\n'));
            ExitCode::from(status)
        }
        Err(error) => {
            eprintln!("docker-balancer: {error:#}");
            let unreachable = error.is::<NoDaemon>() || error.is::<NoDocker>();
            ExitCode::from(if unreachable { UNREACHABLE } else { 1 })
        }
    }
}
