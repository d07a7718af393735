//! Docker's firewall: the rule that lets translated datagrams pass, and networks that it closes.
//!
//! Pure. Docker drops what another program has translated, unless a rule in its chain for users accepts it. That chain
//! is of iptables, and `nft` must not touch it: iptables cannot read a chain that `nft` has changed.

use super::mark::{MARK_MASK, MARK_PREFIX};
use ipnet::IpNet;
use std::net::IpAddr;

/// The chain of Docker for the rules of others.
pub const CHAIN: &str = "DOCKER-USER";

/// Returns the arguments of `iptables` for the rule: `-C` to look for it, `-I` to insert it, `-D` to delete it.
pub fn rule_arguments(command: &str) -> Vec<String> {
    let mark = format!("{MARK_PREFIX:#x}/{MARK_MASK:#x}");
    let words = ["-w", "5", command, CHAIN, "-p", "udp", "-m", "connmark", "--mark", &mark];
    let end = ["-m", "comment", "--comment", "docker-glue-udp", "-j", "ACCEPT"];
    words.iter().chain(&end).map(ToString::to_string).collect()
}

/// Returns whether the chain exists, from the output of `iptables -S`.
pub fn has_chain(listing: &str) -> bool {
    listing.lines().any(|line| line.strip_prefix("-N ") == Some(CHAIN))
}

/// Returns whether forwarded packets are dropped unless a rule accepts them, from the output of `iptables -S`.
pub fn drops_forwarded(listing: &str) -> bool {
    listing.lines().any(|line| line == "-P FORWARD DROP")
}

/// Returns the networks that Docker closes to all others (`docker network create --internal`), from the output of
/// `iptables -S`. Their containers have no route to clients.
pub fn internal_networks(listing: &str) -> Vec<IpNet> {
    let network = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["-A", chain, "!", "-s", network, "-o", _, "-j", "DROP"]
                if chain.starts_with("DOCKER") =>
            {
                network.parse().ok()
            }
            _ => None,
        }
    };
    listing.lines().filter_map(network).collect()
}

/// Returns whether one of the networks contains an address.
pub fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip.to_canonical()))
}
