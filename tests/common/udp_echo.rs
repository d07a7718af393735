//! A program that returns each datagram, on this machine or in the network of a container.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Ends the program. No test sends this datagram.
const END: &[u8] = b"end";

#[derive(Debug)]
pub struct UdpEcho {
    socket: UdpSocket,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Serves a free port of this machine.
    pub fn start() -> Self {
        Self::serve(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap())
    }

    /// Serves a socket at all addresses, in whichever network it is.
    pub fn serve(socket: UdpSocket) -> Self {
        let served = socket.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let mut datagram = [0; 64];
            loop {
                // An error is the report that a client has left.
                let Ok((length, from)) = served.recv_from(&mut datagram) else { continue };
                if &datagram[..length] == END {
                    return;
                }
                let _ = served.send_to(&datagram[..length], from);
            }
        });
        Self { socket, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.socket.send_to(END, (Ipv4Addr::LOCALHOST, self.port())).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A client of a public port, which sends all of its datagrams from the same port.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    to: SocketAddr,
    sent: AtomicU32,
}

impl UdpClient {
    pub fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self { socket, to, sent: AtomicU32::new(0) }
    }

    /// A client of a port of this machine.
    pub fn of_port(port: u16) -> Self {
        Self::new((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Returns whether a datagram is answered within 200 ms.
    pub fn is_answered(&self) -> bool {
        // An answer to an earlier datagram may be late.
        let datagram = self.sent.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut answer = [0; 64];
        if self.socket.send_to(&datagram, self.to).is_err() {
            return false;
        }
        while let Ok(length) = self.socket.recv(&mut answer) {
            if answer[..length] == datagram {
                return true;
            }
        }
        false
    }

    /// Sends datagrams until one is answered.
    pub fn wait_for_answer(&self) {
        super::wait_for("an answer", || self.is_answered().then_some(()));
    }
}
