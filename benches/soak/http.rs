//! Minimal HTTP client for the load: one connection, one request at a time, cheap.

use crate::entry::finish;
use std::{fmt, io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A stream of bytes, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + fmt::Debug> Stream for T {}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// Time of the last use.
    pub(crate) used: Instant,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The container that answered; empty if HAProxy answered itself.
    pub(crate) whoami: String,
    /// Whether the connection can be reused.
    pub(crate) keeps: bool,
}

/// Why a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    Refused,
    /// Closed or reset before the answer began.
    Reset,
    /// Closed or reset in the middle of the answer.
    Cut,
    Timeout,
    /// The handshake failed, or a record was not valid.
    Tls,
    /// A lack of resources of the client's machine, such as ports or memory.
    Local,
    Status(u16),
}

struct Head {
    answer: Answer,
    length: Option<usize>,
}

impl Connection {
    /// Connects without TLS.
    pub(crate) async fn open(to: SocketAddr) -> Result<Self, Failure> {
        let stream = finish(timeout(PATIENCE, TcpStream::connect(to)).await)?;
        stream.set_nodelay(true).map_err(|error| Failure::from_io(&error))?;
        Ok(Self::new(stream))
    }

    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        let buffer = Vec::with_capacity(2048);
        Self { stream: Box::new(stream), buffer, used: Instant::now() }
    }

    /// Writes bytes, and sends those that TLS holds back.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends a request and reads its answer; only the length of the body matters.
    pub(crate) async fn send_request(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.with_timeout(async |this| {
            // An answer may have arrived before the rest of the request was refused.
            let _ = this.write(request).await;
            this.read_answer().await
        })
        .await
    }

    /// Same as `send_request`, with a body of `parts` parts and a pause before each.
    pub(crate) async fn upload(
        &mut self,
        head: &[u8],
        part: &[u8],
        parts: usize,
        pause: Duration,
    ) -> Result<Answer, Failure> {
        self.with_timeout(async |this| {
            let mut sent = this.write(head).await;
            for _ in 0..parts {
                sleep(pause).await;
                if sent.is_ok() {
                    sent = this.write(part).await;
                }
            }
            this.read_answer().await
        })
        .await
    }

    async fn with_timeout(
        &mut self,
        exchange: impl AsyncFnOnce(&mut Self) -> Result<Answer, Failure>,
    ) -> Result<Answer, Failure> {
        let answer = timeout(PATIENCE, exchange(self)).await;
        self.used = Instant::now();
        answer.unwrap_or(Err(Failure::Timeout))
    }

    async fn read_answer(&mut self) -> Result<Answer, Failure> {
        let Head { mut answer, length } = self.read_head().await?;
        if let Some(length) = length {
            while self.buffer.len() < length {
                if self.read_more().await? == 0 {
                    return Err(Failure::Cut);
                }
            }
        } else {
            answer.keeps = false;
            while self.read_more().await? != 0 {}
        }
        self.buffer.clear();
        match answer.status {
            101 | 200..300 => Ok(answer),
            status => Err(Failure::Status(status)),
        }
    }

    /// Reads up to the end of the head, and leaves the following bytes in the buffer.
    async fn read_head(&mut self) -> Result<Head, Failure> {
        self.buffer.clear();
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 4);
                return Ok(Head::parse(&head));
            }
            let got = self.stream.read_buf(&mut self.buffer).await;
            match got {
                Ok(0) if self.buffer.is_empty() => return Err(Failure::Reset),
                Ok(0) => return Err(Failure::Cut),
                Ok(_) => {}
                Err(error) => return Err(Failure::from_io(&error)),
            }
        }
    }

    async fn read_more(&mut self) -> Result<usize, Failure> {
        self.stream.read_buf(&mut self.buffer).await.map_err(|_| Failure::Cut)
    }

    /// Reads one frame of a websocket; `false` if it is a close frame. May be cancelled and called
    /// again.
    pub(crate) async fn read_frame(&mut self) -> io::Result<bool> {
        loop {
            if let [first, second, bytes @ ..] = &self.buffer[..]
                && usize::from(second & 0x7f) <= bytes.len()
            {
                let (opcode, length) = (first & 0x0f, usize::from(second & 0x7f));
                self.buffer.drain(..2 + length);
                return Ok(opcode != 8);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Requests another protocol; bytes after the head stay in the buffer.
    pub(crate) async fn upgrade(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        let exchange = async {
            let _ = self.write(request).await;
            self.read_head().await
        };
        let head = timeout(PATIENCE, exchange).await.unwrap_or(Err(Failure::Timeout))?;
        match head.answer.status {
            101 => Ok(head.answer),
            status => Err(Failure::Status(status)),
        }
    }
}

impl Head {
    fn parse(head: &str) -> Self {
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut answer = Answer { status: status.unwrap_or(0), whoami: String::new(), keeps: true };
        let mut length = None;
        for line in lines {
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name.to_ascii_lowercase().as_str() {
                "x-whoami" => value.clone_into(&mut answer.whoami),
                "content-length" => length = value.parse().ok(),
                "connection" => answer.keeps = value != "close",
                _ => {}
            }
        }
        Self { answer, length }
    }
}

impl Failure {
    pub(crate) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::InvalidData => Self::Tls,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Local,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Cut => f.write_str("cut"),
            Self::Timeout => f.write_str("timeout"),
            Self::Tls => f.write_str("TLS"),
            Self::Local => f.write_str("local"),
            Self::Status(status) => write!(f, "{status}"),
        }
    }
}
