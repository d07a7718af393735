//! `--metrics`: a port where Prometheus asks.
//!
//! A port that somebody else has is told once and waited for: traffic does not end for want of numbers.

use super::page;
use crate::{
    control::Order,
    outage::{Outage, Tell},
};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

/// For a request to arrive, and until the next one on the same connection.
const PATIENCE: Duration = Duration::from_mins(1);
/// Nobody has so many Prometheuses; more have to wait.
const MOST_CONNECTIONS: usize = 32;
/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers until it is dropped.
pub async fn serve(address: SocketAddr, orders: mpsc::Sender<Order>) {
    let listener = listen(address).await;
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MOST_CONNECTIONS;
        let accepted = tokio::select! {
            accepted = listener.accept(), if has_room => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("metrics: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let orders = orders.clone();
        connections.spawn(async move {
            let answer = service_fn(|request| answer(request, &orders));
            let mut http = http1::Builder::new();
            let http = http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
                debug!("metrics: {error}");
            }
        });
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut outage = Outage::none();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!("metrics are at http://{address}/metrics");
                return listener;
            }
            Err(error) => {
                let (tell, pause) = outage.failed(Instant::now().into_std());
                if tell == Tell::Loud {
                    warn!(
                        "--metrics: cannot listen on {address}: {error}; \
                         trying again until it works, all else goes on"
                    );
                }
                sleep(pause).await;
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    orders: &mpsc::Sender<Order>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match page(orders).await {
            Ok(page) => page,
            Err(failure) => plain(failure.status(), &failure.to_string()),
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "the method is GET"),
        _ => plain(StatusCode::NOT_FOUND, "there is /metrics"),
    })
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::from(format!("{text}\n")));
    *page.status_mut() = status;
    page
}
