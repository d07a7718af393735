//! What the HTTP servers (control socket, metrics, dashboard) have in common: they retry until the address is bound,
//! accept a limited number of connections, and answer the requests of each connection in order with a router.

pub mod host_check;

use crate::support::outage::{FailureReport, Outage};
use axum::{
    Router,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use host_check::HostCheck;
use hyper::{
    StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::net::Listener;
use tower_service::Service;
use tracing::{debug, error, warn};

/// The pause after a failed accept, for example because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of one server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// The greatest number of connections. If another client connects, the oldest idle connection is closed; if none
    /// is idle, the client waits until a connection ends.
    pub max_connections: usize,
    /// The time limit for a request to arrive, and for the next request on the same connection.
    pub request_timeout: Duration,
    /// The greatest size of a request without its body, in bytes.
    pub max_head_bytes: usize,
}

/// Binds the address. A failure is logged once, with the option that set the address, and retried forever, because
/// traffic does not depend on this server.
pub async fn bind_with_retry(at: SocketAddr, option: &str) -> TcpListener {
    let mut outage = Outage::inactive();
    loop {
        match TcpListener::bind(at).await {
            Ok(listener) => return listener,
            Err(error) => {
                let (log_level, pause) = outage.record_failure(Instant::now().into_std());
                if log_level == FailureReport::First {
                    warn!(
                        "{option}: cannot listen on {at}: {error}; retrying; all other functions \
                         continue"
                    );
                }
                sleep(pause).await;
            }
        }
    }
}

/// One of the limited number of connections: the signal to close it, and a count of its requests in flight.
#[derive(Debug, Clone, Default)]
pub struct ConnectionSlot(Arc<Notify>, Arc<()>);

impl ConnectionSlot {
    /// Whether no request of the connection is being answered.
    fn is_idle(requests: &Weak<()>) -> bool {
        // The slot itself holds one reference.
        requests.strong_count() <= 1
    }
}

/// The slots in use, the oldest first.
#[derive(Debug, Default)]
struct ConnectionSlots(VecDeque<(Arc<Notify>, Weak<()>)>);

impl ConnectionSlots {
    fn acquire_slot(&mut self) -> ConnectionSlot {
        self.0.retain(|(_, requests)| requests.strong_count() > 0);
        let slot = ConnectionSlot::default();
        self.0.push_back((Arc::clone(&slot.0), Arc::downgrade(&slot.1)));
        slot
    }

    /// Asks the oldest idle connection to close; returns `false` if none is idle.
    fn evict_idle(&mut self) -> bool {
        let idle = self.0.iter().position(|(_, requests)| ConnectionSlot::is_idle(requests));
        let Some((leave, _)) = idle.and_then(|at| self.0.remove(at)) else { return false };
        leave.notify_one();
        true
    }
}

/// Handles each accepted connection until this future is dropped, which also ends the connections. `handle` should
/// return when its slot is notified.
pub async fn accept_connections<L: Listener, V>(
    mut listener: L,
    option: &str,
    limits: ServerLimits,
    handle: impl Fn(L::Io, ConnectionSlot) -> V,
) where
    V: Future<Output = ()> + Send + 'static,
{
    let (mut connections, mut slots) = (JoinSet::new(), ConnectionSlots::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(handle) = connections.join_next() => {
                log_panic(option, &handle);
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("{option}: could not accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.len() >= limits.max_connections {
            slots.evict_idle();
            if let Some(handle) = connections.join_next().await {
                log_panic(option, &handle);
            }
        }
        connections.spawn(handle(stream, slots.acquire_slot()));
    }
}

fn log_panic(option: &str, handle: &Result<(), JoinError>) {
    if handle.as_ref().is_err_and(JoinError::is_panic) {
        error!("{option}: a request handler panicked; closing the connection");
    }
}

/// The body of a response. Its request counts as in flight until the body is dropped.
struct TrackedBody<B> {
    body: B,
    _in_flight: Arc<()>,
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers the requests of one connection until the client closes it, or until it is idle and its slot is needed.
pub async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    ConnectionSlot(leave, requests): ConnectionSlot,
    option: &str,
    limits: ServerLimits,
    router: &Router,
) {
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        let (response, in_flight) = (router.clone().call(request), Arc::clone(&requests));
        // The request is in flight until the client has received the whole response.
        async {
            let response = response.await?;
            Ok::<_, Infallible>(response.map(|body| TrackedBody { body, _in_flight: in_flight }))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.request_timeout)
        .max_buf_size(limits.max_head_bytes);
    let conversation = http.serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        () = leave.notified() => {}
        ended = conversation => {
            if let Err(error) = ended {
                debug!("{option}: {error}");
            }
        }
    }
}

/// The host check of a server, and the local address of a connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionCheck {
    pub(crate) host_check: Arc<HostCheck>,
    pub(crate) local: IpAddr,
}

/// Rejects requests that are not meant for this server before they reach a route.
pub(crate) async fn reject_foreign_request(
    State(ConnectionCheck { host_check, local }): State<ConnectionCheck>,
    request: Request,
    next: Next,
) -> Response {
    match host_check.reject_request(request.headers(), request.uri(), local) {
        Some((status, text)) => text_error(status, &text),
        None => next.run(request).await,
    }
}

/// Returns an error response as one line of plain text.
pub(crate) fn text_error(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}
