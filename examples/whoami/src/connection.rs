//! One connection: requests and answers in turn, until either side closes it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use tungstenite::http::StatusCode;

use crate::body;
use crate::reply::Reply;
use crate::request::{Reject, Request};
use crate::route::{self, Answer};
use crate::server::{Counted, Server};
use crate::websocket;

/// How long the server still reads from a client after its last answer.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Connection<'a> {
    server: &'a Server,
    reader: BufReader<TcpStream>,
    local: SocketAddr,
}

/// What follows a request on the connection.
enum Next {
    Reuse,
    Close,
    Websocket(String),
}

impl<'a> Connection<'a> {
    pub(crate) fn new(stream: TcpStream, server: &'a Server) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut local = stream.local_addr()?;
        local.set_ip(local.ip().to_canonical());
        let reader = BufReader::new(stream);
        Ok(Self { server, reader, local })
    }

    /// `unread` counts the connection until its first request arrives.
    pub(crate) fn run(mut self, unread: Counted) -> io::Result<()> {
        let mut unread = Some(unread);
        while !self.reader.fill_buf()?.is_empty() {
            let in_flight = self.server.in_flight.add();
            drop(unread.take());
            match self.exchange()? {
                Next::Reuse => {}
                Next::Close => return self.close(),
                Next::Websocket(key) => return websocket::serve(self.reader, self.server, &key),
            }
            drop(in_flight);
        }
        Ok(())
    }

    fn exchange(&mut self) -> io::Result<Next> {
        match self.receive() {
            Ok((request, body)) => self.answer(&request, body),
            Err(Reject::Gone(error)) => Err(error),
            Err(Reject::Bad(status)) => self.refuse(status),
        }
    }

    /// Reads a request and all of its body. Only the size of the body is kept.
    fn receive(&mut self) -> Result<(Request, u64), Reject> {
        let request = Request::read(&mut self.reader)?;
        let framing = body::Framing::of(&request)?;
        if framing.expects_more() && request.has_token("expect", "100-continue") {
            self.writer().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let size = framing.drain(&mut self.reader)?;
        Ok((request, size))
    }

    fn answer(&mut self, request: &Request, body: u64) -> io::Result<Next> {
        thread::sleep(self.server.settings.delay);
        match route::answer(request, body, self.local, self.server) {
            Answer::Reply(reply) => self.reply(request, &reply),
            Answer::Websocket(key) => Ok(Next::Websocket(key)),
            Answer::Hangup => Ok(Next::Close),
            Answer::Die => std::process::exit(1),
        }
    }

    fn reply(&mut self, request: &Request, reply: &Reply) -> io::Result<Next> {
        thread::sleep(reply.wait);
        let keep = request.keeps_alive() && !self.server.stopping();
        let with_body = request.method != "HEAD";
        reply.write(&mut self.writer(), &self.server.name, keep, with_body)?;
        Ok(if keep { Next::Reuse } else { Next::Close })
    }

    /// Answers a malformed request and closes the connection, because the start
    /// of the next request is unknown.
    fn refuse(&mut self, status: StatusCode) -> io::Result<Next> {
        let reply = Reply::text(status, format!("{status}\n"));
        reply.write(&mut self.writer(), &self.server.name, false, true)?;
        Ok(Next::Close)
    }

    fn writer(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Closes the sending side and waits until the client closes the other one.
    /// Closing with unread bytes would reset the connection, and the client
    /// could lose the answer.
    fn close(mut self) -> io::Result<()> {
        self.writer().shutdown(Shutdown::Write)?;
        self.writer().set_read_timeout(Some(LINGER))?;
        io::copy(&mut self.reader.by_ref().take(1 << 20), &mut io::sink())?;
        Ok(())
    }
}
