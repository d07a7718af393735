//! What `GET /metrics` answers, on the control socket and on the port of `--metrics`.

use super::Count;
use crate::{
    control::{
        failure::Failure,
        order::{Order, order},
    },
    label::value::Host,
    web::{self, Limits, gate::Named},
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

const OPTION: &str = "--metrics";
/// A pass may take seconds, where it is a reload; Prometheus waits for 10.
const PATIENCE: Duration = Duration::from_secs(9);
/// Nobody has so many Prometheuses.
const LIMITS: Limits =
    Limits { connections: 32, patience: Duration::from_mins(1), head: 16 * 1024 };

/// Answers until it is dropped. `names` are those that it answers to, besides its own.
pub async fn serve(address: SocketAddr, names: Vec<Host>, orders: mpsc::Sender<Order>) {
    let listener = web::listen(address, OPTION).await;
    info!("metrics are at http://{address}/metrics");
    let gate = Arc::new(Named { names, bare: true, option: "--metrics-host" });
    let visit = |stream: TcpStream, seat| {
        let (orders, gate) = (orders.clone(), Arc::clone(&gate));
        async move {
            let Ok(local) = stream.local_addr() else { return };
            let answer = |it| answer(it, local.ip(), &gate, &orders);
            web::converse(stream, seat, OPTION, LIMITS, answer).await;
        }
    };
    web::accept(listener, OPTION, LIMITS, visit).await;
}

async fn answer(
    request: Request<Incoming>,
    local: IpAddr,
    gate: &Named,
    orders: &mpsc::Sender<Order>,
) -> Response<Full<Bytes>> {
    if let Some((status, text)) = gate.refusal(request.headers(), request.uri(), local) {
        return plain(status, &text);
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match page(orders).await {
            Ok(page) => page,
            Err(failure) => plain(failure.status(), &failure.to_string()),
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "the method is GET"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics"),
    }
}

/// # Errors
/// When the balancer stops, or does not answer in time.
pub async fn page(orders: &mpsc::Sender<Order>) -> Result<Response<Full<Bytes>>, Failure> {
    let ask = async {
        order(orders, |answer| Order::Examine { answer }).await?;
        order(orders, |answer| Order::Count { answer }).await
    };
    let late = |_| Failure::NotCounted("it is busy; try again".to_owned());
    let Count { census, stat, metrics } = timeout(PATIENCE, ask).await.map_err(late)??;
    let text = metrics
        .text(&census, stat.old_workers().await)
        .map_err(|error| Failure::NotCounted(error.to_string()))?;
    let mut page = Response::new(Full::from(text));
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
    Ok(page)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(format!("{text}\n")));
    *page.status_mut() = status;
    page
}
