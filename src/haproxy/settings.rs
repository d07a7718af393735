//! What the rim is told: whose HAProxy it is, and where things are.

use super::process::{ProcessConfig, Stdout};
use crate::support::atomic_file::FileAccess;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Paths are absolute: HAProxy starts itself anew and must find them.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    pub mode: ProxyMode,
    pub bin: PathBuf,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// Further arguments of the check.
    pub check_options: Vec<String>,
}

/// Whose HAProxy it is.
#[derive(Debug, Clone)]
pub enum ProxyMode {
    Managed {
        stop_timeout: Duration,
        stdout: Stdout,
    },
    /// `stats_socket`: where its socket is, if not in the state directory.
    Service {
        reload: ReloadVia,
        stats_socket: Option<PathBuf>,
    },
}

/// How an HAProxy of somebody else's is reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadVia {
    MasterSocket(PathBuf),
    Unit(String),
}

impl ProxySettings {
    pub(super) fn is_managed(&self) -> bool {
        matches!(self.mode, ProxyMode::Managed { .. })
    }

    pub(super) fn file_access(&self) -> FileAccess {
        if self.is_managed() { FileAccess::Private } else { FileAccess::Shared }
    }

    /// A service has to be able to start before we do, when nothing is left of the runtime directory
    /// of before a reboot: its socket is beside its maps.
    pub fn stats_socket(&self) -> PathBuf {
        match &self.mode {
            ProxyMode::Managed { .. } => self.runtime_dir.join("haproxy.sock"),
            ProxyMode::Service { stats_socket: Some(socket), .. } => socket.clone(),
            ProxyMode::Service { stats_socket: None, .. } => self.state_dir.join("haproxy.sock"),
        }
    }

    /// Holds what HAProxy has loaded, so that a crash between a swap and its reload shows.
    pub(super) fn stamp_path(&self) -> PathBuf {
        self.runtime_dir.join("loaded")
    }

    pub(super) fn process_config(&self, target: &Path) -> ProcessConfig {
        let stdout = match self.mode {
            ProxyMode::Managed { stdout, .. } => stdout,
            ProxyMode::Service { .. } => Stdout::Null,
        };
        let (bin, runtime) = (self.bin.clone(), self.runtime_dir.clone());
        let stats_socket = self.stats_socket();
        ProcessConfig { bin, config: target.to_owned(), runtime_dir: runtime, stats_socket, stdout }
    }
}
