//! `ports` and `expose` of a service.
//!
//! Pure. Only TCP counts.

use super::yaml::{Node, Place};
use crate::container::Published;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

/// What a service says of its ports, as far as it is understood.
#[derive(Debug, Default)]
pub(super) struct Ports<'a> {
    /// Where the file says the port.
    pub(super) published: Vec<Published>,
    /// All TCP ports that it names.
    pub(super) exposed: BTreeSet<u16>,
    /// What is no port.
    pub(super) strange: Vec<(&'a Place, String)>,
}

impl<'a> Ports<'a> {
    pub(super) fn publish(&mut self, node: &'a Node) {
        for port in node.list() {
            let said = match port.text() {
                Some(text) => short(text),
                None => long(port),
            };
            let Some(Said { container, host, ip, tcp }) = said else {
                self.strange.push((&port.place, written(port)));
                continue;
            };
            if !tcp {
                continue;
            }
            self.exposed.extend(container.clone());
            let Some(host) = host else { continue };
            if host.clone().count() == container.clone().count() {
                let pairs = container.zip(host);
                self.published.extend(pairs.map(|(container_port, host_port)| Published {
                    container_port,
                    host_port,
                    host_ip: ip,
                }));
            }
        }
    }

    /// `"80"`, `"80/tcp"`, `"8000-8010"`.
    pub(super) fn expose(&mut self, node: &'a Node) {
        for port in node.list() {
            let text = port.text().unwrap_or_default();
            let (range, tcp) = protocol(text);
            match range_of(range) {
                Some(range) => self.exposed.extend(range.filter(|_| tcp)),
                None => self.strange.push((&port.place, written(port))),
            }
        }
    }
}

fn written(port: &Node) -> String {
    port.text().or_else(|| port.text_of("target")).unwrap_or_default().to_owned()
}

struct Said {
    container: RangeInclusive<u16>,
    /// `None`: one that the engine chooses.
    host: Option<RangeInclusive<u16>>,
    ip: IpAddr,
    tcp: bool,
}

const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`; what is left empty of it is as if it were not there.
fn short(text: &str) -> Option<Said> {
    let (text, tcp) = protocol(text.trim());
    let (rest, container) = text.rsplit_once(':').map_or(("", text), |(rest, port)| (rest, port));
    let container = range_of(container)?;
    let (ip, host) = rest.rsplit_once(':').map_or(("", rest), |(ip, host)| (ip, host));
    Some(Said { container, host: published(host)?, ip: address(ip)?, tcp })
}

/// `target`, `published`, `host_ip`, `protocol`.
fn long(node: &Node) -> Option<Said> {
    let text = |key: &str| node.text_of(key).unwrap_or_default();
    let container = range_of(text("target"))?;
    let ip = address(text("host_ip")).unwrap_or(EVERYWHERE);
    let tcp = matches!(text("protocol").to_ascii_lowercase().as_str(), "" | "tcp");
    Some(Said { container, host: published(text("published"))?, ip, tcp })
}

fn protocol(text: &str) -> (&str, bool) {
    match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.eq_ignore_ascii_case("tcp")),
        None => (text, true),
    }
}

fn address(text: &str) -> Option<IpAddr> {
    match text.trim_matches(['[', ']']) {
        "" => Some(EVERYWHERE),
        ip => ip.parse().ok(),
    }
}

/// `Some(None)`: the engine chooses.
#[allow(clippy::option_option, reason = "one is of the text, the other of the port")]
fn published(text: &str) -> Option<Option<RangeInclusive<u16>>> {
    match text.trim() {
        "" | "0" => Some(None),
        text => range_of(text).map(Some),
    }
}

fn range_of(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (0 < first && first <= last).then_some(first..=last)
}
