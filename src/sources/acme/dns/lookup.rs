//! Looks up names: aliases and name servers at a resolver, and records at authoritative name servers.

use super::{
    message::{
        DnsName, Recursion, Reply, build_query, dns_error, parse_name, parse_reply,
        replace_first_label,
    },
    propagation::Observation,
    transport::{exchange, random_id},
};
use crate::sources::acme::{error::AcmeError, settings::DnsLookup};
use domain::base::{Rtype, iana::Rcode};
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
};

/// The resolvers of the system.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The most resolvers that are used, as in the C library.
const MAX_RESOLVERS: usize = 3;
/// The most aliases in a row that are followed.
const MAX_ALIASES: usize = 8;
/// A label that no name has, to recognize aliases that a wildcard record provides for all names.
const PROBE_LABEL: &str = "_docker-glue-probe";

/// The addresses of the name servers of a zone, by name.
pub(super) type NameServers = BTreeMap<String, Vec<SocketAddr>>;

/// The resolvers that look up names.
#[derive(Debug)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    /// The port of authoritative name servers.
    port: u16,
}

impl Resolver {
    pub(super) fn new(lookup: &DnsLookup) -> Self {
        let servers = lookup.resolvers.clone();
        let servers = servers.unwrap_or_else(|| {
            parse_resolv_conf(&fs::read_to_string(RESOLV_CONF).unwrap_or_default())
        });
        Self { servers, port: lookup.port }
    }

    /// Returns where the aliases of a name lead; the name itself if it is no alias.
    pub(super) async fn follow_aliases(&self, name: &DnsName) -> Result<DnsName, AcmeError> {
        let mut target = name.clone();
        for _ in 0..MAX_ALIASES {
            let Some(next) = self.find_alias(&target).await? else { return Ok(target) };
            let probe = match replace_first_label(&target, PROBE_LABEL) {
                Some(probe) => self.find_alias(&probe).await?,
                None => None,
            };
            // A record at the name itself replaces the wildcard's, which leads to a web server and not to a zone for
            // challenges.
            if probe.as_ref() == Some(&next) {
                return Ok(target);
            }
            target = next;
        }
        Err(dns_error(format!("{name} has more than {MAX_ALIASES} aliases in a row")))
    }

    async fn find_alias(&self, name: &DnsName) -> Result<Option<DnsName>, AcmeError> {
        Ok(self.resolve(name, Rtype::CNAME).await?.alias_of(name))
    }

    /// Returns the name servers of the zone of a name, with those addresses that are known.
    pub(super) async fn find_name_servers(&self, name: &str) -> Result<NameServers, AcmeError> {
        let name = parse_name(name)?;
        let zone = self.resolve(&name, Rtype::SOA).await?.zone_of(&name);
        let zone = zone.ok_or_else(|| dns_error(format!("the zone of {name} is not known")))?;
        let mut servers = NameServers::new();
        for server in self.resolve(&zone, Rtype::NS).await?.name_servers() {
            let mut addresses = self.find_addresses(&server, Rtype::A).await;
            addresses.extend(self.find_addresses(&server, Rtype::AAAA).await);
            servers.insert(server.to_string(), addresses);
        }
        Ok(servers)
    }

    async fn find_addresses(&self, name: &DnsName, rtype: Rtype) -> Vec<SocketAddr> {
        let reply = self.resolve(name, rtype).await;
        let addresses = reply.map(|reply| reply.addresses()).unwrap_or_default();
        addresses.into_iter().map(|address| (address, self.port).into()).collect()
    }

    /// Returns the answer of the first resolver that has one.
    async fn resolve(&self, name: &DnsName, rtype: Rtype) -> Result<Reply, AcmeError> {
        let mut last = dns_error("there is no resolver");
        for server in &self.servers {
            match query(*server, name, rtype, Recursion::Desired).await {
                Ok(reply) if matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
                    return Ok(reply);
                }
                Ok(reply) => last = dns_error(format!("resolver {server}: {}", reply.rcode)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

pub(super) async fn query(
    server: SocketAddr,
    name: &DnsName,
    rtype: Rtype,
    recursion: Recursion,
) -> Result<Reply, AcmeError> {
    let request = build_query(random_id(), name, rtype, recursion)?;
    parse_reply(&exchange(server, &request).await?)
}

/// Asks all name servers for a TXT record, at the same time.
pub(super) async fn observe(
    servers: &NameServers,
    name: &str,
    value: &str,
) -> BTreeMap<String, Observation> {
    let Ok(name) = parse_name(name) else { return BTreeMap::new() };
    let observations = servers.iter().map(async |(server, addresses)| {
        (server.clone(), observe_server(addresses, &name, value).await)
    });
    join_all(observations).await.into_iter().collect()
}

/// Returns what the first address that answers has.
async fn observe_server(addresses: &[SocketAddr], name: &DnsName, value: &str) -> Observation {
    for address in addresses {
        let reply = query(*address, name, Rtype::TXT, Recursion::Off).await;
        match reply {
            Ok(reply) if reply.has_text(value) => return Observation::Present,
            Ok(reply) if matches!(reply.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) => {
                return Observation::Absent;
            }
            // A server that refuses, or does not have the zone.
            Ok(_) | Err(_) => {}
        }
    }
    Observation::Unreachable
}

/// Returns the resolvers of a `resolv.conf`. An address with an interface (`fe80::1%eth0`) is not supported.
fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next())?
    });
    let addresses = lines.filter_map(|word| word.parse::<IpAddr>().ok());
    addresses.map(|address| (address, 53).into()).take(MAX_RESOLVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_lists_resolvers() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\n\
                    nameserver\t2001:db8::1 # comment\nnameserver fe80::1%eth0\nnameserver\n";
        let found: Vec<_> = parse_resolv_conf(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }
}
