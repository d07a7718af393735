//! Whether HAProxy can have its ports, found out before it is asked to.
//!
//! A reload that finds a port taken pauses every listener and tries for two seconds, on all versions:
//! nothing is served meanwhile. A start that finds it shared by another HAProxy says nothing at all.

use super::error::ApplyError;
use crate::support::port_owner;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// With whose rights the ports are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindPrivilege {
    /// What we may not, our HAProxy may not.
    Own,
    /// A service may do what we may not.
    Service,
}

/// Fails with those that cannot be had; sockets of a process just killed may take `timeout`.
pub(super) async fn check_ports(
    new: &[SocketAddr],
    own_pids: &BTreeSet<u32>,
    privilege: BindPrivilege,
    max_wait: Duration,
) -> Result<(), ApplyError> {
    let deadline = Instant::now() + max_wait;
    loop {
        let conflicts: BTreeMap<_, _> =
            new.iter().filter_map(|address| find_conflict(*address, own_pids, privilege)).collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        if deadline <= Instant::now() {
            return Err(ApplyError::Bind(conflicts));
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn find_conflict(
    address: SocketAddr,
    own_pids: &BTreeSet<u32>,
    privilege: BindPrivilege,
) -> Option<(u16, String)> {
    let e = port_owner::try_bind(address).err()?;
    if e.kind() == io::ErrorKind::AddrInUse {
        let owner = port_owner::find_owner(address.port(), own_pids)?;
        return Some((address.port(), format!("used by {owner}")));
    }
    (privilege == BindPrivilege::Own)
        .then(|| (address.port(), format!("not available on {}: {e}", address.ip())))
}
