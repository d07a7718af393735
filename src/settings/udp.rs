//! docker-glue-udp's options as checked values.

use super::{
    HostEnv, SettingsError,
    options::udp::{UdpOptions, UdpSubcommand, udp_command},
    paths, resolve,
};
use crate::{support::log, udp::server::PlaneSettings};
use clap::FromArgMatches;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What the command line of docker-glue-udp requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UdpTask {
    Serve(UdpSettings),
    Show { socket: PathBuf, json: bool },
    RemoveRules { socket: PathBuf, state_dir: PathBuf },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpSettings {
    pub plane: PlaneSettings,
    pub log: log::Settings,
}

impl UdpTask {
    /// Reads the command line.
    pub fn from_args(args: &[OsString], machine: &HostEnv) -> Result<Self, SettingsError> {
        let matches = udp_command().try_get_matches_from(args)?;
        let options = UdpOptions::from_arg_matches(&matches)?;
        let socket = options.socket.unwrap_or_else(|| paths::default_udp_socket(machine));
        let directory = socket.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        paths::check_socket_length("--socket", directory.clone())?;
        let state_dir = options.state_dir.unwrap_or(directory);
        match options.command {
            Some(UdpSubcommand::Show { json }) => return Ok(Self::Show { socket, json }),
            Some(UdpSubcommand::RemoveRules) => return Ok(Self::RemoveRules { socket, state_dir }),
            None => {}
        }
        let plane = PlaneSettings {
            engine: options.engine,
            socket,
            state_dir,
            threads: options.threads.map(usize::from),
            sessions: options.sessions,
        };
        let filter = resolve::log_filter(options.verbose, options.quiet, machine);
        let log = log::Settings { format: options.log_format, filter };
        Ok(Self::Serve(UdpSettings { plane, log }))
    }
}
