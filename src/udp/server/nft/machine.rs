//! What the machine has: addresses, networks, routes, and whether it forwards.

use crate::udp::nft::Family;
use ipnet::IpNet;
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::socket::SockaddrStorage};
use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub addresses: BTreeSet<IpAddr>,
    /// Networks of more than one address to which it is connected.
    pub subnets: BTreeSet<IpNet>,
}

impl Machine {
    /// Returns the addresses that a wildcard includes, with its port, without those that are valid on one link only.
    pub(super) fn bindable(&self, wildcard: SocketAddr) -> Vec<SocketAddr> {
        let included = |ip: &&IpAddr| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => wildcard.is_ipv6() && !ip.is_unicast_link_local(),
        };
        self.addresses
            .iter()
            .filter(included)
            .map(|ip| SocketAddr::new(*ip, wildcard.port()))
            .collect()
    }

    /// Reads the addresses of all interfaces but the loopback one.
    pub(super) fn read() -> io::Result<Self> {
        let mut machine = Self::default();
        for interface in getifaddrs()? {
            if interface.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
                continue;
            }
            let Some(ip) = interface.address.and_then(ip_of) else { continue };
            machine.addresses.insert(ip);
            let mask = interface.netmask.and_then(ip_of);
            let subnet = mask.and_then(|mask| IpNet::with_netmask(ip, mask).ok());
            let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            machine.subnets.extend(
                subnet
                    .filter(|net| net.prefix_len() < net.max_prefix_len() && !is_link_local)
                    .map(|net| net.trunc()),
            );
        }
        Ok(machine)
    }
}

fn ip_of(address: SockaddrStorage) -> Option<IpAddr> {
    let four = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
    four.or_else(|| Some(IpAddr::from(address.as_sockaddr_in6()?.ip())))
}

/// Returns why datagrams cannot be forwarded to an address, with the remedy.
pub(super) fn check_reachable(address: SocketAddr) -> Result<(), String> {
    let (any, switch, file) = match Family::of(address.ip()) {
        Family::Four => ("0.0.0.0:0", "net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        Family::Six => {
            ("[::]:0", "net.ipv6.conf.all.forwarding", "/proc/sys/net/ipv6/conf/all/forwarding")
        }
    };
    if fs::read_to_string(file).is_ok_and(|text| text.trim() == "0") {
        return Err(format!("this machine does not forward datagrams: run `sysctl -w {switch}=1`"));
    }
    let probe = UdpSocket::bind(any).and_then(|socket| socket.connect(address));
    probe.map_err(|error| format!("this machine does not reach {address}: {error}"))
}
