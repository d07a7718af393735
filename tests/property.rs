//! What holds for any labels and any world.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "common/ours.rs"]
mod ours;
#[path = "common/story.rs"]
mod story;

use docker_glue::{
    claim::{Claim, Standing, collect},
    container::{Container, ContainerId},
    world::World,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// Keys and values that come near to what is understood, and some that do not.
fn label() -> impl Strategy<Value = (String, String)> {
    let option = prop_oneof![
        Just("host"),
        Just("prefix"),
        Just("strip_prefix"),
        Just("weight"),
        Just("bind"),
        Just("check"),
        Just("health"),
        Just("timeout"),
        Just("retry"),
        Just("hots"),
    ];
    let key = prop_oneof![
        8 => (prop_oneof![Just("80"), Just("8080"), Just("0")], option, prop_oneof![Just(""), Just(".x")])
            .prop_map(|(port, option, route)| format!("glue_http_{port}_{option}{route}")),
        1 => Just("glue_http_ports".to_owned()),
        1 => "glue_.*",
    ];
    let nasty = prop_oneof![
        Just("a\nbackend x"),
        Just("\"'`;#"),
        Just("%[env(HOME)]"),
        Just("$HOME\\"),
        Just("a\0b"),
        Just("}"),
        Just("/a;b$c'd"),
        Just("/%2e%2E/x"),
        Just("-f /etc/passwd"),
        Just("<<"),
    ];
    let value = prop_oneof![
        3 => "[a-z*./,%;:'$0-9]{0,20}",
        2 => nasty.prop_map(str::to_owned),
        2 => prop_oneof![Just("a.test"), Just("*.a.test"), Just("api/v1"), Just("1"), Just("30s"), Just("80")]
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (key, value)
}

fn container(number: usize, name: &str, labels: BTreeMap<String, String>) -> Container {
    let world = story::world("web 172.17.0.2");
    let container = world.containers.into_values().next().unwrap();
    let id = ContainerId::new(format!("{number:064x}"));
    Container { id, name: name.to_owned(), labels, ..Arc::unwrap_or_clone(container) }
}

fn world() -> impl Strategy<Value = World> {
    let labels =
        prop::collection::btree_map(label().prop_map(|it| it.0), label().prop_map(|it| it.1), 0..6);
    prop::collection::vec((any::<String>(), labels), 0..6).prop_map(|containers| {
        let mut world = story::world("");
        for (number, (name, labels)) in containers.into_iter().enumerate() {
            let container = container(number, &name, labels);
            world.containers.insert(container.id.clone(), Arc::new(container));
        }
        world
    })
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let standing = prop_oneof![Just(Standing::Ready), Just(Standing::Reserve), Just(Standing::Out)];
    let claim =
        (0..3_usize, 0..3_i64, 0..6_usize, standing).prop_map(|(key, created, id, standing)| {
            let labels = BTreeMap::from([
                ("glue_http_80_host".to_owned(), format!("h{key}.test")),
                ("glue_http_80_timeout".to_owned(), format!("{}s", 1 + id % 2)),
            ]);
            let container = container(id, &format!("c{id}"), labels);
            let ask = docker_glue::label::read(&container, &story::rules().fences).asks.remove(0);
            Claim {
                key: ask.key,
                policy: ask.policy,
                origin: docker_glue::origin::Origin::new(&container.name, container.id.short()),
                seniority: (created, container.id),
                port: 80,
                address: ([10, 0, 0, u8::try_from(id).unwrap()], 80).into(),
                weight: ask.weight,
                standing,
            }
        });
    prop::collection::vec(claim, 0..8)
        .prop_map(|claims| {
            claims.into_iter().map(|it| ((it.key.clone(), it.origin.clone()), it)).collect()
        })
        .prop_map(|unique: BTreeMap<_, _>| unique.into_values().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_labels_leave_a_configuration_whose_every_line_is_ours(world in world()) {
        ours::assert_ours(&ours::files(&world));
    }

    #[test]
    fn the_same_world_gives_the_same_bytes(world in world()) {
        prop_assert_eq!(ours::files(&world), ours::files(&world.clone()));
    }

    #[test]
    fn the_order_of_claims_does_not_matter(
        (claims, shuffled) in claims().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle()))
    ) {
        let ((routes, mut problems), (again, mut others)) = (collect(claims), collect(shuffled));
        problems.sort();
        others.sort();
        prop_assert_eq!((routes, problems), (again, others));
    }
}
