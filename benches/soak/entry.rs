//! Where clients reach HAProxy: over HTTP, and over HTTPS with HTTP/1.1 and HTTP/2.

use crate::{
    http::{Answer, Connection, Failure, PATIENCE},
    http2::Http2Connection,
    load::{Kind, build_request},
    tls_client::{connect_tls, trust},
};
use rustls::ClientConfig;
use std::{
    collections::BTreeSet,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    net::TcpStream,
    time::{error::Elapsed, timeout},
};
use tokio_rustls::client::TlsStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http,
    Https,
    /// HTTP/2 over TLS.
    Http2,
}

/// The addresses of HAProxy, and the CA that clients trust.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) http: SocketAddr,
    https: SocketAddr,
    trust: Arc<ClientConfig>,
    trust_http2: Arc<ClientConfig>,
    /// The certificates that clients received, in DER.
    received: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Http, Self::Https, Self::Http2];
    /// Half of the clients use HTTPS.
    const SHARES: [Self; 4] = [Self::Http, Self::Https, Self::Http, Self::Http2];

    /// Returns the protocol of this client.
    pub(crate) fn of_client(number: usize) -> Self {
        Self::SHARES[number % Self::SHARES.len()]
    }
}

impl Entry {
    pub(crate) fn new(http: SocketAddr, https: SocketAddr, ca: &str) -> Self {
        let (trust, trust_http2) = (trust(ca, "http/1.1"), trust(ca, "h2"));
        Self { http, https, trust, trust_http2, received: Arc::default() }
    }

    /// Opens a connection for HTTP/1.1.
    pub(crate) async fn connect(
        &self,
        protocol: Protocol,
        host: &str,
    ) -> Result<Connection, Failure> {
        if protocol == Protocol::Http {
            return Connection::open(self.http).await;
        }
        Ok(Connection::new(self.connect_tls(host, &self.trust).await?))
    }

    pub(crate) async fn connect_http2(&self, host: &str) -> Result<Http2Connection, Failure> {
        Http2Connection::start(self.connect_tls(host, &self.trust_http2).await?).await
    }

    /// Sends a request on a new connection.
    pub(crate) async fn send_on_new(
        &self,
        protocol: Protocol,
        kind: Kind,
        path: &str,
        host: &str,
    ) -> Result<Answer, Failure> {
        match protocol {
            Protocol::Http | Protocol::Https => {
                let mut connection = self.connect(protocol, host).await?;
                connection.send_request(&build_request(kind, path, host)).await
            }
            Protocol::Http2 => self.connect_http2(host).await?.send_request(kind, path, host).await,
        }
    }

    /// Makes a handshake. Returns the server's certificate in DER.
    pub(crate) async fn receive_certificate(&self, host: &str) -> Result<Vec<u8>, Failure> {
        Ok(certificate_of(&self.connect_tls(host, &self.trust).await?))
    }

    /// Returns the number of certificates that clients received.
    pub(crate) fn count_certificates(&self) -> usize {
        self.received.lock().expect("no client panicked").len()
    }

    async fn connect_tls(
        &self,
        host: &str,
        config: &Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let connected = timeout(PATIENCE, connect_tls(self.https, host, config)).await;
        let stream = finish(connected)?;
        self.received.lock().expect("no client panicked").insert(certificate_of(&stream));
        Ok(stream)
    }
}

/// Returns the result of an operation with a timeout.
pub(crate) fn finish<T>(result: Result<io::Result<T>, Elapsed>) -> Result<T, Failure> {
    result.map_err(|_| Failure::Timeout)?.map_err(|error| Failure::from_io(&error))
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates().expect("the handshake is complete");
    chain[0].to_vec()
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS, HTTP/1.1",
            Self::Http2 => "HTTPS, HTTP/2",
        })
    }
}
