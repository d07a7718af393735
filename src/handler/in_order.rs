//! Several events at a time, but never two of the same container, whose events keep their order.

use super::{
    mailbox::{Letter, Mailbox},
    tally::Tally,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    num::NonZeroUsize,
};

/// Letters that are taken out of the mailbox before their turn, so that those of other containers overtake
/// them.
const AHEAD: usize = 10_000;

/// Runs every letter until the mailbox ends; `most` of them at a time, the oldest first.
pub async fn in_order<F>(rest: Rest<'_>, most: NonZeroUsize, run: impl Fn(Letter) -> F)
where
    F: Future<Output = ()>,
{
    let mut line = Line::new(rest);
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    loop {
        while under_way.len() < most.get()
            && let Some(letter) = line.next()
        {
            let (container, running) = (letter.container().to_owned(), run(letter));
            under_way.push(async move {
                running.await;
                container
            });
        }
        tokio::select! {
            letter = line.rest.recv(), if open && line.rest.taken < AHEAD => match letter {
                Some(letter) => line.push(letter),
                None => open = false,
            },
            Some(container) = under_way.next() => line.done(&container),
            else => return,
        }
    }
}

/// Letters that wait for their turn, by container; the empty name stands for those about none.
struct Line<'a> {
    letters: BTreeMap<String, VecDeque<(u64, Letter)>>,
    /// The first letter of each container that is not busy: by number, which is by age.
    ready: BTreeMap<u64, String>,
    busy: BTreeSet<String>,
    number: u64,
    rest: Rest<'a>,
}

/// What was not handled to its end, which is said and counted where a handler is ended before that.
#[derive(Debug)]
pub struct Rest<'a> {
    /// Before those of the mailbox.
    pub first: VecDeque<Letter>,
    pub mailbox: &'a mut Mailbox,
    /// Out of the mailbox, and not done with.
    pub taken: usize,
    pub tally: &'a Tally,
}

impl<'a> Rest<'a> {
    pub fn new(first: VecDeque<Letter>, mailbox: &'a mut Mailbox, tally: &'a Tally) -> Self {
        Self { first, mailbox, taken: 0, tally }
    }

    pub async fn recv(&mut self) -> Option<Letter> {
        match self.first.pop_front() {
            Some(letter) => Some(letter),
            None => self.mailbox.recv().await,
        }
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        let rest = self.first.len() + self.mailbox.len() + self.taken;
        (0..rest).for_each(|_| self.tally.lose());
        if rest != 0 {
            tracing::warn!(handler = self.tally.name(), "events that were not handled: {rest}");
        }
    }
}

impl<'a> Line<'a> {
    fn new(rest: Rest<'a>) -> Self {
        Self {
            letters: BTreeMap::new(),
            ready: BTreeMap::new(),
            busy: BTreeSet::new(),
            number: 0,
            rest,
        }
    }

    fn push(&mut self, letter: Letter) {
        let container = letter.container().to_owned();
        let number = self.number;
        self.number += 1;
        self.rest.taken += 1;
        let letters = self.letters.entry(container.clone()).or_default();
        letters.push_back((number, letter));
        if letters.len() == 1 && !self.busy.contains(&container) {
            self.ready.insert(number, container);
        }
    }

    /// The oldest of those whose container is not busy, which it is from now on.
    fn next(&mut self) -> Option<Letter> {
        let (_, container) = self.ready.pop_first()?;
        let letters = self.letters.get_mut(&container)?;
        let (_, letter) = letters.pop_front()?;
        if letters.is_empty() {
            self.letters.remove(&container);
        }
        self.busy.insert(container);
        Some(letter)
    }

    fn done(&mut self, container: &str) {
        self.rest.taken -= 1;
        self.busy.remove(container);
        if let Some((number, _)) = self.letters.get(container).and_then(VecDeque::front) {
            self.ready.insert(*number, container.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{container::ContainerId, docker::Happened, handler::mailbox::mailbox};
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
        time::Duration,
    };
    use tokio::time::{Instant, sleep};

    fn letter(container: &str, action: &str) -> Letter {
        if container.is_empty() {
            return Letter::None;
        }
        Letter::Happened(Arc::new(Happened {
            id: ContainerId::new(container),
            name: container.to_owned(),
            action: action.to_owned(),
            time_nano: 0,
            attributes: BTreeMap::new(),
            description: None,
        }))
    }

    /// `a:3` is an event of container a that takes three seconds; what began and ended when.
    async fn play(most: usize, events: &str) -> String {
        let tally = Arc::new(Tally::new("test"));
        let (mut sender, mut mailbox) = mailbox(Arc::clone(&tally));
        for event in events.split(' ') {
            let (container, seconds) = event.split_once(':').unwrap();
            sender.send(letter(container, seconds));
        }
        drop(sender);
        let (start, told) = (Instant::now(), Mutex::new(Vec::new()));
        let run = |letter: Letter| {
            let told = &told;
            async move {
                let began = start.elapsed().as_secs();
                let seconds = letter.action().parse().unwrap_or(1);
                sleep(Duration::from_secs(seconds)).await;
                let ended = start.elapsed().as_secs();
                told.lock().unwrap().push(format!("{}{began}-{ended}", letter.container()));
            }
        };
        let rest = Rest::new(VecDeque::new(), &mut mailbox, &tally);
        in_order(rest, most.try_into().unwrap(), run).await;
        assert!(tally.is_clean());
        told.into_inner().unwrap().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn containers_keep_their_order_and_do_not_wait_for_each_other() {
        for (most, events, expected) in [
            // One at a time: the order in which they happened.
            (1, "a:2 b:1 a:1", "a0-2 b2-3 a3-4"),
            // The second one of a waits for the first, b does not.
            (2, "a:3 a:1 b:1 b:1", "b0-1 b1-2 a0-3 a3-4"),
            // Never more than two.
            (2, "a:2 b:2 c:2 d:2", "a0-2 b0-2 c2-4 d2-4"),
            (9, "a:2 b:2 c:2 d:2", "a0-2 b0-2 c0-2 d0-2"),
            // A slow one holds up its own only.
            (2, "a:9 a:1 a:1 b:1 c:1 b:1", "b0-1 c1-2 b2-3 a0-9 a9-10 a10-11"),
            // Of two that are ready the older one.
            (1, "a:1 a:1 b:1 a:1 b:1", "a0-1 a1-2 b2-3 a3-4 b4-5"),
            // About no container: in their order too.
            (3, ":1 :1 a:1", "0-1 a0-1 1-2"),
        ] {
            assert_eq!(play(most, events).await, expected, "{most} of {events}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_cut_off_is_counted() {
        let tally = Arc::new(Tally::new("test"));
        let (mut sender, mut mailbox) = mailbox(Arc::clone(&tally));
        for container in ["a", "b", "c"] {
            sender.send(letter(container, "start"));
        }
        // One of them is no letter of the mailbox.
        let first = mailbox.recv().await.into_iter().collect();
        let rest = Rest::new(first, &mut mailbox, &tally);
        let forever = in_order(rest, NonZeroUsize::MIN, |_| std::future::pending());
        let cut = tokio::time::timeout(Duration::from_secs(1), forever).await;
        assert!(cut.is_err());
        assert_eq!(tally.to_string(), "0 done, 0 failed, 3 lost");
    }
}
