//! The dashboard over HTTP: GET and HEAD of a page, its files, and its changes as server-sent events.

use super::{
    DashboardConfig,
    explain::{ExplainText, explain_url},
    live_updates::{self, MAX_QUEUED_UPDATES, Viewer, ViewerSignal},
    page::PageView,
    render,
};
use crate::{
    api::http::{self, ConnectionSlot, ServerLimits, host_check::HostCheck},
    controller::{control_error::ApiError, request::ControlRequest},
};
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Frame, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue},
};
use std::{convert::Infallible, future::pending, net::IpAddr, sync::Arc, time::Duration};
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
/// Of the connections, so many may be told what changes.
const MAX_VIEWERS: usize = 32;
/// For all that one who is no viewer asks for, and takes.
const VISIT_TIMEOUT: Duration = Duration::from_secs(30);

/// With each answer. No inline script or style, nothing from other hosts, no frame around it.
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

/// What a connection needs of the rest.
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
    info!("the dashboard is at http://{}/", config.address);
    if !config.address.ip().is_loopback() {
        warn!("the dashboard asks for no password: whoever reaches {} sees it", config.address);
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
    let answer = |request| handle_request(request, local.ip(), &state, &disconnect, &stay);
    let visit = async {
        // A viewer stays; whoever else takes too long is no reader.
        if timeout(VISIT_TIMEOUT, stays.recv()).await.is_ok() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = http::serve_connection(stream, slot, OPTION_NAME, LIMITS, answer) => {}
        _ = disconnected.recv() => {}
        () = visit => {}
    }
}

type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

async fn handle_request(
    request: Request<Incoming>,
    local: IpAddr,
    state: &AppState,
    disconnect: &mpsc::Sender<ViewerSignal>,
    stay: &mpsc::Sender<ViewerSignal>,
) -> Response<ResponseBody> {
    let mut response = match check_request(&request, local, state) {
        Some(refused) => refused,
        None => match request.uri().path() {
            "/" => page_response(request.uri(), state).await,
            "/events" if request.method() == Method::HEAD => text_response(EVENT_STREAM_TYPE, ""),
            "/events" => events_response(state, disconnect, stay).await,
            "/style.css" => text_response("text/css; charset=utf-8", render::STYLE),
            "/script.js" => text_response("text/javascript; charset=utf-8", render::SCRIPT),
            "/icon.svg" => text_response("image/svg+xml", render::ICON),
            _ => error_response(StatusCode::NOT_FOUND, "there is only /"),
        },
    };
    for (name, value) in SECURITY_HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().insert(name, value);
    }
    response
}

const EVENT_STREAM_TYPE: &str = "text/event-stream";

/// The answer to those who are not let in.
fn check_request(
    request: &Request<Incoming>,
    local: IpAddr,
    state: &AppState,
) -> Option<Response<ResponseBody>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page =
            error_response(StatusCode::METHOD_NOT_ALLOWED, "it only shows: GET and HEAD");
        page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(page);
    }
    let (status, text) =
        state.host_check.reject_request(request.headers(), request.uri(), local)?;
    Some(error_response(status, &text))
}

async fn page_response(uri: &Uri, state: &AppState) -> Response<ResponseBody> {
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let (request, filter) = (field("explain"), field("filter").unwrap_or_default());
    match render_html(state, request.unwrap_or_default(), filter).await {
        Ok(html) => text_response("text/html; charset=utf-8", html),
        Err(failure) => error_response(failure.status_code(), &failure.to_string()),
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

/// Changes from now on, and first of all how it is.
async fn events_response(
    state: &AppState,
    disconnect: &mpsc::Sender<ViewerSignal>,
    stay: &mpsc::Sender<ViewerSignal>,
) -> Response<ResponseBody> {
    let Ok(slot) = Arc::clone(&state.viewer_slots).try_acquire_owned() else {
        return error_response(StatusCode::SERVICE_UNAVAILABLE, "too many look already");
    };
    let (events, updates) = mpsc::channel(MAX_QUEUED_UPDATES);
    let viewer = Viewer { events, disconnect: disconnect.clone(), is_synced: false };
    if state.viewers.send(viewer).await.is_err() {
        return error_response(StatusCode::SERVICE_UNAVAILABLE, &ApiError::Stopping.to_string());
    }
    let _ = stay.try_send(ViewerSignal);
    let next = |(mut updates, slot): (mpsc::Receiver<Bytes>, _)| async {
        let event = updates.recv().await?;
        Some((Ok(Frame::data(event)), (updates, slot)))
    };
    let body = StreamBody::new(stream::unfold((updates, slot), next));
    response_with_type(EVENT_STREAM_TYPE, BodyExt::boxed_unsync(body))
}

fn text_response(kind: &'static str, text: impl Into<Bytes>) -> Response<ResponseBody> {
    response_with_type(kind, Full::new(text.into()).boxed_unsync())
}

fn response_with_type(kind: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut page = Response::new(body);
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page
}

fn error_response(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let mut page = text_response("text/plain; charset=utf-8", format!("{text}\n"));
    *page.status_mut() = status;
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// One that is asked this.
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
