//! Binding the ports, a thread for each connection, and closing the ports
//! without losing a connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use crate::connection::Connection;
use crate::server::Server;

/// How long a handshake that has begun may take to be finished.
const HANDSHAKE: Duration = Duration::from_millis(50);
/// Drops a segment that asks for a new connection (SYN without ACK) and passes
/// all others. A filter of a TCP socket sees the segment from the TCP header on,
/// whose byte 13 has the flags (RFC 9293, 3.1).
const WITHOUT_SYN: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),   // load byte 13
    SockFilter::new(0x54, 0, 0, 0x12), // keep SYN and ACK
    SockFilter::new(0x15, 0, 1, 0x02), // SYN alone?
    SockFilter::new(0x06, 0, 0, 0),    // drop
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Binds all ports, late if told to, and returns while they are served.
pub(crate) fn start(server: &Arc<Server>) -> io::Result<()> {
    thread::sleep(server.settings.listen_after);
    for &port in &server.settings.ports {
        let listener = bind(port)?;
        crate::log(format_args!("listening on {}", listener.local_addr()?));
        server.keep(listener.try_clone()?);
        let server = Arc::clone(server);
        thread::spawn(move || accept(&listener, &server));
    }
    Ok(())
}

/// IPv6 with IPv4 on the same socket, or IPv4 alone where there is no IPv6.
fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))
}

fn accept(listener: &TcpListener, server: &Arc<Server>) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => serve(stream, server),
            Err(_) if server.stopping() => return,
            // Out of file descriptors, say: others will be closed soon.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn serve(stream: TcpStream, server: &Arc<Server>) {
    let unread = server.unread.add();
    let server = Arc::clone(server);
    // An error here means that the client has left.
    thread::spawn(move || {
        Connection::new(stream, &server).and_then(|connection| connection.run(unread))
    });
}

/// Closes all ports and waits for the requests in flight.
///
/// The kernel resets connections that a closed port has not accepted, and with
/// them requests that were sent already. So new ones are kept out first (their
/// clients try again and find the port closed), and those that are there
/// accepted.
pub(crate) fn finish(server: &Arc<Server>) {
    let listeners = server.stop();
    for listener in &listeners {
        // Without it a connection could be lost, and nothing more.
        let _ = SockRef::from(listener).attach_filter(&WITHOUT_SYN);
    }
    thread::sleep(HANDSHAKE);
    for listener in &listeners {
        accept_waiting(listener, server);
        // Only a listener that is gone already refuses, which is as good.
        let _ = SockRef::from(listener).shutdown(Shutdown::Both);
    }
    server.wait_until_idle();
}

fn accept_waiting(listener: &TcpListener, server: &Arc<Server>) {
    if listener.set_nonblocking(true).is_ok() {
        while let Ok((stream, _)) = listener.accept() {
            // Linux does not hand the flag down to what is accepted.
            serve(stream, server);
        }
    }
}
