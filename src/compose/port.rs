//! `ports` and `expose` of a service.
//!
//! Pure. Only TCP counts.

use super::yaml::Node;
use crate::container::Published;
use anyhow::{Result, anyhow};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

/// What the service publishes where the file says the port; and all TCP ports that it names.
pub(super) fn ports(node: &Node) -> Result<(Vec<Published>, BTreeSet<u16>)> {
    let (mut published, mut exposed) = (Vec::new(), BTreeSet::new());
    for port in node.list()? {
        let wrong = || anyhow!("{}: it is no port as compose writes them", port.place);
        let said = match port.entries() {
            [] => short(port.text()?),
            _ => long(port)?,
        };
        let Some(Said { container, host, ip, tcp }) = said else { return Err(wrong()) };
        if !tcp {
            continue;
        }
        exposed.extend(container.clone());
        let Some(host) = host else { continue };
        if host.clone().count() == container.clone().count() {
            let pairs = container.zip(host);
            published.extend(pairs.map(|(container_port, host_port)| Published {
                container_port,
                host_port,
                host_ip: ip,
            }));
        }
    }
    Ok((published, exposed))
}

/// `"80"`, `"80/tcp"`, `"8000-8010"`.
pub(super) fn exposed(node: &Node) -> Result<BTreeSet<u16>> {
    let mut exposed = BTreeSet::new();
    for port in node.list()? {
        let text = port.text()?;
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let range = range_of(range).ok_or_else(|| anyhow!("{}: {text} is no port", port.place))?;
        exposed.extend(range.filter(|_| protocol == "tcp"));
    }
    Ok(exposed)
}

struct Said {
    container: RangeInclusive<u16>,
    /// `None`: one that the engine chooses.
    host: Option<RangeInclusive<u16>>,
    ip: IpAddr,
    tcp: bool,
}

const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`.
fn short(text: &str) -> Option<Said> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, container) = text.rsplit_once(':').map_or((None, text), |(a, b)| (Some(a), b));
    let container = range_of(container)?;
    let tcp = protocol == "tcp";
    let Some(rest) = rest else { return Some(Said { container, host: None, ip: EVERYWHERE, tcp }) };
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (ip.trim_matches(['[', ']']).parse().ok()?, host),
        None => (EVERYWHERE, rest),
    };
    let host = if host.is_empty() { None } else { Some(range_of(host)?) };
    Some(Said { container, host, ip, tcp })
}

/// `target`, `published`, `host_ip`, `protocol`.
fn long(node: &Node) -> Result<Option<Said>> {
    let text = |key: &str| node.get(key).map(Node::text).transpose();
    let Some(container) = text("target")?.and_then(range_of) else { return Ok(None) };
    let ip = text("host_ip")?.and_then(|ip| ip.parse().ok()).unwrap_or(EVERYWHERE);
    let tcp = text("protocol")?.is_none_or(|protocol| protocol == "tcp");
    let published = text("published")?.filter(|text| !text.is_empty());
    let host = match published.map(range_of) {
        Some(None) => return Ok(None),
        Some(range) => range,
        None => None,
    };
    Ok(Some(Said { container, host, ip, tcp }))
}

fn range_of(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some(first..=last)
}
