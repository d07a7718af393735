//! Real answers of an engine 20.10, and the same in the shape of newer ones.

use super::{Interest, container, details, event, inspected_network_mode, networks};
use crate::container::{Container, Health, NetworkMode, State, Stop};
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage, Network};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, fmt::Write};

const OLD: &str = include_str!("../fixtures/list-20.10.json");
const NEW: &str = include_str!("../fixtures/list-29.json");

fn read<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn list(json: &str) -> Vec<Container> {
    read::<Vec<ContainerSummary>>(json).into_iter().filter_map(container).collect()
}

fn find(json: &str, name: &str) -> Container {
    list(json).into_iter().find(|container| container.name == name).unwrap()
}

/// A container in one line.
fn line(container: &Container) -> String {
    let Container { name, state, health, network_mode, networks, exposed, published, .. } =
        container;
    let mut line = format!("{name} {state:?} {health:?} {network_mode:?}");
    for (name, at) in networks.iter() {
        let address = |address: Option<String>| address.unwrap_or_else(|| "-".to_owned());
        let (v4, v6) = (at.ipv4.map(|ip| ip.to_string()), at.ipv6.map(|ip| ip.to_string()));
        let gateway = at.gateway.map(|ip| ip.to_string());
        write!(line, " {name}:{}/{}/{}", address(v4), address(v6), address(gateway)).unwrap();
    }
    for port in published {
        write!(line, " {}:{}->{}", port.host_ip, port.host_port, port.container_port).unwrap();
    }
    format!("{line} {exposed:?}")
}

fn check(json: &str, expected: &[&str]) {
    assert_eq!(list(json).iter().map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn a_list_of_engine_20_10_is_read() {
    check(
        OLD,
        &[
            "created Created Unchecked Own bridge:-/-/- {}",
            "sidecar Running Unchecked Container(ContainerId(\"d69b4755a44fe74409f80af2bcc26c63b067f45c7aa6877c04fe880cef03a4f1\")) {}",
            "host Running Unchecked Host host:-/-/- {}",
            "paused Paused Unchecked Own net:172.19.0.4/-/172.19.0.1 {80}",
            "healthy Running Healthy Own net:172.19.0.3/-/172.19.0.1 {80}",
            "web Running Unchecked Own net:172.19.0.2/-/172.19.0.1 127.0.0.1:18080->80 0.0.0.0:18081->81 :::18081->81 {80, 81}",
        ],
    );
}

#[test]
fn a_list_of_engine_29_is_read() {
    check(
        NEW,
        &[
            "web Running Unhealthy Own front:172.18.0.2/fd00::2/172.18.0.1 six:-/fd01::2/fd01::1 0.0.0.0:8080->80 {80, 443}",
            "starting Running Starting Own front:172.18.0.3/-/172.18.0.1 {}",
            "job Exited Unchecked None none:-/-/- {}",
        ],
    );
}

#[test]
fn labels_image_and_age_are_read() {
    let web = find(OLD, "web");
    assert_eq!(*web.labels, [("glue_http_80_host".to_owned(), "a.test".to_owned())].into());
    assert_eq!(web.image, "docker-glue-whoami:test");
    assert!(web.created > 1_700_000_000_000_000_000 && web.stop.is_none() && !web.leaving);
    assert_eq!(
        web.created % super::SECOND,
        super::SECOND - 1,
        "it comes after all that is known better"
    );
    assert_eq!(web.id.as_str().len(), 64);
    let early = format!(r#"[{{"Id":"c1","Created":{}}}]"#, i64::MIN);
    assert_eq!(list(&early)[0].created, i64::MIN);
}

#[test]
fn health_is_read_from_words_where_the_engine_has_nothing_better() {
    for (status, expected) in [
        ("Up 5 minutes (healthy)", Health::Healthy),
        ("Up 2 hours (unhealthy)", Health::Unhealthy),
        ("Up Less than a second (health: starting)", Health::Starting),
        ("Up 5 minutes", Health::Unchecked),
        ("Up 5 minutes (Paused)", Health::Unchecked),
        ("Exited (0) 3 seconds ago", Health::Unchecked),
        ("Restarting (1) 3 seconds ago", Health::Unchecked),
        ("", Health::Unchecked),
    ] {
        let json = serde_json::json!({ "Id": "a", "Status": status }).to_string();
        assert_eq!(container(read(&json)).unwrap().health, expected, "{status}");
    }
}

#[test]
fn what_an_answer_leaves_out_is_empty() {
    let bare = container(read("{\"Id\": \"a\"}")).unwrap();
    assert_eq!(line(&bare), " Exited Unchecked Own {}");
    assert_eq!(bare.state, State::Exited);
    assert!(container(read("{}")).is_none());
}

#[test]
fn a_link_is_not_a_containers_name() {
    let json = r#"{"Id": "a", "Names": ["/other/alias", "/own"]}"#;
    assert_eq!(container(read(json)).unwrap().name, "own");
}

fn interest(environment: bool, everything: bool) -> Interest {
    let speaks = |labels: &BTreeMap<String, String>| labels.contains_key("A");
    Interest {
        speaks,
        reads: |label| label == "A",
        required: Vec::new(),
        environment,
        everything,
        named: std::collections::BTreeSet::new(),
        own_labels: None,
        own: None,
    }
}

fn names(environment: bool, everything: bool) -> Vec<String> {
    let mut said: ContainerInspectResponse = read(include_str!("../fixtures/inspect-20.10.json"));
    let environment_of = said.config.as_mut().unwrap().env.as_mut().unwrap();
    environment_of.extend(["SECRET=1".to_owned(), "no pair".to_owned()]);
    details(said, &interest(environment, everything)).environment.into_keys().collect()
}

#[test]
fn an_inspection_tells_how_to_stop_what_is_exposed_and_the_exact_age() {
    let said: ContainerInspectResponse = read(include_str!("../fixtures/inspect-20.10.json"));
    assert_eq!(inspected_network_mode(&said), NetworkMode::Own);
    let told = details(said, &interest(false, false));
    assert_eq!(told.stop, Stop { signal: Some("SIGQUIT".to_owned()), timeout: Some(3) });
    assert_eq!(told.exposed, [80, 81].into());
    assert_eq!(told.created, Some(1_795_175_588_901_469_229));
    assert_eq!(told.health, Health::Unchecked);
    let said = read(include_str!("../fixtures/inspect-paused-20.10.json"));
    assert_eq!(details(said, &interest(false, false)).health, Health::Unhealthy);
}

#[test]
fn of_an_environment_only_what_is_read_is_kept() {
    assert_eq!(names(false, true), [""; 0]);
    assert_eq!(names(true, false), ["A"]);
    assert_eq!(names(true, true), ["A", "SECRET"]);
}

#[test]
fn networks_are_read_with_their_drivers() {
    let said: Vec<Network> = read(include_str!("../fixtures/networks-20.10.json"));
    let networks = networks(said);
    let drivers: Vec<_> =
        networks.iter().map(|(name, network)| (name.as_str(), network.driver.as_str())).collect();
    for expected in [("bridge", "bridge"), ("host", "host"), ("net", "bridge"), ("none", "null")] {
        assert!(drivers.contains(&expected), "{drivers:?}");
    }
}

fn heard(json: &str) -> String {
    format!("{:?}", event(read::<EventMessage>(json)))
}

#[test]
fn an_event_is_read_with_its_container_and_its_time() {
    let kill = heard(
        r#"{"status":"kill","id":"c1","Type":"container","Action":"kill","Actor":{"ID":"c1",
            "Attributes":{"name":"web","signal":"3"}},"scope":"local","time":1,"timeNano":1000000002}"#,
    );
    assert!(kill.contains("Kill(Some(3))") && kill.contains("time_nano: 1000000002"), "{kill}");
    let connect = heard(
        r#"{"Type":"network","Action":"connect","Actor":{"ID":"n1",
            "Attributes":{"container":"c1","name":"net","type":"bridge"}},"time":1,"timeNano":2}"#,
    );
    assert!(connect.contains("Attachment(ContainerId(\"c1\"))"), "{connect}");
    let create = r#"{"Type":"network","Action":"create","Actor":{"ID":"n1","Attributes":{}}}"#;
    assert!(heard(create).contains("about: Network"));
    // Podman 4.3, whose actor is the container.
    let connect = heard(
        r#"{"status":"connect","id":"c1","Type":"network","Action":"connect","Actor":{"ID":"c1",
            "Attributes":{"containerExitCode":"0","image":"","name":"web","podId":""}},"time":1,"timeNano":2}"#,
    );
    assert!(connect.contains("Attachment(ContainerId(\"c1\"))"), "{connect}");
    // A time in seconds that has no nanoseconds in 64 bits.
    let late = r#"{"Type":"container","Action":"die","Actor":{"ID":"c1"},"time":17000000000}"#;
    assert!(heard(late).contains("time_nano: 9223372036854775807"));
    let remove = r#"{"status":"remove","Type":"container","Action":"remove","Actor":{"ID":"c1","Attributes":{}}}"#;
    assert!(heard(remove).contains("action: \"destroy\""));
    let died = r#"{"status":"died","Type":"container","Action":"died","Actor":{"ID":"c1","Attributes":{}}}"#;
    assert!(heard(died).contains("what: Die"));
    let volume = r#"{"Type":"volume","Action":"create","Actor":{"ID":"v1","Attributes":{}}}"#;
    assert_eq!(heard(volume), "None");
}
