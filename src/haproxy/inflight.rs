//! How many requests are in flight to a container's servers.

use super::{observed, socket::WorkerSocket};
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

    fn parse_count(&self, answer: &str) -> io::Result<u64> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
        observed::count_container_requests(answer, &self.id).ok_or_else(invalid)
    }
}
