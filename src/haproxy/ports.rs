//! Whether HAProxy can have its ports, found out before it is asked to.
//!
//! A reload that finds a port taken pauses every listener and tries for two seconds, on all versions:
//! nothing is served meanwhile. A start that finds it shared by another HAProxy says nothing at all.

use super::error::ApplyError;
use crate::listening;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(10);

/// With whose rights the ports are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// What we may not, our HAProxy may not.
    Ours,
    /// A service may do what we may not.
    Theirs,
}

/// Fails with those that cannot be had; sockets of a process just killed may take `patience`.
pub(super) async fn find(
    new: &[SocketAddr],
    ours: &BTreeSet<u32>,
    means: Means,
    patience: Duration,
) -> Result<(), ApplyError> {
    let until = Instant::now() + patience;
    loop {
        let taken: BTreeMap<_, _> =
            new.iter().filter_map(|at| obstacle(*at, ours, means)).collect();
        if taken.is_empty() {
            return Ok(());
        }
        if until <= Instant::now() {
            return Err(ApplyError::Bind(taken));
        }
        sleep(PAUSE).await;
    }
}

fn obstacle(at: SocketAddr, ours: &BTreeSet<u32>, means: Means) -> Option<(u16, String)> {
    let e = listening::probe(at).err()?;
    if e.kind() == io::ErrorKind::AddrInUse {
        let holder = listening::holder(at.port(), ours)?;
        return Some((at.port(), format!("taken by {holder}")));
    }
    (means == Means::Ours).then(|| (at.port(), format!("not to be had on {}: {e}", at.ip())))
}
