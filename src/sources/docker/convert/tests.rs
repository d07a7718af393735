//! Real answers of an engine 20.10, and the same in the format of newer engines.

use super::{
    ContainerFilter, inspected_network_mode, parse_container, parse_details, parse_event,
    parse_networks, parse_time,
};
use crate::model::{
    container::{
        Container, ContainerState, ExposedPorts, Health, NetworkMode, StopConfig, Transport,
    },
    source_name::SourceName,
};
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage, Network};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, fmt::Write};

const LIST_20_10: &str = include_str!("../fixtures/list-20.10.json");
const LIST_29: &str = include_str!("../fixtures/list-29.json");

fn parse_json<T: DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn read_container(response: ContainerSummary) -> Option<Container> {
    parse_container(response, &SourceName::NONE)
}

fn parse_list(json: &str) -> Vec<Container> {
    parse_json::<Vec<ContainerSummary>>(json).into_iter().filter_map(read_container).collect()
}

fn find_container(json: &str, name: &str) -> Container {
    parse_list(json).into_iter().find(|container| container.name == name).unwrap()
}

/// Formats a container as one line.
fn container_line(container: &Container) -> String {
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
        let suffix = if port.transport == Transport::Udp { "/udp" } else { "" };
        let (ip, from, to) = (port.host_ip, port.host_port, port.container_port);
        write!(line, " {ip}:{from}->{to}{suffix}").unwrap();
    }
    let udp =
        if exposed.udp.is_empty() { String::new() } else { format!(" udp {:?}", exposed.udp) };
    format!("{line} {:?}{udp}", exposed.tcp)
}

fn check(json: &str, expected: &[&str]) {
    assert_eq!(parse_list(json).iter().map(container_line).collect::<Vec<_>>(), expected);
}

#[test]
fn list_of_engine_20_10_is_parsed() {
    check(
        LIST_20_10,
        &[
            "created Created Unchecked Own bridge:-/-/- {}",
            "sidecar Running Unchecked Container(ContainerId(\"d69b4755a44fe74409f80af2bcc26c63b067f45c7aa6877c04fe880cef03a4f1\")) {}",
            "host Running Unchecked Host host:-/-/- {}",
            "paused Paused Unchecked Own net:172.19.0.4/-/172.19.0.1 {80}",
            "healthy Running Healthy Own net:172.19.0.3/-/172.19.0.1 {80}",
            "web Running Unchecked Own net:172.19.0.2/-/172.19.0.1 127.0.0.1:18080->80 0.0.0.0:18081->81 :::18081->81 0.0.0.0:18053->53/udp :::18053->53/udp {80, 81} udp {53}",
        ],
    );
}

#[test]
fn list_of_engine_29_is_parsed() {
    check(
        LIST_29,
        &[
            "web Running Unhealthy Own front:172.18.0.2/fd00::2/172.18.0.1 six:-/fd01::2/fd01::1 0.0.0.0:8080->80 0.0.0.0:8443->443/udp {80, 443} udp {443}",
            "starting Running Starting Own front:172.18.0.3/-/172.18.0.1 {}",
            "job Exited Unchecked None none:-/-/- {}",
        ],
    );
}

#[test]
fn labels_image_and_creation_time_are_parsed() {
    let web = find_container(LIST_20_10, "web");
    assert_eq!(*web.labels, [("glue_http_80_host".to_owned(), "a.test".to_owned())].into());
    assert_eq!(web.image, "docker-glue-whoami:test");
    assert!(web.created > 1_700_000_000_000_000_000 && web.stop_config.is_none() && !web.stopping);
    assert_eq!(
        web.created % super::NANOS_PER_SECOND,
        super::NANOS_PER_SECOND - 1,
        "it comes after all that is known better"
    );
    assert_eq!(web.id.as_str().len(), 64);
    let early = format!(r#"[{{"Id":"c1","Created":{}}}]"#, i64::MIN);
    assert_eq!(parse_list(&early)[0].created, i64::MIN);
}

#[test]
fn health_without_field_is_parsed_from_status_text() {
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
        assert_eq!(read_container(parse_json(&json)).unwrap().health, expected, "{status}");
    }
}

#[test]
fn missing_fields_become_empty() {
    let bare = read_container(parse_json("{\"Id\": \"a\"}")).unwrap();
    assert_eq!(container_line(&bare), " Exited Unchecked Own {}");
    assert_eq!(bare.state, ContainerState::Exited);
    assert!(read_container(parse_json("{}")).is_none());
}

#[test]
fn link_is_not_taken_as_container_name() {
    let json = r#"{"Id": "a", "Names": ["/other/alias", "/own"]}"#;
    assert_eq!(read_container(parse_json(json)).unwrap().name, "own");
}

fn filter_for(environment: bool, everything: bool) -> ContainerFilter {
    let has_our_labels = |labels: &BTreeMap<String, String>| labels.contains_key("A");
    ContainerFilter {
        source: SourceName::NONE,
        has_our_labels,
        is_used_label: |label| label == "A",
        required_labels: Vec::new(),
        reads_environment: environment,
        matches_all: everything,
        named: std::collections::BTreeSet::new(),
        own_labels: None,
        own_container: None,
    }
}

fn environment_names(environment: bool, everything: bool) -> Vec<String> {
    let mut response: ContainerInspectResponse =
        parse_json(include_str!("../fixtures/inspect-20.10.json"));
    let environment_of = response.config.as_mut().unwrap().env.as_mut().unwrap();
    environment_of.extend(["SECRET=1".to_owned(), "no pair".to_owned()]);
    let filter = filter_for(environment, everything);
    parse_details(response, &filter, &SourceName::NONE).environment.into_keys().collect()
}

#[test]
fn inspection_yields_stop_config_exposed_ports_and_creation_time() {
    let response: ContainerInspectResponse =
        parse_json(include_str!("../fixtures/inspect-20.10.json"));
    assert_eq!(inspected_network_mode(&response, &SourceName::NONE), NetworkMode::Own);
    let parsed = parse_details(response, &filter_for(false, false), &SourceName::NONE);
    assert_eq!(parsed.stop, StopConfig { signal: Some("SIGQUIT".to_owned()), timeout: Some(3) });
    let exposed = ExposedPorts { tcp: [80, 81].into(), udp: [53].into() };
    assert_eq!(parsed.exposed, exposed);
    assert_eq!(parsed.created, Some(1_795_175_588_901_469_229));
    assert_eq!(parsed.health, Health::Unchecked);
    let response = parse_json(include_str!("../fixtures/inspect-paused-20.10.json"));
    assert_eq!(
        parse_details(response, &filter_for(false, false), &SourceName::NONE).health,
        Health::Unhealthy
    );
}

#[test]
fn environment_keeps_only_relevant_variables() {
    assert_eq!(environment_names(false, true), [""; 0]);
    assert_eq!(environment_names(true, false), ["A"]);
    assert_eq!(environment_names(true, true), ["A", "SECRET"]);
}

#[test]
fn networks_are_parsed_with_drivers() {
    let response: Vec<Network> = parse_json(include_str!("../fixtures/networks-20.10.json"));
    let networks = parse_networks(response);
    let drivers: Vec<_> =
        networks.iter().map(|(name, network)| (name.as_str(), network.driver.as_str())).collect();
    for expected in [("bridge", "bridge"), ("host", "host"), ("net", "bridge"), ("none", "null")] {
        assert!(drivers.contains(&expected), "{drivers:?}");
    }
}

fn event_text(json: &str) -> String {
    format!("{:?}", parse_event(parse_json::<EventMessage>(json), &SourceName::NONE))
}

#[test]
fn event_is_parsed_with_container_and_time() {
    let kill = event_text(
        r#"{"status":"kill","id":"c1","Type":"container","Action":"kill","Actor":{"ID":"c1",
            "Attributes":{"name":"web","signal":"3"}},"scope":"local","time":1,"timeNano":1000000002}"#,
    );
    assert!(kill.contains("Kill(Some(3))") && kill.contains("time_nano: 1000000002"), "{kill}");
    let connect = event_text(
        r#"{"Type":"network","Action":"connect","Actor":{"ID":"n1",
            "Attributes":{"container":"c1","name":"net","type":"bridge"}},"time":1,"timeNano":2}"#,
    );
    assert!(connect.contains("Attachment(ContainerId(\"c1\"))"), "{connect}");
    let create = r#"{"Type":"network","Action":"create","Actor":{"ID":"n1","Attributes":{}}}"#;
    assert!(event_text(create).contains("about: Network"));
    // Podman 4.3, where the actor is the container.
    let connect = event_text(
        r#"{"status":"connect","id":"c1","Type":"network","Action":"connect","Actor":{"ID":"c1",
            "Attributes":{"containerExitCode":"0","image":"","name":"web","podId":""}},"time":1,"timeNano":2}"#,
    );
    assert!(connect.contains("Attachment(ContainerId(\"c1\"))"), "{connect}");
    // A time in seconds that does not fit into 64 bits as nanoseconds.
    let late = r#"{"Type":"container","Action":"die","Actor":{"ID":"c1"},"time":17000000000}"#;
    assert!(event_text(late).contains("time_nano: 9223372036854775807"));
    let remove = r#"{"status":"remove","Type":"container","Action":"remove","Actor":{"ID":"c1","Attributes":{}}}"#;
    assert!(event_text(remove).contains("action: \"destroy\""));
    let died = r#"{"status":"died","Type":"container","Action":"died","Actor":{"ID":"c1","Attributes":{}}}"#;
    assert!(event_text(died).contains("what: Die"));
    let volume = r#"{"Type":"volume","Action":"create","Actor":{"ID":"v1","Attributes":{}}}"#;
    assert_eq!(event_text(volume), "None");
}

#[test]
fn engine_time_is_read_with_its_offset() {
    for (text, expected) in [
        ("1970-01-01T00:00:01.5Z", Some(1_500_000_000)),
        ("1970-01-01T02:00:01.000000001+02:00", Some(1_000_000_001)),
        ("1970-01-01T00:00:00-00:30", Some(1_800_000_000_000)),
        ("1970-01-01T00:00:01", None),
        ("1970-01-01T00:00:01*02:00", None),
        ("+02:00", None),
        ("", None),
        ("now", None),
    ] {
        assert_eq!(parse_time(text), expected, "{text}");
    }
}
