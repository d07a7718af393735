//! Services, their tasks and nodes, as templates see them.
//!
//! Pure. It reads what a manager of the Swarm says, in the engine's own words.

use super::{
    container::{environment, ports, short},
    value::{Dict, List, Of, Raw},
};
use crate::docker::SwarmSaid;
use minijinja::Value;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Swarm {
    /// With the tasks that shall run.
    pub(super) services: Vec<Value>,
    /// With all tasks that the manager remembers.
    pub(super) all_services: Vec<Value>,
    pub(super) tasks: Vec<Value>,
    pub(super) nodes: Vec<Value>,
}

impl Swarm {
    pub(super) fn new(said: &SwarmSaid) -> Self {
        let names: BTreeMap<_, _> =
            said.services.iter().map(|it| (text(it, "/ID"), text(it, "/Spec/Name"))).collect();
        let tasks = said.tasks.iter().map(|it| {
            let id = text(it, "/ServiceID");
            (id, text(it, "/DesiredState"), task(it, names.get(id).copied().unwrap_or_default()))
        });
        let all: Vec<_> = tasks.collect();
        let service = |it: &Json, running: bool| {
            let id = text(it, "/ID");
            let own = all.iter().filter(|(service, desired, _)| {
                *service == id && (!running || *desired == "running")
            });
            service(it, own.map(|(.., task)| task.clone()).collect())
        };
        let running = all.iter().filter(|(_, desired, _)| *desired == "running");
        Self {
            services: said.services.iter().map(|it| service(it, true)).collect(),
            all_services: said.services.iter().map(|it| service(it, false)).collect(),
            tasks: running.map(|(.., task)| task.clone()).collect(),
            nodes: said.nodes.iter().map(node).collect(),
        }
    }
}

/// Empty where nothing is said.
fn text<'a>(it: &'a Json, path: &str) -> &'a str {
    it.pointer(path).and_then(Json::as_str).unwrap_or_default()
}

fn some(it: &Json, path: &str) -> Value {
    it.pointer(path).and_then(Json::as_str).map(Value::from).into()
}

fn list<'a>(it: &'a Json, path: &str) -> &'a [Json] {
    it.pointer(path).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn pairs(it: &Json, path: &str) -> Vec<(String, String)> {
    let map = it.pointer(path).and_then(Json::as_object).into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn lines(it: &Json, path: &str) -> Vec<String> {
    list(it, path).iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// `10.0.0.2/24` without its mask.
fn address(it: &str) -> Value {
    Value::from(it.split('/').next().unwrap_or_default())
}

fn task(it: &Json, service: &str) -> Value {
    let id = text(it, "/ID");
    let node = text(it, "/NodeID");
    let slot = it.pointer("/Slot").and_then(Json::as_i64).filter(|slot| *slot != 0);
    let place = slot.map_or_else(|| node.to_owned(), |slot| slot.to_string());
    let name = format!("{service}.{place}.{id}");
    let mut labels = pairs(it, "/Spec/ContainerSpec/Labels");
    labels.extend(
        [
            ("com.docker.swarm.service.id", text(it, "/ServiceID")),
            ("com.docker.swarm.service.name", service),
            ("com.docker.swarm.task.id", id),
            ("com.docker.swarm.task.name", &name),
            ("com.docker.swarm.node.id", node),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let networks = list(it, "/NetworksAttachments").iter().map(|it| {
        let addresses = lines(it, "/Addresses");
        let ingress = it.pointer("/Network/Spec/Ingress").and_then(Json::as_bool);
        let fields = [
            ("id", some(it, "/Network/ID")),
            ("name", some(it, "/Network/Spec/Name")),
            ("is_ingress", Value::from(ingress == Some(true))),
            ("labels", Dict::words(pairs(it, "/Network/Spec/Labels"))),
            ("ip_addresses", addresses_of(&addresses)),
            ("ip", addresses.first().map_or_else(|| Value::from(""), |it| address(it))),
        ];
        Dict::record(fields, Raw::Nothing)
    });
    let fields = [
        ("id", Value::from(id)),
        ("name", Value::from(name.as_str())),
        ("node_id", some(it, "/NodeID")),
        ("service_id", some(it, "/ServiceID")),
        ("slot", Value::from(slot)),
        ("container_id", some(it, "/Status/ContainerStatus/ContainerID")),
        ("image", some(it, "/Spec/ContainerSpec/Image")),
        ("status", some(it, "/Status/State")),
        ("desired_state", some(it, "/DesiredState")),
        ("labels", Dict::words(labels)),
        ("env", environment(lines(it, "/Spec/ContainerSpec/Env"))),
        ("networks", List::value(Of::Networks, networks.collect())),
    ];
    Dict::record(fields, Raw::Json(it.clone()))
}

fn addresses_of(lines: &[String]) -> Value {
    List::value(Of::Anything, lines.iter().map(|it| address(it)).collect())
}

fn service(it: &Json, tasks: Vec<Value>) -> Value {
    let id = text(it, "/ID");
    let said = list(it, "/Spec/EndpointSpec/Ports");
    let targets: Vec<_> = said.iter().filter_map(|it| port(it, "/TargetPort")).collect();
    let fields = [
        ("id", Value::from(id)),
        ("short_id", short(id, 10)),
        ("name", some(it, "/Spec/Name")),
        ("version", it.pointer("/Version/Index").and_then(Json::as_u64).into()),
        ("image", some(it, "/Spec/TaskTemplate/ContainerSpec/Image")),
        ("labels", Dict::words(pairs(it, "/Spec/Labels"))),
        ("ports", ports(&targets)),
        ("networks", networks(it, &tasks)),
        ("ingress", ingress(it, said, &tasks)),
        ("tasks", List::value(Of::Tasks, tasks)),
    ];
    Dict::record(fields, Raw::Json(it.clone()))
}

fn port<'a>(it: &'a Json, which: &str) -> Option<(u16, &'a str)> {
    let port = it.pointer(which).and_then(Json::as_u64)?.try_into().ok()?;
    Some((port, Some(text(it, "/Protocol")).filter(|it| !it.is_empty()).unwrap_or("tcp")))
}

/// Its own networks; the ingress one is none of them.
fn wanted(it: &Json) -> BTreeSet<&str> {
    let of = |path| list(it, path).iter().map(|it| text(it, "/Target"));
    of("/Spec/TaskTemplate/Networks").chain(of("/Spec/Networks")).collect()
}

fn gateway(it: &Json, network: &str) -> Option<Value> {
    let mut all = list(it, "/Endpoint/VirtualIPs").iter();
    let found = all.find(|it| text(it, "/NetworkID") == network)?;
    Some(address(text(found, "/Addr")))
}

/// What the tasks know of a network: its name and their addresses.
fn told_by(tasks: &[Value], is: impl Fn(&Dict) -> bool) -> (Option<&Dict>, Vec<Value>) {
    let dicts = tasks.iter().filter_map(Value::downcast_object_ref::<Dict>);
    let lists = dicts.filter_map(|it| it.find("networks")?.downcast_object_ref::<List>());
    let networks = lists.flat_map(|it| &it.items).filter_map(Value::downcast_object_ref::<Dict>);
    let found: Vec<_> = networks.filter(|it| is(it)).collect();
    let addresses = found.iter().filter_map(|it| it.find("ip_addresses")?.downcast_object_ref());
    let addresses = addresses.flat_map(|it: &List| it.items.clone()).collect();
    (found.first().copied(), addresses)
}

fn networks(it: &Json, tasks: &[Value]) -> Value {
    let network = |id: &str| {
        let (first, addresses) = told_by(tasks, |it| it.word("id") == Some(id));
        let fields = [
            ("id", Value::from(id)),
            ("name", first.and_then(|it| it.find("name").cloned()).into()),
            ("gateway", gateway(it, id).into()),
            ("ip", addresses.first().cloned().unwrap_or_else(|| Value::from(""))),
            ("ip_addresses", List::value(Of::Anything, addresses)),
        ];
        Dict::record(fields, Raw::Nothing)
    };
    List::value(Of::Networks, wanted(it).into_iter().map(network).collect())
}

fn ingress(it: &Json, said: &[Json], tasks: &[Value]) -> Value {
    let own = wanted(it);
    // Older engines do not say which one it is.
    let virtual_ips = list(it, "/Endpoint/VirtualIPs").iter();
    let probably = virtual_ips.map(|it| text(it, "/NetworkID")).find(|id| !own.contains(id));
    let (first, addresses) = told_by(tasks, |it| {
        it.find("is_ingress").is_some_and(Value::is_true) || it.word("id") == probably
    });
    let id = first.and_then(|it| it.word("id")).or(probably);
    let published = said.iter().filter(|it| matches!(text(it, "/PublishMode"), "ingress" | ""));
    let published: Vec<_> = published.filter_map(|it| port(it, "/PublishedPort")).collect();
    let fields = [
        ("id", Value::from(id.map(Value::from))),
        ("name", first.and_then(|it| it.find("name").cloned()).into()),
        ("gateway", id.and_then(|id| gateway(it, id)).unwrap_or_else(|| Value::from(""))),
        ("ip", addresses.first().cloned().unwrap_or_else(|| Value::from(""))),
        ("ip_addresses", List::value(Of::Anything, addresses)),
        ("ports", ports(&published)),
    ];
    Dict::record(fields, Raw::Nothing)
}

fn node(it: &Json) -> Value {
    let id = text(it, "/ID");
    let platform = [
        ("architecture", some(it, "/Description/Platform/Architecture")),
        ("os", some(it, "/Description/Platform/OS")),
    ];
    let named = Some(text(it, "/Spec/Name")).filter(|name| !name.is_empty());
    let fields = [
        ("id", Value::from(id)),
        ("short_id", short(id, 10)),
        ("name", Value::from(named.unwrap_or_else(|| text(it, "/Description/Hostname")))),
        ("version", it.pointer("/Version/Index").and_then(Json::as_u64).into()),
        ("state", some(it, "/Status/State")),
        ("address", some(it, "/Status/Addr")),
        ("hostname", some(it, "/Description/Hostname")),
        ("role", some(it, "/Spec/Role")),
        ("availability", some(it, "/Spec/Availability")),
        ("labels", Dict::words(pairs(it, "/Spec/Labels"))),
        ("platform", Dict::record(platform, Raw::Nothing)),
        ("engine_version", some(it, "/Description/Engine/EngineVersion")),
    ];
    Dict::record(fields, Raw::Json(it.clone()))
}
