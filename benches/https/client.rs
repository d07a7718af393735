//! HTTP/1.1 clients, and the server of all containers.

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let serve = async move |mut stream: tokio::net::TcpStream| {
        let (mut buffer, mut length) = (vec![0; 4096], 0);
        while let Ok(read @ 1..) = stream.read(&mut buffer[length..]).await {
            length += read;
            if buffer[..length].ends_with(b"\r\n\r\n") {
                length = 0;
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n";
                if stream.write_all(response).await.is_err() {
                    return;
                }
            }
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(serve(stream));
                }
            }
        });
    });
    port
}
