//! The PROXY protocol for datagrams: the header of version 2 that precedes the payload.
//!
//! Pure. HAProxy's doc/proxy-protocol.txt, section 2.2.

use std::net::{IpAddr, SocketAddr};

/// The length of the longest header, in bytes.
pub const MAX_HEADER_BYTES: usize = 52;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
/// Address family and protocol: IPv4 or IPv6, datagrams.
const INET_DGRAM: u8 = 0x12;
const INET6_DGRAM: u8 = 0x22;

/// Writes the header to the end of `space` and returns its length.
pub fn write_proxy_header(
    space: &mut [u8; MAX_HEADER_BYTES],
    client: SocketAddr,
    server: SocketAddr,
) -> usize {
    let mut header = Vec::with_capacity(MAX_HEADER_BYTES);
    header.extend(SIGNATURE);
    header.push(VERSION_COMMAND);
    match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            header.extend([INET_DGRAM, 0, 12]);
            header.extend(client.octets());
            header.extend(server.octets());
        }
        (client, server) => {
            header.extend([INET6_DGRAM, 0, 36]);
            header.extend(ipv6_octets(client));
            header.extend(ipv6_octets(server));
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(server.port().to_be_bytes());
    let start = MAX_HEADER_BYTES - header.len();
    space[start..].copy_from_slice(&header);
    header.len()
}

fn ipv6_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
