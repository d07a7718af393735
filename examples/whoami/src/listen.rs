//! Binding the ports and a thread for each connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::connection::Connection;
use crate::server::Server;

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
    while !server.stopping() {
        match listener.accept() {
            Ok((stream, _)) => {
                let server = Arc::clone(server);
                // An error here means that the client has left.
                thread::spawn(move || Connection::new(stream, &server).and_then(Connection::run));
            }
            // Out of file descriptors, say: others will be closed soon.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
