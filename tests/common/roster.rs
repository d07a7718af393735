//! Docker's descriptions of a few containers: `tests/template/roster.json`.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test takes what it needs")]

use docker_glue::{
    model::container::ContainerId,
    sources::{ContainerMap, Description},
};
use std::sync::Arc;

pub fn sample_containers() -> ContainerMap {
    let text = std::fs::read_to_string("tests/template/roster.json").unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    all.iter().map(container_description).collect()
}

pub fn container_description(value: &serde_json::Value) -> (ContainerId, Arc<Description>) {
    let id = ContainerId::new(value["Id"].as_str().unwrap());
    let name = value["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let description = Description { id: id.clone(), name, json: value.to_string().into() };
    (id, Arc::new(description))
}
