//! Entries and sets of policies, and the moments between two policies.

use super::{FIRST_WORD, Feature, FeatureMaps, HeaderNames, recover_options};
use crate::{
    haproxy::{
        command::RuntimeCommand,
        config::{Config, MapName, MapTarget},
        observed::ObservedState,
        plan::plan_commands,
    },
    model::{
        http::clients::{Allow, Deny},
        label_option::{LabelOption, LabelProtocol, OptionValues},
        option_value::Retry,
        policy_book,
        route::Policy,
    },
};
use ipnet::IpNet;
use proptest::prelude::*;
use std::{collections::BTreeMap, net::IpAddr};

/// Parses options as in labels, separated by `;`.
fn policy(labels: &str) -> Policy {
    let mut policy = OptionValues::default();
    for (name, value) in labels.split(';').filter_map(|label| label.trim().split_once('=')) {
        let value = LabelOption::parse_named(LabelProtocol::Http, name, value).unwrap().unwrap();
        policy_book::give(&mut policy, &value);
    }
    policy
}

fn target(policy: &Policy) -> MapTarget {
    MapTarget {
        backend: "a".to_owned(),
        route: "a".to_owned(),
        strip: 0,
        timeout: 1,
        retry: Retry::Safe,
        detail: None,
        guard: None,
        transport: None,
        features: super::RouteFeatures::new(policy, false, None),
    }
}

/// A configuration with these policies of routes, by their keys.
fn config(policies: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    for (key, labels) in policies {
        config.maps.routes.insert((*key).to_owned(), target(&policy(labels)));
    }
    let features = config.maps.routes.values().filter_map(|target| target.features.as_deref());
    features.for_each(|features| config.header_names.add(features));
    config.maps.features = FeatureMaps::of_routes(&config.maps.routes, &config.header_names);
    config
}

/// Words from [`FIRST_WORD`] on.
fn words(entry: &str) -> Vec<&str> {
    entry.split(' ').skip(FIRST_WORD - 1).collect()
}

#[test]
fn options_are_recovered_from_entry_and_sets() {
    for labels in [
        "",
        "allow=10.0.0.0/8",
        "allow=private;deny=10.1.0.0/16,::1",
        "deny=8.8.8.8",
        "cors=*",
        "cors=https://a.test,http://b.test:8080",
        "rate=5/s;at_once=3;max_body=10m",
        "rate=5/h",
        "rate=7/m;log=off",
        "redirect=https",
        "redirect=https://new.test:8443;redirect_status=301",
        "redirect=https://new.test/x*?a=%20",
        "redirect=http://new.test/;allow=10.0.0.0/8",
        "add_prefix=/a/b;tunnel_timeout=8h",
        "add_prefix=/a%2Cb",
        "response_header_X-A=a; b \"c\" %[src];drop_response_headers=server,x-b",
        "request_header_X-A=1;request_header_X-B=2;drop_request_headers=cookie;secure_headers=1",
        "secure_headers=1;response_header_X-Frame-Options=DENY",
        "allow=10.0.0.0/8;cors=*;rate=1/s;max_body=1;add_prefix=/x;request_header_A=b;response_header_C=d",
    ] {
        // A value of a header may contain the separator.
        let labels = labels.replace("a; b", "a, b");
        let config = config(&[("a.test:80/", &labels), ("b.test:80/", "allow=192.168.0.0/16")]);
        let observed = ObservedState::from_config(&config);
        let entry = config.maps.routes["a.test:80/"].to_string();
        assert_eq!(entry.split(' ').count() < FIRST_WORD, labels.is_empty(), "{entry}");
        let mut wanted = policy(&labels);
        if labels.contains("Frame-Options") {
            // What a route sets itself is not told apart from a part of `secure_headers`.
            wanted = recover_options(&observed, &words(&entry), Policy::default());
            assert_eq!(target(&wanted), config.maps.routes["a.test:80/"]);
        }
        let recovered = recover_options(&observed, &words(&entry), Policy::default());
        assert_eq!(recovered, wanted, "{labels}");
        assert_eq!(target(&recovered).to_string(), entry);
    }
}

#[test]
fn equal_policies_share_a_set() {
    let config = config(&[
        ("a.test:80/", "allow=10.0.0.0/8,10.0.0.0/8;response_header_X-A=1"),
        ("b.test:80/", "allow=10.1.2.3/8;response_header_x-a=1"),
        ("c.test:80/", "allow=10.0.0.0/8;response_header_x-a=2"),
    ]);
    let entry = |key: &str| words(&config.maps.routes[key].to_string()).join(" ");
    assert_eq!(entry("a.test:80/"), entry("b.test:80/"));
    assert_ne!(entry("a.test:80/"), entry("c.test:80/"));
    assert_eq!(config.maps.features.headers.len(), 2 + 1, "two sets, and the name of the header");
    assert_eq!(config.maps.features.client_networks.len(), 3);
}

#[test]
fn bits_of_header_names_are_positive_and_none_of_features() {
    let bits = (0..1000).map(|number| HeaderNames::bit("request", &format!("x-{number}")));
    let bits: std::collections::BTreeSet<_> = bits.collect();
    assert_eq!(bits.first(), Some(&(Feature::Sticky.bit() << 1)));
    assert_eq!(bits.last(), Some(&(1 << 62)), "HAProxy's numbers are signed, of 64 bits");
}

#[test]
fn names_of_headers_are_recovered_from_map() {
    let config = config(&[(
        "a.test:80/",
        "request_header_X-Q=1;drop_request_headers=x-d;response_header_X-Robots-Tag=x",
    )]);
    let keys = config.maps.features.headers.keys().map(String::as_str);
    let names = HeaderNames::of_worker(keys);
    assert_eq!(names, config.header_names);
    assert!(names.request.contains("x-q") && names.drop_request.contains("x-d"));
}

/// Decides as the rules of the frontend do: whether a client gets in, or `None` if there is no route.
fn admits(
    maps: &BTreeMap<MapName, BTreeMap<String, String>>,
    key: &str,
    client: IpAddr,
) -> Option<bool> {
    let entry = maps[&MapName::Routes].get(key)?;
    let words = words(entry);
    let Some(set) =
        words.get(super::Word::Clients as usize - FIRST_WORD).filter(|set| **set != "-")
    else {
        return Some(true);
    };
    let networks = maps[&MapName::ClientNetworks].keys();
    let networks = networks.filter_map(|network| network.parse::<IpNet>().ok());
    let class = networks.filter(|network| network.contains(&client)).max_by_key(IpNet::prefix_len);
    let Some(class) = class else { return Some(false) };
    Some(maps[&MapName::ClientMembers].contains_key(&format!("{class}@{set}")))
}

const NETWORKS: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "192.168.0.0/16",
    "::/0",
    "fc00::/7",
];
const CLIENTS: [&str; 8] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.1.9.9",
    "10.9.9.9",
    "192.168.1.1",
    "8.8.8.8",
    "fc00::1",
    "2001:db8::1",
];

fn any_clients() -> impl Strategy<Value = String> {
    let lists = prop::collection::vec(prop::sample::select(&NETWORKS[..]), 0..3);
    (lists.clone(), lists).prop_map(|(allow, deny)| {
        let list = |name: &str, members: Vec<&str>| {
            if members.is_empty() {
                String::new()
            } else {
                format!("{name}={};", members.join(","))
            }
        };
        list("allow", allow) + &list("deny", deny)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// At each step from one state to another, each client is admitted as by the old or by the new policy: no route is
    /// open in between, and nobody is refused whom both admit.
    #[test]
    fn no_step_between_policies_opens_or_closes_a_route(
        before in prop::collection::vec(any_clients(), 3),
        after in prop::collection::vec(any_clients(), 3),
    ) {
        let keys = ["a.test:80/", "b.test:80/", "c.test:80/"];
        let of = |policies: &[String]| {
            let policies = policies.iter().map(String::as_str);
            config(&keys.into_iter().zip(policies).collect::<Vec<_>>())
        };
        let (before, after) = (of(&before), of(&after));
        let mut observed = ObservedState::from_config(&before);
        let (first, last) = (observed.maps.clone(), ObservedState::from_config(&after).maps);
        let plan = plan_commands(&observed, &after);
        for command in &plan {
            observed.apply_command(command);
            for key in keys {
                for client in CLIENTS.map(|client| client.parse().unwrap()) {
                    let now = admits(&observed.maps, key, client);
                    let allowed = [admits(&first, key, client), admits(&last, key, client)];
                    prop_assert!(allowed.contains(&now), "{key} {client} after {command}: {plan:#?}");
                }
            }
        }
        prop_assert_eq!(&observed.maps, &last);
        // A plan that was cut short is completed by the next one.
        let mut cut = ObservedState::from_config(&before);
        for command in plan.iter().take(plan.len() / 2) {
            cut.apply_command(command);
        }
        for command in plan_commands(&cut, &after) {
            cut.apply_command(&command);
        }
        prop_assert_eq!(&cut.maps, &last);
    }

    /// The maps decide as the networks themselves.
    #[test]
    fn maps_of_clients_decide_as_their_networks(policies in prop::collection::vec(any_clients(), 1..4)) {
        let keys = ["a.test:80/", "b.test:80/", "c.test:80/"];
        let pairs: Vec<_> = keys.into_iter().zip(policies.iter().map(String::as_str)).collect();
        let maps = ObservedState::from_config(&config(&pairs)).maps;
        for (key, labels) in pairs {
            let policy = policy(labels);
            let Allow(allow) = policy.get();
            let Deny(deny) = policy.get();
            for client in CLIENTS.map(|client| client.parse().unwrap()) {
                let is_allowed = allow.is_empty() || allow.contains(client);
                let expected = is_allowed && !deny.contains(client);
                prop_assert_eq!(admits(&maps, key, client), Some(expected), "{} {}", labels, client);
            }
        }
    }
}

#[test]
fn sets_are_added_before_their_route_and_deleted_after_it() {
    let before = config(&[("a.test:80/", "response_header_X-A=1;cors=https://a.test")]);
    let after = config(&[("a.test:80/", "response_header_X-A=2;cors=https://b.test")]);
    let plan = plan_commands(&ObservedState::from_config(&before), &after);
    let kind = |command: &RuntimeCommand| match command {
        RuntimeCommand::AddMap { map, .. } => format!("add {map}"),
        RuntimeCommand::SetMap { map, .. } => format!("set {map}"),
        RuntimeCommand::DelMap { map, .. } => format!("del {map}"),
        other => other.to_string(),
    };
    assert_eq!(
        plan.iter().map(kind).collect::<Vec<_>>(),
        [
            "add origins.map",
            "add headers.map",
            "set routes.map",
            "del headers.map",
            "del origins.map"
        ]
    );
}
