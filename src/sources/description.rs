//! Full description of a container as a source reports it; handlers read it.
//!
//! Pure.

use crate::model::container::ContainerId;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Key of a description under which a container's addresses are.
const NETWORKS_KEY: &str = "NetworkSettings";

/// Everything that the engine reports about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub id: ContainerId,
    /// Without the leading slash of the engine's answer.
    pub name: String,
    /// JSON in the form of `docker inspect`.
    pub json: Box<str>,
}

pub type ContainerMap = BTreeMap<ContainerId, Arc<Description>>;

impl Description {
    pub(crate) fn has_address(&self) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct InspectJson {
            network_settings: NetworksJson,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct NetworksJson {
            networks: BTreeMap<String, EndpointJson>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct EndpointJson {
            #[serde(rename = "IPAddress")]
            ipv4: String,
            #[serde(rename = "GlobalIPv6Address")]
            ipv6: String,
        }
        let parsed: InspectJson = serde_json::from_str(&self.json).unwrap_or_default();
        let mut endpoints = parsed.network_settings.networks.values();
        endpoints.any(|endpoint| !endpoint.ipv4.is_empty() || !endpoint.ipv6.is_empty())
    }
}

/// Returns `description` with the networks and ports of `other`.
pub fn merge_networks(description: &Arc<Description>, other: &Description) -> Arc<Description> {
    let networks = |json: &str| {
        let json = serde_json::from_str::<Value>(json).ok()?;
        json.get(NETWORKS_KEY).cloned()
    };
    let (Ok(mut json), Some(networks)) =
        (serde_json::from_str::<Map<String, Value>>(&description.json), networks(&other.json))
    else {
        return Arc::clone(description);
    };
    json.insert(NETWORKS_KEY.to_owned(), networks);
    let json = Value::Object(json).to_string().into();
    Arc::new(Description { json, ..Description::clone(description) })
}

/// Returns the description of a removed container, marked as exited whatever state was reported
/// last.
pub fn mark_exited(description: &Arc<Description>) -> Arc<Description> {
    let mut json: Value = serde_json::from_str(&description.json).unwrap_or_default();
    let Some(state) = json.get_mut("State").and_then(Value::as_object_mut) else {
        return Arc::clone(description);
    };
    if state.get("Running") == Some(&Value::Bool(false)) {
        return Arc::clone(description);
    }
    let parsed = [("Running", false.into()), ("Pid", 0.into()), ("Status", "exited".into())];
    state.extend(parsed.map(|(key, value): (_, Value)| (key.to_owned(), value)));
    Arc::new(Description { json: json.to_string().into(), ..Description::clone(description) })
}
