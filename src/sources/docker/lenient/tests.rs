//! Entries of lists with one invalid value.

use super::{LenientList, parse_entry, parse_list};
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage, Network};
use serde_json::{Value, json};

/// Returns an entry with the value at `pointer` replaced.
fn entry_with(pointer: &str, value: Value) -> String {
    let mut entry = json!({
        "Id": "1111111111111111", "Names": ["/web"], "Image": "whoami", "Created": 1_700_000_000,
        "State": "running", "Status": "Up 1 second", "Labels": {"a": "b", "c": "d"},
        "Ports": [{"PrivatePort": 80, "Type": "tcp"}, {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 82, "Type": "tcp"}],
        "HostConfig": {"NetworkMode": "default"}, "Health": {"Status": "healthy"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "b": {"IPAddress": "172.18.0.2"}}},
    });
    match entry.pointer_mut(pointer) {
        Some(field) => *field = value,
        None => panic!("{pointer}"),
    }
    entry.to_string()
}

fn check(pointer: &str, value: Value, warnings: &str) {
    let text = entry_with(pointer, value);
    let (read, actual) = parse_entry::<ContainerSummary>(&text);
    let read = read.unwrap_or_else(|| panic!("{pointer}: {actual:?}"));
    assert_eq!(actual, [warnings], "{pointer}");
    let others = |summary: &ContainerSummary| (summary.image.clone(), summary.status.clone());
    assert_eq!(others(&read), (Some("whoami".to_owned()), Some("Up 1 second".to_owned())));
    if !pointer.starts_with("/Ports") {
        assert_eq!(read.ports.unwrap().len(), 2, "{pointer}");
    }
    if !pointer.starts_with("/Labels") {
        assert_eq!(read.labels.unwrap().len(), 2, "{pointer}");
    }
    if !pointer.starts_with("/NetworkSettings") {
        assert_eq!(read.network_settings.unwrap().networks.unwrap().len(), 2, "{pointer}");
    }
}

#[test]
fn invalid_field_is_dropped_with_warning() {
    check("/State", json!("stopped"), "\"web\": State is \"stopped\"");
    check("/State", json!("configured"), "\"web\": State is \"configured\"");
    check("/State", json!(7), "\"web\": State is 7");
    check("/Health/Status", json!("dizzy"), "\"web\": Health/Status is \"dizzy\"");
    check("/Health", json!([]), "\"web\": Health is […]");
    check("/Ports/0/Type", json!("quic"), "\"web\": Ports/0 is {…}");
    check("/Ports/1/Type", json!("icmp"), "\"web\": Ports/1 is {…}");
    check("/Ports/1/IP", json!(5), "\"web\": Ports/1 is {…}");
    check("/Ports/0/PrivatePort", json!(70000), "\"web\": Ports/0 is {…}");
    check("/Ports/0", json!(null), "\"web\": Ports/0 is null");
    check("/Created", json!(1e300), "\"web\": Created is 1e+300");
    check("/Created", json!(1.5), "\"web\": Created is 1.5");
    check("/Created", json!("yesterday"), "\"web\": Created is \"yesterday\"");
    check("/Labels/a", json!(null), "\"web\": Labels/a is null");
    check("/Labels", json!(["a"]), "\"web\": Labels is […]");
    check(
        "/NetworkSettings/Networks/b/IPAddress",
        json!(1),
        "\"web\": NetworkSettings/Networks/b/IPAddress is 1",
    );
    check(
        "/NetworkSettings/Networks/b",
        json!(null),
        "\"web\": NetworkSettings/Networks/b is null",
    );
    check("/Names/0", json!(null), "\"111111111111\": Names/0 is null");
    check("/HostConfig/NetworkMode", json!({}), "\"web\": HostConfig/NetworkMode is {…}");
    check("/State", json!("a\n\u{1b}[2J"), "\"web\": State is \"a\\n\\u001b[2J\"");
}

#[test]
fn absent_or_null_field_causes_no_warning() {
    for pointer in ["/State", "/Health", "/Ports", "/Labels", "/NetworkSettings", "/Created"] {
        let (read, warnings) = parse_entry::<ContainerSummary>(&entry_with(pointer, Value::Null));
        assert!(read.is_some() && warnings.is_empty(), "{pointer} {warnings:?}");
    }
}

#[test]
fn invalid_entry_is_dropped_with_warning() {
    let good = entry_with("/State", json!("running"));
    let text = format!("[{good}, null, 7, [], \"x\", {{\"Created\": 1e999}}, {good}]");
    let LenientList { entries, warnings: odd, dropped: lost } =
        parse_list::<ContainerSummary>(text.as_bytes()).unwrap();
    assert_eq!((entries.len(), odd.len(), lost), (2, 5, 5), "{odd:?}");
    assert!(parse_list::<ContainerSummary>(b"{}").is_err());
    assert!(parse_list::<ContainerSummary>(b"[{]").is_err());
}

#[test]
fn many_invalid_labels_give_at_most_six_warnings() {
    let labels: Vec<_> = (0..20_000).map(|n| format!("\"k{n}\": null")).collect();
    let text =
        format!("[{{\"Id\": \"x\", \"Labels\": {{\"good\": \"1\", {}}}}}]", labels.join(","));
    let LenientList { entries, warnings: odd, .. } =
        parse_list::<ContainerSummary>(text.as_bytes()).unwrap();
    assert_eq!(entries[0].labels.as_ref().unwrap().len(), 1);
    assert_eq!((odd.len(), odd[5].as_str()), (6, "\"x\": 19995 more"));
}

#[test]
fn invalid_fields_of_inspection_network_and_event_are_dropped() {
    let text = json!({"Id": "a", "State": {"Status": "configured", "StartedAt": "x", "Health": {"Status": "?"}},
        "Config": {"Env": ["a=b", null], "StopTimeout": 1e99, "StopSignal": "SIGQUIT"},
        "HostConfig": {"RestartPolicy": {"Name": "sometimes"}, "NetworkMode": "n"}});
    let (parsed, warnings) = parse_entry::<ContainerInspectResponse>(&text.to_string());
    let (config, state) =
        parsed.map(|response| (response.config.unwrap(), response.state.unwrap())).unwrap();
    assert_eq!(config.env, Some(vec!["a=b".to_owned()]));
    assert_eq!((config.stop_signal.as_deref(), config.stop_timeout), (Some("SIGQUIT"), None));
    assert_eq!((state.status, state.started_at.as_deref()), (None, Some("x")));
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    let (network, warnings) =
        parse_entry::<Network>("{\"Name\": \"n\", \"Driver\": \"bridge\", \"IPAM\": 5}");
    assert_eq!((network.unwrap().driver.as_deref(), warnings.len()), (Some("bridge"), 1));
    let text = "{\"Type\": \"pod\", \"Action\": \"start\", \"Actor\": {\"ID\": \"a\", \"Attributes\": {\"x\": null}}}";
    let (event, warnings) = parse_entry::<EventMessage>(text);
    let event = event.unwrap();
    assert_eq!((event.typ, event.action.as_deref(), warnings.len()), (None, Some("start"), 2));
}
