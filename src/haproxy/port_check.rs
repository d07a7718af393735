//! Checks that HAProxy can bind its ports, before HAProxy tries to.
//!
//! A reload that finds a port in use pauses every listener and retries for two seconds, in all versions: no traffic is
//! served during that time. A start that shares a port with another HAProxy reports no error at all.

use super::error::ApplyError;
use crate::support::port_owner::{self, PortOwner, Transport};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// With whose privileges the ports are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindPrivilege {
    /// Our HAProxy has the same privileges as docker-balancer.
    Own,
    /// An HAProxy service may bind ports that docker-balancer may not.
    Service,
}

/// Fails with the ports that cannot be bound. Waits up to `max_wait`, because sockets of a process that was just killed
/// may linger.
pub(super) async fn check_ports(
    transport: Transport,
    new: &[SocketAddr],
    own_pids: &BTreeSet<u32>,
    privilege: BindPrivilege,
    max_wait: Duration,
) -> Result<(), ApplyError> {
    let deadline = Instant::now() + max_wait;
    loop {
        let conflicts = new
            .iter()
            .filter_map(|address| find_conflict(transport, *address, own_pids, privilege));
        let conflicts: BTreeMap<_, _> = conflicts.collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        if deadline <= Instant::now() {
            return Err(match transport {
                Transport::Tcp => ApplyError::Bind(conflicts),
                Transport::Udp => ApplyError::BindUdp(conflicts),
            });
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Completes "its port is …".
pub(super) fn describe(owner: &PortOwner) -> String {
    format!("used by {owner}")
}

fn find_conflict(
    transport: Transport,
    address: SocketAddr,
    own_pids: &BTreeSet<u32>,
    privilege: BindPrivilege,
) -> Option<(u16, String)> {
    let e = port_owner::try_bind(transport, address).err()?;
    if e.kind() == io::ErrorKind::AddrInUse {
        let owner = port_owner::find_owner(transport, address.port(), own_pids)?;
        return Some((address.port(), describe(&owner)));
    }
    (privilege == BindPrivilege::Own)
        .then(|| (address.port(), format!("not available on {}: {e}", address.ip())))
}
