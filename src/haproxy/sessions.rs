//! How many requests are under way at a container's servers.

use super::{observed, socket::WorkerSocket};
use std::io;

/// Where they are counted, and whose: all of them, for as long as no new ones begin.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// Old workers end what they have begun.
    pub(super) socket: WorkerSocket,
    /// That have servers of the container.
    pub(super) backends: Vec<String>,
    /// The container's short id.
    pub(super) id: String,
}

impl Sessions {
    pub async fn count(&self) -> io::Result<u64> {
        let mut sum = 0;
        for backend in &self.backends {
            sum += self.read(&self.socket.ask(&format!("show stat {backend} 4 -1")).await?)?;
        }
        let Some(master) = &self.socket.master else { return Ok(sum) };
        for answer in master.ask_old_workers("show stat -1 4 -1").await? {
            sum += self.read(&answer)?;
        }
        Ok(sum)
    }

    fn read(&self, answer: &str) -> io::Result<u64> {
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "no answer to `show stat`");
        observed::sessions(answer, &self.id).ok_or_else(strange)
    }
}
