//! Servers on the loopback interface, one for each container. They answer with their address and the path that they
//! saw.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The servers, which answer until this is dropped.
#[derive(Debug)]
pub(crate) struct Answerers {
    /// All servers use this port; only their addresses differ.
    pub(crate) port: u16,
    _tasks: JoinSet<()>,
}

/// Returns the address of a container.
pub(crate) fn container_address(number: usize) -> Ipv4Addr {
    let number = u16::try_from(number).unwrap();
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 7, high, low)
}

impl Answerers {
    pub(crate) async fn start(count: usize) -> Self {
        for _ in 0..100 {
            let first = TcpListener::bind((container_address(0), 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut listeners = vec![first];
            for number in 1..count {
                // Another program may use the port at this address.
                let Ok(listener) = TcpListener::bind((container_address(number), port)).await
                else {
                    break;
                };
                listeners.push(listener);
            }
            if listeners.len() == count {
                let mut tasks = JoinSet::new();
                for listener in listeners {
                    tasks.spawn(serve_connections(listener));
                }
                return Self { port, _tasks: tasks };
            }
        }
        panic!("no port is free on {count} addresses");
    }
}

async fn serve_connections(listener: TcpListener) {
    let address = listener.local_addr().unwrap();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                connections.spawn(async move { drop(answer_request(stream, address).await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers a request. HAProxy's check sends nothing and closes the connection.
async fn answer_request(stream: TcpStream, address: SocketAddr) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = first.clone();
    while !line.trim().is_empty() {
        line.clear();
        stream.read_line(&mut line).await?;
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let body = format!("{address} {path}");
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}
