//! What the rim is told: whose HAProxy it is, and where things are.

use super::{
    process::{Launch, Stdout},
    swap::Access,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Paths are absolute: HAProxy starts itself anew and must find them.
#[derive(Debug, Clone)]
pub struct Settings {
    pub mode: Mode,
    pub bin: PathBuf,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// Further arguments of the check.
    pub check_options: Vec<String>,
}

/// Whose HAProxy it is.
#[derive(Debug, Clone)]
pub enum Mode {
    Managed {
        stop_timeout: Duration,
        stdout: Stdout,
    },
    /// `stats_socket`: where its socket is, if not in the state directory.
    Service {
        reload: Reload,
        stats_socket: Option<PathBuf>,
    },
}

/// How an HAProxy of somebody else's is reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reload {
    Master(PathBuf),
    Unit(String),
}

impl Settings {
    pub(super) fn is_managed(&self) -> bool {
        matches!(self.mode, Mode::Managed { .. })
    }

    pub(super) fn access(&self) -> Access {
        if self.is_managed() { Access::Private } else { Access::Shared }
    }

    /// A service has to be able to start before we do, when nothing is left of the runtime directory
    /// of before a reboot: its socket is beside its maps.
    pub fn stats_socket(&self) -> PathBuf {
        match &self.mode {
            Mode::Managed { .. } => self.runtime_dir.join("haproxy.sock"),
            Mode::Service { stats_socket: Some(socket), .. } => socket.clone(),
            Mode::Service { stats_socket: None, .. } => self.state_dir.join("haproxy.sock"),
        }
    }

    /// Holds what HAProxy has loaded, so that a crash between a swap and its reload shows.
    pub(super) fn stamp(&self) -> PathBuf {
        self.runtime_dir.join("loaded")
    }

    pub(super) fn launch(&self, target: &Path) -> Launch {
        let stdout = match self.mode {
            Mode::Managed { stdout, .. } => stdout,
            Mode::Service { .. } => Stdout::Null,
        };
        let (bin, runtime) = (self.bin.clone(), self.runtime_dir.clone());
        let stats_socket = self.stats_socket();
        Launch { bin, config: target.to_owned(), runtime, stats_socket, stdout }
    }
}
