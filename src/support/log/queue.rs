//! Between those who log and those who read it: a bounded queue, and a thread that waits for the reader in everybody's
//! place. A reader that stalls (a full pipe, a journal that hangs) costs lines, which are counted, and nothing else.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::Duration,
};
use tracing::warn;

/// So many lines wait for their reader; what comes then is lost.
const CAPACITY: usize = 8192;
/// How long the end of the program waits for a reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Of all queues, since the program began.
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log nobody got to read.
pub fn lost_lines() -> u64 {
    LOST_LINES.load(Ordering::Relaxed)
}

enum QueueItem<T> {
    Line(T),
    /// All that came before it is written.
    Flush(SyncSender<()>),
}

/// Where lines are put. A clone leads to the same thread.
pub(crate) struct Queue<T>(SyncSender<QueueItem<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Send + 'static> Queue<T> {
    /// What is put into it is given to `write`, which may take its time.
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

    /// Never waits.
    pub(crate) fn push(&self, line: T) {
        if self.0.try_send(QueueItem::Line(line)).is_err() {
            LOST_LINES.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all that was put in is written, or its reader has had a second for it.
    pub(crate) fn flush(&self) {
        let (mark, written) = sync_channel(1);
        if self.0.try_send(QueueItem::Flush(mark)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Says what was lost when it has caught up, as there is room for saying it then.
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

    /// Of a reader that takes one line each time that it is told to, and what it has read.
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
        // Four wait, and the reader may have taken one before.
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
