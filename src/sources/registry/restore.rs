//! The containers of a registry as they were known at the end of docker-glue's last run, from their descriptions.
//!
//! Pure.

use super::record::ServedRecord;
use crate::{
    model::{container::Container, world::World},
    sources::{ContainerMap, Description},
};
use serde_json::Value;
use std::sync::Arc;

/// Returns the containers that run. What has no machine, or cannot be read, is left out.
pub fn restore_world(stored: &ContainerMap) -> World {
    let containers = stored.values().filter_map(|description| restore_container(description));
    let containers = containers.map(|one| (one.id.clone(), Arc::new(one))).collect();
    World { containers, ..World::default() }
}

fn restore_container(description: &Description) -> Option<Container> {
    let json: Value = serde_json::from_str(&description.json).ok()?;
    let text = |path: &str| json.pointer(path).and_then(Value::as_str);
    let node = text("/Node/Name").filter(|name| !name.is_empty())?;
    let record = ServedRecord::from_inspection(&json, |_| true)?;
    let is_leaving = json.get("leaving") == Some(&Value::Bool(true));
    let record = if is_leaving { record.into_leaving() } else { record };
    let container = record.into_container(description.id.clone(), node.into()).ok()?;
    Some(Container { host: text("/Node/IP").and_then(|ip| ip.parse().ok()), ..container })
}

#[cfg(test)]
mod tests {
    use super::restore_world;
    use crate::{
        model::{container::ContainerId, world::World},
        sources::{describe_world, registry::ServedRecord},
    };
    use std::sync::Arc;

    #[test]
    fn world_is_restored_from_its_descriptions() {
        let record = |state: &str| {
            let text = format!(
                r#"{{"v":1,"name":"web","created":1700000000000000000,"state":"{state}",
                "health":"none","leaving":true,"labels":{{"a":"b"}},"mode":"own"}}"#
            );
            ServedRecord::parse(text.as_bytes()).unwrap()
        };
        let containers = ["running", "paused"].iter().zip(["a", "b"]).map(|(state, id)| {
            let id = ContainerId::in_source("fleet".parse().unwrap(), id.repeat(64));
            let mut container = record(state).into_container(id.clone(), "node2".into()).unwrap();
            container.host = Some("10.0.0.2".parse().unwrap());
            (id, Arc::new(container))
        });
        let world = World { containers: containers.collect(), ..World::default() };
        assert_eq!(restore_world(&describe_world(&world)), world);
    }
}
