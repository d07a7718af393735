//! Clients by their addresses, as two maps: the narrowest of all networks around a client, and the sets that have it.
//!
//! Pure.

use super::{FeatureMaps, PRESENT, set_name};
use crate::{
    haproxy::{config::MapName, observed::ObservedState},
    model::http::clients::Networks,
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// Clients by their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientSet {
    pub(super) name: String,
    allow: Networks,
    deny: Networks,
}

impl ClientSet {
    pub(super) fn new(allow: Networks, deny: Networks) -> Self {
        let name = set_name('n', &Self::text(&allow, &deny));
        Self { name, allow, deny }
    }

    fn text(allow: &Networks, deny: &Networks) -> String {
        let any = if allow.is_empty() { "*" } else { "" };
        let text = format!("{any}{allow}");
        if deny.is_empty() { text } else { format!("{text} not {deny}") }
    }

    /// Iterates over the classes whose clients are in the set, except those that a narrower class has. The classes
    /// contain all networks of the set.
    fn members<'a>(&'a self, classes: &'a BTreeSet<IpNet>) -> impl Iterator<Item = &'a IpNet> {
        let everywhere = self.allow.is_empty().then_some(classes).into_iter().flatten();
        let within = self.allow.iter().flat_map(|network| {
            classes.range(*network..).take_while(|class| network.contains(*class))
        });
        everywhere.chain(within).filter(|class| !self.deny.covers(class))
    }
}

/// Builds the map of classes, and that of their sets. There are no classes without sets.
pub(super) fn build_maps(
    sets: &BTreeMap<&str, &ClientSet>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    if sets.is_empty() {
        return Default::default();
    }
    let networks = sets.values().flat_map(|set| set.allow.iter().chain(set.deny.iter()));
    let classes: BTreeSet<_> = networks.copied().chain(EVERYWHERE.map(everywhere)).collect();
    let mut members = BTreeMap::new();
    for (name, set) in sets {
        let entry = |class: &IpNet| (format!("{class}@{name}"), PRESENT.to_owned());
        members.extend(set.members(&classes).map(entry));
        members.insert((*name).to_owned(), ClientSet::text(&set.allow, &set.deny));
    }
    let class = |class: &IpNet| (class.to_string(), class.to_string());
    (classes.iter().map(class).collect(), members)
}

/// All addresses, so that every client has a class.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

fn everywhere(text: &str) -> IpNet {
    text.parse().expect("it is a network")
}

/// The classes and the sets of the maps of clients, as they are in HAProxy or are to be.
#[derive(Debug, Default)]
struct ClientTable<'a> {
    classes: BTreeSet<IpNet>,
    sets: BTreeSet<&'a str>,
    members: BTreeSet<&'a str>,
}

impl<'a> ClientTable<'a> {
    fn new(
        networks: impl Iterator<Item = &'a str>,
        members: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut table = Self {
            classes: networks.filter_map(|network| network.parse().ok()).collect(),
            ..Self::default()
        };
        for key in members {
            if key.contains('@') {
                table.members.insert(key)
            } else {
                table.sets.insert(key)
            };
        }
        table
    }

    /// Whether the set has the clients of a class that is not in this table: those of the narrowest one around it.
    fn has_clients_of(&self, class: &IpNet, set: &str) -> bool {
        let around = self.classes.iter().filter(|around| around.contains(class));
        let narrowest = around.max_by_key(|around| around.prefix_len());
        narrowest.is_some_and(|around| self.members.contains(format!("{around}@{set}").as_str()))
    }
}

/// Returns the entries of members that are needed only while HAProxy has classes and sets of both states: a class of one
/// state for the sets of the other one. Without them clients would be refused for a moment whose class is new.
pub fn transitional_members(
    observed: &ObservedState,
    desired: &FeatureMaps,
) -> BTreeMap<String, String> {
    let keys = |map| observed.map_entries(map).map(|(key, _)| key);
    let before = ClientTable::new(keys(MapName::ClientNetworks), keys(MapName::ClientMembers));
    let after = ClientTable::new(
        desired.client_networks.keys().map(String::as_str),
        desired.client_members.keys().map(String::as_str),
    );
    let mut entries = BTreeMap::new();
    for (table, other) in [(&before, &after), (&after, &before)] {
        for set in table.sets.difference(&other.sets) {
            for class in other.classes.difference(&table.classes) {
                if table.has_clients_of(class, set) {
                    entries.insert(format!("{class}@{set}"), PRESENT.to_owned());
                }
            }
        }
    }
    entries
}
