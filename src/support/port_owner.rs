//! Finds the program that listens on a TCP or UDP port of this machine.
//!
//! All users may read `/proc/net/tcp`, `tcp6`, `udp` and `udp6`. `/proc/*/fd` shows which process owns a socket, but an
//! unprivileged user sees only their own processes there.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};
use tokio::net::TcpSocket;

/// Protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListeningSocket {
    pub at: SocketAddr,
    pub inode: u64,
}

/// The program that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    pub name: String,
    pub pid: Option<u32>,
}

impl fmt::Display for PortOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (pid {pid})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Returns the program that listens on the port, at any address, other than the processes in `except` (those of our
/// own HAProxy).
pub fn find_owner(transport: Transport, port: u16, except: &BTreeSet<u32>) -> Option<PortOwner> {
    let sockets = read_listeners(transport);
    let inodes: BTreeSet<u64> =
        sockets.iter().filter(|l| l.at.port() == port).map(|l| l.inode).collect();
    if inodes.is_empty() {
        return None;
    }
    let (ours, others): (Vec<_>, Vec<_>) =
        find_socket_owners(&inodes).into_iter().partition(|(pid, _)| except.contains(pid));
    if let Some((pid, _)) = others.first() {
        return Some(PortOwner { name: process_name(*pid), pid: Some(*pid) });
    }
    let own_inodes: BTreeSet<u64> = ours.iter().map(|(_, inode)| *inode).collect();
    let unknown = || PortOwner { name: "another program".to_owned(), pid: None };
    (own_inodes != inodes).then(unknown)
}

/// Tests whether a listener can be bound to an address. The socket is bound but does not listen.
///
/// A failed bind in HAProxy itself interrupts service for two seconds: its reload pauses every listener and tries two
/// hundred times.
pub fn try_bind(transport: Transport, at: SocketAddr) -> io::Result<()> {
    match transport {
        Transport::Tcp => try_bind_tcp(at),
        // A UDP socket that shares its port gets a part of the packets, so the port must not be shared.
        Transport::Udp => UdpSocket::bind(at).map(drop),
    }
}

fn try_bind_tcp(at: SocketAddr) -> io::Result<()> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(at)
}

fn read_listeners(transport: Transport) -> Vec<ListeningSocket> {
    let read = |path| parse_sockets(transport, &fs::read_to_string(path).unwrap_or_default());
    match transport {
        Transport::Tcp => [read("/proc/net/tcp"), read("/proc/net/tcp6")].concat(),
        Transport::Udp => [read("/proc/net/udp"), read("/proc/net/udp6")].concat(),
    }
}

/// Returns the listening sockets of `/proc/net/tcp` or another table:
/// `sl local_address rem_address st … uid timeout inode`.
pub fn parse_sockets(transport: Transport, table: &str) -> Vec<ListeningSocket> {
    // States of TCP. A UDP socket without a peer is closed.
    let state = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, st, _, _, _, _, _, inode, ..] = words[..] else { return None };
        let socket = ListeningSocket { at: parse_address(local)?, inode: inode.parse().ok()? };
        (st == state).then_some(socket)
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// Parses `0100007F:1F90`: the address is 32-bit words in the machine's byte order, the port is a plain hexadecimal
/// number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Returns the processes that have these sockets open, as far as this user may see.
fn find_socket_owners(inodes: &BTreeSet<u64>) -> Vec<(u32, u64)> {
    let pids = list_directory("/proc").filter_map(|pid| pid.parse::<u32>().ok());
    let open = |pid: u32| {
        let dir = format!("/proc/{pid}/fd");
        let links =
            list_directory(&dir).filter_map(move |fd| fs::read_link(format!("{dir}/{fd}")).ok());
        links.filter_map(|link| parse_socket_link(link.to_str()?)).map(move |inode| (pid, inode))
    };
    pids.flat_map(open).filter(|(_, inode)| inodes.contains(inode)).collect()
}

fn parse_socket_link(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn list_directory(dir: &str) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.is_empty() { "another program".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21531 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4093 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 21600 1 0 20 4 30 10 -1
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31001 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31002 1 0 100 0 0 10 0
";

    #[cfg(target_endian = "little")]
    #[test]
    fn proc_net_tcp_parses_to_listening_sockets() {
        for (table, expected) in [
            (TCP, "127.0.0.1:8080=21531 0.0.0.0:22=4093"),
            (TCP6, "[::]:80=31001 [::1]:631=31002"),
            ("", ""),
            ("header\ngarbage", ""),
        ] {
            let found: Vec<_> = parse_sockets(Transport::Tcp, table)
                .iter()
                .map(|l| format!("{}={}", l.at, l.inode))
                .collect();
            assert_eq!(found.join(" "), expected);
        }
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn proc_net_udp_parses_to_sockets_without_peer() {
        let table = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  107: 00000000:01BB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21836 2 0 0
  491: 0100007F:01BB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 21837 2 0 0
";
        let at = SocketAddr::from(([0, 0, 0, 0], 443));
        let expected = ListeningSocket { at, inode: 21836 };
        assert_eq!(parse_sockets(Transport::Udp, table), [expected]);
    }

    #[test]
    fn excepted_process_is_not_reported_as_port_owner() {
        fn check(transport: Transport, at: SocketAddr, socket: impl Sized) {
            let me = std::process::id();
            let owner = |except: &[u32]| {
                find_owner(transport, at.port(), &except.iter().copied().collect())
            };
            assert_eq!(owner(&[]).unwrap().pid, Some(me));
            assert_eq!(owner(&[me]), None);
            assert_eq!(try_bind(transport, at).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(socket);
            assert_eq!(owner(&[]), None);
            try_bind(transport, at).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        check(Transport::Tcp, listener.local_addr().unwrap(), listener);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        check(Transport::Udp, socket.local_addr().unwrap(), socket);
    }
}
