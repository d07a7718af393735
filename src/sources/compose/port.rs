//! `ports` and `expose` of a service.
//!
//! Pure. Ports of other protocols than TCP and UDP are ignored.

use super::yaml::{Node, Position};
use crate::model::container::{ExposedPorts, PublishedPort, Transport};
use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

/// The ports of a service that could be parsed.
#[derive(Debug, Default)]
pub(crate) struct ServicePorts<'a> {
    /// Ports whose host port the file sets.
    pub(crate) published: Vec<PublishedPort>,
    /// All ports that the service mentions.
    pub(crate) exposed: ExposedPorts,
    /// Entries that are not ports.
    pub(crate) invalid: Vec<(&'a Position, String)>,
}

impl<'a> ServicePorts<'a> {
    pub(crate) fn add_published(&mut self, node: &'a Node) {
        for port in node.as_list() {
            let spec = match port.as_text() {
                Some(text) => parse_short(text),
                None => parse_long(port),
            };
            let Some(PortSpec { container, host, ip, transport }) = spec else {
                self.invalid.push((&port.position, port_text(port)));
                continue;
            };
            let Some(transport) = transport else { continue };
            self.exposed.extend(container.clone().map(|port| (transport, port)));
            let Some(host) = host else { continue };
            if host.clone().count() == container.clone().count() {
                let pairs = container.zip(host);
                self.published.extend(pairs.map(|(container_port, host_port)| PublishedPort {
                    transport,
                    container_port,
                    host_port,
                    host_ip: ip,
                }));
            }
        }
    }

    /// `"80"`, `"80/tcp"`, `"8000-8010"`.
    pub(crate) fn add_exposed(&mut self, node: &'a Node) {
        for port in node.as_list() {
            let text = port.as_text().unwrap_or_default();
            let (range, transport) = split_protocol(text);
            match parse_range(range) {
                Some(range) => self
                    .exposed
                    .extend(range.filter_map(|port| transport.map(|transport| (transport, port)))),
                None => self.invalid.push((&port.position, port_text(port))),
            }
        }
    }
}

fn port_text(port: &Node) -> String {
    port.as_text().or_else(|| port.text_at("target")).unwrap_or_default().to_owned()
}

struct PortSpec {
    container: RangeInclusive<u16>,
    /// `None`: the engine chooses a port.
    host: Option<RangeInclusive<u16>>,
    ip: IpAddr,
    /// `None`: another protocol.
    transport: Option<Transport>,
}

const ANY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Parses `[[IP:]HOST:]CONTAINER[/PROTOCOL]`; an empty part counts as absent.
fn parse_short(text: &str) -> Option<PortSpec> {
    let (text, transport) = split_protocol(text.trim());
    let (address_and_host, container) = text
        .rsplit_once(':')
        .map_or(("", text), |(address_and_host, port)| (address_and_host, port));
    let container = parse_range(container)?;
    let (ip, host) =
        address_and_host.rsplit_once(':').map_or(("", address_and_host), |(ip, host)| (ip, host));
    Some(PortSpec { container, host: parse_published(host)?, ip: parse_address(ip)?, transport })
}

/// Parses a mapping with `target`, `published`, `host_ip` and `protocol`.
fn parse_long(node: &Node) -> Option<PortSpec> {
    let text = |key: &str| node.text_at(key).unwrap_or_default();
    let container = parse_range(text("target"))?;
    let ip = parse_address(text("host_ip")).unwrap_or(ANY_ADDRESS);
    let transport = parse_transport(text("protocol"));
    Some(PortSpec { container, host: parse_published(text("published"))?, ip, transport })
}

fn split_protocol(text: &str) -> (&str, Option<Transport>) {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    (ports, parse_transport(protocol))
}

/// Parses the name of a protocol. TCP is the default.
fn parse_transport(protocol: &str) -> Option<Transport> {
    match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    match text.trim_matches(['[', ']']) {
        "" => Some(ANY_ADDRESS),
        ip => ip.parse().ok(),
    }
}

/// Returns `Some(None)` if the engine chooses the port.
#[allow(clippy::option_option, reason = "one is of the text, the other of the port")]
fn parse_published(text: &str) -> Option<Option<RangeInclusive<u16>>> {
    match text.trim() {
        "" | "0" => Some(None),
        text => parse_range(text).map(Some),
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (0 < first && first <= last).then_some(first..=last)
}
