//! The contents of the table, and the commands from one to another.
//!
//! Pure. The commands of a change are one transaction of the kernel: packets see all of it or nothing.

use super::{
    Family, TABLE,
    element::{Element, MapName, Place, SlotChoice},
    mark::{MARK_MASK, MARK_PREFIX, Mark},
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
};

/// What the table should contain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    ports: BTreeMap<u16, BTreeSet<Element>>,
    /// How many ports have the element: a mark of a listener at one address is a hash.
    elements: BTreeMap<Element, usize>,
    /// The number of elements of each map. A map without elements does not exist.
    sizes: BTreeMap<MapName, usize>,
    subnets: BTreeSet<IpNet>,
}

/// A change of a [`Ruleset`] that has been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub added: Vec<Element>,
    pub removed: Vec<Element>,
    maps_before: BTreeSet<MapName>,
    subnets_before: BTreeSet<IpNet>,
    ports_before: BTreeMap<u16, BTreeSet<Element>>,
}

impl Change {
    /// Returns the addresses of new listeners, as [`Ruleset::binds`].
    pub fn new_binds(&self) -> BTreeSet<SocketAddr> {
        self.added.iter().filter_map(Element::bind).collect()
    }

    /// Returns the marks of endpoints that are gone. Their flows have to end.
    pub fn gone_marks(&self) -> Vec<Mark> {
        self.removed.iter().filter_map(Element::endpoint_mark).collect()
    }

    /// Whether chains and rules are other ones than before, and not only elements.
    pub fn changes_rules(&self, after: &Ruleset) -> bool {
        self.subnets_before != after.subnets || !self.maps_before.iter().eq(after.sizes.keys())
    }
}

impl Ruleset {
    /// Replaces the elements of ports; of a port without elements nothing remains. `subnets` are the networks to which the
    /// machine is connected.
    pub fn replace(
        &mut self,
        ports: BTreeMap<u16, BTreeSet<Element>>,
        subnets: BTreeSet<IpNet>,
    ) -> Change {
        let maps_before = self.sizes.keys().copied().collect();
        let subnets_before = std::mem::replace(&mut self.subnets, subnets);
        let (mut were_present, mut ports_before) = (BTreeMap::new(), BTreeMap::new());
        for (port, elements) in ports {
            let before = self.ports.remove(&port).unwrap_or_default();
            for (element, more) in before
                .difference(&elements)
                .map(|element| (element, false))
                .chain(elements.difference(&before).map(|element| (element, true)))
            {
                let count = self.elements.entry(element.clone()).or_default();
                were_present.entry(element.clone()).or_insert(*count > 0);
                *count = if more { *count + 1 } else { *count - 1 };
            }
            ports_before.insert(port, before);
            if !elements.is_empty() {
                self.ports.insert(port, elements);
            }
        }
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (element, was_present) in were_present {
            match (was_present, self.elements[&element] > 0) {
                (false, true) => added.push(element),
                (true, false) => {
                    self.elements.remove(&element);
                    removed.push(element);
                }
                (false, false) => _ = self.elements.remove(&element),
                (true, true) => {}
            }
        }
        for element in &added {
            *self.sizes.entry(element.map).or_default() += 1;
        }
        for element in &removed {
            let size = self.sizes.entry(element.map).or_default();
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&element.map);
            }
        }
        Change { added, removed, maps_before, subnets_before, ports_before }
    }

    /// Takes a change back.
    pub fn undo(&mut self, change: Change) {
        self.replace(change.ports_before, change.subnets_before);
    }

    /// Returns the addresses of all listeners. A wildcard means all addresses of its own family only.
    pub fn binds(&self) -> BTreeSet<SocketAddr> {
        self.elements().filter_map(Element::bind).collect()
    }

    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.elements.keys()
    }

    /// Returns the commands that load the table in place of the one that exists, if there is one.
    pub fn load_script(&self) -> String {
        let change = Change {
            added: self.elements.keys().cloned().collect(),
            removed: Vec::new(),
            maps_before: BTreeSet::new(),
            subnets_before: BTreeSet::new(),
            ports_before: BTreeMap::new(),
        };
        // To add it first is no error if it exists, to delete it would be one if it does not.
        let start =
            format!("add table inet {TABLE}\ndelete table inet {TABLE}\nadd table inet {TABLE}\n");
        start + &base_chains() + &self.change_script(&change)
    }

    /// Returns the commands for a change that was made; nothing if nothing changed.
    pub fn change_script(&self, change: &Change) -> String {
        let maps: BTreeSet<_> = self.sizes.keys().copied().collect();
        let is_other_shape = maps != change.maps_before;
        let mut script = String::new();
        for map in maps.difference(&change.maps_before) {
            push_line(&mut script, &map.declaration());
        }
        if is_other_shape {
            push_line(&mut script, &format!("flush chain inet {TABLE} choose"));
            push_line(&mut script, &format!("flush chain inet {TABLE} finish"));
        }
        push_elements(&mut script, "delete", &change.removed, |element| element.key.clone());
        push_elements(&mut script, "add", &change.added, |element| match element.value.as_str() {
            "" => element.key.clone(),
            value => format!("{} : {value}", element.key),
        });
        for map in change.maps_before.difference(&maps) {
            push_line(&mut script, &map.deletion());
        }
        // Without listeners nothing is dropped.
        if is_other_shape && !maps.is_empty() {
            push_rules(&mut script, "choose", choose_rules(&maps));
            push_rules(&mut script, "finish", finish_rules(&maps));
        }
        if self.subnets != change.subnets_before {
            push_line(&mut script, &format!("flush chain inet {TABLE} near"));
            push_rules(&mut script, "near", near_rules(&self.subnets));
        }
        script
    }
}

/// The chains that packets enter. Their priorities are next to those of address translation, before Docker's.
fn base_chains() -> String {
    let mark = format!("ct mark & {MARK_MASK:#x} == {MARK_PREFIX:#x}");
    let mut script = String::new();
    for chain in ["choose", "finish", "near"] {
        push_line(&mut script, &format!("add chain inet {TABLE} {chain}"));
    }
    for (chain, kind, hook, priority, rule) in [
        ("prerouting", "nat", "prerouting", -101, "meta l4proto udp jump choose".to_owned()),
        ("output", "nat", "output", -101, "meta l4proto udp jump choose".to_owned()),
        (
            "prerouting_finish",
            "filter",
            "prerouting",
            -99,
            format!("ct state new meta l4proto udp {mark} jump finish"),
        ),
        (
            "output_finish",
            "filter",
            "output",
            -99,
            format!("ct state new meta l4proto udp {mark} jump finish"),
        ),
        ("postrouting", "nat", "postrouting", 99, format!("meta l4proto udp {mark} jump near")),
    ] {
        let hook = format!("type {kind} hook {hook} priority {priority}; policy accept;");
        push_line(&mut script, &format!("add chain inet {TABLE} {chain} {{ {hook} }}"));
        push_rules(&mut script, chain, vec![rule]);
    }
    script
}

/// The rules for the first datagram of a flow.
fn choose_rules(maps: &BTreeSet<MapName>) -> Vec<String> {
    let mut rules = place_rules(maps, Place::At);
    if !rules.is_empty() {
        // A listener at this address, which has no endpoint.
        rules.push(format!("ct mark & {MARK_MASK:#x} == {MARK_PREFIX:#x} return"));
    }
    rules.push("fib daddr type != local return".to_owned());
    // Local, too, but not reachable from outside: such as the machine's own resolver at 127.0.0.53.
    rules.push("ip daddr 127.0.0.0/8 return".to_owned());
    rules.push("ip6 daddr ::1 return".to_owned());
    rules.extend(place_rules(maps, Place::All));
    rules
}

fn place_rules(maps: &BTreeSet<MapName>, wanted: Place) -> Vec<String> {
    maps.iter().filter_map(|map| place_rule(*map, wanted)).collect()
}

fn place_rule(map: MapName, wanted: Place) -> Option<String> {
    let (place, family) = match map {
        MapName::Listener(place, family)
        | MapName::One(place, family)
        | MapName::Pool { place, family, .. } => (place, family),
        MapName::Endpoint(_) | MapName::Idle(..) => return None,
    };
    if place != wanted {
        return None;
    }
    let key = MapName::listener_key(place, family);
    let (word, protocol) = match family {
        Family::Four => ("ip", "ipv4"),
        Family::Six => ("ip6", "ipv6"),
    };
    let rule = match map {
        MapName::Listener(..) => format!("ct mark set {key} map @{map}"),
        MapName::Pool { choice: SlotChoice::Flow, size, .. } => {
            format!("dnat {word} to {key} . numgen random mod {size} map @{map}")
        }
        MapName::Pool { choice: SlotChoice::Source, size, .. } => {
            // Without a seed the kernel takes a random one for each rule, and a client would change its container.
            format!("dnat {word} to {key} . jhash {word} saddr mod {size} seed 0x67 map @{map}")
        }
        _ => format!("dnat {word} to {key} map @{map}"),
    };
    Some(format!("meta nfproto {protocol} meta l4proto udp {rule}"))
}

/// The rules for the first datagram of a flow after the translation.
fn finish_rules(maps: &BTreeSet<MapName>) -> Vec<String> {
    let mut rules = vec!["ct status & dnat == 0 drop".to_owned()];
    let idle = maps.iter().filter(|map| matches!(map, MapName::Idle(..)));
    rules.extend(idle.map(|map| format!("ct mark @{map} ct timeout set \"{map}\"")));
    let marks = maps.iter().filter_map(|map| match map {
        MapName::Endpoint(family) => Some((map, family.word())),
        _ => None,
    });
    rules.extend(
        marks.map(|(map, word)| {
            format!("ct mark set ct mark . {word} daddr . udp dport map @{map}")
        }),
    );
    rules
}

/// A container answers a client in its own network directly. The client would get the answer from an address that it
/// does not know, unless the machine is the client.
fn near_rules(subnets: &BTreeSet<IpNet>) -> Vec<String> {
    let rule = |subnet: &IpNet| {
        let word = Family::of(subnet.addr()).word();
        format!("{word} saddr {subnet} {word} daddr {subnet} masquerade")
    };
    subnets.iter().map(rule).collect()
}

fn push_rules(script: &mut String, chain: &str, rules: Vec<String>) {
    for rule in rules {
        push_line(script, &format!("add rule inet {TABLE} {chain} {rule}"));
    }
}

/// One command for each map.
fn push_elements(
    script: &mut String,
    verb: &str,
    elements: &[Element],
    text: impl Fn(&Element) -> String,
) {
    for elements in elements.chunk_by(|one, other| one.map == other.map) {
        let texts: Vec<_> = elements.iter().map(&text).collect();
        let map = elements[0].map;
        push_line(script, &format!("{verb} element inet {TABLE} {map} {{ {} }}", texts.join(", ")));
    }
}

fn push_line(script: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(script, "{line}");
}
