//! Servers with TLS or HTTP/2 in the test's process, and certificates of test CAs.

use super::balancer::free_port;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response, Version,
    body::{Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use std::{convert::Infallible, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// A CA that signs certificates for tests.
#[derive(Debug)]
pub struct TestCa {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct TestCertificate {
    pub pem: String,
    pub key: String,
}

impl TestCa {
    pub fn new(name: &str) -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Returns a certificate for servers and clients.
    pub fn issue(&self, name: &str) -> TestCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        TestCertificate { pem, key: key.serialize_pem() }
    }
}

impl TestCertificate {
    /// Writes certificate and key into one file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, format!("{}{}", self.pem, self.key)).unwrap();
    }
}

/// Protocol that a server accepts; it refuses all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    H2c,
    Https,
    H2,
}

/// Starts a server on a port of the loopback interface, which it returns. It ends with the test's process.
///
/// It answers like examples/whoami, with the name `PROTOCOL/SNI`, where PROTOCOL is that of the request. A POST is
/// answered like a call of gRPC, with the status in a trailer.
pub fn start_server(protocol: Protocol, certificate: &TestCertificate) -> u16 {
    let (port, certificate) = (free_port(), certificate.clone());
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    super::spawn_task(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let acceptor = build_acceptor(protocol, &certificate);
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, protocol, acceptor.clone()));
        }
    });
    port
}

fn build_acceptor(protocol: Protocol, certificate: &TestCertificate) -> TlsAcceptor {
    let chain = CertificateDer::pem_slice_iter(certificate.pem.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let alpn: &[u8] = if protocol == Protocol::H2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A connection that does not begin in time is closed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

async fn serve(stream: TcpStream, protocol: Protocol, acceptor: TlsAcceptor) {
    if protocol == Protocol::H2c {
        return serve_http(stream, protocol, String::new()).await;
    }
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        let sni = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
        serve_http(stream, protocol, sni).await;
    }
}

async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    protocol: Protocol,
    sni: String,
) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let builder = match protocol {
        Protocol::Https => builder.http1_only(),
        Protocol::H2c | Protocol::H2 => builder.http2_only(),
    };
    let answer = service_fn(|request: Request<Incoming>| {
        let response = respond(&request, &sni);
        async move {
            // Servers of gRPC read the request first, too. If the response ends before, hyper resets the stream (RFC
            // 9113, section 8.1), and HAProxy (2.6.12, 3.4.7) may lose the response or all of it but its trailer.
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(response)
        }
    });
    // A client that closes the connection is not an error of the test.
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

fn respond(request: &Request<Incoming>, sni: &str) -> Response<BoxBody<Bytes, Infallible>> {
    let version = if request.version() == Version::HTTP_2 { "h2" } else { "http/1.1" };
    let facts = format!("name: {version}/{sni}\npath: {}\n", request.uri().path());
    if request.method() == "POST" {
        let trailers = HeaderMap::from_iter([(
            hyper::header::HeaderName::from_static("grpc-status"),
            hyper::header::HeaderValue::from_static("0"),
        )]);
        let frames = [Frame::data(Bytes::from(facts)), Frame::trailers(trailers)];
        let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
        let response = Response::builder().header("content-type", "application/grpc");
        return response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap();
    }
    Response::new(Full::new(Bytes::from(facts)).boxed())
}
