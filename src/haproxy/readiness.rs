//! Whether HAProxy can serve clients: a query of its runtime API, and neither of Docker nor of docker-balancer.

use super::{
    observed,
    socket::{WorkerSocket, with_timeout},
};
use std::{io, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// HAProxy answers within milliseconds.
const QUERY_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// docker-balancer starts an HAProxy that died, and at a reload the old worker may still answer, which is stopping, while
/// the new one already serves. Programs that move an address wait for this answer, so it is short.
const DEAD_LIMIT: Duration = Duration::from_millis(400);
/// An HAProxy that runs but does not answer may be slow on a busy machine, and its connections continue. To move the
/// address would end them.
const SILENT_LIMIT: Duration = Duration::from_secs(2);

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

impl NotReadyError {
    /// Returns how long queries are repeated before this is the answer.
    fn limit(&self) -> Duration {
        match self {
            Self::Unreachable { cause, .. } if cause.kind() == io::ErrorKind::TimedOut => {
                SILENT_LIMIT
            }
            Self::Unreachable { .. } | Self::Stopping | Self::OtherConfig { .. } => DEAD_LIMIT,
        }
    }
}

/// Queries HAProxy until it is ready: for 0.4 s if it has exited or is stopping, for 2.3 s if it does not answer.
///
/// # Errors
/// If HAProxy does not answer, is stopping, or has another program's configuration.
pub async fn check_readiness(socket: &WorkerSocket) -> Result<(), NotReadyError> {
    let begin = Instant::now();
    loop {
        let Err(error) = query_readiness(socket).await else { return Ok(()) };
        if error.limit() <= begin.elapsed() {
            return Err(error);
        }
        sleep(RETRY_PAUSE).await;
    }
}

async fn query_readiness(socket: &WorkerSocket) -> Result<(), NotReadyError> {
    let path = || socket.stats.clone();
    let answer = with_timeout(QUERY_TIMEOUT, socket.send_command("show info")).await;
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
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

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

    /// What a simulated HAProxy does while queries are repeated.
    #[derive(Debug, Clone, Copy)]
    enum Life {
        Absent,
        /// It accepts connections and answers nothing.
        Silent,
        /// It is absent for so many milliseconds, and then serves.
        StartsAfter(u64),
        /// It is silent for so many milliseconds, and then serves.
        AnswersAfter(u64),
    }

    async fn run(life: Life, path: PathBuf) {
        let listen = || UnixListener::bind(&path).unwrap();
        let listener = match life {
            Life::Absent => return,
            Life::StartsAfter(time) => {
                sleep(Duration::from_millis(time)).await;
                listen()
            }
            Life::Silent | Life::AnswersAfter(_) => listen(),
        };
        let begin = Instant::now();
        let mut streams = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match life {
                Life::AnswersAfter(time) if begin.elapsed() < Duration::from_millis(time) => {
                    streams.push(stream);
                }
                Life::Silent => streams.push(stream),
                _ => {
                    stream.read_to_end(&mut Vec::new()).await.unwrap();
                    let answer = b"Stopping: 0\ndescription: docker-balancer 01\n";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    }

    /// Time passes at once when all tasks wait, so figures do not depend on the machine.
    #[tokio::test(start_paused = true)]
    async fn queries_are_repeated_longer_if_haproxy_runs_without_an_answer() {
        for (life, ready, longest) in [
            (Life::Absent, false, 500),
            (Life::StartsAfter(250), true, 400),
            (Life::StartsAfter(600), false, 500),
            (Life::Silent, false, 2400),
            (Life::AnswersAfter(1000), true, 1900),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("haproxy.sock");
            let haproxy = tokio::spawn(run(life, path.clone()));
            let begin = Instant::now();
            let answer = check_readiness(&WorkerSocket::from(path)).await;
            let took = begin.elapsed();
            haproxy.abort();
            assert_eq!(answer.is_ok(), ready, "{life:?} after {took:?}: {answer:?}");
            assert!(took <= Duration::from_millis(longest), "{life:?}: {took:?}");
        }
    }
}
