//! Why a configuration was not applied, so that the caller can choose what to do about it.

use super::{
    check::ConfigRejection, lock::LockError, master::ReloadError, process::StartError,
    version::VersionError,
};
use crate::support::atomic_file::WriteError;
use std::collections::BTreeMap;

/// Why HAProxy continues to serve the last good state.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("HAProxy refuses the configuration: {0}")]
    Refused(ConfigRejection),
    /// The check passed, but HAProxy could not load the configuration. The cause is this machine (sockets, limits), not
    /// one route, and each try with fewer routes would cost an outage.
    #[error("HAProxy accepts the configuration but cannot load it: {0}")]
    NotLoaded(ConfigRejection),
    /// These ports cannot be bound, each with its reason. The caller leaves them out and retries later.
    #[error("cannot listen: {}", each(.0))]
    Bind(BTreeMap<u16, String>),
    /// The UDP ports of HTTP/3 that cannot be bound, each with its reason. The caller does without HTTP/3 and retries
    /// later.
    #[error("cannot listen for HTTP/3: {}", each(.0))]
    BindUdp(BTreeMap<u16, String>),
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Io(#[from] WriteError),
}

fn each(ports: &BTreeMap<u16, String>) -> String {
    let each: Vec<_> = ports.iter().map(|(port, why)| format!("port {port} is {why}")).collect();
    each.join("; ")
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Converts the error of a start or a reload. A rejection by the check is [`ApplyError::Refused`].
impl From<ConfigRejection> for ApplyError {
    fn from(refusal: ConfigRejection) -> Self {
        let with_reason = |ports: &[u16]| -> BTreeMap<_, _> {
            ports.iter().map(|port| (*port, refusal.text.clone())).collect()
        };
        match (&refusal.unbound_ports[..], &refusal.unbound_udp_ports[..]) {
            ([], []) => Self::NotLoaded(refusal),
            ([], udp) => Self::BindUdp(with_reason(udp)),
            (tcp, _) => Self::Bind(with_reason(tcp)),
        }
    }
}

impl From<ReloadError> for ApplyError {
    fn from(e: ReloadError) -> Self {
        match e {
            ReloadError::Refused(refusal) => refusal.into(),
            ReloadError::Unreachable(text) => Self::Unreachable(text),
        }
    }
}

impl From<StartError> for ApplyError {
    fn from(e: StartError) -> Self {
        match e {
            StartError::Refused(refusal) => refusal.into(),
            e => Self::Unreachable(e.to_string()),
        }
    }
}
