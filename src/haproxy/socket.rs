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
const PATIENCE: Duration = Duration::from_secs(2);
/// For the next part of an answer, however long it is. HAProxy answers in milliseconds: one that is
/// silent for this long has to be asked anew, as requests may depend on what it is told.
const SILENCE: Duration = Duration::from_secs(1);
/// For an answer that does not end.
const LONGEST: Duration = Duration::from_secs(10);
const PROMPT: &str = "> ";

/// Sends one command on a connection of its own and returns the answer.
///
/// The half-close says that no more commands come: the master socket stays interactive without it.
pub async fn ask(path: &Path, command: &str) -> io::Result<String> {
    let stream = within(PATIENCE, UnixStream::connect(path)).await?;
    say(stream, command, PATIENCE).await
}

/// The same on a connection that stands, with a patience of its own.
pub(super) async fn say(
    mut stream: UnixStream,
    command: &str,
    patience: Duration,
) -> io::Result<String> {
    let command = line(command)?;
    within(patience, async move {
        stream.write_all(command.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(text(answer))
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
    pub async fn ask(&self, command: &str) -> io::Result<String> {
        match ask(&self.stats, command).await {
            Err(e) if is_gone(&e) => {
                let (master, pid) = self.detour(e).await?;
                master.ask_worker(pid, command).await
            }
            answer => answer,
        }
    }

    pub async fn open(&self) -> io::Result<Session> {
        match Session::open(&self.stats).await {
            Err(e) if is_gone(&e) => {
                let (master, pid) = self.detour(e).await?;
                Ok(Session { way: Way::Detour(master, pid) })
            }
            opened => opened,
        }
    }

    /// The master, and the worker that it is to ask. One that does not answer either is no way.
    async fn detour(&self, error: io::Error) -> io::Result<(Master, u32)> {
        let Some(master) = &self.master else { return Err(error) };
        match master.procs().await.map(|procs| procs.live()) {
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
pub struct Session {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Stream(UnixStream),
    /// Over the master, each command on a connection of its own.
    Detour(Master, u32),
    Over,
}

impl Session {
    pub async fn open(path: &Path) -> io::Result<Self> {
        let stream = within(SILENCE, UnixStream::connect(path)).await?;
        let mut session = Self { way: Way::Stream(stream) };
        session.ask("prompt").await?;
        Ok(session)
    }

    /// The answer to one command, without the prompt and the empty line before it.
    pub async fn ask(&mut self, command: &str) -> io::Result<String> {
        let mut stream = match std::mem::replace(&mut self.way, Way::Over) {
            Way::Stream(stream) => stream,
            Way::Detour(master, pid) => {
                let answer = master.ask_worker(pid, command).await?;
                self.way = Way::Detour(master, pid);
                return Ok(answer.trim_end().to_owned());
            }
            Way::Over => {
                return Err(io::Error::new(io::ErrorKind::NotConnected, "the session is over"));
            }
        };
        let command = line(command)?;
        let answer = within(LONGEST, async {
            within(SILENCE, stream.write_all(command.as_bytes())).await?;
            until_prompt(&mut stream).await
        })
        .await?;
        self.way = Way::Stream(stream);
        Ok(answer)
    }

    pub fn is_detour(&self) -> bool {
        matches!(self.way, Way::Detour(..))
    }
}

async fn until_prompt(stream: &mut UnixStream) -> io::Result<String> {
    let mut answer = Vec::new();
    loop {
        if within(SILENCE, stream.read_buf(&mut answer)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = before_prompt(&answer) {
            answer.truncate(end);
            return Ok(text(answer));
        }
    }
}

/// Where the answer ends, once the prompt has come: at its start or after a line's end.
fn before_prompt(answer: &[u8]) -> Option<usize> {
    let body = answer.strip_suffix(PROMPT.as_bytes())?;
    match body {
        [] => Some(0),
        [.., b'\n'] => Some(body.trim_ascii_end().len()),
        _ => None,
    }
}

/// One line is one command: a line end inside would begin a second one.
fn line(command: &str) -> io::Result<String> {
    if command.contains(['\n', '\r', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command is one line"));
    }
    Ok(format!("{command}\n"))
}

fn text(answer: Vec<u8>) -> String {
    String::from_utf8(answer).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

pub(super) async fn within<T>(
    patience: Duration,
    wait: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(patience, wait).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_at_the_prompt_on_a_line_of_its_own() {
        for (answer, end) in [
            ("\n> ", Some(0)),
            ("> ", Some(0)),
            ("No such backend.\n\n> ", Some(16)),
            ("No such backend.\n", None),
            ("a > ", None),
            ("", None),
        ] {
            assert_eq!(before_prompt(answer.as_bytes()), end, "{answer:?}");
        }
    }

    #[test]
    fn a_command_is_one_line() {
        assert!(line("show info").is_ok());
        assert!(line("show info\nshow stat").is_err());
    }
}
