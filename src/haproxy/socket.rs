//! The runtime API: one command and its answer, or a session of them.
//!
//! HAProxy's Management Guide, section 9.3. Every wait has an end.

use super::master::Master;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// For a connection and a whole answer of a few lines.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// For the next part of an answer, however long it is. HAProxy answers in milliseconds: one that is
/// silent for this long has to be asked anew, as requests may depend on what it is told.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// For an answer that does not end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const PROMPT: &str = "> ";

/// Sends one command on a connection of its own and returns the answer.
///
/// The half-close says that no more commands come: the master socket stays interactive without it.
pub async fn send_command(path: &Path, command: &str) -> io::Result<String> {
    let stream = with_timeout(COMMAND_TIMEOUT, UnixStream::connect(path)).await?;
    send_on_stream(stream, command, COMMAND_TIMEOUT).await
}

/// The same on a connection that stands, with a patience of its own.
pub(super) async fn send_on_stream(
    mut stream: UnixStream,
    command: &str,
    limit: Duration,
) -> io::Result<String> {
    let command = to_command_line(command)?;
    with_timeout(limit, async move {
        stream.write_all(command.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(decode_answer(answer))
    })
    .await
}

/// Where the worker that serves now is asked: at its stats socket, or through the master where the file of that
/// is gone. HAProxy makes it again when it is started, but at no reload.
#[derive(Debug, Clone)]
pub struct WorkerSocket {
    pub(super) stats: PathBuf,
    /// `None` where there is none, or none that we may ask.
    pub(super) master: Option<Master>,
}

impl WorkerSocket {
    /// One command on a connection of its own.
    pub async fn send_command(&self, command: &str) -> io::Result<String> {
        match send_command(&self.stats, command).await {
            Err(e) if is_gone(&e) => {
                let (master, pid) = self.resolve_fallback(e).await?;
                master.send_to_worker(pid, command).await
            }
            answer => answer,
        }
    }

    pub async fn connect(&self) -> io::Result<CliSession> {
        match CliSession::connect(&self.stats).await {
            Err(e) if is_gone(&e) => {
                let (master, pid) = self.resolve_fallback(e).await?;
                Ok(CliSession { channel: Channel::ViaMaster(master, pid) })
            }
            opened => opened,
        }
    }

    /// The master, and the worker that it is to ask. One that does not answer either is no way.
    async fn resolve_fallback(&self, error: io::Error) -> io::Result<(Master, u32)> {
        let Some(master) = &self.master else { return Err(error) };
        match master.list_processes().await.map(|procs| procs.live_worker()) {
            Ok(Some(pid)) => Ok((master.clone(), pid)),
            _ => Err(error),
        }
    }
}

/// Without a master to go over.
impl From<PathBuf> for WorkerSocket {
    fn from(stats: PathBuf) -> Self {
        Self { stats, master: None }
    }
}

/// The socket's file is not there, or is that of a process which is gone.
fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Many commands on one connection, in order: `prompt` marks where each answer ends.
///
/// An answer that was not awaited to its end would be taken for the next one's, so a session that
/// failed, timed out or was dropped half-way is over.
#[derive(Debug)]
pub struct CliSession {
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    Stream(UnixStream),
    /// Over the master, each command on a connection of its own.
    ViaMaster(Master, u32),
    Closed,
}

impl CliSession {
    pub async fn connect(path: &Path) -> io::Result<Self> {
        let stream = with_timeout(READ_TIMEOUT, UnixStream::connect(path)).await?;
        let mut session = Self { channel: Channel::Stream(stream) };
        session.send_command("prompt").await?;
        Ok(session)
    }

    /// The answer to one command, without the prompt and the empty line before it.
    pub async fn send_command(&mut self, command: &str) -> io::Result<String> {
        let mut stream = match std::mem::replace(&mut self.channel, Channel::Closed) {
            Channel::Stream(stream) => stream,
            Channel::ViaMaster(master, pid) => {
                let answer = master.send_to_worker(pid, command).await?;
                self.channel = Channel::ViaMaster(master, pid);
                return Ok(answer.trim_end().to_owned());
            }
            Channel::Closed => {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "HAProxy closed the session",
                ));
            }
        };
        let command = to_command_line(command)?;
        let answer = with_timeout(ANSWER_TIMEOUT, async {
            with_timeout(READ_TIMEOUT, stream.write_all(command.as_bytes())).await?;
            read_until_prompt(&mut stream).await
        })
        .await?;
        self.channel = Channel::Stream(stream);
        Ok(answer)
    }

    pub fn is_via_master(&self) -> bool {
        matches!(self.channel, Channel::ViaMaster(..))
    }
}

async fn read_until_prompt(stream: &mut UnixStream) -> io::Result<String> {
    let mut answer = Vec::new();
    loop {
        if with_timeout(READ_TIMEOUT, stream.read_buf(&mut answer)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = find_prompt(&answer) {
            answer.truncate(end);
            return Ok(decode_answer(answer));
        }
    }
}

/// Where the answer ends, once the prompt has come: at its start or after a line's end.
fn find_prompt(answer: &[u8]) -> Option<usize> {
    let body = answer.strip_suffix(PROMPT.as_bytes())?;
    match body {
        [] => Some(0),
        [.., b'\n'] => Some(body.trim_ascii_end().len()),
        _ => None,
    }
}

/// One line is one command: a line end inside would begin a second one.
fn to_command_line(command: &str) -> io::Result<String> {
    if command.contains(['\n', '\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command is one line"));
    }
    Ok(format!("{command}\n"))
}

fn decode_answer(answer: Vec<u8>) -> String {
    String::from_utf8(answer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

pub(super) async fn with_timeout<T>(
    limit: Duration,
    wait: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, wait).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_ends_at_prompt_on_its_own_line() {
        for (answer, end) in [
            ("\n> ", Some(0)),
            ("> ", Some(0)),
            ("No such backend.\n\n> ", Some(16)),
            ("No such backend.\n", None),
            ("a > ", None),
            ("", None),
        ] {
            assert_eq!(find_prompt(answer.as_bytes()), end, "{answer:?}");
        }
    }

    #[test]
    fn command_with_line_break_is_rejected() {
        assert!(to_command_line("show info").is_ok());
        assert!(to_command_line("show info\nshow stat").is_err());
    }
}
