//! Any labels, any claims, any world.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "this is a test")]

use super::story;
use docker_glue::{
    model::{
        container::{Container, ContainerId},
        world::World,
    },
    routing::route_table::{Claim, Eligibility},
};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

/// Keys and values that come near to what is understood, and some that do not.
fn label_strategy() -> impl Strategy<Value = (String, String)> {
    let option = prop_oneof![
        Just("host"),
        Just("prefix"),
        Just("path"),
        Just("strip_prefix"),
        Just("weight"),
        Just("bind"),
        Just("check"),
        Just("check_interval"),
        Just("backup"),
        Just("health"),
        Just("timeout"),
        Just("retry"),
        Just("balance"),
        Just("idle"),
        Just("proxy"),
        Just("cut"),
        Just("sticky"),
        Just("replies"),
        Just("use"),
        Just("allow"),
        Just("deny"),
        Just("redirect"),
        Just("redirect_from"),
        Just("add_prefix"),
        Just("request_header_X-A"),
        Just("response_header_X-B"),
        Just("drop_response_headers"),
        Just("cors"),
        Just("forward_auth"),
        Just("forward_auth_headers"),
        Just("rate"),
        Just("max_body"),
        Just("hots"),
    ];
    let key = prop_oneof![
        8 => (
            prop_oneof![3 => Just("http"), 2 => Just("tcp"), 1 => Just("udp")],
            prop_oneof![4 => Just("80"), 4 => Just("8080"), 1 => Just("0"), 1 => Just("80-82")],
            option,
            prop_oneof![Just(""), Just(".x")],
        )
            .prop_map(|(protocol, port, option, route)| format!("glue_{protocol}_{port}_{option}{route}")),
        1 => prop_oneof![Just("http"), Just("tcp"), Just("udp")]
            .prop_map(|protocol| format!("glue_{protocol}_ports")),
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
        2 => prop_oneof![Just("a.test"), Just("*.a.test"), Just("api/v1"), Just("1"), Just("30s"), Just("80"), Just("8008/up"), Just("90-92"), Just("v2"), Just("source"), Just("10.0.0.0/8"), Just("https://a.test"), Just("5/s"), Just("10m")]
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (key, value)
}

fn container_with(number: usize, name: &str, labels: BTreeMap<String, String>) -> Container {
    let world = story::parse_world("web 172.17.0.2");
    let container = world.containers.into_values().next().unwrap();
    let id = ContainerId::new(format!("{number:064x}"));
    Container {
        id,
        name: name.to_owned(),
        labels: labels.into(),
        ..Arc::unwrap_or_clone(container)
    }
}

pub fn world_strategy() -> impl Strategy<Value = World> {
    let labels = prop::collection::btree_map(
        label_strategy().prop_map(|pair| pair.0),
        label_strategy().prop_map(|pair| pair.1),
        0..6,
    );
    prop::collection::vec((any::<String>(), labels), 0..6).prop_map(|containers| {
        let mut world = story::parse_world("");
        for (number, (name, labels)) in containers.into_iter().enumerate() {
            let container = container_with(number, &name, labels);
            world.containers.insert(container.id.clone(), Arc::new(container));
        }
        world
    })
}

pub fn claims_strategy() -> impl Strategy<Value = Vec<Claim>> {
    let standing = prop_oneof![
        Just(Eligibility::Active),
        Just(Eligibility::Backup),
        Just(Eligibility::Doubtful),
        Just(Eligibility::LastResort),
        Just(Eligibility::Excluded)
    ];
    let claim =
        (0..3_usize, 0..3_i64, 0..6_usize, standing).prop_map(|(key, created, id, standing)| {
            let labels = BTreeMap::from([
                ("glue_http_80_host".to_owned(), format!("h{key}.test")),
                ("glue_http_80_timeout".to_owned(), format!("{}s", 1 + id % 2)),
            ]);
            let container = container_with(id, &format!("c{id}"), labels);
            let ask = docker_glue::label::parse_labels(
                &container,
                &story::default_rules().base.label_limits,
            )
            .requests
            .remove(0);
            Claim {
                key: ask.key,
                policy: ask.policy,
                terms: ask.terms,
                container: docker_glue::model::container_ref::ContainerRef::new(
                    &container.name,
                    container.id.short(),
                ),
                service: None,
                holder: None,
                seniority: (created, container.id),
                port: 80,
                address: ([10, 0, 0, u8::try_from(id).unwrap()], 80).into(),
                options: ask.options,
                eligibility: standing,
            }
        });
    prop::collection::vec(claim, 0..8)
        .prop_map(|claims| {
            claims
                .into_iter()
                .map(|claim| ((claim.key.clone(), claim.container.clone()), claim))
                .collect()
        })
        .prop_map(|unique: BTreeMap<_, _>| unique.into_values().collect())
}

/// Several, one after the other.
pub fn stories_strategy() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(story_strategy(), 1..9)
}

/// A story of a few containers that share a few routes in all the ways there are. The same line is the
/// same container in every story, whatever else became of it.
pub fn story_strategy() -> impl Strategy<Value = String> {
    let lines: Vec<_> = (0..5).map(line_strategy).collect();
    lines.prop_map(|lines| lines.join("\n"))
}

fn line_strategy(number: usize) -> impl Strategy<Value = String> {
    let state = prop_oneof![
        6 => Just(""),
        3 => Just("exited"),
        1 => Just("paused"),
        1 => Just("unhealthy"),
        1 => Just("starting"),
        1 => Just("leaving"),
    ];
    let address = prop_oneof![6 => Just(2 + number), 1 => Just(102 + number)];
    let host = prop_oneof![Just("a.test"), Just("b.test"), Just("*.b.test"), Just("a.test,b.test")];
    let prefix = prop_oneof![5 => Just(""), 1 => Just("prefix=/x;y"), 1 => Just("prefix=/x"),
        1 => Just("path=/x"), 1 => Just("path=/x/,/"), 1 => Just("prefix=/x glue_http_80_path=/y")];
    let policy = prop_oneof![
        6 => Just(""),
        2 => Just("check=/well"),
        1 => Just("check=/fine"),
        1 => Just("check=off"),
        1 => Just("check=8008"),
        1 => Just("timeout=5m"),
        1 => Just("retry=all"),
        1 => Just("retry=off"),
        1 => Just("strip_prefix=yes"),
    ];
    let features = prop_oneof![
        9 => Just(""),
        1 => Just("allow=10.0.0.0/8"),
        1 => Just("allow=10.1.0.0/16,private glue_http_80_deny=10.1.2.3"),
        1 => Just("allow=nowhere"),
        1 => Just("redirect=https://n.test"),
        1 => Just("redirect_from=old.test"),
        1 => Just("response_header_X-A=1;2"),
        1 => Just("request_header_X-B=3 glue_http_80_cors=https://c.test"),
        1 => Just("forward_auth=http://c1/x glue_http_80_forward_auth_headers=X-User"),
        1 => Just("sticky=cookie"),
        1 => Just("rate=5/s glue_http_80_max_body=1k glue_http_80_add_prefix=/in"),
    ];
    let weight = prop_oneof![5 => Just(""), 1 => Just("weight=0"), 1 => Just("weight=25"),
        2 => Just("backup=1"), 1 => Just("maxconn=3"), 1 => Just("check_interval=500ms"), 1 => Just("check_interval=1m")];
    let stream = prop_oneof![
        6 => Just(""),
        1 => Just(" glue_tcp_3000_bind=5432"),
        1 => Just(" glue_tcp_3000_bind=5432 glue_tcp_3000_host=a.test"),
        1 => Just(" glue_tcp_3000_bind=5432 glue_tcp_3000_host=a.test,*.b.test"),
        1 => Just(" glue_tcp_3000_bind=5432 glue_tcp_3000_host=a.test glue_tcp_3000_idle=1h"),
    ];
    (state, address, host, prefix, policy, features, weight, stream).prop_map(
        move |(state, address, host, prefix, policy, features, weight, stream)| {
            let options =
                [prefix, policy, features, weight].into_iter().filter(|text| !text.is_empty());
            let options: String = options.flat_map(|text| [" glue_http_80_", text]).collect();
            format!(
                "c{number} 172.17.0.{address} {state} glue_http_80_host={host}{options}{stream}"
            )
        },
    )
}
