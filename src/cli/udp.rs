//! Runs docker-glue-udp and its subcommand.

use super::{command::terminal::terminal_width, run};
use crate::{
    report::udp_table::render_plane,
    settings::paths,
    support::{signals::run_until_stopped, supervise::log_panics},
    udp::{
        answer::UdpAnswer,
        client::PlaneClient,
        server::{self, PlaneSettings, RulesRemoval},
    },
};
use anyhow::Result;
use std::{fmt::Write as _, io::Write as _, path::Path, process::ExitCode};

/// Runs docker-glue-udp until a signal stops it. Prints the error if it failed.
pub fn run_plane(settings: PlaneSettings) -> ExitCode {
    log_panics();
    run::exit_code("docker-glue-udp", serve(settings), ExitCode::FAILURE)
}

fn serve(settings: PlaneSettings) -> Result<()> {
    let uid = nix::unistd::geteuid().as_raw();
    if let Some(directory) = settings.socket.parent().filter(|path| !path.as_os_str().is_empty()) {
        paths::create_private_dir(directory, uid)?;
    }
    paths::create_private_dir(&settings.state_dir, uid)?;
    run::block_on(run_until_stopped(|stop, _| server::serve(settings, stop)))
}

/// Prints what the running docker-glue-udp serves.
pub fn run_show(socket: &Path, json: bool) -> ExitCode {
    match run::block_on(show(socket, json)) {
        Ok(text) => {
            // The reader may have closed the pipe already.
            let _ = write!(anstream::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("docker-glue-udp: {error:#}");
            ExitCode::from(run::EXIT_UNREACHABLE)
        }
    }
}

/// Deletes the rules that a docker-glue-udp with the engine nft has left. Without any, it is silent.
pub fn run_remove_rules(socket: &Path, state_dir: &Path) -> ExitCode {
    match run::block_on(server::remove_rules(socket, state_dir)) {
        Ok(removal) => {
            if removal == RulesRemoval::Removed {
                let _ = writeln!(anstream::stdout(), "removed the rules of --engine nft");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("docker-glue-udp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(socket: &Path, json: bool) -> Result<String> {
    let (plane, listeners) = PlaneClient::connect(socket).await?.read_all().await?;
    if !json {
        return Ok(render_plane(&plane, &listeners, terminal_width()));
    }
    let listeners = listeners.into_iter().map(|report| UdpAnswer::Listener(Box::new(report)));
    let mut text = String::new();
    for line in std::iter::once(UdpAnswer::Plane(plane)).chain(listeners) {
        writeln!(text, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(text)
}
