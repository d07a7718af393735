//! Writes the log to standard error, one line at a time, through the queue.

use super::queue::Queue;
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    fs::File,
    io::{self, ErrorKind, Write, stderr},
    mem,
    os::fd::AsFd,
};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone)]
pub(crate) struct StderrWriter(Queue<Vec<u8>>);

impl StderrWriter {
    /// The queue's thread writes to a duplicate of the descriptor. Code that writes to standard error directly, such
    /// as a panic, does not wait for this thread.
    pub(crate) fn to_stderr() -> io::Result<Self> {
        let mut file = File::from(stderr().as_fd().try_clone_to_owned()?);
        Queue::start(move |line: Vec<u8>| write(&mut file, &line)).map(Self)
    }

    pub(crate) fn flush(&self) {
        self.0.flush();
    }
}

impl<'a> MakeWriter<'a> for StderrWriter {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter { text: Vec::new(), queue: &self.0 }
    }
}

/// The text of one event; it is put into the queue when it is complete.
pub(crate) struct LineWriter<'a> {
    text: Vec<u8>,
    queue: &'a Queue<Vec<u8>>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.queue.push(mem::take(&mut self.text));
        }
    }
}

/// Writes a whole line. Another program with the same pipe (HAProxy) may have made the pipe non-blocking; this
/// function then waits until the pipe is writable. A line is dropped if the reader has closed the pipe.
fn write(file: &mut File, mut text: &[u8]) {
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return,
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(file, PollFlags::OUT)], None);
            }
            Err(_) => return,
        }
    }
}
