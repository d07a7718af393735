//! Binds the ports, starts a thread for each connection, and closes the ports
//! without losing a connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use crate::connection::Connection;
use crate::echo;
use crate::server::Server;

/// How long a handshake that has begun may take to complete.
const HANDSHAKE: Duration = Duration::from_millis(50);
/// Drops segments that open a new connection (SYN without ACK) and passes all
/// others. A socket filter on TCP sees the segment from the TCP header on,
/// whose byte 13 has the flags (RFC 9293, 3.1).
const WITHOUT_SYN: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),   // load byte 13
    SockFilter::new(0x54, 0, 0, 0x12), // keep SYN and ACK
    SockFilter::new(0x15, 0, 1, 0x02), // SYN alone?
    SockFilter::new(0x06, 0, 0, 0),    // drop
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// Binds all ports, after a delay if one is set, and returns while they are
/// served.
pub(crate) fn start(server: &Arc<Server>) -> io::Result<()> {
    thread::sleep(server.settings.listen_after);
    for &port in &server.settings.ports {
        let listener = bind(port)?;
        crate::log(format_args!("listening on {}", listener.local_addr()?));
        server.keep(listener.try_clone()?);
        let server = Arc::clone(server);
        thread::spawn(move || accept(&listener, &server, serve));
    }
    for &port in &server.settings.echo_ports {
        echo::start(port, server)?;
    }
    Ok(())
}

/// Binds IPv6 and IPv4 on one socket, or only IPv4 where IPv6 is not available.
pub(crate) fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .map_err(|error| name_port(port, &error))
}

/// Binds a port of UDP as [`bind`] binds one of TCP.
pub(crate) fn bind_datagrams(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        .map_err(|error| name_port(port, &error))
}

fn name_port(port: u16, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("port {port}: {error}"))
}

/// Gives each connection to `serve`, until the server stops.
pub(crate) fn accept(
    listener: &TcpListener,
    server: &Arc<Server>,
    serve: fn(TcpStream, &Arc<Server>),
) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => serve(stream, server),
            Err(_) if server.stopping() => return,
            // The cause may be a lack of file descriptors: some will be closed
            // soon.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn serve(stream: TcpStream, server: &Arc<Server>) {
    let unread = server.unread.add();
    let server = Arc::clone(server);
    // An error here means that the client has disconnected.
    thread::spawn(move || {
        Connection::new(stream, &server).and_then(|connection| connection.run(unread))
    });
}

/// Closes all ports and waits for the requests in flight.
///
/// The kernel resets connections that a closed port has not accepted, even if
/// requests were sent on them. So new connections are dropped first (their
/// clients retry and find the port closed), and the existing ones are accepted.
pub(crate) fn finish(server: &Arc<Server>) {
    let (listeners, echoes) = server.stop();
    for listener in listeners.iter().chain(&echoes) {
        // Without the filter a connection could be lost, but nothing else.
        let _ = SockRef::from(listener).attach_filter(&WITHOUT_SYN);
    }
    thread::sleep(HANDSHAKE);
    let close = |listeners: &[TcpListener], serve: fn(TcpStream, &Arc<Server>)| {
        for listener in listeners {
            accept_waiting(listener, server, serve);
            // This fails only if the listener is shut down already.
            let _ = SockRef::from(listener).shutdown(Shutdown::Both);
        }
    };
    close(&listeners, serve);
    close(&echoes, echo::serve_connection);
    server.wait_until_idle();
}

fn accept_waiting(
    listener: &TcpListener,
    server: &Arc<Server>,
    serve: fn(TcpStream, &Arc<Server>),
) {
    if listener.set_nonblocking(true).is_ok() {
        while let Ok((stream, _)) = listener.accept() {
            // On Linux accepted sockets do not inherit the non-blocking flag.
            serve(stream, server);
        }
    }
}
