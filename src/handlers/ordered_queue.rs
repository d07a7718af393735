//! Runs several events in parallel, but the events of one container one after the other and in order.

use super::{
    certificate_tracker::CertificateTracker,
    mailbox::{HandlerMessage, Mailbox},
    stats::HandlerStats,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
};

/// How many messages are taken out of the mailbox in advance, so that messages about other containers can overtake.
const MAX_QUEUED: usize = 10_000;

/// Runs each message until the mailbox is closed; `max_parallel` at a time, the oldest first.
pub async fn run_in_order<F>(
    pending: PendingMessages<'_>,
    max_parallel: NonZeroUsize,
    run: impl Fn(HandlerMessage) -> F,
) where
    F: Future<Output = ()>,
{
    let mut queue = OrderedQueue::new(pending);
    let mut running_messages = FuturesUnordered::new();
    let mut open = true;
    loop {
        while running_messages.len() < max_parallel.get()
            && let Some(message) = queue.next_ready()
        {
            let (container, running) = (message.container_id().to_owned(), run(message));
            running_messages.push(async move {
                running.await;
                container
            });
        }
        tokio::select! {
            message = queue.pending.recv_next(), if open && queue.pending.unfinished < MAX_QUEUED => match message {
                Some(message) => queue.push(message),
                None => open = false,
            },
            Some(container) = running_messages.next() => queue.mark_done(&container),
            else => return,
        }
    }
}

/// Messages waiting for their turn, by container; the empty name stands for messages without a container.
struct OrderedQueue<'a> {
    messages: BTreeMap<String, VecDeque<(u64, HandlerMessage)>>,
    /// The number of the first message of each container that is not busy. A lower number is an older message.
    ready: BTreeMap<u64, String>,
    busy: BTreeSet<String>,
    next_number: u64,
    pending: PendingMessages<'a>,
}

/// Messages that are not fully handled. They are logged and counted as lost if the handler ends before that.
#[derive(Debug)]
pub struct PendingMessages<'a> {
    /// Messages to handle before those in the mailbox.
    pub initial: VecDeque<HandlerMessage>,
    pub mailbox: &'a mut Mailbox,
    /// Taken out of the mailbox, but not finished.
    pub unfinished: usize,
    pub stats: &'a HandlerStats,
    tracker: CertificateTracker,
}

impl<'a> PendingMessages<'a> {
    pub fn new(
        first: VecDeque<HandlerMessage>,
        mailbox: &'a mut Mailbox,
        tally: &'a HandlerStats,
    ) -> Self {
        let tracker = CertificateTracker::default();
        Self { initial: first, mailbox, unfinished: 0, stats: tally, tracker }
    }

    /// Sets the certificates that the handler knows.
    #[must_use]
    pub fn with_tracker(self, tracker: CertificateTracker) -> Self {
        let mut pending = self;
        pending.tracker = tracker;
        pending
    }

    /// Returns the next message. Lists of certificates become an event for each change.
    pub async fn recv_next(&mut self) -> Option<HandlerMessage> {
        loop {
            if let Some(message) = self.initial.pop_front() {
                return Some(message);
            }
            match self.mailbox.recv().await? {
                HandlerMessage::CertificatesChanged(lists) => {
                    self.initial.extend(self.tracker.update(&lists));
                }
                message => return Some(message),
            }
        }
    }
}

impl Drop for PendingMessages<'_> {
    fn drop(&mut self) {
        let pending = self.initial.len() + self.mailbox.len() + self.unfinished;
        (0..pending).for_each(|_| self.stats.record_dropped());
        if pending != 0 {
            tracing::warn!(handler = self.stats.name(), "{pending} events were not handled");
        }
    }
}

impl<'a> OrderedQueue<'a> {
    fn new(pending: PendingMessages<'a>) -> Self {
        Self {
            messages: BTreeMap::new(),
            ready: BTreeMap::new(),
            busy: BTreeSet::new(),
            next_number: 0,
            pending,
        }
    }

    fn push(&mut self, message: HandlerMessage) {
        let container = message.container_id().to_owned();
        let number = self.next_number;
        self.next_number += 1;
        self.pending.unfinished += 1;
        let messages = self.messages.entry(container.clone()).or_default();
        messages.push_back((number, message));
        if messages.len() == 1 && !self.busy.contains(&container) {
            self.ready.insert(number, container);
        }
    }

    /// Returns the oldest message whose container is not busy, and marks that container as busy.
    fn next_ready(&mut self) -> Option<HandlerMessage> {
        let (_, container) = self.ready.pop_first()?;
        let messages = self.messages.get_mut(&container)?;
        let (_, message) = messages.pop_front()?;
        if messages.is_empty() {
            self.messages.remove(&container);
        }
        self.busy.insert(container);
        Some(message)
    }

    fn mark_done(&mut self, container: &str) {
        self.pending.unfinished -= 1;
        self.busy.remove(container);
        if let Some((number, _)) = self.messages.get(container).and_then(VecDeque::front) {
            self.ready.insert(*number, container.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        handlers::mailbox::create_mailbox, model::container::ContainerId, sources::ContainerEvent,
    };
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio::time::{Instant, sleep};

    fn event_message(container: &str, action: &str) -> HandlerMessage {
        if container.is_empty() {
            return HandlerMessage::NoneEvent;
        }
        HandlerMessage::Event(Arc::new(ContainerEvent {
            id: ContainerId::new(container),
            name: container.to_owned(),
            action: action.to_owned(),
            time_nano: 0,
            attributes: BTreeMap::new(),
            description: None,
        }))
    }

    /// Runs events such as `a:3`, an event of container a that takes three seconds. Returns when each started and
    /// ended.
    async fn run_events(max_parallel: usize, events: &str) -> String {
        let tally = Arc::new(HandlerStats::new("test"));
        let (mut sender, mut mailbox) = create_mailbox(Arc::clone(&tally));
        for event in events.split(' ') {
            let (container, seconds) = event.split_once(':').unwrap();
            sender.send(event_message(container, seconds));
        }
        drop(sender);
        let (start, finished) = (Instant::now(), Mutex::new(Vec::new()));
        let run = |message: HandlerMessage| {
            let finished = &finished;
            async move {
                let began = start.elapsed().as_secs();
                let seconds = message.action().parse().unwrap_or(1);
                sleep(Duration::from_secs(seconds)).await;
                let ended = start.elapsed().as_secs();
                finished.lock().unwrap().push(format!("{}{began}-{ended}", message.container_id()));
            }
        };
        let pending = PendingMessages::new(VecDeque::new(), &mut mailbox, &tally);
        run_in_order(pending, max_parallel.try_into().unwrap(), run).await;
        assert!(tally.all_succeeded());
        finished.into_inner().unwrap().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn events_of_one_container_stay_ordered_others_run_in_parallel() {
        for (max_parallel, events, expected) in [
            // One at a time: the order in which they happened.
            (1, "a:2 b:1 a:1", "a0-2 b2-3 a3-4"),
            // The second event of a waits for the first; b does not wait.
            (2, "a:3 a:1 b:1 b:1", "b0-1 b1-2 a0-3 a3-4"),
            // Never more than two.
            (2, "a:2 b:2 c:2 d:2", "a0-2 b0-2 c2-4 d2-4"),
            (9, "a:2 b:2 c:2 d:2", "a0-2 b0-2 c0-2 d0-2"),
            // A slow container delays only its own events.
            (2, "a:9 a:1 a:1 b:1 c:1 b:1", "b0-1 c1-2 b2-3 a0-9 a9-10 a10-11"),
            // If two are ready, the older one runs first.
            (1, "a:1 a:1 b:1 a:1 b:1", "a0-1 a1-2 b2-3 a3-4 b4-5"),
            // Messages without a container keep their order too.
            (3, ":1 :1 a:1", "0-1 a0-1 1-2"),
        ] {
            assert_eq!(
                run_events(max_parallel, events).await,
                expected,
                "{max_parallel} of {events}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_queue_counts_unhandled_events_as_lost() {
        let tally = Arc::new(HandlerStats::new("test"));
        let (mut sender, mut mailbox) = create_mailbox(Arc::clone(&tally));
        for container in ["a", "b", "c"] {
            sender.send(event_message(container, "start"));
        }
        // One of them was already taken out of the mailbox.
        let first = mailbox.recv().await.into_iter().collect();
        let pending = PendingMessages::new(first, &mut mailbox, &tally);
        let forever = run_in_order(pending, NonZeroUsize::MIN, |_| std::future::pending());
        let cut = tokio::time::timeout(Duration::from_secs(1), forever).await;
        assert!(cut.is_err());
        assert_eq!(tally.to_string(), "0 done, 0 failed, 3 lost");
    }
}
