//! From the listeners that docker-glue-udp serves to those that it should serve.
//!
//! Pure. A listener is replaced as a whole: its flows stay, because the plane compares the endpoints itself.

use super::{command::UdpCommand, config::UdpListener};
use std::{collections::BTreeMap, net::SocketAddr};

/// Listeners by their address and port.
pub type UdpListeners = BTreeMap<SocketAddr, UdpListener>;

/// Returns the commands that turn `observed` into `desired`. Deletions are first, so that an address is free when
/// another listener needs it: `[::]:53` also occupies `0.0.0.0:53`.
pub fn plan_udp_commands<'a>(
    observed: impl IntoIterator<Item = &'a UdpListener>,
    desired: &UdpListeners,
) -> Vec<UdpCommand> {
    let observed: BTreeMap<_, _> =
        observed.into_iter().map(|listener| (listener.bind, listener)).collect();
    let gone = observed.keys().filter(|bind| !desired.contains_key(bind));
    let changed = desired.iter().filter(|(bind, listener)| observed.get(bind) != Some(listener));
    gone.map(|bind| UdpCommand::Delete(*bind))
        .chain(changed.map(|(_, listener)| UdpCommand::Set(Box::new(listener.clone()))))
        .collect()
}
