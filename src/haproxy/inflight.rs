//! How many requests are in flight to a container's servers, and their end.

use super::{command::RuntimeCommand, health, observed, socket::WorkerSocket};
use std::io;

/// Where and for which container to count. The count includes all requests as long as no new ones begin.
#[derive(Debug, Clone)]
pub struct InflightRequests {
    /// Used for the old workers too, which finish the requests that they have begun.
    pub(super) socket: WorkerSocket,
    /// The backends that have servers of the container.
    pub(super) backends: Vec<String>,
    /// The container's short id.
    pub(super) id: String,
}

impl InflightRequests {
    pub async fn count_requests(&self) -> io::Result<u64> {
        let mut sum = 0;
        for backend in &self.backends {
            sum += self.parse_count(
                &self.socket.send_command(&format!("show stat {backend} 4 -1")).await?,
            )?;
        }
        let Some(master) = &self.socket.master else { return Ok(sum) };
        for answer in master.send_to_old_workers("show stat -1 4 -1").await? {
            sum += self.parse_count(&answer)?;
        }
        Ok(sum)
    }

    /// Ends all requests and connections of the container. HAProxy does so soon after its answer.
    ///
    /// # Errors
    /// HAProxy does not answer.
    pub async fn end_requests(&self) -> io::Result<()> {
        for backend in &self.backends {
            let answer = self.socket.send_command(&format!("show stat {backend} 4 -1")).await?;
            for server in observed::container_servers(&answer, &self.id) {
                let (backend, name) = (backend.clone(), server.to_owned());
                let command = RuntimeCommand::EndSessions { backend, name };
                self.socket.send_command(&command.to_string()).await?;
            }
        }
        let Some(master) = &self.socket.master else { return Ok(()) };
        for pid in master.list_processes().await?.stopping_workers() {
            // An old worker that has exited has no sessions either. It refuses to end all sessions of a server.
            let Ok(answer) = master.send_to_worker(pid, "show sess").await else { continue };
            for id in health::find_container_sessions(&answer, &self.id) {
                let _ = master.send_to_worker(pid, &format!("shutdown session {id}")).await;
            }
        }
        Ok(())
    }

    fn parse_count(&self, answer: &str) -> io::Result<u64> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
        observed::count_container_requests(answer, &self.id).ok_or_else(invalid)
    }
}
