//! `--metrics`: a port where Prometheus asks.

use super::page;
use crate::{
    control::Order,
    web::{self, Limits},
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
};
use std::{net::SocketAddr, time::Duration};
use tokio::sync::mpsc;
use tracing::info;

const OPTION: &str = "--metrics";
/// Nobody has so many Prometheuses.
const LIMITS: Limits =
    Limits { connections: 32, patience: Duration::from_mins(1), head: 16 * 1024 };

/// Answers until it is dropped.
pub async fn serve(address: SocketAddr, orders: mpsc::Sender<Order>) {
    let listener = web::listen(address, OPTION).await;
    info!("metrics are at http://{address}/metrics");
    let visit = |stream| {
        let orders = orders.clone();
        async move { web::converse(stream, OPTION, LIMITS, |it| answer(it, &orders)).await }
    };
    web::accept(listener, OPTION, LIMITS, visit).await;
}

async fn answer(request: Request<Incoming>, orders: &mpsc::Sender<Order>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match page(orders).await {
            Ok(page) => page,
            Err(failure) => plain(failure.status(), &failure.to_string()),
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "the method is GET"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(format!("{text}\n")));
    *page.status_mut() = status;
    page
}
