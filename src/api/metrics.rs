//! Serves `GET /metrics`, on the control socket and on the address of `--metrics`, and `GET /ready` on the latter.

use crate::{
    api::http::{self, ConnectionCheck, ServerLimits, host_check::HostCheck, text_error},
    controller::{
        control_error::ApiError,
        metrics::MetricsSnapshot,
        request::{ControlRequest, send_request},
    },
    haproxy::{readiness::check_readiness, socket::WorkerSocket},
    model::option_value::Host,
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tracing::info;

const OPTION_NAME: &str = "--metrics";
/// A pass may take seconds if it reloads HAProxy. Prometheus waits for 10 s by default.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(9);
/// Enough for the few clients that scrape metrics.
const LIMITS: ServerLimits = ServerLimits {
    max_connections: 32,
    request_timeout: Duration::from_mins(1),
    max_head_bytes: 16 * 1024,
};

/// Serves metrics until this is dropped. `names` are host names that are accepted besides the address. `haproxy` is
/// queried for the readiness, without the balancer's loop, which may wait for a reload.
pub async fn serve_metrics(
    address: SocketAddr,
    names: Vec<Host>,
    orders: mpsc::Sender<ControlRequest>,
    haproxy: WorkerSocket,
) {
    let listener = http::bind_with_retry(address, OPTION_NAME).await;
    info!("serving metrics at http://{address}/metrics");
    let host_check =
        Arc::new(HostCheck { names, allows_bare_names: true, option: "--metrics-host" });
    let handle = |stream: TcpStream, slot| {
        let (orders, host_check) = (orders.clone(), Arc::clone(&host_check));
        let haproxy = haproxy.clone();
        async move {
            let Ok(local) = stream.local_addr() else { return };
            let check = ConnectionCheck { host_check, local: local.ip() };
            let router = build_router(orders, haproxy, check);
            http::serve_connection(stream, slot, OPTION_NAME, LIMITS, &router).await;
        }
    };
    http::accept_connections(listener, OPTION_NAME, LIMITS, handle).await;
}

fn build_router(
    orders: mpsc::Sender<ControlRequest>,
    haproxy: WorkerSocket,
    check: ConnectionCheck,
) -> Router {
    Router::new()
        .route("/metrics", get(get_metrics))
        .route("/ready", get(async move || get_ready(&haproxy).await))
        .fallback(async || {
            text_error(
                StatusCode::NOT_FOUND,
                "not found; metrics are at /metrics, readiness at /ready",
            )
        })
        .method_not_allowed_fallback(async || {
            text_error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed; use GET")
        })
        .layer(from_fn_with_state(check, http::reject_foreign_request))
        .with_state(orders)
}

/// Responds 200, or 503 with the reason.
async fn get_ready(haproxy: &WorkerSocket) -> Response {
    match check_readiness(haproxy).await {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => text_error(StatusCode::SERVICE_UNAVAILABLE, &reason.to_string()),
    }
}

async fn get_metrics(State(orders): State<mpsc::Sender<ControlRequest>>) -> Response {
    match metrics_response(&orders).await {
        Ok(page) => page,
        Err(failure) => text_error(failure.status_code(), &failure.to_string()),
    }
}

/// # Errors
/// If the balancer stops, or does not answer in time.
pub async fn metrics_response(orders: &mpsc::Sender<ControlRequest>) -> Result<Response, ApiError> {
    let ask = async {
        send_request(orders, |answer| ControlRequest::RefreshHealth { answer }).await?;
        send_request(orders, |answer| ControlRequest::Metrics { answer }).await
    };
    let late = |_| ApiError::CountFailed("too many requests; try again".to_owned());
    let MetricsSnapshot { census, stat, metrics } =
        timeout(SCRAPE_TIMEOUT, ask).await.map_err(late)??;
    let text = metrics
        .render_text(&census, stat.count_old_workers().await, stat.fetch_refusals().await)
        .map_err(|error| ApiError::CountFailed(error.to_string()))?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
