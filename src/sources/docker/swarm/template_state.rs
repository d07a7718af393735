//! What templates of docker-glue read of a Swarm, and what restarts a service.

use super::{super::engine::Engine, query::is_not_manager_error};
use anyhow::Result;
use bollard::{
    models::{Node, Service, Task},
    query_parameters::{InspectServiceOptions, UpdateServiceOptionsBuilder},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;

/// Services, tasks and nodes as the JSON of the engine's API.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SwarmState {
    pub services: Vec<Value>,
    pub tasks: Vec<Value>,
    pub nodes: Vec<Value>,
}

impl Engine {
    /// Returns `None` if the engine is not a manager of a Swarm.
    pub async fn query_swarm(&self) -> Result<Option<SwarmState>> {
        let services =
            self.query_swarm_list::<Service>("the list of services", "/services").await?;
        let Some(services) = services else { return Ok(None) };
        let tasks =
            self.query_swarm_list::<Task>("the list of tasks", "/tasks").await?.unwrap_or_default();
        let nodes =
            self.query_swarm_list::<Node>("the list of nodes", "/nodes").await?.unwrap_or_default();
        Ok(Some(SwarmState { services, tasks, nodes }))
    }

    /// Restarts all tasks of a service, as `docker service update --force` does.
    pub async fn restart_service(&self, id: &str) -> Result<()> {
        let update = async {
            let service = self.docker.inspect_service(id, None::<InspectServiceOptions>).await?;
            let version = service.version.and_then(|version| version.index).unwrap_or_default();
            let mut spec = service.spec.unwrap_or_default();
            let mut template = spec.task_template.unwrap_or_default();
            template.force_update = Some((template.force_update.unwrap_or_default() + 1) % 100);
            spec.task_template = Some(template);
            let version = i32::try_from(version).unwrap_or_default();
            let options = UpdateServiceOptionsBuilder::default().version(version).build();
            self.docker.update_service(id, spec, options, None).await
        };
        let timeout = Duration::from_mins(1);
        self.query_with_timeout(&format!("a restart of service {id}"), timeout, update)
            .await
            .map(drop)
    }

    async fn query_swarm_list<T: Serialize + DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
    ) -> Result<Option<Vec<Value>>> {
        let list = match self.query_list::<T>(what, path).await {
            Ok(list) => list,
            // "This node is not a swarm manager."
            Err(error) if is_not_manager_error(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(list.entries.iter().map(serde_json::to_value).collect::<Result<_, _>>()?))
    }
}
