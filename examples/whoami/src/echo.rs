//! Echoes connections and datagrams, and says who does it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

use crate::listen::{accept, bind, bind_datagrams};
use crate::server::Server;

/// The longest datagram over IPv4 and IPv6.
const LONGEST_DATAGRAM: usize = 65_535;

/// Binds a port for connections and datagrams, and returns while both are
/// served.
pub(crate) fn start(port: u16, server: &Arc<Server>) -> io::Result<()> {
    let listener = bind(port)?;
    let port = listener.local_addr()?.port();
    let socket = bind_datagrams(port)?;
    crate::log(format_args!("echoing on {}", listener.local_addr()?));
    server.keep_echo(listener.try_clone()?);
    let accepting = Arc::clone(server);
    thread::spawn(move || accept(&listener, &accepting, serve_connection));
    let name = server.name.clone();
    thread::spawn(move || answer_datagrams(&socket, &name));
    Ok(())
}

/// A server that stops waits for the ends of its connections.
pub(crate) fn serve_connection(stream: TcpStream, server: &Arc<Server>) {
    let in_flight = server.in_flight.add();
    let name = server.name.clone();
    // An error here means that the client has disconnected.
    thread::spawn(move || {
        let result = echo_connection(stream, &name);
        drop(in_flight);
        result
    });
}

/// The server speaks first, as servers of mail and databases do.
fn echo_connection(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let client = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{}\n", greeting(name, client)).as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn answer_datagrams(socket: &UdpSocket, name: &str) {
    let mut datagram = vec![0; LONGEST_DATAGRAM];
    loop {
        // The kernel reports here that a client did not want an answer.
        let Ok((length, client)) = socket.recv_from(&mut datagram) else { continue };
        let mut answer = greeting(name, client).into_bytes();
        answer.push(b' ');
        answer.extend_from_slice(&datagram[..length]);
        answer.truncate(LONGEST_DATAGRAM - 28);
        // The client may have gone.
        let _ = socket.send_to(&answer, client);
    }
}

/// Returns the server's name, and the client as the server sees it.
fn greeting(name: &str, client: SocketAddr) -> String {
    format!("{name} {}:{}", client.ip().to_canonical(), client.port())
}
