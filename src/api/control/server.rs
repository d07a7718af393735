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
        status::{Healthz, ProblemStatus, RouteStatus, Status},
    },
    support::supervise::supervise,
};
use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, RawQuery, Request, State},
    http::{
        StatusCode, Uri,
        header::{ALLOW, CONTENT_TYPE},
    },
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{get, post},
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
    let router = build_router(orders);
    let handle = |stream, slot| {
        let router = router.clone();
        async move {
            http::serve_connection(stream, slot, SERVER_NAME, LIMITS, &router).await;
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
            &build_router(orders),
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

type Requests = mpsc::Sender<ControlRequest>;

/// An endpoint is a row here.
fn build_router(orders: Requests) -> Router {
    Router::new()
        .route("/drain", post(post_drain))
        .route("/undrain", post(post_undrain))
        .route("/status", get(get_status))
        .route("/healthz", get(get_healthz))
        .route("/routes", get(get_routes))
        .route("/problems", get(get_problems))
        .route("/history", get(get_history))
        .route("/explain", get(get_explain))
        .route("/metrics", get(get_metrics))
        .route("/rollback", post(post_rollback))
        .route("/release", post(post_release))
        .fallback(async |uri: Uri| ApiError::PathNotFound(uri.path().to_owned()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(describe_wrong_method))
        .with_state(orders)
}

/// The router names the methods of a path in a header alone.
async fn describe_wrong_method(response: Response) -> Response {
    let allowed = response
        .headers()
        .get(ALLOW)
        .filter(|_| response.status() == StatusCode::METHOD_NOT_ALLOWED);
    let Some(allowed) = allowed.cloned() else { return response };
    // HEAD is a GET without its body.
    let method = if allowed == "POST" { "POST" } else { "GET" };
    ([(ALLOW, allowed)], ApiError::MethodNotAllowed(method)).into_response()
}

async fn get_status(State(orders): State<Requests>) -> Result<JsonText<Status>, ApiError> {
    fetch_status(&orders).await.map(JsonText)
}

async fn get_routes(
    State(orders): State<Requests>,
) -> Result<JsonText<Vec<RouteStatus>>, ApiError> {
    fetch_status(&orders).await.map(|status| JsonText(status.routes))
}

async fn get_problems(
    State(orders): State<Requests>,
) -> Result<JsonText<Vec<ProblemStatus>>, ApiError> {
    fetch_status(&orders).await.map(|status| JsonText(status.problems))
}

async fn get_metrics(State(orders): State<Requests>) -> Result<Response, ApiError> {
    crate::api::metrics::metrics_response(&orders).await
}

async fn fetch_status(orders: &Requests) -> Result<Status, ApiError> {
    let LiveSnapshot { state: picture, stat } = fetch_snapshot(orders).await?;
    let counters = stat.fetch_counters().await.ok();
    run_blocking(move || Status::from_snapshot(&picture, counters.as_ref())).await
}

/// Ready is 200, and not ready 503 with the reasons.
async fn get_healthz(
    State(orders): State<Requests>,
) -> Result<(StatusCode, JsonText<Healthz>), ApiError> {
    let health = Healthz::from_status(&fetch_status(&orders).await?);
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, JsonText(health)))
}

/// On another thread: of 10,000 routes it takes longer than the balancer should wait.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(work).await.map_err(|_| ApiError::Stopping)
}

async fn get_history(
    State(orders): State<Requests>,
) -> Result<JsonText<Vec<GenerationStatus>>, ApiError> {
    let LiveSnapshot { state: picture, .. } =
        send_request(&orders, |answer| ControlRequest::Snapshot { answer }).await?;
    run_blocking(move || picture.history.to_statuses()).await.map(JsonText)
}

async fn post_rollback(
    State(orders): State<Requests>,
    JsonText(RollbackRequest { generation }): JsonText<RollbackRequest>,
) -> Result<JsonText<RollbackResponse>, ApiError> {
    let result =
        send_request(&orders, |answer| ControlRequest::Rollback { generation, answer }).await??;
    Ok(JsonText(rollback_response(result).await))
}

async fn post_release(
    State(orders): State<Requests>,
) -> Result<JsonText<RollbackResponse>, ApiError> {
    let result = send_request(&orders, |answer| ControlRequest::Release { answer }).await??;
    Ok(JsonText(rollback_response(result).await))
}

/// The disk is waited for here, so that the balancer goes on meanwhile.
async fn rollback_response(result: RollbackResult) -> RollbackResponse {
    let RollbackResult { generation, since_ms, persisted: kept } = result;
    let kept = timeout(REQUEST_TIMEOUT, kept).await.is_ok_and(|kept| kept.unwrap_or(false));
    RollbackResponse { generation, since_ms, kept }
}

/// What is worked out there takes longer the more containers there are, so it is not done here.
async fn get_explain(
    State(orders): State<Requests>,
    RawQuery(query): RawQuery,
) -> Result<JsonText<Explanation>, ApiError> {
    let request = explain::parse_request(&query.unwrap_or_default())?;
    let LiveSnapshot { state: picture, stat } = fetch_snapshot(&orders).await?;
    if picture.world.is_none() {
        return Err(ApiError::DockerNotReady);
    }
    let counters = stat.fetch_counters().await.ok();
    run_blocking(move || report::explain::explain(&request, &picture, counters.as_ref()))
        .await
        .map(JsonText)
}

async fn post_drain(
    State(orders): State<Requests>,
    JsonText(DrainRequest { container, wait_ms }): JsonText<DrainRequest>,
) -> Result<JsonText<DrainStatus>, ApiError> {
    let end = Instant::now() + Duration::from_millis(wait_ms).min(MAX_DRAIN_WAIT);
    let target = send_request(&orders, |answer| ControlRequest::Drain { container, reply: answer })
        .await??;
    let sessions = wait_drained(target.sessions.as_ref(), end).await?;
    Ok(JsonText(drain_status(target, Some(sessions))))
}

async fn post_undrain(
    State(orders): State<Requests>,
    JsonText(UndrainRequest { container }): JsonText<UndrainRequest>,
) -> Result<JsonText<DrainStatus>, ApiError> {
    let target =
        send_request(&orders, |answer| ControlRequest::Undrain { container, answer }).await??;
    Ok(JsonText(drain_status(target, None)))
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
    let unknown = || ApiError::CountFailed("HAProxy did not return its state".to_owned());
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

/// JSON of whatever content type, as `curl -d` sends it; and as a line of its own, for a terminal.
struct JsonText<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonText<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let late = |_| ApiError::InvalidBody("timed out".to_owned());
        let body = timeout(REQUEST_TIMEOUT, Bytes::from_request(request, state));
        let body = body.await.map_err(late)?;
        let body = body.map_err(|error| ApiError::InvalidBody(error.body_text()))?;
        let content = serde_json::from_slice(&body);
        content.map(Self).map_err(|error| ApiError::InvalidBody(error.to_string()))
    }
}

impl<T: Serialize> IntoResponse for JsonText<T> {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self.0).unwrap_or_default();
        ([(CONTENT_TYPE, "application/json")], text + "\n").into_response()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status_code(), JsonText(ErrorBody { error: self.to_string() })).into_response()
    }
}
