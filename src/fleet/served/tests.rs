use super::*;
use crate::model::{
    container_ref::ContainerRef,
    option_value::{Timeout, Weight},
    route::Routes,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

fn endpoint(id: &str, port: u16, address: &str, weight: &str, readiness: Readiness) -> Endpoint {
    Endpoint {
        container: ContainerRef::new("web", id),
        port,
        address: address.parse().unwrap(),
        options: OptionValues::default().with(weight.parse::<Weight>().unwrap()),
        readiness,
    }
}

fn route(endpoints: &[Endpoint]) -> Route {
    Route { endpoints: endpoints.to_vec(), ..Route::default() }
}

fn key(text: &str) -> RouteKey {
    text.parse().unwrap()
}

fn hash_all(routes: &[(&str, Route)]) -> ServedHash {
    let add = |hash: ServedHash, (name, route): &(&str, Route)| {
        hash.replace(&key(name), None, Some(route))
    };
    routes.iter().fold(ServedHash::default(), add)
}

#[test]
fn each_difference_but_addresses_and_held_routes_changes_the_hash() {
    let one = endpoint("0123456789ab", 80, "10.0.0.2:80", "100", Readiness::Ready);
    let two = endpoint("0123456789ab.node2", 80, "10.0.0.2:80", "100", Readiness::Ready);
    let one_only = std::slice::from_ref(&one);
    let with_timeout = Route {
        policy: OptionValues::default().with("5s".parse::<Timeout>().unwrap()),
        ..route(one_only)
    };
    let as_terms = Route {
        policy: OptionValues::default(),
        terms: with_timeout.policy.clone(),
        ..with_timeout.clone()
    };
    let a = "a.test:80/";
    let base = hash_all(&[(a, route(one_only))]);
    for (routes, is_equal) in [
        (vec![(a, route(one_only))], true),
        (
            vec![(a, route(&[Endpoint { address: "10.9.9.9:1".parse().unwrap(), ..one.clone() }]))],
            true,
        ),
        (vec![(a, route(one_only)), ("held.test:80/", route(&[]))], true),
        (vec![], false),
        (vec![("b.test:80/", route(one_only))], false),
        (vec![("https://a.test:80/", route(one_only))], false),
        (vec![(a, route(std::slice::from_ref(&two)))], false),
        (vec![(a, route(&[one.clone(), two.clone()]))], false),
        (vec![(a, route(&[Endpoint { port: 81, ..one.clone() }]))], false),
        (vec![(a, route(&[Endpoint { readiness: Readiness::Out, ..one.clone() }]))], false),
        (
            vec![(
                a,
                route(&[endpoint("0123456789ab", 80, "10.0.0.2:80", "99", Readiness::Ready)]),
            )],
            false,
        ),
        (vec![(a, with_timeout)], false),
        (vec![(a, as_terms)], false),
    ] {
        assert_eq!(hash_all(&routes) == base, is_equal, "{routes:?}");
    }
    let both = hash_all(&[(a, route(&[one.clone(), two.clone()]))]);
    assert_eq!(hash_all(&[(a, route(&[two, one]))]), both, "the order of servers has no meaning");
}

/// The hash is compared between machines and versions.
#[test]
fn hash_of_a_route_stays_the_same() {
    let one = endpoint("0123456789ab", 80, "10.0.0.2:80", "50", Readiness::Ready);
    assert_eq!(hash_all(&[("a.test:80/", route(&[one]))]).to_string(), "8b54724fa9d02849");
}

#[test]
fn hash_is_parsed_as_displayed() {
    for (text, is_hash) in [
        ("0000000000000000", true),
        ("fedcba9876543210", true),
        ("+edcba987654321", false),
        ("FEDCBA9876543210", false),
        ("fedcba987654321", false),
        ("fedcba98765432100", false),
    ] {
        let parsed = text.parse::<ServedHash>();
        assert_eq!(parsed.is_ok(), is_hash, "{text}");
        assert!(parsed.is_err() || parsed.unwrap().to_string() == text);
    }
}

/// Routes of few names with few servers, so that they often are those of before.
fn any_routes() -> impl Strategy<Value = Routes> {
    let server = (0..4_u8, 0..2_u8, 0..2_u8, any::<bool>());
    let route = prop::collection::vec(server, 0..4).prop_map(|servers| {
        let servers = servers.into_iter().map(|(id, port, weight, is_ready)| {
            let readiness = if is_ready { Readiness::Ready } else { Readiness::Out };
            let (id, weight) = (format!("{id:012x}"), weight.to_string());
            endpoint(&id, 80 + u16::from(port), "10.0.0.2:80", &weight, readiness)
        });
        Arc::new(route(&servers.collect::<Vec<_>>()))
    });
    let name = (0..4_u8).prop_map(|number| key(&format!("a{number}.test:80/")));
    prop::collection::btree_map(name, route, 0..5).prop_map(Routes)
}

fn apply(hash: ServedHash, before: &Routes, after: &Routes) -> ServedHash {
    let keys: BTreeMap<_, _> = before.0.iter().chain(&after.0).collect();
    let replace = |hash: ServedHash, key: &RouteKey| {
        let of = |routes: &Routes| routes.0.get(key).cloned();
        hash.replace(key, of(before).as_deref(), of(after).as_deref())
    };
    keys.keys().fold(hash, |hash, key| replace(hash, key))
}

proptest! {
    #[test]
    fn hash_depends_on_routes_and_not_on_the_way_to_them(
        steps in prop::collection::vec(any_routes(), 1..5),
        last in any_routes(),
    ) {
        let mut hash = ServedHash::default();
        let mut before = Routes::default();
        for routes in steps.into_iter().chain([last.clone()]) {
            hash = apply(hash, &before, &routes);
            before = routes;
        }
        prop_assert_eq!(hash, apply(ServedHash::default(), &Routes::default(), &last));
        prop_assert_eq!(apply(hash, &last, &Routes::default()), ServedHash::default());
    }
}
