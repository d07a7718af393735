//! Options as checked, typed values: the code that uses them does not check again.
//!
//! `options::Options` is what was written in flags, environment, file and defaults (`layer`); [`Settings`] is the
//! result on this machine.

pub mod acme;
mod components;
mod error;
mod error_pages;
mod fleet;
mod glue;
mod haproxy_options;
mod host_env;
mod layer;
mod note;
pub mod options;
pub mod paths;
mod policies;
mod resolve;
mod source;
mod udp;
pub mod value;

pub use self::acme::AcmeOptions;
pub use self::options::{AccessLog, HaproxyUser, OnOff};
use self::options::{BalancerCommand, DaemonCommand, LocalCommand, Options};
use crate::{
    fleet::FleetSettings,
    haproxy::{render::Bind, settings::ReloadVia},
    label::LabelLimits,
    model::{option_value::Host, tls::TlsPolicy},
    sources::{
        docker::{AddressKind, EngineSettings},
        registry::RegistrySettings,
    },
    support::{etcd::EtcdSettings, log},
    udp::engine::Engine,
};
pub use error::SettingsError;
pub use error_pages::{ErrorPageDirectory, ErrorPageReading};
pub use fleet::FleetOption;
pub use glue::{GlueSettings, GlueSourceKind, GlueSourceSettings, GlueTask};
pub use host_env::HostEnv;
use layer::RawOption;
pub use layer::env_variable;
pub use note::SettingsNote;
pub use policies::PolicyFile;
pub use source::{SourceKind, SourceOption};
pub use udp::{UdpSettings, UdpTask};

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

/// What the command line requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a process has one value")]
pub enum Task {
    Serve(Box<Settings>),
    Local(LocalCommand, Box<Settings>),
    Daemon(DaemonRequest),
}

/// A request to the running docker-balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonRequest {
    pub command: DaemonCommand,
    pub runtime_dir: PathBuf,
    /// Notes to log once.
    pub notes: Vec<SettingsNote>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub command: RunMode,
    pub docker: EngineSettings,
    /// Sources with names, which replace `docker`.
    pub named_sources: Vec<SourceSettings>,
    pub include_env: bool,
    /// Further events that make docker-balancer read containers again, besides those that always matter.
    pub watch_set: BTreeSet<String>,
    /// The network on which containers are reached, if their labels name none.
    pub network: Option<String>,
    /// `Auto` chooses what fits the engine: the containers' own addresses if the engine is on this machine.
    pub address: AddressKind,
    pub fences: LabelLimits,
    /// Where `fences` has its policies from.
    pub policy_file: PolicyFile,
    /// Whether labels that a container has from its image count.
    pub image_labels: OnOff,
    /// At least one.
    pub bind: Vec<Bind>,
    /// Public port → the port that HAProxy listens on instead; no two public ports share one.
    pub port_map: BTreeMap<NonZeroU16, NonZeroU16>,
    pub trusted_proxies: Vec<IpNet>,
    /// Public ports of TCP that HAProxy keeps bound. At most [`MAX_SPARE_PORTS`](resolve::MAX_SPARE_PORTS).
    pub tcp_ports: BTreeSet<NonZeroU16>,
    /// Networks whose connections to TCP ports begin with a header of the PROXY protocol.
    pub proxy_protocol_from: Vec<IpNet>,
    /// The host whose certificate clients get that ask for no name, or for one without a certificate.
    pub default_certificate: Option<Host>,
    /// TLS versions and ciphers of hosts whose labels do not set them.
    pub tls_policy: TlsPolicy,
    /// Whether HTTPS ports also serve HTTP/3, if HAProxy can.
    pub http3: bool,
    /// Directories with certificates.
    pub certificates: Vec<PathBuf>,
    /// How certificates are ordered, if they are.
    pub acme: Option<AcmeOptions>,
    /// Domains whose direct subdomains share one certificate of the CA.
    pub wildcards: BTreeSet<Host>,
    /// The control socket of docker-glue-udp. `None` if docker-balancer starts it.
    pub udp_socket: Option<PathBuf>,
    /// The engine of a docker-glue-udp that docker-balancer starts.
    pub udp_engine: Engine,
    /// Whether HTTPS ports are prepared for passing TLS through.
    pub passthrough: bool,
    /// Directory with the CAs of containers.
    pub backend_ca: Option<PathBuf>,
    /// Directory with the CAs of clients.
    pub client_ca: Option<PathBuf>,
    pub access_log: AccessLog,
    pub haproxy: HaproxyMode,
    /// A path, or a name that is searched in PATH.
    pub haproxy_bin: PathBuf,
    /// Further arguments of HAProxy, from `--haproxy-options-file`.
    pub haproxy_arguments: Vec<String>,
    pub config_file: PathBuf,
    pub base_file: Option<PathBuf>,
    pub error_page_directory: ErrorPageDirectory,
    /// Its pages at the start.
    pub error_pages: ErrorPageReading,
    pub state_dir: PathBuf,
    /// Short enough for the paths of sockets in it.
    pub runtime_dir: PathBuf,
    /// The file in which docker-balancer lists its certificates for other programs.
    pub certificate_list: PathBuf,
    /// How long a route without containers is held.
    pub hold: Duration,
    /// The number of spare backends of each shape.
    pub spare_backends: u16,
    /// How long a request waits for a container that does not listen yet.
    pub wait_for_start: Duration,
    /// How long HAProxy tries to connect to a container; 10 ms to 60 s.
    pub connect_timeout: Duration,
    /// How long an old worker may run for its remaining connections.
    pub hard_stop_after: Duration,
    /// The other balancers, if there is a fleet.
    pub fleet: Option<FleetSettings>,
    /// The address of the dashboard, if it is enabled.
    pub dashboard: Option<SocketAddr>,
    /// Host names that the dashboard accepts besides its address.
    pub dashboard_hosts: Vec<Host>,
    /// The address at which docker-balancer serves its own metrics to Prometheus.
    pub metrics: Option<SocketAddr>,
    /// The address at which HAProxy serves its metrics.
    pub haproxy_metrics: Option<SocketAddr>,
    /// Host names that both metrics servers accept besides their addresses.
    pub metrics_hosts: Vec<Host>,
    pub log: log::Settings,
    /// Notes to log once.
    pub notes: Vec<SettingsNote>,
}

/// A source whose containers are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    pub kind: SourceKind,
    /// How a Docker engine is reached. Sources of other kinds use its name and URL.
    pub engine: EngineSettings,
    /// The network on which its containers are reached, if their labels name none.
    pub network: Option<String>,
    pub address: AddressKind,
    /// The address of its published ports. `None`: that of the engine.
    pub host: Option<IpAddr>,
    pub fences: LabelLimits,
    /// How long its containers are kept while it does not answer, or, in a registry, their machine shows no sign of
    /// life. `None`: until it answers.
    pub forget: Option<Duration>,
    /// Networks of the addresses that its containers may have; all if there is none.
    pub allowed_addresses: Vec<IpNet>,
    /// How a registry is reached.
    pub registry: RegistryAccess,
}

/// Where a registry is in etcd. Empty for sources of other kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    pub etcd: EtcdSettings,
    /// With a slash at the end: `/docker-glue/`.
    pub prefix: String,
}

impl SourceSettings {
    /// Creates the settings of a Docker engine without a name.
    fn of_engine(
        engine: EngineSettings,
        network: Option<String>,
        address: AddressKind,
        fences: LabelLimits,
    ) -> Self {
        Self {
            kind: SourceKind::Engine,
            engine,
            network,
            address,
            host: None,
            fences,
            forget: None,
            allowed_addresses: Vec::new(),
            registry: RegistryAccess::default(),
        }
    }

    /// Returns the settings of a registry.
    pub fn to_registry(&self) -> RegistrySettings {
        RegistrySettings {
            source: self.engine.source.clone(),
            access: self.registry.etcd.clone(),
            prefix: self.registry.prefix.clone(),
            forget: self.forget,
            allowed_addresses: self.allowed_addresses.clone(),
        }
    }

    /// How long all containers of the source are kept while it does not answer. Those of a registry always are: it is
    /// their machines that are forgotten.
    pub fn forget_silent(&self) -> Option<Duration> {
        match self.kind {
            SourceKind::Engine | SourceKind::Swarm => self.forget,
            SourceKind::Registry => None,
        }
    }
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

/// What happens to a managed HAProxy when docker-balancer stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtExit {
    Stop,
    LeaveRunning,
}

impl Task {
    /// Reads the command line, then the environment, then the settings file; the earlier one wins.
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
    /// Makes settings from the `[params]` of an ini file: name, value and location of each option.
    ///
    /// # Errors
    /// If a parameter is not an option or has an invalid value; the message names the location of the first one.
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

    /// Reads the command line, then the environment, then the settings file; the earlier one wins.
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
