//! The client side of the control socket, for subcommands that talk to the running docker-balancer.

use super::ErrorBody;
use anyhow::{Context, Error, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::handshake,
    header::{CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, time::timeout};

/// Until docker-balancer accepts the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until docker-balancer responds, in addition to the wait in the request. A request may take a reload.
const REPLY_TIMEOUT: Duration = Duration::from_secs(90);
/// The response for 10,000 routes is about 10 MB.
const MAX_REPLY_BYTES: usize = 256 * 1024 * 1024;

/// No docker-balancer answered.
#[derive(Debug, thiserror::Error)]
#[error(
    "no docker-balancer answers on {}: {cause}; start one with --watch, or set the --runtime-dir \
     of the running one, and run as its user", socket.display()
)]
pub struct DaemonUnreachableError {
    socket: PathBuf,
    cause: String,
}

/// Returns the response of docker-balancer. If the request is refused, the error contains docker-balancer's message.
///
/// # Errors
/// [`DaemonUnreachableError`] if no docker-balancer answers.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    send_request(socket, Request::get(path).body(Full::default())?, Duration::ZERO).await
}

/// Like [`get`], for a request that changes something. `wait` is added to the time limit.
///
/// # Errors
/// [`DaemonUnreachableError`] if no docker-balancer answers.
pub async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    content: &impl Serialize,
    wait: Duration,
) -> Result<T> {
    let body = Full::new(Bytes::from(serde_json::to_vec(content)?));
    let request = Request::post(path).header(CONTENT_TYPE, "application/json").body(body)?;
    send_request(socket, request, wait).await
}

async fn send_request<T: DeserializeOwned>(
    socket: &Path,
    mut request: Request<Full<Bytes>>,
    wait: Duration,
) -> Result<T> {
    request.headers_mut().insert(HOST, HeaderValue::from_static("docker-balancer"));
    let unreachable =
        |why: String| DaemonUnreachableError { socket: socket.to_owned(), cause: why };
    let late = |_| unreachable("no answer in time".to_owned());
    let stream = timeout(CONNECT_TIMEOUT, UnixStream::connect(socket)).await.map_err(late)?;
    let stream = stream.map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    // The task ends with the runtime.
    tokio::spawn(connection);
    let exchange = async {
        let response =
            sender.send_request(request).await.map_err(|e| unreachable(e.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
        Ok((status, body.map_err(|error| unreachable(error.to_string()))?.to_bytes()))
    };
    let exchanged: Result<_, DaemonUnreachableError> =
        timeout(wait + REPLY_TIMEOUT, exchange).await.map_err(late)?;
    let (status, body) = exchanged?;
    let context = || format!("{} answered {status} with invalid data", socket.display());
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).with_context(context);
    }
    let rejection: ErrorBody = serde_json::from_slice(&body).with_context(context)?;
    Err(Error::msg(rejection.error))
}
