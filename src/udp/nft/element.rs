//! A listener as elements of maps.
//!
//! Pure.

use super::{
    Family, TABLE,
    mark::Mark,
    slot::{SOURCE_SLOTS, fill_slots},
};
use crate::udp::config::{Sticky, UdpListener};
use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The addresses of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// One address.
    At,
    /// All addresses of the machine, of one family.
    All,
}

/// How the slot of a new flow is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotChoice {
    /// At random.
    Flow,
    /// By a hash of the client's address.
    Source,
}

/// A map or set of the table. `Display` is its name. The order is that of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapName {
    /// From the address and port of a listener to its mark.
    Listener(Place, Family),
    /// From the address and port of a listener with one endpoint to that endpoint.
    One(Place, Family),
    /// From the address and port of a listener, and a slot, to the endpoint of the slot.
    Pool { place: Place, family: Family, choice: SlotChoice, size: u16 },
    /// From the mark of a listener and an endpoint's address to the mark of its flows.
    Endpoint(Family),
    /// The marks of listeners whose flows are forgotten after this number of seconds.
    Idle(Family, u32),
}

/// An element of a map; of a set, if the value is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub map: MapName,
    pub key: String,
    pub value: String,
}

impl fmt::Display for MapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |place| match place {
            Place::At => "at",
            Place::All => "all",
        };
        match self {
            Self::Listener(at, family) => write!(f, "{}{}_listener", place(*at), family.digit()),
            Self::One(at, family) => write!(f, "{}{}_one", place(*at), family.digit()),
            Self::Pool { place: at, family, choice, size } => {
                let choice = match choice {
                    SlotChoice::Flow => "flow",
                    SlotChoice::Source => "source",
                };
                write!(f, "{}{}_{choice}_{size}", place(*at), family.digit())
            }
            Self::Endpoint(family) => write!(f, "endpoint{}", family.digit()),
            Self::Idle(family, seconds) => write!(f, "idle{}_{seconds}", family.digit()),
        }
    }
}

impl MapName {
    /// Returns the expression of the listener's address and port in rules: `ip daddr . udp dport`.
    pub(super) fn listener_key(place: Place, family: Family) -> String {
        match place {
            Place::At => format!("{} daddr . udp dport", family.word()),
            Place::All => "udp dport".to_owned(),
        }
    }

    /// Returns the commands that create the map.
    pub(super) fn declaration(self) -> String {
        let address = |family| match family {
            Family::Four => "ipv4_addr",
            Family::Six => "ipv6_addr",
        };
        let key = |place, family| match place {
            Place::At => format!("{} . inet_service", address(family)),
            Place::All => "inet_service".to_owned(),
        };
        match self {
            Self::Listener(place, family) => {
                format!("add map inet {TABLE} {self} {{ type {} : mark; }}", key(place, family))
            }
            Self::One(place, family) => format!(
                "add map inet {TABLE} {self} {{ type {} : {} . inet_service; }}",
                key(place, family),
                address(family)
            ),
            // A slot has no type of its own. The declaration is the same for both choices: nft 1.0.6 crashes when it
            // lists a map with `typeof jhash`.
            Self::Pool { place, family, size, .. } => format!(
                "add map inet {TABLE} {self} {{ typeof {} . numgen random mod {size} : {} daddr . udp dport; }}",
                Self::listener_key(place, family),
                family.word()
            ),
            Self::Endpoint(family) => format!(
                "add map inet {TABLE} {self} {{ type mark . {} . inet_service : mark; }}",
                address(family)
            ),
            Self::Idle(family, seconds) => format!(
                "add ct timeout inet {TABLE} {self} {{\n\tprotocol udp\n\tl3proto {}\n\tpolicy = {{ unreplied : {seconds}, replied : \
                 {seconds} }}\n}}\nadd set inet {TABLE} {self} {{ type mark; }}",
                family.word()
            ),
        }
    }

    /// Returns the commands that delete the map.
    pub(super) fn deletion(self) -> String {
        match self {
            Self::Idle(..) => {
                format!("delete set inet {TABLE} {self}\ndelete ct timeout inet {TABLE} {self}")
            }
            Self::Listener(..) | Self::One(..) | Self::Pool { .. } | Self::Endpoint(_) => {
                format!("delete map inet {TABLE} {self}")
            }
        }
    }
}

impl Element {
    /// Returns the address of the listener whose mark the element has; a wildcard for all addresses of a family.
    pub(super) fn bind(&self) -> Option<SocketAddr> {
        let (ip, port) = match self.map {
            MapName::Listener(Place::All, Family::Four) => {
                (Ipv4Addr::UNSPECIFIED.into(), self.key.as_str())
            }
            MapName::Listener(Place::All, Family::Six) => {
                (Ipv6Addr::UNSPECIFIED.into(), self.key.as_str())
            }
            MapName::Listener(Place::At, _) => {
                let (ip, port) = self.key.split_once(" . ")?;
                (ip.parse().ok()?, port)
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port.parse().ok()?))
    }

    /// Returns the mark of the endpoint whose flows the element marks.
    pub(super) fn endpoint_mark(&self) -> Option<Mark> {
        match self.map {
            MapName::Endpoint(_) => Mark::parse(&self.value),
            _ => None,
        }
    }
}

/// Returns the elements of all listeners of one port. They depend on each other: `0.0.0.0` takes the addresses of IPv4 from
/// `[::]`.
pub fn port_elements<'a>(
    listeners: impl IntoIterator<Item = &'a UdpListener>,
) -> BTreeSet<Element> {
    let listeners: Vec<_> = listeners.into_iter().collect();
    let has_four = listeners.iter().any(|listener| listener.bind.ip() == Ipv4Addr::UNSPECIFIED);
    let mut elements = BTreeSet::new();
    for listener in listeners {
        match listener.bind.ip().to_canonical() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                add_elements(&mut elements, listener, Place::All, Family::Six);
                if !has_four {
                    add_elements(&mut elements, listener, Place::All, Family::Four);
                }
            }
            ip if ip.is_unspecified() => {
                add_elements(&mut elements, listener, Place::All, Family::Four);
            }
            ip => add_elements(&mut elements, listener, Place::At, Family::of(ip)),
        }
    }
    elements
}

fn add_elements(
    elements: &mut BTreeSet<Element>,
    listener: &UdpListener,
    place: Place,
    family: Family,
) {
    let port = listener.bind.port();
    let ip = listener.bind.ip().to_canonical();
    let (mark, key) = match (place, family) {
        (Place::At, _) => (Mark::at(SocketAddr::new(ip, port)), format!("{ip} . {port}")),
        (Place::All, Family::Four) => (Mark::all_four(port), port.to_string()),
        (Place::All, Family::Six) => (Mark::all_six(port), port.to_string()),
    };
    let mut add = |map, key, value| _ = elements.insert(Element { map, key, value });
    add(MapName::Listener(place, family), key.clone(), mark.to_string());
    add(MapName::Idle(family, whole_seconds(listener)), mark.to_string(), String::new());
    let of_family =
        listener.endpoints.iter().filter(|endpoint| Family::of(endpoint.address.ip()) == family);
    let of_family: Vec<_> = of_family.collect();
    for endpoint in &of_family {
        let address =
            SocketAddr::new(endpoint.address.ip().to_canonical(), endpoint.address.port());
        let value = mark.endpoint(address).to_string();
        add(MapName::Endpoint(family), format!("{mark} . {}", pair(address)), value);
    }
    let usable: Vec<_> =
        of_family.into_iter().filter(|endpoint| endpoint.accepts_flows()).collect();
    let (choice, least) = match listener.sticky {
        Sticky::Source => (SlotChoice::Source, SOURCE_SLOTS),
        Sticky::Flow | Sticky::None => (SlotChoice::Flow, 0),
    };
    match fill_slots(&usable, least).as_slice() {
        [] => {}
        [only] => add(MapName::One(place, family), key, pair(usable[*only].address)),
        slots => {
            let size = u16::try_from(slots.len()).unwrap_or(u16::MAX);
            let map = MapName::Pool { place, family, choice, size };
            for (slot, at) in slots.iter().enumerate() {
                add(map, format!("{key} . {slot}"), pair(usable[*at].address));
            }
        }
    }
}

/// Connection tracking counts in seconds. A flow is never forgotten too early.
fn whole_seconds(listener: &UdpListener) -> u32 {
    u32::try_from(listener.idle.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

fn pair(address: SocketAddr) -> String {
    format!("{} . {}", address.ip().to_canonical(), address.port())
}
