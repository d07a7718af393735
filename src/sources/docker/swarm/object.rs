//! Services, tasks and nodes as a manager's answers have them: the fields that are read.
//!
//! Pure. A missing value is empty, and values are texts: an unknown state of a future engine is no error.

use serde::Deserialize;
use std::collections::BTreeMap;

/// `GET /services`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) created_at: String,
    pub(crate) spec: ServiceSpec,
    pub(crate) update_status: Option<UpdateStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ServiceSpec {
    pub(crate) name: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) task_template: TaskSpec,
    pub(crate) mode: ServiceMode,
    pub(crate) endpoint_spec: Option<PortList>,
}

/// Exactly one is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ServiceMode {
    pub(crate) replicated: Option<Replicated>,
    pub(crate) replicated_job: Option<serde_json::Value>,
    pub(crate) global_job: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Replicated {
    pub(crate) replicas: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateStatus {
    pub(crate) state: String,
}

/// `GET /tasks`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Task {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) created_at: String,
    pub(crate) spec: TaskSpec,
    #[serde(rename = "ServiceID")]
    pub(crate) service_id: String,
    pub(crate) slot: Option<u64>,
    #[serde(rename = "NodeID")]
    pub(crate) node_id: String,
    pub(crate) status: TaskStatus,
    pub(crate) desired_state: String,
    pub(crate) networks_attachments: Option<Vec<Attachment>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Version {
    pub(crate) index: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TaskSpec {
    pub(crate) container_spec: Option<ContainerSpec>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ContainerSpec {
    pub(crate) image: String,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) stop_signal: Option<String>,
    /// In nanoseconds.
    pub(crate) stop_grace_period: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TaskStatus {
    pub(crate) state: String,
    pub(crate) port_status: Option<PortList>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PortList {
    pub(crate) ports: Option<Vec<Port>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Port {
    pub(crate) protocol: String,
    #[serde(rename = "TargetPort")]
    pub(crate) target: u16,
    /// Zero if the node chooses it.
    #[serde(rename = "PublishedPort")]
    pub(crate) published: u16,
    /// `host`, or `ingress` for the routing mesh.
    pub(crate) publish_mode: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Attachment {
    pub(crate) network: AttachedNetwork,
    /// With the length of the prefix: `10.0.1.5/24`.
    pub(crate) addresses: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AttachedNetwork {
    pub(crate) spec: NetworkSpec,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NetworkSpec {
    pub(crate) name: String,
}

/// `GET /nodes`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Node {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) description: Description,
    pub(crate) status: NodeStatus,
    pub(crate) manager_status: Option<ManagerStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Description {
    pub(crate) hostname: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NodeStatus {
    pub(crate) state: String,
    pub(crate) addr: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ManagerStatus {
    /// With the port.
    pub(crate) addr: String,
}

impl Service {
    /// Whether its tasks are to end by themselves.
    pub(crate) fn is_job(&self) -> bool {
        self.spec.mode.replicated_job.is_some() || self.spec.mode.global_job.is_some()
    }

    /// How many tasks are to run. `None`: one on each node.
    pub(crate) fn replicas(&self) -> Option<u64> {
        self.spec.mode.replicated.as_ref().map(|mode| mode.replicas.unwrap_or(1))
    }

    /// Whether the manager replaces its tasks at the moment.
    pub(crate) fn is_updating(&self) -> bool {
        let state = self.update_status.as_ref().map(|status| status.state.as_str());
        matches!(state, Some("updating" | "rollback_started"))
    }
}

impl Task {
    pub(crate) fn is_desired(&self) -> bool {
        self.desired_state == "running"
    }

    pub(crate) fn is_running(&self) -> bool {
        self.status.state == "running"
    }

    /// Whether its container has ended, or never starts.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(
            self.status.state.as_str(),
            "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned"
        )
    }
}
