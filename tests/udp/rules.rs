//! The rules of the nft engine without a kernel: their text, shares, and changes from any listeners to any others.

use crate::site::listener;
use docker_glue::udp::{
    config::UdpListener,
    nft::{
        conntrack::{
            KernelAnswer, delete_entry_request, delete_mark_request, list_marks_request,
            parse_answers,
        },
        element::{Element, port_elements},
        firewall::{drops_forwarded, has_chain, internal_networks},
        listing::{expected_listing, parse_listing},
        mark::Mark,
        ruleset::Ruleset,
        slot::fill_slots,
    },
};
use ipnet::IpNet;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn by_port(listeners: &[UdpListener]) -> BTreeMap<u16, BTreeSet<Element>> {
    let ports: BTreeSet<_> = listeners.iter().map(|listener| listener.bind.port()).collect();
    let elements =
        |port| port_elements(listeners.iter().filter(|listener| listener.bind.port() == port));
    ports.into_iter().map(|port| (port, elements(port))).collect()
}

fn subnets() -> BTreeSet<IpNet> {
    BTreeSet::from(["172.17.0.0/16".parse().unwrap(), "fd00:17::/64".parse().unwrap()])
}

const LISTENERS: [&str; 5] = [
    "[::]:53 | a@172.17.0.2:53*100 b@172.17.0.3:53*200 c@[fd00:17::2]:53",
    "0.0.0.0:514 idle=30000 | a@172.17.0.2:5140",
    "192.0.2.1:514 | a@172.17.0.2:5140 b@172.17.0.3:5140*drain",
    "[2001:db8::1]:1812 sticky=source | c@[fd00:17::2]:1812 d@[fd00:17::3]:1812",
    "0.0.0.0:27015",
];

#[test]
fn table_has_flat_maps_that_all_listeners_share() {
    let mut rules = Ruleset::default();
    rules.replace(by_port(&LISTENERS.map(listener)), subnets());
    let script = rules.load_script();
    // 60 slots would be no pleasant reading.
    let lines = script.lines().map(|line| match line.split_once("{ ") {
        Some((start, elements)) if elements.matches(", ").count() > 8 => format!("{start}{{ … }}"),
        _ => line.to_owned(),
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn change_of_a_listener_is_its_elements_only() {
    let mut rules = Ruleset::default();
    let mut listeners = LISTENERS.map(listener).to_vec();
    rules.replace(by_port(&listeners), subnets());
    listeners[1] = listener("0.0.0.0:514 idle=30000 | a@172.17.0.4:5140");
    let change = rules.replace(by_port(&listeners), subnets());
    insta::assert_snapshot!(rules.change_script(&change));
    let [gone] = change.gone_marks()[..] else { panic!("{change:?}") };
    assert_eq!(gone, Mark::all_four(514).endpoint("172.17.0.2:5140".parse().unwrap()));
    assert_eq!(change.new_binds(), BTreeSet::new());
    assert!(!change.changes_rules(&rules));
}

#[test]
fn shares_are_within_five_percent_of_the_weights() {
    for weights in
        [&[1, 1][..], &[1, 2, 3], &[50, 150], &[100; 7], &[1, 256], &[7, 11, 13, 100], &[256; 40]]
    {
        let text: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, weight)| format!("e{at}@10.0.0.{}:53*{weight}", at + 1))
            .collect();
        let listener = listener(&format!("0.0.0.0:53 | {}", text.join(" ")));
        let endpoints: Vec<_> = listener.endpoints.iter().collect();
        let slots = fill_slots(&endpoints, 0);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (at, weight) in weights.iter().enumerate() {
            let count = slots.iter().filter(|slot| **slot == at).count();
            #[allow(clippy::cast_precision_loss, reason = "few slots")]
            let ratio = count as f64 / slots.len() as f64 / (f64::from(*weight) / total);
            assert!((0.95..=1.05).contains(&ratio), "{weights:?}: {at} has {ratio}");
        }
    }
}

#[test]
fn container_that_leaves_moves_few_clients_of_others() {
    // With these the pool has 60 slots before and after.
    for count in 3..=6_usize {
        let text: Vec<_> = (0..count).map(|at| format!("e{at}@10.0.0.{at}:53")).collect();
        let listener = listener(&format!("0.0.0.0:53 | {}", text.join(" ")));
        let endpoints: Vec<_> = listener.endpoints.iter().collect();
        let before = fill_slots(&endpoints, 60);
        let after = fill_slots(&endpoints[..count - 1], 60);
        let pairs = before.iter().zip(&after).filter(|(before, _)| **before != count - 1);
        let moved = pairs.filter(|(before, after)| before != after).count();
        assert_eq!(before.len(), after.len());
        assert!(moved <= 8, "{moved} of 60 slots of others with {count} containers");
    }
}

/// The kernel, as far as the scripts use it: maps with elements, and rules in chains.
#[derive(Debug, Default, PartialEq)]
struct Kernel {
    maps: BTreeMap<String, BTreeMap<String, String>>,
    timeouts: BTreeSet<String>,
    chains: BTreeMap<String, Vec<String>>,
}

impl Kernel {
    fn run(&mut self, script: &str) {
        let mut lines = script.lines();
        while let Some(line) = lines.next() {
            let words: Vec<_> = line.splitn(6, ' ').collect();
            match words.as_slice() {
                ["add", "table", ..] => {}
                ["delete", "table", ..] => *self = Self::default(),
                ["add", "map" | "set", _, _, name, _] => {
                    assert!(
                        self.maps.insert((*name).to_owned(), BTreeMap::new()).is_none(),
                        "{line}"
                    );
                }
                ["delete", "map" | "set", _, _, name] => {
                    assert_eq!(self.maps.remove(*name), Some(BTreeMap::new()), "{line}");
                    let uses =
                        |rule: &String| rule.split(' ').any(|word| word == format!("@{name}"));
                    assert!(!self.chains.values().flatten().any(uses), "{line}");
                }
                ["add", "ct", "timeout", _, _, rest] => {
                    self.timeouts.insert(rest.trim_end_matches(" {").to_owned());
                    lines.by_ref().take_while(|line| *line != "}").for_each(drop);
                }
                ["delete", "ct", "timeout", _, _, name] => {
                    assert!(self.timeouts.remove(*name), "{line}");
                }
                ["add", "chain", _, _, name, ..] => {
                    self.chains.insert((*name).to_owned(), Vec::new());
                }
                ["flush", "chain", _, _, name] => self.chains.get_mut(*name).unwrap().clear(),
                ["add", "rule", _, _, chain, rule] => {
                    let map = rule.split_once('@').map(|(_, rest)| rest.split(' ').next().unwrap());
                    assert!(map.is_none_or(|map| self.maps.contains_key(map)), "{line}");
                    self.chains.get_mut(*chain).unwrap().push((*rule).to_owned());
                }
                [verb, "element", _, _, map, elements] => {
                    let map = self.maps.get_mut(*map).unwrap();
                    let elements = elements.trim_start_matches("{ ").trim_end_matches(" }");
                    for element in elements.split(", ") {
                        let (key, value) = element.split_once(" : ").unwrap_or((element, ""));
                        let before = match *verb {
                            "add" => map.insert(key.to_owned(), value.to_owned()).is_none(),
                            _ => map.remove(key).is_some(),
                        };
                        assert!(before, "{verb} {element} in {line:.60}");
                    }
                }
                _ => panic!("{line}"),
            }
        }
    }
}

fn any_listeners() -> impl Strategy<Value = Vec<UdpListener>> {
    let bind = prop::sample::select(vec![
        "0.0.0.0:1",
        "[::]:1",
        "192.0.2.1:1",
        "[2001:db8::1]:1",
        "0.0.0.0:2",
        "[::]:3",
        "192.0.2.1:3",
    ]);
    let endpoints = prop::collection::vec((0_u8..6, 0_u16..4, any::<bool>()), 0..5);
    let one = (bind, endpoints, any::<bool>(), prop::sample::select(vec![500, 30_000, 120_000]));
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let mut listeners = BTreeMap::new();
        for (bind, endpoints, is_source, idle) in all {
            let sticky = if is_source { "sticky=source" } else { "" };
            let mut found = listener(&format!("{bind} {sticky} idle={idle}"));
            let mut seen = BTreeSet::new();
            for (at, weight, is_draining) in endpoints {
                if seen.insert(at) {
                    let address =
                        if at < 4 { format!("10.0.0.{at}:9") } else { format!("[fd00::{at}]:9") };
                    let weight = if is_draining { "drain".to_owned() } else { weight.to_string() };
                    found
                        .endpoints
                        .extend(listener(&format!("{bind} | e{at}@{address}*{weight}")).endpoints);
                }
            }
            listeners.insert(found.bind, found);
        }
        listeners.into_values().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changes_lead_to_the_same_maps_as_a_fresh_load(steps in prop::collection::vec(any_listeners(), 1..5)) {
        let (mut rules, mut kernel) = (Ruleset::default(), Kernel::default());
        kernel.run(&rules.load_script());
        for listeners in steps {
            let mut ports = by_port(&listeners);
            for port in 1..=3 {
                ports.entry(port).or_default();
            }
            let networks = if listeners.len() % 2 == 0 { subnets() } else { BTreeSet::new() };
            let before = rules.clone();
            let change = rules.replace(ports.clone(), networks.clone());
            let mut undone = rules.clone();
            undone.undo(change.clone());
            prop_assert_eq!(&undone, &before);
            kernel.run(&rules.change_script(&change));
            let (mut fresh, mut fresh_kernel) = (Ruleset::default(), Kernel::default());
            fresh.replace(ports, networks);
            prop_assert_eq!(&fresh, &rules);
            fresh_kernel.run(&fresh.load_script());
            prop_assert_eq!(&kernel, &fresh_kernel);
        }
    }

    #[test]
    fn any_bytes_of_the_kernel_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..100) {
        parse_answers(&bytes);
        let mut message = entry_message(17);
        message.splice(at.min(message.len()).., bytes);
        parse_answers(&message);
    }
}

#[test]
fn listing_of_nft_is_compared_with_the_elements() {
    let mut rules = Ruleset::default();
    rules.replace(by_port(&[listener("0.0.0.0:53 idle=30000 | a@10.0.0.2:53")]), BTreeSet::new());
    let mark = Mark::all_four(53);
    let flow = mark.endpoint("10.0.0.2:53".parse().unwrap());
    let (mark, flow) = (mark.number(), flow.number());
    let listing = format!(
        r#"{{"nftables": [{{"metainfo": {{}}}}, {{"table": {{"name": "docker-glue"}}}},
        {{"map": {{"name": "all4_listener", "elem": [[53, {mark}]]}}}},
        {{"map": {{"name": "all4_one", "elem": [[53, {{"concat": ["10.0.0.2", 53]}}]]}}}},
        {{"map": {{"name": "endpoint4", "elem": [[{{"concat": [{mark}, "10.0.0.2", 53]}}, {flow}]]}}}},
        {{"map": {{"name": "empty"}}}}, {{"set": {{"name": "idle4_30", "elem": [{mark}]}}}}, {{"chain": {{}}}}]}}"#
    );
    assert_eq!(parse_listing(&listing), Some(expected_listing(rules.elements())));
    for damaged in ["", "{}", "[]", r#"{"nftables": [{"map": {"name": "m", "elem": [[{}, 1]]}}]}"#]
    {
        assert_eq!(parse_listing(damaged), None, "{damaged}");
    }
}

#[test]
fn firewall_of_docker_is_read() {
    let listing = "-P INPUT ACCEPT\n-P FORWARD DROP\n-N DOCKER-USER\n\
        -A DOCKER-ISOLATION-STAGE-1 ! -s 172.18.0.0/16 -o br-1 -j DROP\n\
        -A DOCKER-INTERNAL ! -d 172.19.0.0/16 -i br-2 -j DROP\n-A INPUT ! -s 10.0.0.0/8 -o eth0 -j DROP\n";
    assert!(has_chain(listing) && drops_forwarded(listing));
    assert!(!has_chain("-N DOCKER-USER-2") && !drops_forwarded("-P FORWARD ACCEPT"));
    assert_eq!(internal_networks(listing), ["172.18.0.0/16".parse().unwrap()]);
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An entry of connection tracking to 10.0.0.1:53, as the kernel sends it.
fn entry_message(protocol: u8) -> Vec<u8> {
    let ip = [attribute(1, &[10, 0, 0, 7]), attribute(2, &[10, 0, 0, 1])].concat();
    let protocol = [attribute(1, &[protocol]), attribute(3, &53_u16.to_be_bytes())].concat();
    let tuple = [attribute(0x8001, &ip), attribute(0x8002, &protocol)].concat();
    let mark = attribute(8, &0x6780_0001_u32.to_be_bytes());
    let body =
        [vec![2, 0, 0, 0], attribute(0x8001, &tuple), mark, attribute(12, &[1, 2, 3, 4])].concat();
    let length = u32::try_from(16 + body.len()).unwrap();
    [&length.to_ne_bytes()[..], &[0, 1, 0, 0], &[0; 8], &body].concat()
}

#[test]
fn entry_of_udp_is_read_and_deleted_by_what_identifies_it() {
    let answers = parse_answers(&[entry_message(17), entry_message(6)].concat());
    let [KernelAnswer::Entry(entry), KernelAnswer::Other] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((entry.to.to_string().as_str(), entry.mark), ("10.0.0.1:53", 0x6780_0001));
    // The same without the mark, as a deletion.
    let deletion = delete_entry_request(entry);
    assert_eq!((&deletion[4..6], deletion.len()), (&[2, 1][..], entry_message(17).len() - 8));
}

#[test]
fn deletion_by_mark_has_the_mark_and_a_full_mask() {
    let expected = [
        &36_u32.to_ne_bytes()[..],
        &[2, 1, 5, 0],
        &[0; 12],
        &[8, 0, 8, 0, 0x67, 0, 0, 53],
        &[8, 0, 21, 0, 255, 255, 255, 255],
    ];
    assert_eq!(delete_mark_request(Mark::all_four(53)), expected.concat());
}

#[test]
fn list_of_marks_has_the_bits_that_they_have_in_common() {
    for (ports, mark, mask) in [
        (&[0x0135_u16][..], [0x67, 0, 1, 0x35], [255, 255, 255, 255]),
        (&[0x0135, 0x0134], [0x67, 0, 1, 0x34], [255, 255, 255, 254]),
        (&[0x0135, 0x0134, 0x0235], [0x67, 0, 0, 0x34], [255, 255, 252, 254]),
    ] {
        let marks = ports.iter().map(|port| Mark::all_four(*port)).collect();
        let expected = [
            &36_u32.to_ne_bytes()[..],
            &[1, 1, 1, 3],
            &[0; 12],
            &[8, 0, 8, 0],
            &mark,
            &[8, 0, 21, 0],
            &mask,
        ];
        assert_eq!(list_marks_request(&marks), expected.concat(), "{ports:x?}");
    }
}

#[test]
fn flows_have_the_mark_that_the_rules_give_them() {
    for listener in LISTENERS.map(listener) {
        let elements = port_elements([&listener]);
        let endpoints = elements.iter().filter(|e| e.map.to_string().starts_with("endpoint"));
        let expected: BTreeSet<_> = endpoints.map(|element| element.value.clone()).collect();
        let marks = listener.endpoints.iter();
        let marks = marks.filter_map(|endpoint| Mark::flows(&listener, endpoint.address));
        let marks: BTreeSet<_> = marks.map(|mark| mark.to_string()).collect();
        assert_eq!(marks, expected, "{}", listener.bind);
    }
}

#[test]
fn errors_of_the_kernel_have_their_number() {
    for (kind, code, expected) in [(2_u16, -2_i32, 2), (3, 0, 0), (2, 0, 0)] {
        let message =
            [&20_u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &code.to_ne_bytes()];
        assert_eq!(parse_answers(&message.concat()), [KernelAnswer::End(expected)]);
    }
}
