use super::*;
use crate::sources::docker::{convert, inspect::apply_details};
use bollard::models::{ContainerInspectResponse, ContainerSummary};

const INSPECTION: &[u8] = include_bytes!("../../docker/fixtures/inspect-20.10.json");
const ID: &str = "d69b4755a44fe74409f80af2bcc26c63b067f45c7aa6877c04fe880cef03a4f1";

fn source() -> SourceName {
    "fleet".parse().unwrap()
}

/// Returns the record of a container as an engine describes it, with changes.
fn record(changes: &[(&str, Value)]) -> Option<ServedRecord> {
    let mut json: Value = serde_json::from_slice(INSPECTION).unwrap();
    for (path, value) in changes {
        *json.pointer_mut(path).unwrap() = value.clone();
    }
    ServedRecord::from_inspection(&json, |label| label.starts_with("glue_"))
}

fn to_container(record: ServedRecord) -> Result<Container, RecordError> {
    record.into_container(ContainerId::in_source(source(), ID), "node1".into())
}

#[test]
fn record_describes_the_container_as_its_engine_does() {
    let inspection: ContainerInspectResponse = serde_json::from_slice(INSPECTION).unwrap();
    let container = to_container(record(&[]).unwrap()).unwrap();
    assert_eq!(container.name, "web");
    assert_eq!(container.created, 1_795_175_588_901_469_229);
    assert_eq!((container.state, container.stopping), (ContainerState::Running, false));
    assert_eq!(container.node.as_deref(), Some("node1"));
    let ports: Vec<_> = container
        .published
        .iter()
        .map(|port| {
            format!(
                "{}/{} {}:{}",
                port.container_port, port.transport, port.host_ip, port.host_port
            )
        })
        .collect();
    assert_eq!(
        ports,
        [
            "80/tcp 127.0.0.1:18080",
            "81/tcp 0.0.0.0:18081",
            "81/tcp :::18081",
            "53/udp 0.0.0.0:18053",
            "53/udp :::18053",
        ]
    );
    // What an engine source knows of the same container.
    let filter = crate::sources::ContainerFilter {
        source: source(),
        has_our_labels: |_| true,
        is_used_label: |_| true,
        named: std::collections::BTreeSet::new(),
        required_labels: Vec::new(),
        reads_environment: false,
        matches_all: false,
        own_labels: None,
        own_container: None,
    };
    let details = convert::parse_details(inspection, &filter, &source());
    let summary = ContainerSummary { id: Some(ID.into()), ..ContainerSummary::default() };
    let mut other = convert::parse_container(summary, &source()).unwrap();
    apply_details(&mut other, details);
    assert_eq!(container.created, other.created);
    assert_eq!(container.started, other.started);
    assert_eq!(container.network_mode, other.network_mode);
    assert_eq!(container.stop_config, other.stop_config);
    assert_eq!(container.health, other.health);
    assert!(other.exposed.tcp.is_subset(&container.exposed.tcp));
}

#[test]
fn container_that_does_not_run_has_no_record() {
    for (running, paused, expected) in
        [(true, false, Some("running")), (true, true, Some("paused")), (false, false, None)]
    {
        let changes = [("/State/Running", running.into()), ("/State/Paused", paused.into())];
        let record = record(&changes);
        assert_eq!(record.as_ref().map(|record| record.state.as_str()), expected);
    }
}

#[test]
fn record_is_read_as_written() {
    for (mode, owner) in
        [("host", None), ("none", None), ("container:c0ffeec0ffee", Some("c0ffeec0ffee"))]
    {
        for leaving in [false, true] {
            let record = record(&[("/HostConfig/NetworkMode", mode.into())]).unwrap();
            let record = ServedRecord { leaving, ..record };
            let text = record.to_json();
            assert!(text.len() < 1500, "{text}");
            assert_eq!(ServedRecord::parse(text.as_bytes()).unwrap(), record, "{text}");
            assert_eq!(record.network_owner(), owner);
            let container = to_container(record).unwrap();
            assert_eq!(container.stopping, leaving);
            assert_eq!(container.network_owner_id().map(ContainerId::as_str), owner);
        }
    }
    let alive = AliveRecord::new(vec!["10.0.0.2".parse().unwrap()], "engine".into());
    assert_eq!(AliveRecord::parse(alive.to_json().as_bytes()), Ok(alive));
}

#[test]
fn invalid_record_is_refused_with_a_reason() {
    let text = record(&[]).unwrap().to_json();
    let huge = format!("{text}{}", " ".repeat(MAX_RECORD_BYTES));
    for (text, expected) in [
        (String::new(), "it is not a record: EOF"),
        ("[]".to_owned(), "it is not a record: "),
        (text.replace("\"v\":1", "\"v\":2"), "it has version 2; update docker-balancer"),
        (text.replace("\"web\"", "\"a;\\nb\""), "its name \"a;\\nb\" has no meaning"),
        (text.replace("\"web\"", "\"\""), "its name \"\" has no meaning"),
        (text.replace("running", "flying"), "its state \"flying\" has no meaning"),
        (text.replace("\"health\":\"none\"", "\"health\":\"\""), "its health \"\" has no meaning"),
        (text.replace("\"own\"", "\"container:../x\""), "its mode \"container:../x\" has no"),
        (text.replace("53/udp", "53/x"), "its port \"53/x\" has no meaning"),
        (text.replace("127.0.0.1", "localhost"), "it is not a record: "),
        (text.replace("18080", "99999"), "it is not a record: "),
        (huge, "bytes, of which at most"),
    ] {
        let parsed = ServedRecord::parse(text.as_bytes()).and_then(to_container);
        let error = parsed.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.len() < 300, "{error}");
    }
    // A later field does not matter.
    let later = text.replacen('{', "{\"later\":[1],", 1);
    assert!(ServedRecord::parse(later.as_bytes()).is_ok());
}

#[test]
fn key_names_a_node_and_perhaps_a_container() {
    for (key, expected) in [
        ("web-1/alive", Some("web-1/alive")),
        ("web.1_x/served/c0ffeec0ffee", Some("web.1_x/served/c0ffeec0ffee")),
        ("web-1/served/", None),
        ("web-1/served/C0FFEEC0FFEE", None),
        ("web-1/served/c0ffee.x", None),
        ("web-1/containers/c0ffeec0ffee", None),
        ("web 1/alive", None),
        ("../alive", Some("../alive")),
        ("a/b/alive", None),
        ("/alive", None),
        ("alive", None),
    ] {
        let parsed = RecordKey::parse(key, &source());
        assert_eq!(parsed.map(|key| key.to_string()).as_deref(), expected, "{key}");
    }
}
