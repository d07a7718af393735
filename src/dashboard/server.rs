//! The dashboard over HTTP: GET and HEAD of a page, its files, and its changes as server-sent events.

use super::{
    Place,
    explain::{Answer, explain},
    page::Page,
    painter::{self, Never, QUEUE, Viewer},
    render,
};
use crate::{
    control::{failure::Failure, order::Order},
    web::{self, Limits, Seat, gate::Named},
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

const OPTION: &str = "--dashboard";
const LIMITS: Limits =
    Limits { connections: 64, patience: Duration::from_secs(10), head: 16 * 1024 };
/// Of the connections, so many may be told what changes.
const MOST_VIEWERS: usize = 32;
/// For all that one who is no viewer asks for, and takes.
const VISIT: Duration = Duration::from_secs(30);

/// With each answer. No inline script or style, nothing from other hosts, no frame around it.
const HEADERS: [(&str, &str); 5] = [
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
struct Desk {
    named: Arc<Named>,
    orders: mpsc::Sender<Order>,
    viewers: mpsc::Sender<Viewer>,
    seats: Arc<Semaphore>,
}

pub(super) async fn serve(
    place: Place,
    orders: mpsc::Sender<Order>,
    viewers: mpsc::Sender<Viewer>,
) {
    let listener = web::listen(place.at, OPTION).await;
    info!("the dashboard is at http://{}/", place.at);
    if !place.at.ip().is_loopback() {
        warn!("the dashboard asks for no password: whoever reaches {} sees it", place.at);
    }
    let seats = Arc::new(Semaphore::new(MOST_VIEWERS));
    let named = Named { names: place.names, bare: false, option: "--dashboard-host" };
    let desk = Desk { named: named.into(), orders, viewers, seats };
    let visit = |stream, seat| connection(stream, seat, desk.clone());
    web::accept(listener, OPTION, LIMITS, visit).await;
}

async fn connection(stream: TcpStream, seat: Seat, desk: Desk) {
    let Ok(local) = stream.local_addr() else { return };
    let (cut, mut is_cut) = mpsc::channel(1);
    let (stay, mut stays) = mpsc::channel(1);
    let answer = |request| answer(request, local.ip(), &desk, &cut, &stay);
    let visit = async {
        // A viewer stays; whoever else takes too long is no reader.
        if timeout(VISIT, stays.recv()).await.is_ok() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = web::converse(stream, seat, OPTION, LIMITS, answer) => {}
        _ = is_cut.recv() => {}
        () = visit => {}
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    local: IpAddr,
    desk: &Desk,
    cut: &mpsc::Sender<Never>,
    stay: &mpsc::Sender<Never>,
) -> Response<Body> {
    let mut response = match gate(&request, local, desk) {
        Some(refused) => refused,
        None => match request.uri().path() {
            "/" => page(request.uri(), desk).await,
            "/events" if request.method() == Method::HEAD => typed(EVENTS, ""),
            "/events" => events(desk, cut, stay).await,
            "/style.css" => typed("text/css; charset=utf-8", render::STYLE),
            "/script.js" => typed("text/javascript; charset=utf-8", render::SCRIPT),
            "/icon.svg" => typed("image/svg+xml", render::ICON),
            _ => refused(StatusCode::NOT_FOUND, "there is only /"),
        },
    };
    for (name, value) in HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().insert(name, value);
    }
    response
}

const EVENTS: &str = "text/event-stream";

/// The answer to those who are not let in.
fn gate(request: &Request<Incoming>, local: IpAddr, desk: &Desk) -> Option<Response<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = refused(StatusCode::METHOD_NOT_ALLOWED, "it only shows: GET and HEAD");
        page.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(page);
    }
    let (status, text) = desk.named.refusal(request.headers(), request.uri(), local)?;
    Some(refused(status, &text))
}

async fn page(uri: &Uri, desk: &Desk) -> Response<Body> {
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let (asked, wanted) = (field("explain"), field("filter").unwrap_or_default());
    match draw(desk, asked.unwrap_or_default(), wanted).await {
        Ok(html) => typed("text/html; charset=utf-8", html),
        Err(failure) => refused(failure.status(), &failure.to_string()),
    }
}

async fn draw(desk: &Desk, asked: String, wanted: String) -> Result<String, Failure> {
    let (picture, counters) = painter::look(&desk.orders).await?;
    let draw = move || {
        let painting = render::paint(&Page::of_picture(&picture, counters.as_ref(), &wanted));
        let answer: Option<Answer> =
            (!asked.is_empty()).then(|| explain(&asked, &picture, counters.as_ref()));
        render::whole(&painting, &asked, answer.as_ref(), &wanted)
    };
    painter::aside(draw).await
}

/// Changes from now on, and first of all how it is.
async fn events(
    desk: &Desk,
    cut: &mpsc::Sender<Never>,
    stay: &mpsc::Sender<Never>,
) -> Response<Body> {
    let Ok(seat) = Arc::clone(&desk.seats).try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many look already");
    };
    let (events, told) = mpsc::channel(QUEUE);
    let viewer = Viewer { events, cut: cut.clone(), has_all: false };
    if desk.viewers.send(viewer).await.is_err() {
        return refused(StatusCode::SERVICE_UNAVAILABLE, &Failure::Stopping.to_string());
    }
    let _ = stay.try_send(Never);
    let next = |(mut told, seat): (mpsc::Receiver<Bytes>, _)| async {
        let event = told.recv().await?;
        Some((Ok(Frame::data(event)), (told, seat)))
    };
    let body = StreamBody::new(stream::unfold((told, seat), next));
    with_type(EVENTS, BodyExt::boxed_unsync(body))
}

fn typed(kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    with_type(kind, Full::new(text.into()).boxed_unsync())
}

fn with_type(kind: &'static str, body: Body) -> Response<Body> {
    let mut page = Response::new(body);
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page
}

fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let mut page = typed("text/plain; charset=utf-8", format!("{text}\n"));
    *page.status_mut() = status;
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// One that is asked this.
    async fn asked(request: &str) -> (TcpStream, TcpStream, Desk, mpsc::Receiver<Viewer>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (viewers, joining) = mpsc::channel(1);
        let seats = Arc::new(Semaphore::new(1));
        let named = Named { names: Vec::new(), bare: false, option: "--dashboard-host" }.into();
        let desk = Desk { named, orders: mpsc::channel(1).0, viewers, seats };
        (client, server, desk, joining)
    }

    #[tokio::test]
    async fn a_viewer_who_is_cut_leaves_the_seat() {
        let request = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (mut client, server, desk, mut joining) = asked(request).await;
        let connection = tokio::spawn(connection(server, Seat::default(), desk.clone()));
        let viewer = joining.recv().await.unwrap();
        assert_eq!(desk.seats.available_permits(), 0);
        viewer.events.send("data: x\n\n".into()).await.unwrap();
        let mut told = String::new();
        while !told.contains("data: x\n\n") {
            told.push(client.read_u8().await.unwrap().into());
        }
        viewer.cut.send(Never).await.unwrap();
        connection.await.unwrap();
        assert_eq!(desk.seats.available_permits(), 1);
        assert!(viewer.events.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_or_nothing_more_is_let_go() {
        for request in ["", "GET / HT", "GET /icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let (client, server, desk, _joining) = asked(request).await;
            connection(server, Seat::default(), desk).await;
            drop(client);
        }
    }
}
