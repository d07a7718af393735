//! Websockets: sends the name first, and then echoes each message.

use std::io::{self, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message, WebSocket};

use crate::server::Server;

/// How often an idle websocket checks whether the server stops.
const GLANCE: Duration = Duration::from_millis(100);

pub(crate) fn serve(reader: BufReader<TcpStream>, server: &Server, key: &str) -> io::Result<()> {
    let _in_flight = server.in_flight.add();
    let early = reader.buffer().to_vec();
    let mut stream = reader.into_inner();
    stream.write_all(handshake(&server.name, key).as_bytes())?;
    stream.set_read_timeout(Some(GLANCE))?;
    let mut socket = WebSocket::from_partially_read(stream, early, Role::Server, None);
    // An error here means that the client has disconnected.
    let _ = talk(&mut socket, server);
    Ok(())
}

fn handshake(name: &str, key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nX-Whoami: {name}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

fn talk(socket: &mut WebSocket<TcpStream>, server: &Server) -> Result<(), Error> {
    socket.send(Message::text(format!("name: {}", server.name)))?;
    while !server.stopping() {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message)?,
            Ok(_) => {}
            Err(Error::Io(error)) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "stopping".into() }))?;
    socket.flush()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
