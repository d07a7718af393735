//! HTTP/2 client for the load: requests of one connection run at the same time.

use crate::{
    http::{Answer, Failure, PATIENCE},
    load::{BODY, Kind},
    tls_client::start_http2,
};
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request,
    body::{Bytes, Frame},
    client::conn::http2::SendRequest,
};
use std::{convert::Infallible, time::Duration};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Debug, Clone)]
pub(crate) struct Http2Connection(SendRequest<Body>);

impl Http2Connection {
    pub(crate) async fn start(stream: TlsStream<TcpStream>) -> Result<Self, Failure> {
        start_http2(stream).await.map(Self).map_err(|_| Failure::Reset)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    /// Sends a request and reads its answer; only the length of the body matters.
    pub(crate) async fn send_request(
        &mut self,
        kind: Kind,
        path: &str,
        host: &str,
    ) -> Result<Answer, Failure> {
        let (method, body) = match kind {
            Kind::PostNew | Kind::PostKept => ("POST", Full::from(BODY).boxed_unsync()),
            _ => ("GET", Empty::new().boxed_unsync()),
        };
        self.exchange(method, path, host, body).await
    }

    /// Sends a request with a body of `parts` parts, with a pause before each.
    pub(crate) async fn upload(
        &mut self,
        path: &str,
        host: &str,
        (part, parts): (&'static [u8], usize),
        pause: Duration,
    ) -> Result<Answer, Failure> {
        let frames = stream::unfold(parts, move |remaining: usize| async move {
            let remaining = remaining.checked_sub(1)?;
            sleep(pause).await;
            Some((Ok(Frame::data(Bytes::from_static(part))), remaining))
        });
        self.exchange("POST", path, host, StreamBody::new(Box::pin(frames)).boxed_unsync()).await
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        host: &str,
        body: Body,
    ) -> Result<Answer, Failure> {
        let request = Request::builder().method(method).uri(format!("https://{host}{path}"));
        let request = request.body(body).expect("all parts are valid");
        timeout(PATIENCE, self.send(request)).await.unwrap_or(Err(Failure::Timeout))
    }

    async fn send(&mut self, request: Request<Body>) -> Result<Answer, Failure> {
        let response = self.0.send_request(request).await.map_err(|_| Failure::Reset)?;
        let status = response.status().as_u16();
        let whoami = response.headers().get("x-whoami").and_then(|value| value.to_str().ok());
        let whoami = whoami.unwrap_or_default().to_owned();
        response.into_body().collect().await.map_err(|_| Failure::Cut)?;
        match status {
            200..300 => Ok(Answer { status, whoami, keeps: true }),
            status => Err(Failure::Status(status)),
        }
    }
}
