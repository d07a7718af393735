//! A small HTTP server for demonstrations and tests. It answers with its name
//! and with the request as it arrived, and it misbehaves on demand. It also
//! echoes connections and datagrams.

mod body;
mod cli;
mod connection;
mod echo;
mod facts;
mod listen;
mod probe;
mod reply;
mod request;
mod route;
mod server;
mod websocket;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::{Cli, Command, Settings};
use crate::server::Server;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Healthcheck { port }) => probe::check(port.unwrap_or(cli.settings.ports[0])),
        None => run(cli.settings),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&error);
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal ends it.
///
/// In a container this is process 1, for which the kernel drops each signal
/// without a handler. So the handlers are installed first.
fn run(settings: Settings) -> io::Result<()> {
    let signals = Signals::new([SIGTERM, SIGINT])?;
    let server = Arc::new(Server::new(settings)?);
    let listening = Arc::clone(&server);
    thread::spawn(move || {
        if let Err(error) = listen::start(&listening) {
            log(&error);
            std::process::exit(1);
        }
    });
    wait_for_end(signals, &server);
    Ok(())
}

/// Returns after a signal, once all requests in flight are answered, unless
/// they are to be dropped.
fn wait_for_end(mut signals: Signals, server: &Arc<Server>) {
    for signal in signals.forever() {
        if signal == SIGTERM && server.settings.ignore_term {
            log("SIGTERM ignored");
            continue;
        }
        if !server.settings.drop_on_term {
            listen::finish(server);
        }
        return;
    }
}

/// `eprintln!` would panic if the log's reader has closed the pipe.
fn log(line: impl Display) {
    let _ = writeln!(io::stderr(), "whoami: {line}");
}
