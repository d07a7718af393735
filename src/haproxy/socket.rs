//! The runtime API: one command with its answer, or a session of several.
//!
//! HAProxy's Management Guide, section 9.3. Every wait has a timeout.

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
use zeroize::Zeroizing;

/// Timeout of a connection and a whole answer of a few lines.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the next part of an answer of any length. HAProxy answers in milliseconds. If it is silent for longer,
/// the caller has to retry, because requests may depend on the command.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of an answer that does not end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const PROMPT: &str = "> ";

/// Sends one command on a connection of its own and returns the answer.
///
/// Shuts down the write side to signal that no more commands follow: the master socket stays interactive without it.
pub async fn send_command(path: &Path, command: &str) -> io::Result<String> {
    let stream = with_timeout(COMMAND_TIMEOUT, UnixStream::connect(path)).await?;
    send_on_stream(stream, command, COMMAND_TIMEOUT).await
}

/// Does the same on an existing connection, with its own timeout.
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

/// How to reach the worker that serves: by its stats socket, or through the master if the socket's file is missing.
/// HAProxy creates that file again at a start, but not at a reload.
#[derive(Debug, Clone)]
pub struct WorkerSocket {
    pub(super) stats: PathBuf,
    /// `None` if there is no master socket, or we may not use it.
    pub(super) master: Option<Master>,
}

impl WorkerSocket {
    /// Sends one command on a connection of its own.
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

    /// Returns the master and the pid of its live worker; `error` if the master does not answer either.
    async fn resolve_fallback(&self, error: io::Error) -> io::Result<(Master, u32)> {
        let Some(master) = &self.master else { return Err(error) };
        match master.list_processes().await.map(|procs| procs.live_worker()) {
            Ok(Some(pid)) => Ok((master.clone(), pid)),
            _ => Err(error),
        }
    }
}

/// Without a master as the fallback.
impl From<PathBuf> for WorkerSocket {
    fn from(stats: PathBuf) -> Self {
        Self { stats, master: None }
    }
}

/// Whether the socket's file is missing or its process has exited.
fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Runs many commands on one connection, in order; `prompt` marks the end of each answer.
///
/// An answer that was not read to its end would be taken for the answer to the next command. So a session that failed,
/// timed out or was dropped half-way is closed.
#[derive(Debug)]
pub struct CliSession {
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    Stream(UnixStream),
    /// Through the master, with a connection for each command.
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

    /// Returns the answer to one command, without the prompt and the empty line before it.
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

    /// Sends a command with further lines, none of which may be empty. Returns the answer.
    ///
    /// # Errors
    /// If the session is through the master, which does not forward further lines.
    pub async fn send_payload(&mut self, command: &str, payload: &str) -> io::Result<String> {
        let Channel::Stream(mut stream) = std::mem::replace(&mut self.channel, Channel::Closed)
        else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "HAProxy takes certificates on its stats socket only",
            ));
        };
        let text = to_payload_lines(command, payload)?;
        let answer = with_timeout(ANSWER_TIMEOUT, async {
            with_timeout(READ_TIMEOUT, stream.write_all(text.as_bytes())).await?;
            read_until_prompt(&mut stream).await
        })
        .await?;
        self.channel = Channel::Stream(stream);
        Ok(strip_payload_prompts(&answer).to_owned())
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

/// Returns where the answer ends, once the prompt has come: at the start or after a line end.
fn find_prompt(answer: &[u8]) -> Option<usize> {
    let body = answer.strip_suffix(PROMPT.as_bytes())?;
    match body {
        [] => Some(0),
        [.., b'\n'] => Some(body.trim_ascii_end().len()),
        _ => None,
    }
}

/// One line is one command: a line end inside would start a second one.
fn to_command_line(command: &str) -> io::Result<String> {
    if command.contains(['\n', '\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command is one line"));
    }
    Ok(format!("{command}\n"))
}

/// Returns a command and its further lines, which an empty line ends. The text may contain a key.
fn to_payload_lines(command: &str, payload: &str) -> io::Result<Zeroizing<String>> {
    let command = to_command_line(&format!("{command} <<"))?;
    if payload.contains('\0') || payload.lines().any(|line| line.trim().is_empty()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty line ends a payload"));
    }
    Ok(Zeroizing::new(format!("{command}{}\n\n", payload.trim_end())))
}

/// Removes the prompts that HAProxy before 3.2 writes for each further line.
fn strip_payload_prompts(mut answer: &str) -> &str {
    while let Some(text) = answer.strip_prefix("+ ") {
        answer = text;
    }
    answer
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
