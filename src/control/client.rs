//! The commands' side of the socket: asks the daemon, tells a person, and ends with a status.

use super::{Drain, Refused, Standing, Undrain, socket};
use crate::{cli::Verb, settings::Errand};
use anyhow::{Context, Error, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::handshake,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::{net::UnixStream, runtime::Builder, time::timeout};

/// For the daemon to take the connection.
const CONNECT: Duration = Duration::from_secs(5);
/// For the daemon to do it, besides the wait that was asked for: that may take a reload.
const ANSWER: Duration = Duration::from_secs(90);
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Nobody said anything.
#[derive(Debug, thiserror::Error)]
#[error(
    "no docker-balancer answers on {}: {why}; start one with --watch, or name the --runtime-dir of the \
     one that runs, and be its user", socket.display()
)]
struct NoDaemon {
    socket: PathBuf,
    why: String,
}

/// Does the errand: 0 done, 1 not (wholly) done, 4 no daemon answered.
pub fn run(errand: &Errand) -> ExitCode {
    match start(errand) {
        Ok(told) => {
            // Nobody need be there to read it.
            let _ = writeln!(io::stdout(), "{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("docker-balancer: {error:#}");
            ExitCode::from(if error.is::<NoDaemon>() { 4 } else { 1 })
        }
    }
}

/// What is to be told when it is done.
fn start(errand: &Errand) -> Result<String> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let socket = socket(&errand.runtime_dir);
    match errand.verb.clone() {
        Verb::Drain { container, wait } => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let asked = Drain { container, wait_ms };
            drained(&runtime.block_on(post(&socket, "/drain", &asked, wait))?, wait)
        }
        Verb::Undrain { container } => {
            let asked = Undrain { container };
            let it = runtime.block_on(post(&socket, "/undrain", &asked, Duration::ZERO))?;
            Ok(format!("{} gets requests again", named(&it)))
        }
    }
}

fn drained(it: &Standing, wait: Duration) -> Result<String> {
    let (name, wait) = (named(it), humantime::format_duration(wait));
    match it.sessions {
        _ if it.drained => Ok(format!("{name} is drained")),
        Some(1) => bail!("{name} gets no new requests, and of the old 1 is left after {wait}"),
        left => {
            let left = left.unwrap_or_default();
            bail!("{name} gets no new requests, and of the old {left} are left after {wait}")
        }
    }
}

fn named(it: &Standing) -> String {
    format!("container {} ({})", it.container, it.id.get(..12).unwrap_or(&it.id))
}

/// What the daemon answered; what it refused is an error in its own words.
async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    asked: &impl Serialize,
    wait: Duration,
) -> Result<T> {
    let none = |why: String| NoDaemon { socket: socket.to_owned(), why };
    let late = |_| none("it does not answer in time".to_owned());
    let stream = timeout(CONNECT, UnixStream::connect(socket)).await.map_err(late)?;
    let stream = stream.map_err(|error| none(error.to_string()))?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| none(error.to_string()))?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, "docker-balancer")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(asked)?)))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| none(e.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        Ok((status, body.map_err(|error| none(error.to_string()))?.to_bytes()))
    };
    let answered: Result<_, NoDaemon> = timeout(wait + ANSWER, exchange).await.map_err(late)?;
    let (status, body) = answered?;
    let strange = || format!("{} answered {status} with something else", socket.display());
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).with_context(strange);
    }
    let refused: Refused = serde_json::from_slice(&body).with_context(strange)?;
    Err(Error::msg(refused.error))
}
