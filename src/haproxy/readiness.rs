//! Whether HAProxy can serve clients: one query of its runtime API, and neither of Docker nor of docker-balancer.

use super::{
    observed,
    socket::{WorkerSocket, with_timeout},
};
use std::{io, path::PathBuf, time::Duration};

/// HAProxy answers within milliseconds. Programs that move an address by this query ask every second.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// At a reload the old worker may still answer, which is stopping, while the new one already serves.
const RELOAD_PAUSE: Duration = Duration::from_millis(100);

/// Why HAProxy cannot serve clients.
#[derive(Debug, thiserror::Error)]
pub enum NotReadyError {
    #[error("HAProxy does not answer on {}: {cause}", socket.display())]
    Unreachable { socket: PathBuf, cause: io::Error },
    #[error("HAProxy is stopping")]
    Stopping,
    /// A service before the first reload, for example.
    #[error("the HAProxy that answers on {} does not have docker-balancer's configuration", socket.display())]
    OtherConfig { socket: PathBuf },
}

/// Queries HAProxy, at most twice and for about a second.
///
/// # Errors
/// If HAProxy does not answer, is stopping, or has another program's configuration.
pub async fn check_readiness(socket: &WorkerSocket) -> Result<(), NotReadyError> {
    let Err(_) = query_readiness(socket).await else { return Ok(()) };
    tokio::time::sleep(RELOAD_PAUSE).await;
    query_readiness(socket).await
}

async fn query_readiness(socket: &WorkerSocket) -> Result<(), NotReadyError> {
    let path = || socket.stats.clone();
    let answer = with_timeout(READY_TIMEOUT / 2, socket.send_command("show info")).await;
    let answer = answer.map_err(|cause| NotReadyError::Unreachable { socket: path(), cause })?;
    match parse_readiness(&answer) {
        Readiness::Serving => Ok(()),
        Readiness::Stopping => Err(NotReadyError::Stopping),
        Readiness::OtherConfig => Err(NotReadyError::OtherConfig { socket: path() }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Readiness {
    Serving,
    Stopping,
    OtherConfig,
}

/// Parses `show info`.
fn parse_readiness(answer: &str) -> Readiness {
    let fingerprint = observed::parse_fingerprint(answer).unwrap_or_default();
    if !fingerprint.starts_with("docker-balancer ") {
        return Readiness::OtherConfig;
    }
    let is_serving = answer.lines().any(|line| line == "Stopping: 0");
    if is_serving { Readiness::Serving } else { Readiness::Stopping }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_to_show_info_shows_readiness() {
        for (answer, expected) in [
            ("Stopping: 0\ndescription: docker-balancer 01 dynamic\n", Readiness::Serving),
            ("Stopping: 1\ndescription: docker-balancer 01\n", Readiness::Stopping),
            ("Stopping: 0\ndescription: web1\n", Readiness::OtherConfig),
            ("Stopping: 0\n", Readiness::OtherConfig),
            ("Permission denied\n", Readiness::OtherConfig),
        ] {
            assert_eq!(parse_readiness(answer), expected, "{answer:?}");
        }
    }
}
