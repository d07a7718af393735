//! Marks of connection tracking: of a listener while the first datagram passes the rules, then of the flow's endpoint.
//!
//! Pure. A mark is a hash and not a number from a table, so that a new process finds the flows of the last one. Two
//! endpoints of 10,000 have the same mark with a probability of about 1 %; the end of one then moves the flows of the
//! other, too.

use super::Family;
use crate::udp::config::UdpListener;
use siphasher::sip::SipHasher24;
use std::{
    fmt,
    hash::Hasher,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

/// A mark of a flow. `Display` is hexadecimal, as nftables prints marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u32);

/// The bits that distinguish the marks of docker-glue-udp from those of other programs.
pub const MARK_MASK: u32 = 0xff00_0000;
/// The value of these bits.
pub const MARK_PREFIX: u32 = 0x6700_0000;

/// The bit of a listener of IPv6 at all addresses.
const SIX: u32 = 1 << 16;
/// The bit of a listener at one address.
const AT: u32 = 1 << 22;
/// The bit of an endpoint.
const ENDPOINT: u32 = 1 << 23;

impl Mark {
    /// The mark of a listener at all addresses of IPv4.
    pub fn all_four(port: u16) -> Self {
        Self(MARK_PREFIX | u32::from(port))
    }

    /// The mark of a listener at all addresses of IPv6.
    pub fn all_six(port: u16) -> Self {
        Self(MARK_PREFIX | SIX | u32::from(port))
    }

    /// The mark of a listener at one address.
    pub fn at(bind: SocketAddr) -> Self {
        Self(MARK_PREFIX | AT | (hash(0, bind) & (AT - 1)))
    }

    /// The mark of the flows of a listener to one of its endpoints.
    #[must_use]
    pub fn endpoint(self, address: SocketAddr) -> Self {
        Self(MARK_PREFIX | ENDPOINT | (hash(self.0, address) & (ENDPOINT - 1)))
    }

    /// The mark of the flows of a listener to one of its endpoints. `None` if they have different families.
    pub fn flows(listener: &UdpListener, address: SocketAddr) -> Option<Self> {
        let (ip, port) = (listener.bind.ip().to_canonical(), listener.bind.port());
        let family = Family::of(address.ip());
        let at_all = match family {
            Family::Four => Self::all_four(port),
            Family::Six => Self::all_six(port),
        };
        let mark = match ip {
            // It serves both families.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => at_all,
            _ if Family::of(ip) != family => return None,
            _ if ip.is_unspecified() => at_all,
            _ => Self::at(SocketAddr::new(ip, port)),
        };
        Some(mark.endpoint(SocketAddr::new(address.ip().to_canonical(), address.port())))
    }

    /// Reads a mark as `Display` prints it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        u32::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(Self)
    }

    pub fn number(self) -> u32 {
        self.0
    }

    /// Whether a number is the mark of a flow of docker-glue-udp.
    pub fn is_own(number: u32) -> bool {
        number & MARK_MASK == MARK_PREFIX
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

fn hash(start: u32, address: SocketAddr) -> u32 {
    let mut hasher = SipHasher24::new();
    hasher.write(&start.to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(&address.port().to_be_bytes());
    #[allow(clippy::cast_possible_truncation, reason = "a part of the hash is one, too")]
    let hash = hasher.finish() as u32;
    hash
}
