//! What the kernel cannot do for a listener.
//!
//! Pure. Nothing is ever served differently from what a listener requests.

use super::Family;
use crate::udp::config::{ProxyHeader, Sticky, UdpEndpoint, UdpListener};
use std::net::{IpAddr, SocketAddr};

/// Why the nft engine does not serve a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedListener {
    #[error(
        "the nft engine adds no PROXY headers, and containers see the clients' addresses: remove `proxy=v2`"
    )]
    Proxy,
    #[error("the nft engine does not count answers: remove `replies`, or use --engine user")]
    Replies,
    #[error(
        "the nft engine does not distribute single datagrams: remove `sticky=none`, or use --engine user"
    )]
    StickyNone,
    #[error("the nft engine does not serve the loopback address {0}: use --engine user")]
    LoopbackBind(IpAddr),
    #[error(
        "the nft engine does not reach {address} of {name}, a loopback address: use --engine user"
    )]
    LoopbackEndpoint { name: String, address: SocketAddr },
    #[error(
        "the nft engine does not translate between IPv4 and IPv6, and {name} has {address}: give the container an \
         address of the listener's family, or use --engine user"
    )]
    Family { name: String, address: SocketAddr },
}

/// Checks whether the nft engine can serve the listener as requested.
pub fn check_support(listener: &UdpListener) -> Result<(), UnsupportedListener> {
    if listener.proxy == ProxyHeader::V2 {
        return Err(UnsupportedListener::Proxy);
    }
    if listener.replies.is_some() {
        return Err(UnsupportedListener::Replies);
    }
    if listener.sticky == Sticky::None {
        return Err(UnsupportedListener::StickyNone);
    }
    let bind = listener.bind.ip().to_canonical();
    if bind.is_loopback() {
        return Err(UnsupportedListener::LoopbackBind(bind));
    }
    listener.endpoints.iter().try_for_each(|endpoint| check_endpoint(bind, endpoint))
}

fn check_endpoint(bind: IpAddr, endpoint: &UdpEndpoint) -> Result<(), UnsupportedListener> {
    let UdpEndpoint { name, address, .. } = endpoint;
    let (name, address, ip) = (name.clone(), *address, address.ip().to_canonical());
    if ip.is_loopback() {
        return Err(UnsupportedListener::LoopbackEndpoint { name, address });
    }
    let serves_both = bind == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
    if !serves_both && Family::of(bind) != Family::of(ip) {
        return Err(UnsupportedListener::Family { name, address });
    }
    Ok(())
}
