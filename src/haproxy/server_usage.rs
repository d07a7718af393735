//! Which servers HAProxy still uses, of those that it would delete.
//!
//! HAProxy frees the memory of a server that is deleted. Its own check lets pass a server that a request still refers
//! to: one that waits for the next attempt after a failed connect, and one whose response the server has sent and the
//! client has not read. HAProxy then reads and changes memory that it has given to something else, and crashes some time
//! later. Before 3.0 (2.8.8, 2.6.17) the check lets pass a server with an open connection, too.

use super::{
    observed,
    runtime::{RuntimeClient, RuntimeError},
};
use std::collections::{BTreeMap, BTreeSet};

/// Cache of the servers in use, valid as long as no server is set to ready: a server in maintenance gets no requests.
#[derive(Debug, Default)]
pub(super) struct ServerUsage {
    /// By backend, the names of the servers with connections.
    connections: BTreeMap<String, BTreeSet<String>>,
    /// Backend and name of the servers of requests. The answer is long, so it is read only if it is needed.
    requests: Option<BTreeSet<(String, String)>>,
}

impl ServerUsage {
    /// Whether no request and no connection refers to the server, which is in maintenance.
    pub(super) async fn is_unused(
        &mut self,
        runtime: &mut RuntimeClient,
        backend: &str,
        name: &str,
    ) -> Result<bool, RuntimeError> {
        if !self.connections.contains_key(backend) {
            let answer = runtime.send_command(&format!("show servers conn {backend}")).await?;
            let connected = observed::parse_connected_servers(&answer, backend);
            self.connections.insert(backend.to_owned(), connected);
        }
        if self.connections.get(backend).is_some_and(|names| names.contains(name)) {
            return Ok(false);
        }
        let requests = if let Some(requests) = &self.requests {
            requests
        } else {
            let answer = runtime.send_command("show sess").await?;
            self.requests.insert(observed::parse_servers_of_requests(&answer))
        };
        Ok(!requests.contains(&(backend.to_owned(), name.to_owned())))
    }
}
