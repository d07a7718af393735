//! The kernel as data plane: from listeners to the rules of nftables, and to the entries of connection tracking.
//!
//! Pure. The rules are flat maps: a listener is elements of maps that all listeners share, so that the cost of one more
//! listener does not depend on the number of the others. Chains for each listener cost seconds at 5,000 of them.
//!
//! The first datagram of a flow passes the rules. `choose` marks it as the listener's, and translates its destination
//! by a map; `finish` drops it if no map had an endpoint, and gives the flow the mark of its endpoint. Further datagrams
//! follow the entry of connection tracking. So an endpoint that leaves the maps keeps its flows (it drains), until the
//! entries with its mark are deleted.

pub mod conntrack;
pub mod element;
pub mod firewall;
pub mod listing;
pub mod mark;
pub mod ruleset;
pub mod slot;
pub mod unsupported;

/// The table of nftables, of the family inet. Nothing else is ever changed or deleted by `nft`.
pub const TABLE: &str = "docker-glue";

/// Address family of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Four,
    Six,
}

impl Family {
    pub fn of(ip: std::net::IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::Four } else { Self::Six }
    }

    /// The suffix of names of maps.
    fn digit(self) -> char {
        match self {
            Self::Four => '4',
            Self::Six => '6',
        }
    }

    /// The keyword of nftables.
    fn word(self) -> &'static str {
        match self {
            Self::Four => "ip",
            Self::Six => "ip6",
        }
    }
}
