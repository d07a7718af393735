//! The client of docker-glue-udp: sends commands and reads their answers, each with a time limit.

use super::{
    answer::{FlowReport, PlaneReport, UdpAnswer, UdpListenerReport},
    command::{MAX_LINE_BYTES, UdpCommand},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

/// Time limit of the connection, and of each line of an answer. The user engine answers in milliseconds; the nft engine
/// makes all changes that arrive together before it answers the first, 5,000 new listeners in some seconds.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The reason why the plane's state is unknown. After an error the connection must not be used again.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    #[error("docker-glue-udp does not answer on {}: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("docker-glue-udp answered {answer:?} on {}", socket.display())]
    Unexpected { socket: PathBuf, answer: String },
}

/// A command that the plane did not carry out, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("docker-glue-udp refused `{}`: {reason}", command.summary())]
pub struct RefusedUdpCommand {
    pub command: UdpCommand,
    pub reason: String,
}

/// A connection to docker-glue-udp, which closes it after ten minutes without a command.
#[derive(Debug)]
pub struct PlaneClient {
    socket: PathBuf,
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl PlaneClient {
    /// # Errors
    /// If the plane does not accept the connection in [`ANSWER_TIMEOUT`].
    pub async fn connect(socket: &Path) -> Result<Self, PlaneError> {
        let stream = limit(async { UnixStream::connect(socket).await }).await;
        let stream = stream
            .map_err(|source| PlaneError::Unreachable { socket: socket.to_owned(), source })?;
        let (reader, writer) = stream.into_split();
        Ok(Self { socket: socket.to_owned(), reader: BufReader::new(reader), writer })
    }

    /// Reads the plane's state without its listeners.
    pub async fn read_totals(&mut self) -> Result<PlaneReport, PlaneError> {
        self.send(UdpCommand::Totals).await?;
        self.read_plane().await
    }

    /// Reads the plane's state with all listeners.
    pub async fn read_all(&mut self) -> Result<(PlaneReport, Vec<UdpListenerReport>), PlaneError> {
        self.send(UdpCommand::Show).await?;
        let plane = self.read_plane().await?;
        let mut listeners = Vec::new();
        for _ in 0..plane.listeners {
            match read_answer(&self.socket, &mut self.reader).await? {
                UdpAnswer::Listener(report) => listeners.push(*report),
                other => return Err(self.unexpected(&other)),
            }
        }
        Ok((plane, listeners))
    }

    /// Counts the flows of all endpoints whose identifier begins with this text.
    pub async fn count_flows(&mut self, start: &str) -> Result<FlowReport, PlaneError> {
        self.send(UdpCommand::Flows(start.to_owned())).await?;
        match read_answer(&self.socket, &mut self.reader).await? {
            UdpAnswer::Flows(report) => Ok(report),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sends `set` and `del` commands in order and returns the answer to each. The answer to `set` is the listener as
    /// it is served now. A refused command does not prevent the ones after it.
    pub async fn execute(
        &mut self,
        commands: &[UdpCommand],
    ) -> Result<Vec<Result<UdpAnswer, RefusedUdpCommand>>, PlaneError> {
        let Self { socket, reader, writer } = self;
        // Both directions at once: otherwise each side could wait for the other to read.
        let (sent, answers) = tokio::join!(write_lines(writer, commands), async {
            let mut answers = Vec::new();
            for command in commands {
                answers.push(match read_answer(socket, reader).await? {
                    UdpAnswer::Error(reason) => {
                        Err(RefusedUdpCommand { command: command.clone(), reason })
                    }
                    answer => Ok(answer),
                });
            }
            Ok(answers)
        });
        let answers = answers?;
        sent.map_err(|source| unreachable(socket, source))?;
        Ok(answers)
    }

    async fn read_plane(&mut self) -> Result<PlaneReport, PlaneError> {
        match read_answer(&self.socket, &mut self.reader).await? {
            UdpAnswer::Plane(plane) => Ok(plane),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn send(&mut self, command: UdpCommand) -> Result<(), PlaneError> {
        let sent = write_lines(&mut self.writer, &[command]).await;
        sent.map_err(|source| unreachable(&self.socket, source))
    }

    fn unexpected(&self, answer: &UdpAnswer) -> PlaneError {
        let answer = format!("{answer:?}").chars().take(200).collect();
        PlaneError::Unexpected { socket: self.socket.clone(), answer }
    }
}

async fn write_lines(writer: &mut OwnedWriteHalf, commands: &[UdpCommand]) -> io::Result<()> {
    for command in commands {
        limit(writer.write_all(format!("{command}\n").as_bytes())).await?;
    }
    Ok(())
}

async fn read_answer(
    socket: &Path,
    reader: &mut BufReader<OwnedReadHalf>,
) -> Result<UdpAnswer, PlaneError> {
    let mut line = String::new();
    let mut bounded = reader.take(MAX_LINE_BYTES as u64);
    let read = limit(bounded.read_line(&mut line)).await;
    read.map_err(|source| unreachable(socket, source))?;
    if !line.ends_with('\n') {
        return Err(unreachable(socket, io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_str(&line).map_err(|_| PlaneError::Unexpected {
        socket: socket.to_owned(),
        answer: line.chars().take(200).collect(),
    })
}

fn unreachable(socket: &Path, source: io::Error) -> PlaneError {
    PlaneError::Unreachable { socket: socket.to_owned(), source }
}

async fn limit<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
