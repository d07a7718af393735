//! The daemon's side of the socket: requests become orders, and a drain is waited for here, so that
//! the balancer goes on meanwhile.

use super::{
    DrainRequest, DrainStatus, ErrorBody, RollbackRequest, RollbackResponse, UndrainRequest,
    explain, socket_path,
};
use crate::{
    api::http::{self, ServerLimits},
    controller::{
        balancer::rollback::RollbackResult,
        control_error::ApiError,
        request::{ControlRequest, DrainTarget, LiveSnapshot, fetch_snapshot, send_request},
    },
    haproxy::inflight::InflightRequests,
    report::{
        self,
        explain::Explanation,
        history::GenerationStatus,
        status::{Healthz, Status},
    },
    support::supervise::supervise,
};
use anyhow::{Context as _, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream, unix::SocketAddr},
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use tokio_util::net::Listener;
use tracing::debug;

const SERVER_NAME: &str = "the control socket";
/// For a request to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// It is for the balancer's own user: who waits for a drain holds a connection for hours.
const LIMITS: ServerLimits = ServerLimits {
    max_connections: 1024,
    request_timeout: REQUEST_TIMEOUT,
    max_head_bytes: 64 * 1024,
};
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Nobody waits longer for a container to become idle.
const MAX_DRAIN_WAIT: Duration = Duration::from_hours(24);
/// Between two counts, while a drain is under way.
const COUNT_INTERVAL: Duration = Duration::from_millis(50);

/// The socket, as long as this lives.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    _server: JoinSet<()>,
}

impl ControlSocket {
    /// The caller holds the lock of the state directory: a socket that is there is a dead daemon's.
    pub fn open(runtime_dir: &Path, orders: mpsc::Sender<ControlRequest>) -> Result<Self> {
        let path = socket_path(runtime_dir);
        let listener =
            bind_socket(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        let mut server = JoinSet::new();
        let listener = SharedListener(Arc::new(listener));
        let serve = move || serve_socket(listener.clone(), orders.clone());
        server.spawn(supervise("control socket", serve));
        Ok(Self { path, _server: server })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Made where nobody else can look, and put into its place when its mode is right.
fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".control-").tempdir_in(parent)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(made, path)?;
    Ok(listener)
}

/// The socket outlives the task that serves it.
#[derive(Debug, Clone)]
struct SharedListener(Arc<UnixListener>);

impl Listener for SharedListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, SocketAddr)>> {
        self.0.poll_accept(cx)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

async fn serve_socket(listener: SharedListener, orders: mpsc::Sender<ControlRequest>) {
    let handle = |stream, slot| {
        let orders = orders.clone();
        async move {
            http::serve_connection(stream, slot, SERVER_NAME, LIMITS, |request| {
                handle_request(request, &orders)
            })
            .await;
        }
    };
    http::accept_connections(listener, SERVER_NAME, LIMITS, handle).await;
}

/// Whatever a client may send on the control socket, for the fuzz targets. No event loop handles it.
#[cfg(fuzzing)]
pub async fn serve_bytes(sent: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (orders, _) = mpsc::channel(1);
    let answers = async move {
        http::serve_connection(
            server,
            http::ConnectionSlot::default(),
            SERVER_NAME,
            LIMITS,
            |request| handle_request(request, &orders),
        )
        .await;
    };
    let ask = async move {
        let mut received = Vec::new();
        let _ = client.write_all(sent).await;
        let _ = client.shutdown().await;
        let _ = client.read_to_end(&mut received).await;
        received
    };
    tokio::join!(answers, ask).1
}

type JsonResponse = Response<Full<Bytes>>;

/// An endpoint is a row here.
async fn handle_request(
    request: Request<Incoming>,
    orders: &mpsc::Sender<ControlRequest>,
) -> JsonResponse {
    let path = request.uri().path().to_owned();
    let done = match (request.method(), path.as_str()) {
        (&Method::POST, "/drain") => {
            handle_drain(read_body(request).await, orders).await.map(ok_response)
        }
        (&Method::POST, "/undrain") => {
            handle_undrain(read_body(request).await, orders).await.map(ok_response)
        }
        (&Method::GET, "/status") => fetch_status(orders).await.map(ok_response),
        (&Method::GET, "/healthz") => handle_healthz(orders).await,
        (&Method::GET, "/routes") => {
            fetch_status(orders).await.map(|status| ok_response(status.routes))
        }
        (&Method::GET, "/problems") => {
            fetch_status(orders).await.map(|status| ok_response(status.problems))
        }
        (&Method::GET, "/history") => fetch_history(orders).await.map(ok_response),
        (&Method::GET, "/explain") => {
            handle_explain(request.uri().query(), orders).await.map(ok_response)
        }
        (&Method::GET, "/metrics") => crate::api::metrics::metrics_response(orders).await,
        (&Method::POST, "/rollback") => {
            handle_rollback(read_body(request).await, orders).await.map(ok_response)
        }
        (&Method::POST, "/release") => handle_release(orders).await.map(ok_response),
        (_, "/drain" | "/undrain" | "/rollback" | "/release") => {
            Err(ApiError::MethodNotAllowed("POST"))
        }
        (
            _,
            "/status" | "/healthz" | "/routes" | "/problems" | "/history" | "/explain" | "/metrics",
        ) => Err(ApiError::MethodNotAllowed("GET")),
        _ => Err(ApiError::PathNotFound(path)),
    };
    done.unwrap_or_else(|failure| error_response(&failure))
}

async fn fetch_status(orders: &mpsc::Sender<ControlRequest>) -> Result<Status, ApiError> {
    let LiveSnapshot { state: picture, stat } = fetch_snapshot(orders).await?;
    let counters = stat.fetch_counters().await.ok();
    run_blocking(move || Status::from_snapshot(&picture, counters.as_ref())).await
}

/// Ready is 200, and not ready 503 with the reasons.
async fn handle_healthz(orders: &mpsc::Sender<ControlRequest>) -> Result<JsonResponse, ApiError> {
    let health = Healthz::from_status(&fetch_status(orders).await?);
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json_response(status, &health))
}

/// On another thread: of 10,000 routes it takes longer than the balancer should wait.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Stopping)
}

async fn fetch_history(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<Vec<GenerationStatus>, ApiError> {
    let LiveSnapshot { state: picture, .. } =
        send_request(orders, |answer| ControlRequest::Snapshot { answer }).await?;
    run_blocking(move || picture.history.to_statuses()).await
}

async fn handle_rollback(
    result: Result<RollbackRequest, ApiError>,
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<RollbackResponse, ApiError> {
    let RollbackRequest { generation } = result?;
    let result =
        send_request(orders, |answer| ControlRequest::Rollback { generation, answer }).await??;
    Ok(rollback_response(result).await)
}

async fn handle_release(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<RollbackResponse, ApiError> {
    let result = send_request(orders, |answer| ControlRequest::Release { answer }).await??;
    Ok(rollback_response(result).await)
}

/// The disk is waited for here, so that the balancer goes on meanwhile.
async fn rollback_response(result: RollbackResult) -> RollbackResponse {
    let RollbackResult { generation, since_ms, persisted: kept } = result;
    let kept = timeout(REQUEST_TIMEOUT, kept).await.is_ok_and(|kept| kept.unwrap_or(false));
    RollbackResponse { generation, since_ms, kept }
}

/// What is worked out there takes longer the more containers there are, so it is not done here.
async fn handle_explain(
    query: Option<&str>,
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<Explanation, ApiError> {
    let request = explain::parse_request(query.unwrap_or_default())?;
    let LiveSnapshot { state: picture, stat } = fetch_snapshot(orders).await?;
    if picture.world.is_none() {
        return Err(ApiError::DockerNotReady);
    }
    let counters = stat.fetch_counters().await.ok();
    let work = move || report::explain::explain(&request, &picture, counters.as_ref());
    spawn_blocking(work).await.map_err(|_| ApiError::Stopping)
}

async fn handle_drain(
    result: Result<DrainRequest, ApiError>,
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<DrainStatus, ApiError> {
    let DrainRequest { container, wait_ms } = result?;
    let end = Instant::now() + Duration::from_millis(wait_ms).min(MAX_DRAIN_WAIT);
    let target =
        send_request(orders, |answer| ControlRequest::Drain { container, reply: answer }).await??;
    let sessions = wait_drained(target.sessions.as_ref(), end).await?;
    Ok(drain_status(target, Some(sessions)))
}

async fn handle_undrain(
    result: Result<UndrainRequest, ApiError>,
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<DrainStatus, ApiError> {
    let UndrainRequest { container } = result?;
    let target =
        send_request(orders, |answer| ControlRequest::Undrain { container, answer }).await??;
    Ok(drain_status(target, None))
}

fn drain_status(target: DrainTarget, sessions: Option<u64>) -> DrainStatus {
    let DrainTarget { name, id, unserved, .. } = target;
    let (id, drained) = (id.as_str().to_owned(), sessions == Some(0));
    DrainStatus { container: name, id, sessions, drained, unserved }
}

/// Waits until nothing is under way, or until the end; how much is left. Where to count stays the
/// same: since the container was taken out no request can have come, and after a reload those of
/// before are an old worker's.
async fn wait_drained(sessions: Option<&InflightRequests>, end: Instant) -> Result<u64, ApiError> {
    let unknown = || ApiError::CountFailed("it did not say what it has".to_owned());
    let sessions = sessions.ok_or_else(unknown)?;
    loop {
        let begun = Instant::now();
        let counted = sessions.count_requests().await;
        let now = Instant::now();
        match counted {
            Ok(0) => return Ok(0),
            counted if end <= now => {
                return counted.map_err(|error| ApiError::CountFailed(error.to_string()));
            }
            _ => {}
        }
        // What took long to count is not asked for again at once.
        let pause = COUNT_INTERVAL.max((now - begun) * 4);
        sleep(pause.min(end - now)).await;
    }
}

async fn read_body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, ApiError> {
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let late = |_| ApiError::InvalidBody("it did not come in time".to_owned());
    let body = timeout(REQUEST_TIMEOUT, body).await.map_err(late)?;
    let body = body.map_err(|error| ApiError::InvalidBody(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| ApiError::InvalidBody(error.to_string()))
}

fn ok_response(content: impl Serialize) -> JsonResponse {
    json_response(StatusCode::OK, &content)
}

fn error_response(failure: &ApiError) -> JsonResponse {
    let mut page = json_response(failure.status_code(), &ErrorBody { error: failure.to_string() });
    if let ApiError::MethodNotAllowed(method) = failure {
        page.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    }
    page
}

fn json_response(status: StatusCode, content: &impl Serialize) -> JsonResponse {
    let text = serde_json::to_string(content).unwrap_or_default();
    let mut page = Response::new(Full::from(text + "\n"));
    *page.status_mut() = status;
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    page
}
