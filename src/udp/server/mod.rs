//! docker-glue-udp: the data plane, its control socket and its state file.

mod control;
mod counters;
mod data_plane;
mod health;
mod limits;
mod nft;
mod plane;
mod session_table;
mod socket;
mod state_file;
mod state_writer;
mod worker;

use crate::{
    support::{format::format_plural, signals::StopSignal, systemd},
    udp::{answer::UdpAnswer, client::PlaneClient, command::UdpCommand, engine::Engine},
};
use anyhow::{Result, anyhow, bail};
use control::{PlaneRequest, PlaneSocket};
use data_plane::DataPlane;
pub use data_plane::RulesRemoval;
use plane::Plane;
use state_writer::StateWriter;
use std::{
    path::{Path, PathBuf},
    thread::available_parallelism,
};
use tokio::sync::mpsc;
use tracing::{info, warn};

/// The greatest number of threads.
pub const MAX_THREADS: u8 = 8;
/// The file of listeners in the state directory.
const STATE_FILE: &str = "listeners.json";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneSettings {
    pub engine: Engine,
    /// The control socket.
    pub socket: PathBuf,
    /// The directory of the state file. It exists.
    pub state_dir: PathBuf,
    /// 1 to [`MAX_THREADS`]; `None` for one for each processor.
    pub threads: Option<usize>,
    /// The greatest number of sessions of all threads.
    pub sessions: u32,
}

/// Serves UDP until `stop` resolves.
///
/// # Errors
/// If the control socket cannot be opened, or a thread of the data plane ends.
pub async fn serve(settings: PlaneSettings, stop: StopSignal) -> Result<()> {
    let (running, mut ended) = mpsc::channel(1);
    let mut plane = start_engine(&settings, &running)?;
    drop(running);
    let (sender, mut requests) = mpsc::channel(64);
    let socket = PlaneSocket::open(&settings.socket, sender)?;
    // Not earlier: a second process on the same socket must not touch the rules of the first.
    plane.take_over(&settings.state_dir).await;
    let state_file = settings.state_dir.join(STATE_FILE);
    restore(&mut plane, &state_file).await;
    let listeners = plane.listeners().len();
    info!(listeners, "started; commands are accepted on {}", settings.socket.display());
    systemd::notify_ready(&format_plural(listeners, "listener"));
    let is_threaded = settings.engine == Engine::User;
    let mut file = StateWriter::new(state_file, plane.revision());
    let mut watchdog = systemd::Watchdog::from_env();
    tokio::pin!(stop);
    let result = loop {
        tokio::select! {
            biased;
            () = &mut stop => break Ok(()),
            Some(()) | None = ended.recv(), if is_threaded => break thread_ended(),
            () = watchdog.ping() => {}
            request = requests.recv() => {
                let Some(PlaneRequest { commands, answer }) = request else { break Ok(()) };
                let answers = plane.execute(commands).await;
                // The client may have left.
                let _ = answer.send(answers);
                file.record_change(&plane);
            }
            () = plane.next_check() => plane.check().await,
            write = file.next_step() => file.take_step(write, &plane),
        }
    };
    drop(socket);
    file.finish(&plane).await;
    plane.stop();
    result
}

/// Deletes the rules that a docker-glue-udp with the engine nft has left in the kernel.
///
/// # Errors
/// If it runs, as it would set them again, or if the kernel may still have them.
pub async fn remove_rules(socket: &Path, state_dir: &Path) -> Result<RulesRemoval> {
    if let Ok(mut client) = PlaneClient::connect(socket).await
        && client.read_totals().await?.engine == Engine::Nft
    {
        bail!("docker-glue-udp runs with --engine nft on {}: stop it first", socket.display());
    }
    let removal = data_plane::remove_rules(state_dir).await;
    removal.map_err(|error| anyhow!("cannot remove the rules of --engine nft: {error}"))
}

fn start_engine(settings: &PlaneSettings, running: &mpsc::Sender<()>) -> Result<DataPlane> {
    let files = limits::raise_file_limit();
    if settings.engine == Engine::Nft {
        info!("the kernel forwards: engine nft");
        return Ok(DataPlane::nft());
    }
    let threads = settings.threads.unwrap_or_else(processors).clamp(1, usize::from(MAX_THREADS));
    let sessions =
        limits::limit_sessions(settings.sessions.into(), files, limits::read_port_count());
    info!(threads, sessions, "this program forwards: engine user");
    Ok(DataPlane::User(Plane::start(threads, usize::try_from(sessions)?, running)?))
}

fn thread_ended() -> Result<()> {
    bail!("a thread of the data plane ended because of a bug in this program")
}

fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Serves the listeners of the state file. A failure is logged: docker-balancer sets all listeners again.
async fn restore(plane: &mut DataPlane, path: &Path) {
    let listeners = match state_file::read_listeners(path) {
        Ok(listeners) => listeners,
        Err(error) => {
            warn!("could not read {}: {error:#}; starting without listeners", path.display());
            Vec::new()
        }
    };
    let commands = listeners.into_iter().map(|listener| UdpCommand::Set(Box::new(listener)));
    for answers in plane.execute(commands.collect()).await {
        if let [UdpAnswer::Error(reason)] = answers.as_slice() {
            warn!("{reason}; waiting for docker-balancer to set the listener again");
        }
    }
    plane.load().await;
}
