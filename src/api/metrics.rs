//! What `GET /metrics` answers, on the control socket and on the port of `--metrics`.

use crate::{
    api::http::{self, ServerLimits, host_check::HostCheck},
    controller::{
        control_error::ApiError,
        metrics::MetricsSnapshot,
        request::{ControlRequest, send_request},
    },
    model::option_value::Host,
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tracing::info;

const OPTION_NAME: &str = "--metrics";
/// A pass may take seconds, where it is a reload; Prometheus waits for 10.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(9);
/// Nobody has so many Prometheuses.
const LIMITS: ServerLimits = ServerLimits {
    max_connections: 32,
    request_timeout: Duration::from_mins(1),
    max_head_bytes: 16 * 1024,
};

/// Answers until it is dropped. `names` are those that it answers to, besides its own.
pub async fn serve_metrics(
    address: SocketAddr,
    names: Vec<Host>,
    orders: mpsc::Sender<ControlRequest>,
) {
    let listener = http::bind_with_retry(address, OPTION_NAME).await;
    info!("metrics are at http://{address}/metrics");
    let host_check =
        Arc::new(HostCheck { names, allows_bare_names: true, option: "--metrics-host" });
    let handle = |stream: TcpStream, slot| {
        let (orders, host_check) = (orders.clone(), Arc::clone(&host_check));
        async move {
            let Ok(local) = stream.local_addr() else { return };
            let answer = |request| handle_request(request, local.ip(), &host_check, &orders);
            http::serve_connection(stream, slot, OPTION_NAME, LIMITS, answer).await;
        }
    };
    http::accept_connections(listener, OPTION_NAME, LIMITS, handle).await;
}

async fn handle_request(
    request: Request<Incoming>,
    local: IpAddr,
    host_check: &HostCheck,
    orders: &mpsc::Sender<ControlRequest>,
) -> Response<Full<Bytes>> {
    if let Some((status, text)) = host_check.reject_request(request.headers(), request.uri(), local)
    {
        return text_response(status, &text);
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match metrics_response(orders).await {
            Ok(page) => page,
            Err(failure) => text_response(failure.status_code(), &failure.to_string()),
        },
        (_, "/metrics") => text_response(StatusCode::METHOD_NOT_ALLOWED, "the method is GET"),
        _ => text_response(StatusCode::NOT_FOUND, "there is /metrics"),
    }
}

/// # Errors
/// When the balancer stops, or does not answer in time.
pub async fn metrics_response(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<Response<Full<Bytes>>, ApiError> {
    let ask = async {
        send_request(orders, |answer| ControlRequest::RefreshHealth { answer }).await?;
        send_request(orders, |answer| ControlRequest::Metrics { answer }).await
    };
    let late = |_| ApiError::CountFailed("it is busy; try again".to_owned());
    let MetricsSnapshot { census, stat, metrics } =
        timeout(SCRAPE_TIMEOUT, ask).await.map_err(late)??;
    let text = metrics
        .render_text(&census, stat.count_old_workers().await)
        .map_err(|error| ApiError::CountFailed(error.to_string()))?;
    let mut page = Response::new(Full::from(text));
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
    Ok(page)
}

fn text_response(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(format!("{text}\n")));
    *page.status_mut() = status;
    page
}
