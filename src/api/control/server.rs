//! The server side of the control socket. HTTP requests become control requests to the event loop. A drain is waited
//! for here, so that the event loop does not block.

use super::{
    CutCount, DrainRequest, DrainStatus, ErrorBody, RenewRequest, RenewResponse, RollbackRequest,
    RollbackResponse, UndrainRequest, UndrainedBalancer, explain, socket_path,
};
use crate::{
    api::http::{self, ServerLimits},
    controller::{
        balancer::rollback::RollbackResult,
        control_error::ApiError,
        inflight::{InflightCount, InflightWork},
        request::{ControlRequest, DrainTarget, LiveSnapshot, fetch_snapshot, send_request},
    },
    fleet::OtherDrain,
    report::{
        self,
        certificates::CertificateList,
        explain::Explanation,
        fleet::FleetStatus,
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
    time::{Duration, SystemTime, UNIX_EPOCH},
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
/// Until a request has arrived.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The limits are high, because only the balancer's own user can connect, and a client that waits for a drain keeps
/// its connection for hours.
const LIMITS: ServerLimits = ServerLimits {
    max_connections: 1024,
    request_timeout: REQUEST_TIMEOUT,
    max_head_bytes: 64 * 1024,
};
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The longest time to wait for a container to become idle.
const MAX_DRAIN_WAIT: Duration = Duration::from_hours(24);
/// How long HAProxy and docker-glue-udp may take to end what is left.
const CUT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a failed count is at least tried again.
const FIRST_COUNT_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two counts during a drain.
const COUNT_INTERVAL: Duration = Duration::from_millis(50);

/// The control socket, open until this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    _server: JoinSet<()>,
}

impl ControlSocket {
    /// Opens the socket. The caller holds the lock of the state directory, so an existing socket was left behind by a
    /// docker-balancer that no longer runs.
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

/// Creates the socket in a private directory, and moves it to its path when its mode is set.
fn bind_socket(path: &Path) -> std::io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let private = tempfile::Builder::new().prefix(".control-").tempdir_in(parent)?;
    let made = private.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    fs::rename(made, path)?;
    Ok(listener)
}

/// A listener that stays open when the task that serves it is restarted.
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

/// Serves arbitrary bytes as a client's requests, for the fuzz targets. No event loop handles the requests.
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

/// Each endpoint is one line here.
fn build_router(orders: Requests) -> Router {
    Router::new()
        .route("/drain", post(post_drain))
        .route("/undrain", post(post_undrain))
        .route("/status", get(get_status))
        .route("/fleet", get(get_fleet))
        .route("/healthz", get(get_healthz))
        .route("/routes", get(get_routes))
        .route("/problems", get(get_problems))
        .route("/history", get(get_history))
        .route("/explain", get(get_explain))
        .route("/certificates", get(get_certificates))
        .route("/certificates/renew", post(post_renew))
        .route("/certificates/account", post(post_account_key))
        .route("/metrics", get(get_metrics))
        .route("/rollback", post(post_rollback))
        .route("/release", post(post_release))
        .fallback(async |uri: Uri| ApiError::PathNotFound(uri.path().to_owned()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(map_response(describe_wrong_method))
        .with_state(orders)
}

/// Adds an error message to a 405 response: the router only sets the `Allow` header.
async fn describe_wrong_method(response: Response) -> Response {
    let allowed = response
        .headers()
        .get(ALLOW)
        .filter(|_| response.status() == StatusCode::METHOD_NOT_ALLOWED);
    let Some(allowed) = allowed.cloned() else { return response };
    // A path that allows GET also allows HEAD, so only GET is named.
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

async fn get_fleet(State(orders): State<Requests>) -> Result<JsonText<FleetStatus>, ApiError> {
    let state = send_request(&orders, |answer| ControlRequest::Fleet { answer }).await?;
    let state = state.ok_or(ApiError::NoFleet)?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(JsonText(FleetStatus::from_state(&state, at)))
}

async fn get_metrics(State(orders): State<Requests>) -> Result<Response, ApiError> {
    crate::api::metrics::metrics_response(&orders).await
}

async fn fetch_status(orders: &Requests) -> Result<Status, ApiError> {
    let LiveSnapshot { state: picture, stat } = fetch_snapshot(orders).await?;
    let counters = stat.fetch_counters().await.ok();
    run_blocking(move || Status::from_snapshot(&picture, counters.as_ref())).await
}

/// Responds 200 if ready, otherwise 503 with the reasons.
async fn get_healthz(
    State(orders): State<Requests>,
) -> Result<(StatusCode, JsonText<Healthz>), ApiError> {
    let health = Healthz::from_status(&fetch_status(&orders).await?);
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, JsonText(health)))
}

/// Runs the work on another thread, because 10,000 routes take longer than the event loop may be blocked.
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

/// Waits for the disk here, so that the event loop does not block.
async fn rollback_response(result: RollbackResult) -> RollbackResponse {
    let RollbackResult { generation, since_ms, persisted: kept } = result;
    let kept = timeout(REQUEST_TIMEOUT, kept).await.is_ok_and(|kept| kept.unwrap_or(false));
    RollbackResponse { generation, since_ms, kept }
}

/// The result takes longer to compute the more containers exist, so it is computed on another thread.
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

async fn get_certificates(
    State(orders): State<Requests>,
) -> Result<JsonText<CertificateList>, ApiError> {
    let LiveSnapshot { state, .. } =
        send_request(&orders, |answer| ControlRequest::Snapshot { answer }).await?;
    run_blocking(move || CertificateList::from_snapshot(&state)).await.map(JsonText)
}

async fn post_renew(
    State(orders): State<Requests>,
    JsonText(RenewRequest { host }): JsonText<RenewRequest>,
) -> Result<JsonText<RenewResponse>, ApiError> {
    let renew = |answer| ControlRequest::RenewCertificate { host, answer };
    let host = send_request(&orders, renew).await??;
    Ok(JsonText(RenewResponse { host }))
}

async fn post_account_key(
    State(orders): State<Requests>,
) -> Result<JsonText<serde_json::Value>, ApiError> {
    send_request(&orders, |answer| ControlRequest::ReplaceAccountKey { answer }).await??;
    Ok(JsonText(serde_json::json!({})))
}

async fn post_drain(
    State(orders): State<Requests>,
    JsonText(DrainRequest { container, wait_ms, cut }): JsonText<DrainRequest>,
) -> Result<JsonText<DrainStatus>, ApiError> {
    let end = Instant::now() + Duration::from_millis(wait_ms).min(MAX_DRAIN_WAIT);
    let target = send_request(&orders, |answer| ControlRequest::Drain { container, reply: answer })
        .await??;
    wait_until_written(&target).await?;
    let left = wait_all_drained(&target, end).await?;
    if cut && !left.is_empty() {
        let InflightCount { requests, flows } = left.own;
        let others = left.others.iter().filter_map(|other| other.open).sum::<u64>();
        let cut = CutCount { sessions: requests + others, flows: flows.unwrap_or_default() };
        let left = cut_container(&orders, &target).await?;
        return Ok(JsonText(DrainStatus { cut: Some(cut), ..drain_status(target, Some(left)) }));
    }
    Ok(JsonText(drain_status(target, Some(left))))
}

async fn post_undrain(
    State(orders): State<Requests>,
    JsonText(UndrainRequest { container }): JsonText<UndrainRequest>,
) -> Result<JsonText<DrainStatus>, ApiError> {
    let target =
        send_request(&orders, |answer| ControlRequest::Undrain { container, answer }).await??;
    wait_until_written(&target).await?;
    Ok(JsonText(drain_status(target, None)))
}

/// What is left of a drained container.
#[derive(Debug)]
struct DrainRemains {
    own: InflightCount,
    others: Vec<OtherDrain>,
}

impl DrainRemains {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty()
    }
}

/// Waits until the other balancers get to know of the change, if there are any.
async fn wait_until_written(target: &DrainTarget) -> Result<(), ApiError> {
    let Some(mut fleet) = target.fleet.clone() else { return Ok(()) };
    if fleet.wait_until_written().await { Ok(()) } else { Err(ApiError::FleetSilent) }
}

/// Waits until nothing is left here and on the other balancers, or until `end`. Returns what is left.
async fn wait_all_drained(target: &DrainTarget, end: Instant) -> Result<DrainRemains, ApiError> {
    let others = async {
        match target.fleet.clone() {
            Some(mut fleet) => fleet.wait_for_others(end).await,
            None => Vec::new(),
        }
    };
    let (own, others) = tokio::join!(wait_drained(target.inflight.as_ref(), end), others);
    Ok(DrainRemains { own: own?, others })
}

fn drain_status(target: DrainTarget, left: Option<DrainRemains>) -> DrainStatus {
    let DrainTarget { name, id, unserved, .. } = target;
    let drained = left.as_ref().is_some_and(DrainRemains::is_empty);
    let (count, others) = match left {
        Some(DrainRemains { own, others }) => (Some(own), others),
        None => (None, Vec::new()),
    };
    let others = others.into_iter().map(|OtherDrain { balancer, open }| UndrainedBalancer {
        balancer: balancer.to_string(),
        open,
    });
    DrainStatus {
        container: name,
        id: id.as_str().to_owned(),
        sessions: count.map(|count| count.requests),
        flows: count.and_then(|count| count.flows),
        drained,
        cut: None,
        others: others.collect(),
        unserved,
    }
}

/// Ends what a drained container still serves. Returns what is left.
async fn cut_container(orders: &Requests, target: &DrainTarget) -> Result<DrainRemains, ApiError> {
    let id = target.id.clone();
    send_request(orders, |answer| ControlRequest::CutFlows { id, answer }).await?;
    if let Some(inflight) = &target.inflight {
        let ended = inflight.requests.end_requests().await;
        ended.map_err(|error| ApiError::CutFailed(format!("HAProxy: {error}")))?;
    }
    wait_until_written(target).await?;
    wait_all_drained(target, Instant::now() + CUT_TIMEOUT).await
}

/// Waits until no request is in flight and no flow is open, or until `end`. Returns what is left. The places to count
/// stay the same: the container gets nothing new, and after a reload the earlier requests belong to an old worker.
async fn wait_drained(
    inflight: Option<&InflightWork>,
    end: Instant,
) -> Result<InflightCount, ApiError> {
    let unknown = || ApiError::CountFailed("HAProxy did not return its state".to_owned());
    let inflight = inflight.ok_or_else(unknown)?;
    // docker-glue-udp may not have applied the drain yet, which a drain without a wait should not report as an error.
    let last_attempt = end.max(Instant::now() + FIRST_COUNT_TIMEOUT);
    loop {
        let begun = Instant::now();
        let counted = inflight.count().await;
        let now = Instant::now();
        match counted {
            Ok(count) if count.is_empty() || end <= now => return Ok(count),
            Err(error) if last_attempt <= now => return Err(ApiError::CountFailed(error)),
            _ => {}
        }
        // If counting took long, the next count starts later.
        let pause = COUNT_INTERVAL.max((now - begun) * 4);
        let next_end = if now < end { end } else { last_attempt };
        sleep(pause.min(next_end - now)).await;
    }
}

/// JSON in a request body, with any content type because `curl -d` does not set the right one; and JSON in a
/// response, with a line break for terminals.
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
