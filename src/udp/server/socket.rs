//! Calls of the kernel for datagrams: listening sockets, which report the address that a client used, and one connected
//! socket for each flow, on which the kernel reports refusals.
//!
//! Each datagram is received by itself. Batches (`recvmmsg`) save no measurable time next to the cost of the UDP stack,
//! and nix does not reset the lengths of the headers between two calls.

use nix::{
    errno::Errno,
    libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
        SockaddrStorage, bind, connect, recv, recvmsg, send, sendmsg, setsockopt, socket, sockopt,
    },
};
use std::{
    io::{IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
};

/// The receive buffer of a socket, in bytes. The kernel limits it to net.core.rmem_max.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The send buffer of a listener, which carries the answers of all its flows. The kernel limits it to
/// net.core.wmem_max.
const SEND_BUFFER: usize = 4 << 20;
/// Space for a datagram of any size.
pub(super) const MAX_DATAGRAM_BYTES: usize = 65_536;

/// Space for the address of this machine and the number of discarded datagrams: two headers of 16 bytes, with a
/// `in6_pktinfo` of 20 and an integer of 4, each padded to 8 bytes.
const CONTROL_BYTES: usize = 16 + 24 + 16 + 8;

/// Aligned as its headers have to be.
#[repr(align(8))]
struct ControlSpace([u8; CONTROL_BYTES]);

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub length: usize,
    pub client: SocketAddr,
    /// The address of this machine that the client used; `None` if the kernel did not report it, or if an answer cannot
    /// leave from it.
    pub local: Option<IpAddr>,
    /// The number of datagrams that the kernel has discarded since the socket was created, if it reports one.
    pub discarded: Option<u32>,
}

/// Opens `count` sockets for the same address and port. The kernel distributes clients among them.
///
/// # Errors
/// If the address or port is not available, or not permitted.
pub(super) fn open_listeners(at: SocketAddr, count: usize) -> Result<Vec<OwnedFd>, Errno> {
    (0..count).map(|_| open_listener(at)).collect()
}

/// Whether this process can listen at an address where no other socket does. Sockets of [`open_listeners`] share their
/// address with those of every process of the same user, which would take a part of the clients.
pub(super) fn check_available(at: SocketAddr) -> Result<(), Errno> {
    let socket = open(at)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))
}

/// Keeps an address and port from other programs. Datagrams that arrive are not read. Own sockets share it.
///
/// # Errors
/// If the address or port is not available, or not permitted.
pub(super) fn reserve_port(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = open(at)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    let _ = setsockopt(&socket, sockopt::RcvBuf, &0);
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(socket)
}

fn open_listener(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = open(at)?;
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    // A smaller buffer works, too.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    let _ = setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER);
    if at.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(socket)
}

fn open(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = open_datagram(at)?;
    if at.is_ipv6() {
        // The wildcard address includes IPv4.
        setsockopt(&socket, sockopt::Ipv6V6Only, &!at.ip().is_unspecified())?;
    }
    Ok(socket)
}

fn open_datagram(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Datagram, flags, None)
}

/// Opens a socket that sends to one endpoint and receives only from there.
pub(super) fn open_connected(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = open_datagram(to)?;
    let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(socket)
}

/// Receives a datagram of a client, if there is one.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = ControlSpace([0; CONTROL_BYTES]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control.0),
        MsgFlags::empty(),
    )?;
    let (mut local, mut discarded) = (None, None);
    for part in message.cmsgs()? {
        match part {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                local = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
            }
            ControlMessageOwned::RxqOvfl(count) => discarded = Some(count),
            _ => {}
        }
    }
    let local = local.filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast());
    let client = message.address.as_ref().and_then(socket_address).ok_or(Errno::EINVAL)?;
    Ok(Received { length: message.bytes, client, local, discarded })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let four = address.as_sockaddr_in().map(|four| SocketAddr::V4((*four).into()));
    four.or_else(|| address.as_sockaddr_in6().map(|six| SocketAddr::V6((*six).into())))
}

/// Sends an answer to a client, from the address that the client used.
pub(super) fn send_answer(
    socket: &OwnedFd,
    answer: &[u8],
    client: SocketAddr,
    local: Option<IpAddr>,
) -> Result<(), Errno> {
    let slices = [IoSlice::new(answer)];
    let to = SockaddrStorage::from(client);
    let (four, six);
    let from = match local {
        Some(IpAddr::V4(ip)) if client.is_ipv4() => {
            four = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            };
            Some(ControlMessage::Ipv4PacketInfo(&four))
        }
        Some(ip) => {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            let s6_addr = ip.octets();
            six = in6_pktinfo { ipi6_addr: in6_addr { s6_addr }, ipi6_ifindex: 0 };
            Some(ControlMessage::Ipv6PacketInfo(&six))
        }
        None => None,
    };
    let fd = socket.as_raw_fd();
    sendmsg(fd, &slices, from.as_slice(), MsgFlags::empty(), Some(&to)).map(drop)
}

pub(super) fn send_connected(socket: &OwnedFd, datagram: &[u8]) -> Result<(), Errno> {
    send(socket.as_raw_fd(), datagram, MsgFlags::empty()).map(drop)
}

pub(super) fn receive_connected(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    recv(socket.as_raw_fd(), buffer, MsgFlags::empty())
}

/// Whether the datagram cannot reach its endpoint, so that another endpoint may have more success. All other errors
/// concern this datagram or this machine.
pub(super) fn is_refusal(error: Errno) -> bool {
    use Errno as E;
    matches!(
        error,
        E::ECONNREFUSED
            | E::EHOSTUNREACH
            | E::ENETUNREACH
            | E::EHOSTDOWN
            | E::ENETDOWN
            | E::ENONET
            | E::ENOPROTOOPT
            | E::EACCES
            | E::EPERM
            | E::EADDRNOTAVAIL
            | E::EAFNOSUPPORT
            | E::EINVAL
    )
}

/// Whether this machine has no more sockets, files or ports.
pub(super) fn is_exhaustion(error: Errno) -> bool {
    use Errno as E;
    matches!(error, E::EMFILE | E::ENFILE | E::EAGAIN | E::EADDRINUSE | E::ENOMEM | E::ENOBUFS)
}
