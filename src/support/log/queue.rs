//! A bounded queue between the code that logs and the reader of the log. A separate thread waits for the reader. If
//! the reader stalls (a full pipe, a journal that hangs), lines are lost and counted, and nothing else is delayed.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};
use tracing::warn;

/// The greatest number of queued lines. A line that is logged when the queue is full is lost.
const CAPACITY: usize = 8192;
/// How long the program waits for the reader when it ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Lost lines of all queues since the program started.
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Returns the number of log lines that were lost because the log was not read in time.
pub fn lost_lines() -> u64 {
    LOST_LINES.load(Ordering::Relaxed)
}

enum QueueItem<T> {
    Line(T),
    /// Acknowledged when all lines before it are written.
    Flush(SyncSender<()>),
}

/// The sending side of the queue. A clone sends to the same thread.
pub(crate) struct Queue<T>(SyncSender<QueueItem<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> Queue<T> {
    /// Starts a thread that passes each queued line to `write`, which may block.
    pub(crate) fn start(write: impl FnMut(T) + Send + 'static) -> std::io::Result<Self> {
        Self::with_capacity(CAPACITY, write)
    }

    fn with_capacity(lines: usize, write: impl FnMut(T) + Send + 'static) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(lines);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || forward_lines(&receiver, write))?;
        Ok(Self(sender))
    }

    /// Adds a line without waiting. If the queue is full, the line is lost and counted.
    pub(crate) fn push(&self, line: T) {
        if self.0.try_send(QueueItem::Line(line)).is_err() {
            LOST_LINES.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all queued lines are written, for at most one second.
    pub(crate) fn flush(&self) {
        let (mark, written) = sync_channel(1);
        if self.0.try_send(QueueItem::Flush(mark)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Passes lines to `write`. Lost lines are reported when the queue is empty, because the queue then has room for the
/// report.
fn forward_lines<T>(queue: &Receiver<QueueItem<T>>, mut write: impl FnMut(T)) {
    let mut reported = lost_lines();
    loop {
        let item = match queue.try_recv() {
            Ok(item) => item,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                let lines = lost_lines();
                if lines > reported {
                    warn!("the log was not read in time; {} lines were lost", lines - reported);
                    reported = lines;
                }
                let Ok(item) = queue.recv() else { return };
                item
            }
        };
        match item {
            QueueItem::Line(line) => write(line),
            QueueItem::Flush(written) => drop(written.try_send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    /// Returns a queue whose reader takes one line for each message on the sender, and the receiver of the lines it
    /// has read.
    fn stalled_queue(room: usize) -> (Queue<u32>, std::sync::mpsc::Sender<()>, Receiver<u32>) {
        let (go, may) = channel::<()>();
        let (read, written) = channel();
        let write = move |line| {
            let _ = may.recv();
            let _ = read.send(line);
        };
        (Queue::with_capacity(room, write).unwrap(), go, written)
    }

    #[test]
    fn push_to_full_queue_counts_lost_line() {
        let before = lost_lines();
        let (queue, go, written) = stalled_queue(4);
        for line in 0..100 {
            queue.push(line);
        }
        // Four lines wait in the queue, and the reader may have taken one before.
        let gone = lost_lines() - before;
        assert!((95..=96).contains(&gone), "{gone}");
        drop(go);
        assert_eq!(written.iter().take(4).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn flush_waits_for_pushed_lines() {
        let (queue, go, written) = stalled_queue(4);
        queue.push(7);
        drop(go);
        queue.flush();
        assert_eq!(written.try_recv(), Ok(7));
    }
}
