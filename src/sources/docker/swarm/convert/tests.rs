//! Tests of the conversion of tasks.

use super::{
    super::object::{Node, Service, Task},
    convert_idle_service, convert_task, fixed_ports, node_ip, reported_ports,
};
use crate::model::container::{Container, ContainerState, NetworkMode};
use serde_json::{Value, json};

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn service() -> Value {
    json!({
        "ID": "s1", "CreatedAt": "2026-01-02T03:04:05.000000006Z",
        "Spec": {
            "Name": "web",
            "Labels": {"glue_http_80_host": "service.test", "only": "service"},
            "TaskTemplate": {"ContainerSpec": {
                "Image": "nginx:1@sha256:0123", "Labels": {"glue_http_80_weight": "5"},
            }},
            "Mode": {"Replicated": {"Replicas": 2}},
            "EndpointSpec": {"Ports": [
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"},
                {"Protocol": "tcp", "TargetPort": 81, "PublishMode": "host"},
                {"Protocol": "tcp", "TargetPort": 82, "PublishedPort": 82, "PublishMode": "ingress"},
            ]},
        },
    })
}

fn task() -> Value {
    json!({
        "ID": "t1abcdefghijklmn", "Version": {"Index": 7}, "CreatedAt": "2026-01-02T03:04:05Z",
        "Spec": {"ContainerSpec": {
            "Image": "nginx:1@sha256:0123", "StopGracePeriod": 40_000_000_000_i64, "StopSignal": "QUIT",
            "Labels": {"glue_http_80_host": "container.test", "glue_http_80_weight": "7"},
        }},
        "ServiceID": "s1", "Slot": 3, "NodeID": "n1", "DesiredState": "running",
        "Status": {"State": "running", "PortStatus": {"Ports": [
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 32768, "PublishMode": "host"},
            {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 32768, "PublishMode": "host"},
        ]}},
        "NetworksAttachments": [{
            "Network": {"ID": "o1", "Spec": {"Name": "front"}}, "Addresses": ["10.0.1.5/24"],
        }],
    })
}

fn node() -> Value {
    json!({
        "ID": "n1", "Description": {"Hostname": "node1"},
        "Status": {"State": "ready", "Addr": "192.0.2.1"},
    })
}

/// Returns the container of a task with these members in place of the usual ones.
fn convert(service_members: Value, task_members: Value) -> Container {
    let with = |mut object: Value, members: Value| {
        for (key, value) in members.as_object().unwrap() {
            object[key] = value.clone();
        }
        object
    };
    let service: Service = parse(with(service(), service_members));
    let task: Task = parse(with(task(), task_members));
    let node: Node = parse(node());
    let ports = reported_ports(&task).unwrap_or_default().to_vec();
    convert_task(&task, &service, Some(&node), &ports, &"swarm".parse().unwrap())
}

#[test]
fn task_becomes_a_container() {
    let container = convert(json!({}), json!({}));
    assert_eq!(container.name, "web.3");
    assert_eq!(container.id.short(), "t1abcdefghij.swarm");
    assert_eq!(container.image, "nginx:1");
    assert_eq!(container.node.as_deref(), Some("node1"));
    assert_eq!(container.created, 1_767_323_045_000_000_000);
    assert_eq!((container.state, container.stopping), (ContainerState::Running, false));
    assert_eq!(container.networks["front"].ip(), Some("10.0.1.5".parse().unwrap()));
    let stop = container.stop_config.unwrap();
    assert_eq!((stop.signal.as_deref(), stop.timeout), (Some("QUIT"), Some(40)));
    let ports: Vec<_> = container.published.iter().map(|port| port.host_port).collect();
    assert_eq!(ports, [32768], "a manager lists each port twice");
    assert_eq!(container.published[0].host_ip.to_string(), "192.0.2.1");
}

#[test]
fn service_labels_overlay_those_of_the_container() {
    let labels = convert(json!({}), json!({})).labels;
    for (label, value) in [
        ("glue_http_80_host", "service.test"),
        ("glue_http_80_weight", "7"),
        ("only", "service"),
        ("com.docker.swarm.service.name", "web"),
        ("com.docker.swarm.task.id", "t1abcdefghijklmn"),
    ] {
        assert_eq!(labels.get(label).map(String::as_str), Some(value), "{label}");
    }
}

#[test]
fn task_of_a_global_service_is_named_after_its_node() {
    let container = convert(json!({}), json!({"Slot": null}));
    assert_eq!(container.name, "web.node1");
}

#[test]
fn state_decides_whether_a_task_serves() {
    use ContainerState::{Created, Exited, Running};
    for (desired, state, expected, stopping) in [
        ("running", "running", Running, false),
        ("shutdown", "running", Running, true),
        ("remove", "running", Running, true),
        ("running", "starting", Created, false),
        ("running", "preparing", Created, false),
        ("running", "a state of the future", Created, false),
        ("shutdown", "failed", Exited, false),
        ("running", "complete", Exited, false),
    ] {
        let container =
            convert(json!({}), json!({"DesiredState": desired, "Status": {"State": state}}));
        let found = (container.state, container.stopping);
        assert_eq!(found, (expected, stopping), "{desired} {state}");
    }
}

#[test]
fn task_on_the_host_network_has_the_address_of_its_node() {
    let attachments = json!([{"Network": {"Spec": {"Name": "host"}}, "Addresses": null}]);
    let container = convert(json!({}), json!({"NetworksAttachments": attachments}));
    assert_eq!(container.network_mode, NetworkMode::Host);
    assert_eq!(container.networks["host"].ip(), Some("192.0.2.1".parse().unwrap()));
}

#[test]
fn only_fixed_host_ports_are_known_without_a_status() {
    let ports: Vec<_> = fixed_ports(&parse(service())).iter().map(|port| port.published).collect();
    assert_eq!(ports, [8080]);
}

#[test]
fn manager_has_its_address_in_another_place() {
    for (status, manager, expected) in [
        ("192.0.2.1", None, Some("192.0.2.1")),
        ("0.0.0.0", Some("192.0.2.2:2377"), Some("192.0.2.2")),
        ("", Some("[fd00::2]:2377"), Some("fd00::2")),
        ("0.0.0.0", Some("0.0.0.0:2377"), None),
        ("0.0.0.0", None, None),
    ] {
        let manager = manager.map(|addr| json!({"Addr": addr}));
        let node = json!({"ID": "n", "Status": {"Addr": status}, "ManagerStatus": manager});
        let expected = expected.map(|ip| ip.parse().unwrap());
        assert_eq!(node_ip(&parse(node)), expected, "{status} {manager:?}");
    }
}

#[test]
fn idle_service_has_the_labels_of_its_next_tasks() {
    let container = convert_idle_service(&parse(service()), &"swarm".parse().unwrap());
    assert_eq!(container.state, ContainerState::Expected);
    assert!(container.makes_claims() && !container.is_up());
    assert_eq!(container.name, "web");
    assert_eq!(container.labels["glue_http_80_weight"], "5");
    assert_eq!(container.labels["glue_http_80_host"], "service.test");
}
