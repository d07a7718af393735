//! Tests of what is kept of a Swarm, as stories of answers.

use super::{Ids, ServicesAnswer, SwarmCache, UnlistedAnswer, WholeAnswer};
use crate::{
    model::{source_name::SourceName, world::World},
    sources::filter::ContainerFilter,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn filter() -> ContainerFilter {
    ContainerFilter {
        source: SourceName::NONE,
        has_our_labels: |labels| labels.contains_key("ours"),
        is_used_label: |_| true,
        named: BTreeSet::new(),
        required_labels: Vec::new(),
        reads_environment: false,
        matches_all: false,
        own_labels: None,
        own_container: None,
    }
}

/// `web:2` is a service with two replicas, `web:2!` one that is being updated, `web:*` a global one, `web:job` a job.
fn service(text: &str) -> Value {
    let (id, mode) = text.split_once(':').unwrap();
    let (mode, state) = match mode.strip_suffix('!') {
        Some(mode) => (mode, "updating"),
        None => (mode, "completed"),
    };
    let mode = match mode {
        "*" => json!({"Global": {}}),
        "job" => json!({"ReplicatedJob": {}}),
        number => json!({"Replicated": {"Replicas": number.parse::<u64>().unwrap()}}),
    };
    let spec = json!({"Name": id, "Labels": {"ours": "1"}, "Mode": mode});
    json!({"ID": id, "Spec": spec, "UpdateStatus": {"State": state}})
}

/// `web1 running` is to run and runs; `web1 running>shutdown` runs and is to stop; `web1@9 running` is version 9;
/// `web1 running :8080` has a port of its node. The service is the id without its digit, the node is `n`.
fn task(text: &str) -> Value {
    let mut words = text.split(' ');
    let (id, version) = match words.next().unwrap().split_once('@') {
        Some((id, version)) => (id, version.parse::<u64>().unwrap()),
        None => (text.split(' ').next().unwrap(), 1),
    };
    let state = words.next().unwrap();
    let (state, desired) = state.split_once('>').unwrap_or((state, "running"));
    let port = words.next().map(|port| port[1..].parse::<u16>().unwrap());
    let ports: Vec<_> =
        port.iter().map(|port| json!({"TargetPort": 80, "PublishedPort": port})).collect();
    let service = id.trim_end_matches(char::is_numeric);
    json!({
        "ID": id, "ServiceID": service, "NodeID": "n", "Version": {"Index": version},
        "Slot": id[service.len()..].parse::<u64>().unwrap_or(1), "DesiredState": desired,
        "Status": {"State": state, "PortStatus": {"Ports": ports}},
    })
}

fn node(state: &str) -> Value {
    let status = json!({"State": state, "Addr": "192.0.2.1"});
    json!({"ID": "n", "Description": {"Hostname": "node"}, "Status": status})
}

fn list<T: serde::de::DeserializeOwned>(lines: &str, entry: fn(&str) -> Value) -> Vec<T> {
    let entries = lines.split(", ").filter(|line| !line.is_empty());
    entries.map(|line| parse(entry(line))).collect()
}

/// One answer. `all SERVICES; TASKS`, `part SERVICES; TASKS`, `ids REQUESTED; TASKS`, `node STATE`.
fn apply(cache: &mut SwarmCache, line: &str) {
    let (kind, answer) = line.split_once(' ').unwrap_or((line, ""));
    let (first, second) = answer.split_once(';').unwrap_or((answer, ""));
    let second = second.trim();
    match kind {
        "all" => cache.apply_everything(WholeAnswer {
            services: list(first, service),
            tasks: list(second, task),
            nodes: vec![parse(node("ready"))],
            ..WholeAnswer::default()
        }),
        "part" => {
            let services = list(first, service);
            let requested: Ids = ["web", "api"].map(str::to_owned).into();
            let tasks = list(second, task);
            let unlisted = UnlistedAnswer::default();
            cache.apply_part(&requested, ServicesAnswer { services, tasks, unlisted });
        }
        "ids" => {
            let requested = first.split(", ").map(str::to_owned).collect();
            let unlisted = UnlistedAnswer { requested, tasks: list(second, task) };
            cache.apply_part(&Ids::new(), ServicesAnswer { unlisted, ..ServicesAnswer::default() });
        }
        "node" => cache.apply_nodes(vec![parse(node(first))]),
        _ => panic!("{line}"),
    }
}

/// Returns the containers: `web.1` serves, `web.1-` is to stop, `web?` is a service without containers.
fn show(world: &World) -> String {
    let mut texts: Vec<_> = world
        .containers
        .values()
        .filter(|container| container.makes_claims())
        .map(|container| {
            let mark = match (container.is_up(), container.stopping) {
                (false, _) => "?",
                (true, true) => "-",
                (true, false) => "",
            };
            format!("{}{mark}", container.name)
        })
        .collect();
    texts.sort();
    texts.join(" ")
}

/// Applies the answers, and compares the containers after each.
fn check(story: &[(&str, &str)]) {
    let mut cache = SwarmCache::default();
    let mut before = None;
    for (number, (answer, expected)) in story.iter().enumerate() {
        apply(&mut cache, answer);
        let world = cache.build_world(&filter(), before.as_ref());
        assert_eq!(show(&world), *expected, "answer {number}: {answer}");
        before = Some(world);
    }
}

#[test]
fn task_that_is_no_longer_listed_stops_at_once_and_goes_when_it_has_ended() {
    check(&[
        ("all web:2; web1 running, web2 running", "web.1 web.2"),
        ("part web:1; web1 running", "web.1 web.2-"),
        ("ids web2; web2@2 running>shutdown", "web.1 web.2-"),
        ("part web:1; web1 running", "web.1 web.2-"),
        ("ids web2; web2@3 shutdown>shutdown", "web.1"),
        ("part web:1; web1 running", "web.1"),
    ]);
}

#[test]
fn crashed_task_goes_at_once() {
    check(&[
        ("all web:1; web1 running", "web.1"),
        ("part web:1; web1@2 failed", "web?"),
        ("part web:1; web2 starting", "web?"),
        ("part web:1; web2@2 running", "web.2"),
    ]);
}

#[test]
fn successor_serves_before_its_predecessor_stops() {
    check(&[
        ("all web:1!; web1 running", "web.1"),
        ("part web:1!; web1 running, web2 starting", "web.1"),
        ("part web:1!; web1 running, web2@2 running", "web.1 web.2"),
        ("part web:1!; web2@2 running", "web.1- web.2"),
        ("ids web1; web1@2 complete>shutdown", "web.2"),
    ]);
}

#[test]
fn what_one_answer_lacks_altogether_goes_with_the_next() {
    check(&[
        ("all web:1, api:1; web1 running, api1 running", "api.1 web.1"),
        // As a proxy may answer while it starts.
        ("all ;", "api.1- web.1-"),
        ("all web:1, api:1; web1 running, api1 running", "api.1 web.1"),
        ("all web:1; web1 running", "api.1- web.1"),
        ("ids api1;", "api.1- web.1"),
        ("ids api1;", "api? web.1"),
        ("all web:1; web1 running", "web.1"),
    ]);
}

#[test]
fn service_without_tasks_keeps_its_routes_until_it_is_removed() {
    check(&[
        ("all web:0;", "web?"),
        ("part web:1; web1 running", "web.1"),
        ("part web:0;", "web.1-"),
        ("ids web1; web1@2 complete>shutdown", "web?"),
        ("all ;", "web?"),
        ("all ;", ""),
    ]);
}

#[test]
fn jobs_are_not_served() {
    check(&[("all web:job, api:1; web1 running, api1 running", "api.1")]);
}

#[test]
fn task_on_a_lost_node_serves_on_until_its_successor_is_to_run_elsewhere() {
    check(&[
        ("all web:1; web1 running", "web.1"),
        ("node down", "web.1"),
        ("part web:1; web2 preparing", "web?"),
        ("node ready", "web?"),
    ]);
}

#[test]
fn state_that_an_older_answer_has_is_ignored() {
    check(&[
        ("all web:1; web1@5 running>shutdown", "web.1-"),
        ("all web:1; web1@4 running", "web.1-"),
        ("all web:1; web1@6 running", "web.1"),
    ]);
}

#[test]
fn task_without_a_service_or_with_a_strange_id_is_ignored() {
    let mut cache = SwarmCache::default();
    apply(&mut cache, "all web:1; web1 running");
    let strange = json!({"ID": "we b:2", "ServiceID": "web", "Status": {"State": "running"}});
    let attachment = json!({"ID": "x", "Status": {"State": "running"}, "DesiredState": "running"});
    let tasks = vec![parse(strange), parse(attachment), parse(task("web1 running"))];
    cache.apply_part(
        &["web".to_owned()].into(),
        ServicesAnswer {
            services: vec![parse(service("web:1"))],
            tasks,
            unlisted: UnlistedAnswer::default(),
        },
    );
    assert_eq!(show(&cache.build_world(&filter(), None)), "web.1");
}

#[test]
fn ports_of_a_running_task_are_kept_when_its_status_has_none() {
    let mut cache = SwarmCache::default();
    let port = |cache: &SwarmCache| {
        let world = cache.build_world(&filter(), None);
        world.containers.values().next().unwrap().published.first().map(|port| port.host_port)
    };
    for (answer, expected) in [
        ("all web:1; web1 running :32768", Some(32768)),
        ("all web:1; web1@2 running", Some(32768)),
        ("all web:1; web1@3 running :32769", Some(32769)),
    ] {
        apply(&mut cache, answer);
        assert_eq!(port(&cache), expected, "{answer}");
    }
}

#[test]
fn service_is_settled_when_as_many_tasks_run_as_are_wanted() {
    for (answer, expected) in [
        ("all web:1; web1 running", true),
        ("all web:2; web1 running", false),
        ("all web:1; web1 running, web2 running", false),
        ("all web:1!; web1 running", false),
        ("all web:2; web1 running, web2 starting", false),
        ("all web:*; web1 running", true),
        ("all web:*; web1 running, web2 preparing", false),
        ("all web:1; web1 running, web2 running>shutdown", false),
        ("all web:0;", true),
        ("all web:job; web1 running", true),
    ] {
        let mut cache = SwarmCache::default();
        apply(&mut cache, answer);
        assert_eq!(cache.settled_services().contains("web"), expected, "{answer}");
    }
}

#[test]
fn containers_that_did_not_change_stay_the_same_values() {
    let mut cache = SwarmCache::default();
    apply(&mut cache, "all web:2; web1 running, web2 running");
    let before = cache.build_world(&filter(), None);
    apply(&mut cache, "part web:2; web1 running");
    let after = cache.build_world(&filter(), Some(&before));
    let same: Vec<_> = before
        .containers
        .iter()
        .filter(|(id, container)| Arc::ptr_eq(container, &after.containers[*id]))
        .map(|(_, container)| container.name.as_str())
        .collect();
    assert_eq!(same, ["web.1"]);
}
