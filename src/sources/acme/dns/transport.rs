//! Sends DNS messages over UDP, and over TCP if the reply is too long for a datagram.

use super::message::{dns_error, is_reply_to, is_truncated};
use crate::sources::acme::error::AcmeError;
use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// The longest time until a reply to one datagram, or of one exchange over TCP.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a datagram is sent: datagrams get lost.
const UDP_TRIES: usize = 3;
/// The longest datagram that is read, in bytes. A server sends at most 512 without EDNS (RFC 1035, 4.2.1).
const MAX_DATAGRAM_BYTES: usize = 4096;

/// Returns an identifier of a message that other hosts cannot guess.
pub(super) fn random_id() -> u16 {
    // The keys of `RandomState` are from the system's random numbers.
    let [first, second, ..] = RandomState::new().hash_one(0).to_ne_bytes();
    u16::from_ne_bytes([first, second])
}

/// Sends a request, and returns its reply.
///
/// # Errors
/// If the server sends no reply, with the server's address in the text.
pub(super) async fn exchange(server: SocketAddr, request: &[u8]) -> Result<Vec<u8>, AcmeError> {
    let failed =
        |error: io::Error| dns_error(format!("no reply from name server {server}: {error}"));
    let reply = match exchange_datagrams(server, request).await {
        Ok(reply) if !is_truncated(&reply) => return Ok(reply),
        // Some networks block UDP.
        Ok(_) | Err(_) => exchange_stream(server, request).await,
    };
    reply.map_err(failed)
}

async fn exchange_datagrams(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // The system then drops datagrams of other senders.
    socket.connect(server).await?;
    for _ in 0..UDP_TRIES {
        socket.send(request).await?;
        if let Ok(reply) = timeout(REPLY_TIMEOUT, receive(&socket, request)).await {
            return reply;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn receive(socket: &UdpSocket, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_reply_to(&buffer[..length], request) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn exchange_stream(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(request.len()).map_err(io::Error::other)?;
        // In one write: some servers expect the length and the message in one packet.
        stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
        let mut reply = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut reply).await?;
        Ok::<_, io::Error>(reply)
    };
    let reply = timeout(REPLY_TIMEOUT, exchange).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if !is_reply_to(&reply, request) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the reply to the request"));
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::acme::dns::message::{
        Recursion, build_query, is_truncated, parse_name, parse_reply,
    };
    use domain::base::{Message, MessageBuilder, Rtype, iana::Rcode};
    use tokio::net::TcpListener;

    fn reply_to(request: &[u8]) -> Vec<u8> {
        let request = Message::from_slice(request).unwrap();
        MessageBuilder::new_vec().start_answer(request, Rcode::NXDOMAIN).unwrap().finish()
    }

    /// Sends each datagram, changed by a function from the right reply.
    async fn serve_datagrams(socket: UdpSocket, change: fn(Vec<u8>) -> Vec<u8>) {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let reply = change(reply_to(&buffer[..length]));
            socket.send_to(&reply, client).await.unwrap();
            socket.send_to(&reply_to(&buffer[..length]), client).await.unwrap();
        }
    }

    async fn serve_stream(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut request).await.unwrap();
            let reply = reply_to(&request);
            stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    }

    async fn ask(server: SocketAddr) -> Result<Vec<u8>, AcmeError> {
        let name = parse_name("a.example.com").unwrap();
        exchange(server, &build_query(7, &name, Rtype::TXT, Recursion::Off).unwrap()).await
    }

    type Change = fn(Vec<u8>) -> Vec<u8>;

    #[tokio::test]
    async fn reply_is_taken_from_the_transport_that_has_it() {
        let truncated = |mut reply: Vec<u8>| {
            reply[2] |= 2;
            reply
        };
        let for_another = |mut reply: Vec<u8>| {
            reply[1] ^= 1;
            reply
        };
        let changes: [(Change, _); 3] = [
            (|reply| reply, "a right datagram"),
            (truncated, "a truncated datagram"),
            (for_another, "a datagram with another identifier"),
        ];
        for (change, what) in changes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = listener.local_addr().unwrap();
            let socket = UdpSocket::bind(server).await.unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(serve_stream(listener));
            tasks.spawn(serve_datagrams(socket, change));
            let reply = ask(server).await.unwrap();
            assert!(!is_truncated(&reply), "{what}");
            assert_eq!(parse_reply(&reply).unwrap().rcode, Rcode::NXDOMAIN, "{what}");
        }
    }

    #[tokio::test]
    async fn server_that_only_accepts_tcp_is_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(serve_stream(listener));
        assert!(ask(server).await.is_ok());
    }

    #[tokio::test]
    async fn server_without_a_reply_is_named() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = ask(server).await.unwrap_err();
        assert!(
            error.text.starts_with(&format!("no reply from name server {server}: ")),
            "{error}"
        );
    }
}
