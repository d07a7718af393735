//! Options as they are meant: valid and typed, so that nothing after this checks again.
//!
//! `cli::Options` is what was written, in flags, environment, file and defaults (`layer`); [`Settings`] is
//! what it comes to on this machine.

mod components;
mod error;
mod glue;
mod haproxy_options;
mod host_env;
mod layer;
mod note;
pub mod options;
pub mod paths;
mod resolve;
pub mod value;

pub use self::options::{AccessLog, HaproxyUser, OnOff};
use self::options::{BalancerCommand, DaemonCommand, LocalCommand, Options};
use crate::{
    haproxy::{render::Bind, settings::ReloadVia},
    label::LabelLimits,
    model::option_value::Host,
    sources::docker::{AddressKind, EngineSettings},
    support::log,
};
pub use error::SettingsError;
pub use glue::{GlueSettings, GlueTask};
pub use host_env::HostEnv;
use layer::RawOption;
pub use layer::env_variable;
pub use note::SettingsNote;

use anyhow::Result as Anyhow;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    net::SocketAddr,
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    Serve(Box<Settings>),
    Local(LocalCommand, Box<Settings>),
    Daemon(DaemonRequest),
}

/// Something to ask the docker-balancer that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonRequest {
    pub command: DaemonCommand,
    pub runtime_dir: PathBuf,
    /// To be told once.
    pub notes: Vec<SettingsNote>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub command: RunMode,
    pub docker: EngineSettings,
    pub include_env: bool,
    /// Events to look again after, besides those that always matter.
    pub watch_set: BTreeSet<String>,
    /// The network to reach containers on, where their labels name none.
    pub network: Option<String>,
    /// `None` is what fits the engine: its containers' own addresses where it is on this machine.
    pub address: AddressKind,
    pub fences: LabelLimits,
    /// Whether labels count that a container has of its image.
    pub image_labels: OnOff,
    /// At least one.
    pub bind: Vec<Bind>,
    /// Public port → the port that is listened on in its place; no two share one.
    pub port_map: BTreeMap<NonZeroU16, NonZeroU16>,
    pub trusted_proxies: Vec<IpNet>,
    pub access_log: AccessLog,
    pub haproxy: HaproxyMode,
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
    pub notes: Vec<SettingsNote>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    Once,
    Watch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaproxyMode {
    Managed { stop_timeout: Duration, at_exit: AtExit },
    Service { reload: ReloadVia, stats_socket: Option<PathBuf>, user: Option<HaproxyUser> },
}

/// What becomes of our HAProxy when we are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtExit {
    Stop,
    LeaveRunning,
}

impl Task {
    /// From the command line, with the environment and the settings file below it.
    pub fn from_args(args: &[OsString], machine: &HostEnv) -> Result<Self, SettingsError> {
        let (options, verb) = layer::load_options::<Options>(args, machine)?;
        match verb {
            None => Ok(Self::Serve(Box::new(Settings::from_options(options, machine)?))),
            Some(BalancerCommand::Look(look)) => {
                let settings = Settings::new(options, RunMode::Watch, machine)?;
                Ok(Self::Local(look, Box::new(settings)))
            }
            Some(BalancerCommand::Ask(ask)) => {
                let runtime_dir =
                    options.runtime_dir.unwrap_or_else(|| paths::default_runtime_dir(machine));
                let runtime_dir = paths::check_socket_length("--runtime-dir", runtime_dir)?;
                let notes = layer::unknown_variables::<Options>(machine);
                Ok(Self::Daemon(DaemonRequest { command: ask, runtime_dir, notes }))
            }
        }
    }
}

impl Settings {
    /// From options as an ini file's `[params]` have them: their name, their value, and where it stands.
    ///
    /// # Errors
    /// Names the place of the first one that is none, or has a value that is none.
    pub fn from_params<'a>(
        params: impl IntoIterator<Item = (&'a str, &'a str, String)>,
        command: RunMode,
        machine: &HostEnv,
    ) -> Anyhow<Self> {
        let raw = params
            .into_iter()
            .map(|(key, value, text)| RawOption::new::<Options>(key, value, text));
        let options = layer::options_from_raw(&raw.collect::<Anyhow<Vec<_>>>()?)?;
        Self::new(options, command, machine)
    }

    /// From the command line, with the environment and the settings file below it.
    pub fn from_args(args: &[OsString], machine: &HostEnv) -> Result<Self, SettingsError> {
        let (options, _) = layer::load_options::<Options>(args, machine)?;
        Self::from_options(options, machine)
    }

    fn from_options(options: Options, machine: &HostEnv) -> Result<Self, SettingsError> {
        let command = match (options.once, options.watch) {
            (true, _) => RunMode::Once,
            (false, true) => RunMode::Watch,
            (false, false) => {
                return Err(SettingsError::nothing_to_do::<Options>("apply the labels and exit"));
            }
        };
        Ok(Self::new(options, command, machine)?)
    }
}
