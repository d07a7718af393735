//! Clients by their addresses: which may use a route, and which may not.

use super::not;
use crate::model::{label_option::LabelOption, option_value::OptionType, problem::Reason};
use ipnet::{IpNet, Ipv4Net};
use std::{fmt, net::IpAddr, str::FromStr};

/// Maximum number of networks of one route's list.
pub const MAX_NETWORKS: usize = 64;

/// Networks that `private` stands for: those of RFC 1918, 4193 and 3927, of link-local addresses and of this machine.
const PRIVATE: [&str; 8] = [
    "10.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// Networks, sorted, without duplicates and host bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Networks(Vec<IpNet>);

/// Clients that may use a route. Without any network it is every client.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allow(pub Networks);

/// Clients that must not use a route, also if [`Allow`] contains them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deny(pub Networks);

impl Networks {
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the networks contains the address, which may also be an IPv4 address in the form of IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether one of the networks contains all addresses of `other`.
    pub fn covers(&self, other: &IpNet) -> bool {
        self.0.iter().any(|network| network.contains(other))
    }

    /// Returns the addresses that are in both. May be empty, which for [`Allow`] would mean every client.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let within = |of: &Self, network: &&IpNet| of.covers(network);
        let here = self.0.iter().filter(|network| within(other, network));
        let there = other.0.iter().filter(|network| within(self, network));
        here.chain(there).copied().collect()
    }

    /// Returns the addresses that are in one of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }

    fn parse(option: LabelOption, text: &str) -> Result<Self, Reason> {
        let mut networks = Vec::new();
        for member in text.split(',').map(str::trim) {
            match member {
                "" => return Err(Reason::EmptyMember),
                _ if member.eq_ignore_ascii_case("private") => {
                    networks.extend(
                        PRIVATE.map(|text| text.parse::<IpNet>().expect("it is a network")),
                    );
                }
                _ => networks.push(parse_network(option, member)?),
            }
        }
        let networks: Self = networks.into_iter().collect();
        if MAX_NETWORKS < networks.0.len() {
            return Err(not(option, text, "a list of at most 64 networks"));
        }
        Ok(networks)
    }
}

/// Number of bits in front of an IPv4 address in the form of IPv6, `::ffff:10.0.0.1`.
const MAPPED_BITS: u8 = 96;

/// Parses an address or a network. Host bits are ignored, as in `10.1.2.3/8`.
fn parse_network(option: LabelOption, text: &str) -> Result<IpNet, Reason> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse::<IpNet>());
    network
        .map(|network| canonical_network(network).trunc())
        .map_err(|_| not(option, text, "a network such as 10.0.0.0/8, an address, or private"))
}

/// Returns the network of IPv4 for one in the form of IPv6: clients have their plain addresses.
fn canonical_network(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else { return network };
    let plain = mapped.addr().to_ipv4_mapped().zip(mapped.prefix_len().checked_sub(MAPPED_BITS));
    let plain = plain.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok());
    plain.map_or(network, IpNet::V4)
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let mut networks: Vec<_> = networks.into_iter().collect();
        networks.sort_unstable();
        networks.dedup();
        Self(networks)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

impl OptionType for Allow {}

impl OptionType for Deny {}

impl FromStr for Allow {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        Networks::parse(LabelOption::Allow, text).map(Self)
    }
}

impl FromStr for Deny {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        Networks::parse(LabelOption::Deny, text).map(Self)
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Deny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_canonical() {
        for (text, expected) in [
            ("10.1.2.3/8, 10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8::1,192.0.2.1", "192.0.2.1/32,2001:db8::1/128"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:10.1.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(text.parse::<Deny>().unwrap().to_string(), expected, "{text}");
        }
    }
}
