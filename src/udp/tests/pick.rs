use super::listener;
use crate::udp::{
    config::{NewFlows, Sticky, UdpListener},
    pick::{Choice, choose_endpoint},
};
use proptest::{collection::vec, prelude::*};
use std::{collections::BTreeMap, net::SocketAddr};

const FLOWS: u16 = 20_000;

fn clients(count: u16) -> impl Iterator<Item = SocketAddr> {
    (0..count).map(|n| {
        let [high, low] = n.to_be_bytes();
        SocketAddr::from(([198, 51, high, low], 1024 + n % 50_000))
    })
}

fn choose(listener: &UdpListener, client: SocketAddr) -> String {
    match choose_endpoint(listener, client) {
        Choice::Endpoint(endpoint) => endpoint.id.clone(),
        Choice::Spread => "spread".to_owned(),
        Choice::Nobody => "nobody".to_owned(),
    }
}

fn weighted(weights: &[u16]) -> UdpListener {
    let text = |(n, weight)| format!("c{n}@10.0.0.{}:53*{weight}", n + 1);
    let texts: Vec<_> = weights.iter().enumerate().map(text).collect();
    listener("[::]:53", &texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn choice_is_the_same_on_every_machine() {
    let listener = weighted(&[100, 100, 50, 0, 256]);
    let chosen: Vec<_> = clients(16).map(|client| choose(&listener, client)).collect();
    assert_eq!(chosen.join(" "), "c1 c2 c4 c0 c1 c2 c4 c1 c1 c0 c0 c4 c4 c4 c0 c4",);
}

#[test]
fn sticky_decides_what_is_hashed() {
    let mut listener = weighted(&[100; 8]);
    let distinct = |listener: &UdpListener| {
        let clients = (1..200).map(|port| SocketAddr::from(([198, 51, 100, 7], port)));
        let chosen: Vec<_> = clients.map(|client| choose(listener, client)).collect();
        chosen.into_iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(distinct(&listener), 8);
    listener.sticky = Sticky::Source;
    assert_eq!(distinct(&listener), 1);
    listener.sticky = Sticky::None;
    assert_eq!(choose(&listener, "10.0.0.9:1".parse().unwrap()), "spread");
}

#[test]
fn mapped_address_of_ipv4_is_that_address() {
    let listener = weighted(&[100; 8]);
    for client in clients(100) {
        let SocketAddr::V4(four) = client else { unreachable!() };
        let mapped = SocketAddr::from((four.ip().to_ipv6_mapped(), four.port()));
        assert_eq!(choose(&listener, client), choose(&listener, mapped));
    }
}

#[test]
fn listener_without_usable_endpoint_chooses_nobody() {
    let client = "198.51.100.7:4444".parse().unwrap();
    let mut listener = weighted(&[0, 100]);
    assert_eq!(choose(&listener, client), "c1");
    listener.endpoints[1].flows = NewFlows::Drain;
    for sticky in [Sticky::Flow, Sticky::Source, Sticky::None] {
        listener.sticky = sticky;
        assert_eq!(choose(&listener, client), "nobody");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn shares_are_within_five_percent_of_weights(weights in vec(0_u16..=256, 1..7)) {
        let total: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        prop_assume!(total > 0);
        let listener = weighted(&weights);
        let mut counts = BTreeMap::<String, u32>::new();
        for client in clients(FLOWS) {
            *counts.entry(choose(&listener, client)).or_default() += 1;
        }
        for (endpoint, weight) in listener.endpoints.iter().zip(weights) {
            let share = f64::from(counts.get(&endpoint.id).copied().unwrap_or(0)) / f64::from(FLOWS);
            let expected = f64::from(weight) / f64::from(total);
            prop_assert!((share - expected).abs() < 0.05, "{share} for {expected}");
            prop_assert!(weight > 0 || share == 0.0);
        }
    }

    #[test]
    fn endpoint_that_leaves_moves_only_its_flows(
        weights in vec(1_u16..=256, 2..9),
        leaving in any::<prop::sample::Index>(),
    ) {
        let before = weighted(&weights);
        let mut after = before.clone();
        let gone = after.endpoints.remove(leaving.index(weights.len())).id;
        after.endpoints.reverse();
        for client in clients(2000) {
            let first = choose(&before, client);
            prop_assert!(first == gone || first == choose(&after, client));
        }
    }

    #[test]
    fn greater_weight_only_attracts_flows(
        weights in vec(1_u16..=255, 2..9),
        growing in any::<prop::sample::Index>(),
    ) {
        let before = weighted(&weights);
        let mut after = before.clone();
        let growing = &mut after.endpoints[growing.index(weights.len())];
        growing.weight = 256;
        let id = growing.id.clone();
        for client in clients(2000) {
            let next = choose(&after, client);
            prop_assert!(next == id || next == choose(&before, client));
        }
    }
}
