//! What the HTTP servers (control socket, metrics, dashboard) have in common: their address is waited for,
//! connections are taken, a limited number at a time, and requests of one are answered in turn.

use crate::outage::{Outage, Tell};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::net::Listener;
use tracing::{debug, warn};

/// After a connection that could not be taken: there are too many open files, say.
const PAUSE: Duration = Duration::from_millis(50);

/// Of one server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; further ones wait for one to end.
    pub connections: usize,
    /// For a request to arrive, and until the next one on the same connection.
    pub patience: Duration,
    /// Bytes of a request without its body.
    pub head: usize,
}

/// Where an address cannot be had it is told once, with the option that asked for it, and tried again
/// for ever: traffic does not end for want of a page.
pub async fn listen(at: SocketAddr, option: &str) -> TcpListener {
    let mut outage = Outage::none();
    loop {
        match TcpListener::bind(at).await {
            Ok(listener) => return listener,
            Err(error) => {
                let (tell, pause) = outage.failed(Instant::now().into_std());
                if tell == Tell::Loud {
                    warn!(
                        "{option}: cannot listen on {at}: {error}; \
                         trying again until it works, all else goes on"
                    );
                }
                sleep(pause).await;
            }
        }
    }
}

/// Has each connection visited, until this is dropped: then they end as well.
pub async fn accept<L: Listener, V>(
    mut listener: L,
    option: &str,
    limits: Limits,
    visit: impl Fn(L::Io) -> V,
) where
    V: Future<Output = ()> + Send + 'static,
{
    let mut visits = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if visits.len() < limits.connections => accepted,
            Some(_) = visits.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => drop(visits.spawn(visit(stream))),
            Err(error) => {
                warn!("{option}: a connection could not be taken: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection, until its client ends it.
pub async fn converse<B, A>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    option: &str,
    limits: Limits,
    answer: impl Fn(Request<Incoming>) -> A,
) where
    B: Body<Data = Bytes, Error = Infallible> + 'static,
    A: Future<Output = Response<B>>,
{
    let answer = service_fn(|request| {
        let response = answer(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.patience).max_buf_size(limits.head);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        debug!("{option}: {error}");
    }
}
