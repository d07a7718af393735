//! Settings of the HAProxy side: whether HAProxy is managed or a service, and all paths.

use super::{
    master::Master,
    process::{ProcessConfig, Stdout},
    socket::WorkerSocket,
};
use crate::support::atomic_file::FileAccess;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Paths are absolute: HAProxy re-executes itself and must find them.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    pub mode: ProxyMode,
    pub bin: PathBuf,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// Additional arguments of the check.
    pub check_options: Vec<String>,
}

/// Who runs HAProxy.
#[derive(Debug, Clone)]
pub enum ProxyMode {
    Managed {
        stop_timeout: Duration,
        stdout: Stdout,
    },
    /// `stats_socket`: path of its socket, if not in the state directory.
    Service {
        reload: ReloadVia,
        stats_socket: Option<PathBuf>,
    },
}

/// How an HAProxy service is reloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadVia {
    MasterSocket(PathBuf),
    Unit(String),
}

impl ProxySettings {
    pub(super) fn is_managed(&self) -> bool {
        matches!(self.mode, ProxyMode::Managed { .. })
    }

    pub fn file_access(&self) -> FileAccess {
        if self.is_managed() { FileAccess::Private } else { FileAccess::Shared }
    }

    /// Returns the path of the stats socket. A service must be able to start before docker-balancer, after a reboot has
    /// cleared the runtime directory; so its socket is in the state directory, next to its maps.
    pub fn stats_socket(&self) -> PathBuf {
        match &self.mode {
            ProxyMode::Managed { .. } => self.runtime_dir.join("haproxy.sock"),
            ProxyMode::Service { stats_socket: Some(socket), .. } => socket.clone(),
            ProxyMode::Service { stats_socket: None, .. } => self.state_dir.join("haproxy.sock"),
        }
    }

    /// Returns the path of the socket on which HAProxy asks docker-balancer about users.
    pub fn user_socket(&self) -> PathBuf {
        self.runtime_dir.join("users.sock")
    }

    /// Returns how a program that has not started HAProxy reaches its runtime API.
    pub fn worker_socket(&self) -> WorkerSocket {
        let master = match &self.mode {
            ProxyMode::Managed { .. } => Some(self.process_config(&self.config).master()),
            ProxyMode::Service { reload: ReloadVia::MasterSocket(socket), .. } => {
                Some(Master::new(socket))
            }
            ProxyMode::Service { reload: ReloadVia::Unit(_), .. } => None,
        };
        WorkerSocket { stats: self.stats_socket(), master }
    }

    /// The file that contains the configuration that HAProxy has loaded. It reveals a crash between a commit and its
    /// reload.
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
        ProcessConfig {
            bin,
            config: target.to_owned(),
            runtime_dir: runtime,
            stats_socket,
            stdout,
            certificates: self.state_dir.join("certs"),
        }
    }
}
