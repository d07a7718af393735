//! Services, tasks and nodes of a Swarm, as templates see them.
//!
//! Pure. The input is what a Swarm manager returns, as JSON.

use super::{
    container::{env_dict, ports_by_protocol, short_id},
    value::{Dict, ListKind, RawObject, ValueList},
};
use crate::sources::docker::SwarmState;
use minijinja::Value;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Swarm {
    /// With the tasks whose desired state is running.
    pub(crate) services: Vec<Value>,
    /// With all tasks that the manager still has.
    pub(crate) all_services: Vec<Value>,
    pub(crate) tasks: Vec<Value>,
    pub(crate) nodes: Vec<Value>,
}

impl Swarm {
    pub(crate) fn new(state: &SwarmState) -> Self {
        let names: BTreeMap<_, _> = state
            .services
            .iter()
            .map(|value| (json_text(value, "/ID"), json_text(value, "/Spec/Name")))
            .collect();
        let tasks = state.tasks.iter().map(|value| {
            let id = json_text(value, "/ServiceID");
            (
                id,
                json_text(value, "/DesiredState"),
                task_value(value, names.get(id).copied().unwrap_or_default()),
            )
        });
        let all: Vec<_> = tasks.collect();
        let service = |value: &Json, running: bool| {
            let id = json_text(value, "/ID");
            let own = all.iter().filter(|(service, desired, _)| {
                *service == id && (!running || *desired == "running")
            });
            service_value(value, own.map(|(.., task)| task.clone()).collect())
        };
        let running = all.iter().filter(|(_, desired, _)| *desired == "running");
        Self {
            services: state.services.iter().map(|value| service(value, true)).collect(),
            all_services: state.services.iter().map(|value| service(value, false)).collect(),
            tasks: running.map(|(.., task)| task.clone()).collect(),
            nodes: state.nodes.iter().map(node_value).collect(),
        }
    }
}

/// Returns an empty text if the value is absent.
fn json_text<'a>(value: &'a Json, path: &str) -> &'a str {
    value.pointer(path).and_then(Json::as_str).unwrap_or_default()
}

fn optional_text(value: &Json, path: &str) -> Value {
    value.pointer(path).and_then(Json::as_str).map(Value::from).into()
}

fn json_list<'a>(value: &'a Json, path: &str) -> &'a [Json] {
    value.pointer(path).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn json_pairs(value: &Json, path: &str) -> Vec<(String, String)> {
    let map = value.pointer(path).and_then(Json::as_object).into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn json_texts(value: &Json, path: &str) -> Vec<String> {
    json_list(value, path).iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// Returns `10.0.0.2/24` without its mask.
fn without_mask(text: &str) -> Value {
    Value::from(text.split('/').next().unwrap_or_default())
}

fn task_value(value: &Json, service: &str) -> Value {
    let id = json_text(value, "/ID");
    let node = json_text(value, "/NodeID");
    let slot = value.pointer("/Slot").and_then(Json::as_i64).filter(|slot| *slot != 0);
    let task_suffix = slot.map_or_else(|| node.to_owned(), |slot| slot.to_string());
    let name = format!("{service}.{task_suffix}.{id}");
    let mut labels = json_pairs(value, "/Spec/ContainerSpec/Labels");
    labels.extend(
        [
            ("com.docker.swarm.service.id", json_text(value, "/ServiceID")),
            ("com.docker.swarm.service.name", service),
            ("com.docker.swarm.task.id", id),
            ("com.docker.swarm.task.name", &name),
            ("com.docker.swarm.node.id", node),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let networks = json_list(value, "/NetworksAttachments").iter().map(|value| {
        let addresses = json_texts(value, "/Addresses");
        let ingress = value.pointer("/Network/Spec/Ingress").and_then(Json::as_bool);
        let fields = [
            ("id", optional_text(value, "/Network/ID")),
            ("name", optional_text(value, "/Network/Spec/Name")),
            ("is_ingress", Value::from(ingress == Some(true))),
            ("labels", Dict::from_pairs(json_pairs(value, "/Network/Spec/Labels"))),
            ("ip_addresses", address_list(&addresses)),
            ("ip", addresses.first().map_or_else(|| Value::from(""), |text| without_mask(text))),
        ];
        Dict::from_fields(fields, RawObject::Nothing)
    });
    let fields = [
        ("id", Value::from(id)),
        ("name", Value::from(name.as_str())),
        ("node_id", optional_text(value, "/NodeID")),
        ("service_id", optional_text(value, "/ServiceID")),
        ("slot", Value::from(slot)),
        ("container_id", optional_text(value, "/Status/ContainerStatus/ContainerID")),
        ("image", optional_text(value, "/Spec/ContainerSpec/Image")),
        ("status", optional_text(value, "/Status/State")),
        ("desired_state", optional_text(value, "/DesiredState")),
        ("labels", Dict::from_pairs(labels)),
        ("env", env_dict(json_texts(value, "/Spec/ContainerSpec/Env"))),
        ("networks", ValueList::from_items(ListKind::Networks, networks.collect())),
    ];
    Dict::from_fields(fields, RawObject::Json(value.clone()))
}

fn address_list(lines: &[String]) -> Value {
    ValueList::from_items(ListKind::Anything, lines.iter().map(|text| without_mask(text)).collect())
}

fn service_value(value: &Json, tasks: Vec<Value>) -> Value {
    let id = json_text(value, "/ID");
    let state = json_list(value, "/Spec/EndpointSpec/Ports");
    let targets: Vec<_> =
        state.iter().filter_map(|value| parse_port(value, "/TargetPort")).collect();
    let fields = [
        ("id", Value::from(id)),
        ("short_id", short_id(id, 10)),
        ("name", optional_text(value, "/Spec/Name")),
        ("version", value.pointer("/Version/Index").and_then(Json::as_u64).into()),
        ("image", optional_text(value, "/Spec/TaskTemplate/ContainerSpec/Image")),
        ("labels", Dict::from_pairs(json_pairs(value, "/Spec/Labels"))),
        ("ports", ports_by_protocol(&targets)),
        ("networks", network_values(value, &tasks)),
        ("ingress", ingress_value(value, state, &tasks)),
        ("tasks", ValueList::from_items(ListKind::Tasks, tasks)),
    ];
    Dict::from_fields(fields, RawObject::Json(value.clone()))
}

fn parse_port<'a>(value: &'a Json, which: &str) -> Option<(u16, &'a str)> {
    let port = value.pointer(which).and_then(Json::as_u64)?.try_into().ok()?;
    Some((
        port,
        Some(json_text(value, "/Protocol")).filter(|text| !text.is_empty()).unwrap_or("tcp"),
    ))
}

/// Returns the service's own networks, without the ingress network.
fn own_network_ids(value: &Json) -> BTreeSet<&str> {
    let of = |path| json_list(value, path).iter().map(|value| json_text(value, "/Target"));
    of("/Spec/TaskTemplate/Networks").chain(of("/Spec/Networks")).collect()
}

fn find_gateway(value: &Json, network: &str) -> Option<Value> {
    let mut all = json_list(value, "/Endpoint/VirtualIPs").iter();
    let found = all.find(|value| json_text(value, "/NetworkID") == network)?;
    Some(without_mask(json_text(found, "/Addr")))
}

/// Returns what the tasks contain about a network: its name and their addresses.
fn network_from_tasks(tasks: &[Value], is: impl Fn(&Dict) -> bool) -> (Option<&Dict>, Vec<Value>) {
    let dicts = tasks.iter().filter_map(Value::downcast_object_ref::<Dict>);
    let lists =
        dicts.filter_map(|dict| dict.find_value("networks")?.downcast_object_ref::<ValueList>());
    let networks =
        lists.flat_map(|list| &list.items).filter_map(Value::downcast_object_ref::<Dict>);
    let found: Vec<_> = networks.filter(|dict| is(dict)).collect();
    let addresses =
        found.iter().filter_map(|dict| dict.find_value("ip_addresses")?.downcast_object_ref());
    let addresses = addresses.flat_map(|list: &ValueList| list.items.clone()).collect();
    (found.first().copied(), addresses)
}

fn network_values(value: &Json, tasks: &[Value]) -> Value {
    let network = |id: &str| {
        let (first, addresses) = network_from_tasks(tasks, |dict| dict.text("id") == Some(id));
        let fields = [
            ("id", Value::from(id)),
            ("name", first.and_then(|dict| dict.find_value("name").cloned()).into()),
            ("gateway", find_gateway(value, id).into()),
            ("ip", addresses.first().cloned().unwrap_or_else(|| Value::from(""))),
            ("ip_addresses", ValueList::from_items(ListKind::Anything, addresses)),
        ];
        Dict::from_fields(fields, RawObject::Nothing)
    };
    ValueList::from_items(
        ListKind::Networks,
        own_network_ids(value).into_iter().map(network).collect(),
    )
}

fn ingress_value(value: &Json, state: &[Json], tasks: &[Value]) -> Value {
    let own = own_network_ids(value);
    // Older engines do not mark the ingress network.
    let virtual_ips = json_list(value, "/Endpoint/VirtualIPs").iter();
    let likely_id =
        virtual_ips.map(|value| json_text(value, "/NetworkID")).find(|id| !own.contains(id));
    let (first, addresses) = network_from_tasks(tasks, |dict| {
        dict.find_value("is_ingress").is_some_and(Value::is_true) || dict.text("id") == likely_id
    });
    let id = first.and_then(|dict| dict.text("id")).or(likely_id);
    let published =
        state.iter().filter(|value| matches!(json_text(value, "/PublishMode"), "ingress" | ""));
    let published: Vec<_> =
        published.filter_map(|value| parse_port(value, "/PublishedPort")).collect();
    let fields = [
        ("id", Value::from(id.map(Value::from))),
        ("name", first.and_then(|dict| dict.find_value("name").cloned()).into()),
        ("gateway", id.and_then(|id| find_gateway(value, id)).unwrap_or_else(|| Value::from(""))),
        ("ip", addresses.first().cloned().unwrap_or_else(|| Value::from(""))),
        ("ip_addresses", ValueList::from_items(ListKind::Anything, addresses)),
        ("ports", ports_by_protocol(&published)),
    ];
    Dict::from_fields(fields, RawObject::Nothing)
}

fn node_value(value: &Json) -> Value {
    let id = json_text(value, "/ID");
    let platform = [
        ("architecture", optional_text(value, "/Description/Platform/Architecture")),
        ("os", optional_text(value, "/Description/Platform/OS")),
    ];
    let named = Some(json_text(value, "/Spec/Name")).filter(|name| !name.is_empty());
    let fields = [
        ("id", Value::from(id)),
        ("short_id", short_id(id, 10)),
        ("name", Value::from(named.unwrap_or_else(|| json_text(value, "/Description/Hostname")))),
        ("version", value.pointer("/Version/Index").and_then(Json::as_u64).into()),
        ("state", optional_text(value, "/Status/State")),
        ("address", optional_text(value, "/Status/Addr")),
        ("hostname", optional_text(value, "/Description/Hostname")),
        ("role", optional_text(value, "/Spec/Role")),
        ("availability", optional_text(value, "/Spec/Availability")),
        ("labels", Dict::from_pairs(json_pairs(value, "/Spec/Labels"))),
        ("platform", Dict::from_fields(platform, RawObject::Nothing)),
        ("engine_version", optional_text(value, "/Description/Engine/EngineVersion")),
    ];
    Dict::from_fields(fields, RawObject::Json(value.clone()))
}
