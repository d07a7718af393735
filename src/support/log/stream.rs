//! Standard error, as lines that go through the queue.

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
    /// It has a descriptor of its own: who writes to standard error in another way, as a panic does, waits for nobody
    /// who waits here.
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

/// One event, put into the queue when it is whole.
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

/// Another program that has the same pipe (HAProxy) may have made it one that does not wait: then it is waited for
/// here. A line that nobody can read any more (the reader has gone) is passed over.
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
