//! The control socket of docker-balancer: HTTP with JSON on RUNTIME/control.sock, accessible only to its owner.
//!
//! ```text
//! docker-balancer drain ─client─▶ control.sock ─server─▶ ControlRequest ─channel─▶ event loop, owner of the balancer
//! ```
//!
//! `curl --unix-socket /run/docker-glue/control.sock http://d/drain -d '{"container": "web"}'`,
//! `curl --unix-socket /run/docker-glue/control.sock http://d/status`

pub mod client;
mod explain;
pub mod server;

use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The body of `POST /drain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The container's name, its id, or the beginning of its id.
    pub container: String,
    /// How long to wait for requests in flight and open flows, in milliseconds; 30 s by default.
    #[serde(default = "half_a_minute")]
    pub wait_ms: u64,
    /// Whether to end what is left after that.
    #[serde(default)]
    pub cut: bool,
}

/// The body of `POST /undrain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndrainRequest {
    pub container: String,
}

/// The body of `POST /rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the generation, as in `GET /history`.
    pub generation: u64,
}

/// The response to `POST /rollback` and `POST /release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackResponse {
    pub generation: u64,
    /// When the rollback started, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether the change is on disk too, so that it survives a restart of docker-balancer.
    pub kept: bool,
}

/// The body of `POST /certificates/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// A host as in `GET /certificates`.
    pub host: String,
}

/// The response to `POST /certificates/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewResponse {
    /// The host of the order, which is a wildcard if hosts share its certificate.
    pub host: String,
}

/// The response to a drain and an undrain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    pub container: String,
    pub id: String,
    /// Requests still in flight; absent if they were not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// Flows of UDP that are still open; absent if the container has no UDP port, or they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
    /// The container gets no new requests and flows, and none is left.
    pub drained: bool,
    /// What `cut` ended; absent if nothing was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<CutCount>,
    /// Other balancers of the fleet that have not finished; absent if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<UndrainedBalancer>,
    /// The routes of this container that no other container serves now, as `host:port/prefix/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<String>,
}

/// Another balancer that still serves something of a drained container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndrainedBalancer {
    pub balancer: String,
    /// Requests, connections and flows; absent if it has not reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<u64>,
}

/// What was still open at the end of the wait, and was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutCount {
    pub sessions: u64,
    pub flows: u64,
}

/// The response to a request that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}

pub fn socket_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}

fn half_a_minute() -> u64 {
    u64::try_from(Duration::from_secs(30).as_millis()).unwrap_or(u64::MAX)
}
