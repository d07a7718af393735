//! Options as they are meant: valid and typed, so that nothing after this checks again.
//!
//! `cli::Options` is what was written, in flags, environment, file and defaults (`layer`); [`Settings`] is
//! what it comes to on this machine.

mod glue;
mod layer;
mod machine;
mod meaning;
mod note;
pub mod place;
mod rc;
mod refusal;
pub mod value;

pub use crate::cli::{AccessLog, Address, HaproxyUser, OnOff};
pub use glue::{GlueSettings, GlueTask};
use layer::Said;
pub use layer::variable;
pub use machine::Machine;
pub use note::Note;
pub use refusal::Refusal;

use crate::{
    cli::{Ask, Look, Options, Verb},
    label::{Fences, value::Host},
    log,
};
use anyhow::Result as Anyhow;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    Serve(Box<Settings>),
    Look(Look, Box<Settings>),
    Ask(Errand),
}

/// Something to ask the docker-balancer that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    pub ask: Ask,
    pub runtime_dir: PathBuf,
    /// To be told once.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub command: Command,
    pub docker: DockerAccess,
    pub include_env: bool,
    /// Events to look again after, besides those that always matter.
    pub watch_set: BTreeSet<String>,
    /// The network to reach containers on, where their labels name none.
    pub network: Option<String>,
    /// `None` is what fits the engine: its containers' own addresses where it is on this machine.
    pub address: Option<Address>,
    pub fences: Fences,
    /// Whether labels count that a container has of its image.
    pub image_labels: OnOff,
    /// At least one.
    pub bind: Vec<BindAddress>,
    /// Public port → the port that is listened on in its place; no two share one.
    pub port_map: BTreeMap<NonZeroU16, NonZeroU16>,
    pub trusted_proxies: Vec<IpNet>,
    pub access_log: AccessLog,
    pub haproxy: Haproxy,
    /// A path, or a name to be found in PATH.
    pub haproxy_bin: PathBuf,
    /// Further arguments of HAProxy, from `--rc`.
    pub haproxy_arguments: Vec<String>,
    pub config_file: PathBuf,
    pub base_file: Option<PathBuf>,
    pub state_dir: PathBuf,
    /// Short enough for sockets.
    pub runtime_dir: PathBuf,
    /// How long a route without containers is remembered.
    pub hold: Duration,
    /// Of each shape.
    pub spare_backends: u16,
    /// How long a request waits for a container that does not listen yet.
    pub wait_for_start: Duration,
    /// How long an old worker lives for its long connections.
    pub hard_stop_after: Duration,
    /// Where the dashboard is shown, if it is.
    pub dashboard: Option<SocketAddr>,
    /// Names that it answers to, besides its own.
    pub dashboard_hosts: Vec<Host>,
    /// Where our own numbers are told to Prometheus.
    pub metrics: Option<SocketAddr>,
    /// Where HAProxy's are.
    pub haproxy_metrics: Option<SocketAddr>,
    /// Names that both answer to, besides their own.
    pub metrics_hosts: Vec<Host>,
    pub log: log::Settings,
    /// To be told once.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Once,
    Watch,
}

/// How to get at Docker, as its own client would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerAccess {
    /// `--docker-url`, else `DOCKER_HOST`, else Docker's default.
    pub url: Option<String>,
    pub tls_verify: bool,
    /// Holds ca.pem, cert.pem and key.pem.
    pub cert_path: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BindAddress {
    /// Every address of both families: `[::]` with `v4v6`.
    Everywhere,
    /// This one; `::` here is IPv6 alone.
    At(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Haproxy {
    Managed { stop_timeout: Duration, at_exit: AtExit },
    Service { reload: Reload, stats_socket: Option<PathBuf>, user: Option<HaproxyUser> },
}

/// What becomes of our HAProxy when we are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtExit {
    Stop,
    LeaveRunning,
}

/// How somebody else's HAProxy is told to read its configuration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    MasterSocket(PathBuf),
    Unit(String),
}

impl Task {
    /// From the command line, with the environment and the settings file below it.
    pub fn read(args: &[OsString], machine: &Machine) -> Result<Self, Refusal> {
        let (options, verb) = layer::options::<Options>(args, machine)?;
        match verb {
            None => Ok(Self::Serve(Box::new(Settings::of(options, machine)?))),
            Some(Verb::Look(look)) => {
                let settings = Settings::new(options, Command::Watch, machine)?;
                Ok(Self::Look(look, Box::new(settings)))
            }
            Some(Verb::Ask(ask)) => {
                let runtime_dir = options.runtime_dir.unwrap_or_else(|| place::runtime(machine));
                let runtime_dir = place::roomy("--runtime-dir", runtime_dir)?;
                let notes = layer::strange_variables::<Options>(machine);
                Ok(Self::Ask(Errand { ask, runtime_dir, notes }))
            }
        }
    }
}

impl Settings {
    /// From options as an ini file's `[params]` have them: their name, their value, and where it stands.
    ///
    /// # Errors
    /// Names the place of the first one that is none, or has a value that is none.
    pub fn of_params<'a>(
        params: impl IntoIterator<Item = (&'a str, &'a str, String)>,
        command: Command,
        machine: &Machine,
    ) -> Anyhow<Self> {
        let said =
            params.into_iter().map(|(key, value, place)| Said::new::<Options>(key, value, place));
        let options = layer::from_said(&said.collect::<Anyhow<Vec<_>>>()?)?;
        Self::new(options, command, machine)
    }

    /// From the command line, with the environment and the settings file below it.
    pub fn read(args: &[OsString], machine: &Machine) -> Result<Self, Refusal> {
        let (options, _) = layer::options::<Options>(args, machine)?;
        Self::of(options, machine)
    }

    fn of(options: Options, machine: &Machine) -> Result<Self, Refusal> {
        let command = match (options.once, options.watch) {
            (true, _) => Command::Once,
            (false, true) => Command::Watch,
            (false, false) => {
                return Err(Refusal::nothing_to_do::<Options>("apply the labels and exit"));
            }
        };
        Ok(Self::new(options, command, machine)?)
    }
}
