//! Why something was not applied, so that a caller can tell what to do about it.

use super::{
    check::ConfigRejection, lock::LockError, master::ReloadError, process::StartError,
    version::VersionError,
};
use crate::support::atomic_file::WriteError;
use std::collections::BTreeMap;

/// Why the last good state goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("HAProxy refuses the configuration: {0}")]
    Refused(ConfigRejection),
    /// The check passed and HAProxy could not load it all the same: a matter of this machine (sockets,
    /// limits), not of one route, and trying with fewer routes costs an outage each time.
    #[error("HAProxy accepts the configuration but cannot load it: {0}")]
    NotLoaded(ConfigRejection),
    /// These ports cannot be had, each for its reason; leave them out and try them again later.
    #[error("cannot listen: {}", each(.0))]
    Bind(BTreeMap<u16, String>),
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

/// What a start or a reload says; a check's refusal is [`ApplyError::Refused`].
impl From<ConfigRejection> for ApplyError {
    fn from(refusal: ConfigRejection) -> Self {
        if refusal.unbound_ports.is_empty() {
            return Self::NotLoaded(refusal);
        }
        let text = &refusal.text;
        Self::Bind(refusal.unbound_ports.iter().map(|port| (*port, text.clone())).collect())
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
