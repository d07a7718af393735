//! The daemon's control socket: HTTP with JSON on RUNTIME/control.sock, for its owner alone.
//!
//! ```text
//! docker-balancer drain ─client─▶ control.sock ─server─▶ Order ─channel─▶ serve, which owns the balancer
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
    /// Its name, or its id or the beginning of it.
    pub container: String,
    /// How long to wait for the requests that are under way; 30 s unless said otherwise.
    #[serde(default = "half_a_minute")]
    pub wait_ms: u64,
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
    /// As `GET /history` numbers them.
    pub generation: u64,
}

/// The answer to `POST /rollback` and to `POST /release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackResponse {
    pub generation: u64,
    /// When the rollback began, in milliseconds since 1970.
    pub since_ms: u64,
    /// It is on disk too, so that it stays so when docker-balancer is started again.
    pub kept: bool,
}

/// The answer to a drain and an undrain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    pub container: String,
    pub id: String,
    /// Requests that are still under way; absent where nobody counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// It gets no new requests, and none is under way.
    pub drained: bool,
    /// The routes that it shares and that no container serves now, as `host:port/prefix/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<String>,
}

/// The answer to what could not be done.
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
