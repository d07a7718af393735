//! Runs the programs of handlers. Each leads its own process group, its output is logged, and it never outlives its
//! handler or remains as a zombie.

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{fmt::Write, io, os::unix::process::ExitStatusExt, process::ExitStatus};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};
use tracing::info;

/// How many bytes of a logged line are kept.
pub const MAX_LINE_BYTES: usize = 4096;

/// A running program and the processes that it has started. If this is dropped before the program ends, all of them
/// are killed.
#[derive(Debug)]
pub struct ProcessGroup {
    pub child: Child,
    leader: Option<Pid>,
}

impl ProcessGroup {
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        // Programs of handlers must not notify the service manager on behalf of docker-glue.
        command.env_remove("NOTIFY_SOCKET");
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Self { child, leader })
    }

    pub fn id(&self) -> i32 {
        self.leader.map_or(0, Pid::as_raw)
    }

    /// Waits until the program ends. Processes that it left running are not waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The kernel may reuse the process id from now on.
        self.leader = None;
        Ok(status)
    }

    /// Kills the program and all processes that it has started.
    pub async fn kill(&mut self) {
        self.send_kill();
        // This is delayed only if the process is stuck in the kernel.
        let _ = self.child.wait().await;
        self.leader = None;
    }

    fn send_kill(&self) {
        if let Some(leader) = self.leader {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.send_kill();
    }
}

/// The output of a program, line by line, without line ends and with a limited number of bytes per line.
#[derive(Debug)]
pub struct BoundedLines<P> {
    pipe: BufReader<P>,
    max_bytes: usize,
    buffer: Vec<u8>,
    dropped_bytes: usize,
}

impl<P: AsyncRead + Unpin> BoundedLines<P> {
    pub fn new(pipe: P, most: usize) -> Self {
        Self { pipe: BufReader::new(pipe), max_bytes: most, buffer: Vec::new(), dropped_bytes: 0 }
    }

    /// Returns the next line, or `None` at the end. Cancel safe: no output is lost if this future is dropped.
    pub async fn next_line(&mut self) -> Option<String> {
        loop {
            let bytes = match self.pipe.fill_buf().await {
                Ok([]) | Err(_) => return (!self.buffer.is_empty()).then(|| self.take_line()),
                Ok(bytes) => bytes,
            };
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let line = &bytes[..end.unwrap_or(bytes.len())];
            let room = line.len().min(self.max_bytes - self.buffer.len());
            self.buffer.extend_from_slice(&line[..room]);
            self.dropped_bytes += line.len() - room;
            let taken = line.len() + usize::from(end.is_some());
            self.pipe.consume(taken);
            if end.is_some() {
                return Some(self.take_line());
            }
        }
    }

    fn take_line(&mut self) -> String {
        let mut text = String::from_utf8_lossy(&self.buffer).trim_end().to_owned();
        if self.dropped_bytes != 0 {
            let _ = write!(text, "… ({} bytes more)", self.dropped_bytes);
        }
        self.buffer.clear();
        self.dropped_bytes = 0;
        text
    }
}

/// Logs the output of a program until it ends, with the names of its handler and of its container, if any.
pub async fn log_output(pipe: impl AsyncRead + Unpin, handler: String, container: Option<String>) {
    let mut lines = BoundedLines::new(pipe, MAX_LINE_BYTES);
    while let Some(line) = lines.next_line().await {
        info!(handler, container, "{line}");
    }
}

/// Runs `main` to its end, and `other` at the same time.
pub async fn run_alongside<T>(main: impl Future<Output = T>, other: impl Future<Output = ()>) -> T {
    tokio::pin!(main);
    tokio::select! {
        biased;
        done = &mut main => done,
        () = other => main.await,
    }
}

/// Returns how the process ended, as part of a sentence: `exit status 3`, `SIGKILL`.
pub fn exit_reason(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => match signal.and_then(|n| Signal::try_from(n).ok()) {
            Some(signal) => signal.to_string(),
            None => status.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = BoundedLines::new(bytes, 4);
        let mut lines_read = Vec::new();
        while let Some(line) = lines.next_line().await {
            lines_read.push(line);
        }
        lines_read
    }

    #[tokio::test]
    async fn long_line_is_cut_with_byte_count() {
        for (bytes, expected) in [
            (&b""[..], &[][..]),
            (b"a\nb", &["a", "b"]),
            (b"a\r\n\nb\n", &["a", "", "b"]),
            (b"abcd\nabcdefg\nxy\n", &["abcd", "abcd… (3 bytes more)", "xy"]),
            (b"\xff\n", &["\u{fffd}"]),
        ] {
            assert_eq!(read_lines(bytes).await, expected, "{bytes:?}");
        }
    }
}
