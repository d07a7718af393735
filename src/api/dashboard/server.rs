//! The HTTP server of the dashboard: GET and HEAD of the page, its files, and its changes as server-sent events.

use super::{
    DashboardConfig,
    explain::{ExplainText, explain_url},
    live_updates::{self, MAX_QUEUED_UPDATES, Viewer, ViewerSignal},
    page::PageView,
    render,
};
use crate::{
    api::http::{
        self, ConnectionCheck, ConnectionSlot, ServerLimits, host_check::HostCheck, text_error,
    },
    controller::{control_error::ApiError, request::ControlRequest},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE},
    },
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tracing::{info, warn};

const OPTION_NAME: &str = "--dashboard";
const LIMITS: ServerLimits = ServerLimits {
    max_connections: 64,
    request_timeout: Duration::from_secs(10),
    max_head_bytes: 16 * 1024,
};
/// How many of the connections may be viewers of the event stream.
const MAX_VIEWERS: usize = 32;
/// The time limit for a connection that is not a viewer.
const VISIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sent with each response. They forbid inline scripts and styles, content from other hosts, and framing.
const SECURITY_HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
];

/// What all connections share.
#[derive(Debug, Clone)]
struct AppState {
    host_check: Arc<HostCheck>,
    requests: mpsc::Sender<ControlRequest>,
    viewers: mpsc::Sender<Viewer>,
    viewer_slots: Arc<Semaphore>,
}

pub(crate) async fn serve_dashboard(
    config: DashboardConfig,
    orders: mpsc::Sender<ControlRequest>,
    viewers: mpsc::Sender<Viewer>,
) {
    let listener = http::bind_with_retry(config.address, OPTION_NAME).await;
    info!("serving the dashboard at http://{}/", config.address);
    if !config.address.ip().is_loopback() {
        warn!(
            "the dashboard has no password: every client that can connect to {} can read it",
            config.address
        );
    }
    let viewer_slots = Arc::new(Semaphore::new(MAX_VIEWERS));
    let host_check =
        HostCheck { names: config.hosts, allows_bare_names: false, option: "--dashboard-host" };
    let state = AppState { host_check: host_check.into(), requests: orders, viewers, viewer_slots };
    let visit = |stream, slot| handle_connection(stream, slot, state.clone());
    http::accept_connections(listener, OPTION_NAME, LIMITS, visit).await;
}

async fn handle_connection(stream: TcpStream, slot: ConnectionSlot, state: AppState) {
    let Ok(local) = stream.local_addr() else { return };
    let (disconnect, mut disconnected) = mpsc::channel(1);
    let (stay, mut stays) = mpsc::channel(1);
    let check = ConnectionCheck { host_check: Arc::clone(&state.host_check), local: local.ip() };
    let router = build_router(Connection { app: state, disconnect, stay }, check);
    let visit = async {
        // A viewer may stay connected. Any other connection is closed after the time limit.
        if timeout(VISIT_TIMEOUT, stays.recv()).await.is_ok() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = http::serve_connection(stream, slot, OPTION_NAME, LIMITS, &router) => {}
        _ = disconnected.recv() => {}
        () = visit => {}
    }
}

/// What the requests of one connection share.
#[derive(Debug, Clone)]
struct Connection {
    app: AppState,
    /// Closes the connection.
    disconnect: mpsc::Sender<ViewerSignal>,
    /// Removes the time limit of the connection, because it is a viewer.
    stay: mpsc::Sender<ViewerSignal>,
}

fn build_router(connection: Connection, check: ConnectionCheck) -> Router {
    Router::new()
        .route("/", get(get_page))
        .route("/events", get(get_events).head(async || with_type(EVENT_STREAM_TYPE, "")))
        .route("/style.css", get(async || with_type("text/css; charset=utf-8", render::STYLE)))
        .route(
            "/script.js",
            get(async || with_type("text/javascript; charset=utf-8", render::SCRIPT)),
        )
        .route("/icon.svg", get(async || with_type("image/svg+xml", render::ICON)))
        .fallback(async || text_error(StatusCode::NOT_FOUND, "not found; the dashboard is at /"))
        .method_not_allowed_fallback(async || {
            let page = text_error(
                StatusCode::METHOD_NOT_ALLOWED,
                "the dashboard is read-only; allowed methods: GET, HEAD",
            );
            ([(ALLOW, "GET, HEAD")], page).into_response()
        })
        .layer(from_fn_with_state(check, http::reject_foreign_request))
        .layer(map_response(async |response: Response| {
            (SECURITY_HEADERS, response).into_response()
        }))
        .with_state(connection)
}

const EVENT_STREAM_TYPE: &str = "text/event-stream";

async fn get_page(
    State(Connection { app, .. }): State<Connection>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(query.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let (request, filter) = (field("explain"), field("filter").unwrap_or_default());
    match render_html(&app, request.unwrap_or_default(), filter).await {
        Ok(html) => with_type("text/html; charset=utf-8", html),
        Err(failure) => text_error(failure.status_code(), &failure.to_string()),
    }
}

async fn render_html(state: &AppState, string: String, text: String) -> Result<String, ApiError> {
    let (snapshot, counters) = live_updates::fetch_state(&state.requests).await?;
    let draw = move || {
        let painting =
            render::render_fragments(&PageView::from_snapshot(&snapshot, counters.as_ref(), &text));
        let answer: Option<ExplainText> =
            (!string.is_empty()).then(|| explain_url(&string, &snapshot, counters.as_ref()));
        render::render_page(&painting, &string, answer.as_ref(), &text)
    };
    live_updates::run_blocking(draw).await
}

/// Streams the whole page first, then its changes. All viewers share the bytes of an event. axum's own event type is
/// not used, because each viewer would then have a copy.
async fn get_events(State(Connection { app, disconnect, stay }): State<Connection>) -> Response {
    let Ok(slot) = Arc::clone(&app.viewer_slots).try_acquire_owned() else {
        return text_error(StatusCode::SERVICE_UNAVAILABLE, "too many viewers; try again later");
    };
    let (events, updates) = mpsc::channel(MAX_QUEUED_UPDATES);
    let viewer = Viewer { events, disconnect, is_synced: false };
    if app.viewers.send(viewer).await.is_err() {
        return text_error(StatusCode::SERVICE_UNAVAILABLE, &ApiError::Stopping.to_string());
    }
    let _ = stay.try_send(ViewerSignal);
    let next = |(mut updates, slot): (mpsc::Receiver<Bytes>, _)| async {
        let event = updates.recv().await?;
        Some((Ok::<_, Infallible>(event), (updates, slot)))
    };
    with_type(EVENT_STREAM_TYPE, Body::from_stream(stream::unfold((updates, slot), next)))
}

fn with_type(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, kind)], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Connects with this request.
    async fn connect_with(
        request: &str,
    ) -> (TcpStream, TcpStream, AppState, mpsc::Receiver<Viewer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (viewers, joining) = mpsc::channel(1);
        let viewer_slots = Arc::new(Semaphore::new(1));
        let host_check =
            HostCheck { names: Vec::new(), allows_bare_names: false, option: "--dashboard-host" }
                .into();
        let state = AppState { host_check, requests: mpsc::channel(1).0, viewers, viewer_slots };
        (client, server, state, joining)
    }

    #[tokio::test]
    async fn disconnected_viewer_frees_its_slot() {
        let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (mut client, server, state, mut joining) = connect_with(request).await;
        let connection =
            tokio::spawn(handle_connection(server, ConnectionSlot::default(), state.clone()));
        let viewer = joining.recv().await.unwrap();
        assert_eq!(state.viewer_slots.available_permits(), 0);
        viewer.events.send("data: x\n\n".into()).await.unwrap();
        let mut updates = String::new();
        while !updates.contains("data: x\n\n") {
            updates.push(client.read_u8().await.unwrap().into());
        }
        viewer.disconnect.send(ViewerSignal).await.unwrap();
        connection.await.unwrap();
        assert_eq!(state.viewer_slots.available_permits(), 1);
        assert!(viewer.events.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_is_closed_after_timeout() {
        for request in ["", "GET / HT", "GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let (client, server, state, _joining) = connect_with(request).await;
            handle_connection(server, ConnectionSlot::default(), state).await;
            drop(client);
        }
    }
}
