//! HTTP/1.1 clients, and the server of all containers.

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that sends one HTTP/1.1 request at a time.
pub(crate) type Connection = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// Connects without a request: the handshake is made by the first one.
pub(crate) fn connect(port: u16, host: &str, config: &Arc<ClientConfig>) -> io::Result<Connection> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    Ok(BufReader::new(StreamOwned::new(session, stream)))
}

/// Sends a GET and returns the status of the response.
pub(crate) fn get(connection: &mut Connection, host: &str) -> io::Result<u16> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().to_ascii_lowercase() {
            line if line.is_empty() => break,
            line if status == 0 => {
                status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
            }
            line => {
                let value = line.strip_prefix("content-length: ");
                length = value.map_or(length, |value| value.parse().unwrap());
            }
        }
    }
    io::copy(&mut connection.by_ref().take(length), &mut io::sink())?;
    Ok(status)
}

/// Makes a handshake and a request. Returns the status of the response.
pub(crate) fn request(port: u16, host: &str, config: &Arc<ClientConfig>) -> io::Result<u16> {
    get(&mut connect(port, host, config)?, host)
}

/// Starts the server of all containers, on one port of all addresses of this machine.
pub(crate) fn start_server() -> u16 {
    start_task(None)
}

/// Starts a server as [`start_server`] does, for containers that decrypt TLS themselves. `pem` is its certificate with
/// the key.
pub(crate) fn start_tls_server(pem: &str) -> u16 {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    start_task(Some(TlsAcceptor::from(Arc::new(config))))
}

fn start_task(acceptor: Option<TlsAcceptor>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(serve_connection(stream, acceptor.clone()));
                }
            }
        });
    });
    port
}

async fn serve_connection(stream: tokio::net::TcpStream, acceptor: Option<TlsAcceptor>) {
    match acceptor {
        None => serve(stream).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    }
}

/// Answers each request with 200.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut buffer, mut length) = (vec![0; 4096], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer[length..]).await {
        length += read;
        if buffer[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n";
            if stream.write_all(response).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }
}
