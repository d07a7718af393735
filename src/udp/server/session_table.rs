//! The sessions of one thread, with the order in which they expire and are evicted.
//!
//! Pure. Sessions with the same idle time are in lists that are sorted by their last activity, so that neither a
//! datagram nor the end of a session searches. Answered and unanswered sessions have lists of their own: to make room,
//! the oldest unanswered session leaves first. A flood of datagrams with forged senders has only those.

use slab::Slab;
use std::time::{Duration, Instant};

/// A session's activity is recorded at most this often.
const RESOLUTION: Duration = Duration::from_millis(20);

const NONE: usize = usize::MAX;

/// Identifies a session; a later session in the same place has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId {
    pub index: u32,
    /// Less than 2³¹.
    pub generation: u32,
}

/// Whether an endpoint has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unanswered = 0,
    Answered = 1,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    generation: u32,
    last: Instant,
    class: usize,
    phase: Phase,
    previous: usize,
    next: usize,
}

/// Both ends of a list, the oldest session first.
#[derive(Debug, Clone, Copy)]
struct List {
    first: usize,
    last: usize,
}

#[derive(Debug, Clone, Copy)]
struct IdleClass {
    idle: Duration,
    /// By [`Phase`].
    lists: [List; 2],
}

#[derive(Debug)]
pub(super) struct SessionTable<T> {
    entries: Slab<Entry<T>>,
    classes: Vec<IdleClass>,
    generation: u32,
}

impl<T> SessionTable<T> {
    pub(super) fn new() -> Self {
        Self { entries: Slab::new(), classes: Vec::new(), generation: 0 }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the identifier that the next inserted session will have.
    pub(super) fn next_id(&self) -> SessionId {
        let index = u32::try_from(self.entries.vacant_key());
        // Each session has a file, and the kernel has at most 2³¹ of them.
        SessionId { index: index.expect("fewer than 2³¹ sessions"), generation: self.generation }
    }

    pub(super) fn insert(&mut self, value: T, idle: Duration, now: Instant) -> SessionId {
        let id = self.next_id();
        self.generation = (self.generation + 1) & (u32::MAX >> 1);
        let (class, phase) = (self.class_of(idle), Phase::Unanswered);
        let generation = id.generation;
        let (previous, next) = (NONE, NONE);
        let at = self.entries.insert(Entry {
            value,
            generation,
            last: now,
            class,
            phase,
            previous,
            next,
        });
        self.append(at);
        id
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut T> {
        let entry = self.entries.get_mut(id.index as usize)?;
        (entry.generation == id.generation).then_some(&mut entry.value)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<T> {
        let at = id.index as usize;
        self.entries.get(at).filter(|entry| entry.generation == id.generation)?;
        self.unlink(at);
        Some(self.entries.remove(at).value)
    }

    /// Records a datagram of the client.
    pub(super) fn touch(&mut self, id: SessionId, idle: Duration, now: Instant) {
        let Some(entry) = self.entries.get(id.index as usize) else { return };
        let phase = entry.phase;
        self.relink(id, idle, phase, now);
    }

    /// Records an answer of the endpoint.
    pub(super) fn touch_answered(&mut self, id: SessionId, idle: Duration, now: Instant) {
        self.relink(id, idle, Phase::Answered, now);
    }

    /// Returns the session that leaves to make room: the one with the oldest activity among the unanswered ones, or
    /// among all if each is answered.
    pub(super) fn eviction_candidate(&self) -> Option<SessionId> {
        let oldest = |phase: Phase| {
            let firsts = self.classes.iter().map(|class| class.lists[phase as usize].first);
            let firsts = firsts.filter(|first| *first != NONE);
            firsts.min_by_key(|first| self.entries[*first].last)
        };
        oldest(Phase::Unanswered).or_else(|| oldest(Phase::Answered)).map(|at| self.id_at(at))
    }

    /// Returns a session whose idle time is over.
    pub(super) fn expired(&self, now: Instant) -> Option<SessionId> {
        self.deadlines().find(|(_, deadline)| *deadline <= now).map(|(at, _)| self.id_at(at))
    }

    /// Returns when the next session expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines().map(|(_, deadline)| deadline).min()
    }

    /// Returns the sessions for which the condition holds.
    pub(super) fn find_all(&self, condition: impl Fn(&T) -> bool) -> Vec<SessionId> {
        let found = self.entries.iter().filter(|(_, entry)| condition(&entry.value));
        found.map(|(at, _)| self.id_at(at)).collect()
    }

    fn deadlines(&self) -> impl Iterator<Item = (usize, Instant)> {
        let firsts = self.classes.iter().flat_map(|class| {
            class
                .lists
                .iter()
                .filter(|list| list.first != NONE)
                .map(|list| (list.first, class.idle))
        });
        firsts.map(|(first, idle)| (first, self.entries[first].last + idle))
    }

    fn id_at(&self, at: usize) -> SessionId {
        let index = u32::try_from(at).expect("as in next_id");
        SessionId { index, generation: self.entries[at].generation }
    }

    /// Returns the class of an idle time. A class without sessions is used again, so that their number does not grow
    /// with the times that listeners ever had.
    fn class_of(&mut self, idle: Duration) -> usize {
        if let Some(class) = self.classes.iter().position(|class| class.idle == idle) {
            return class;
        }
        let lists = [List { first: NONE, last: NONE }; 2];
        let class = IdleClass { idle, lists };
        let is_empty = |class: &IdleClass| class.lists.iter().all(|list| list.first == NONE);
        if let Some(unused) = self.classes.iter().position(is_empty) {
            self.classes[unused] = class;
            return unused;
        }
        self.classes.push(class);
        self.classes.len() - 1
    }

    fn relink(&mut self, id: SessionId, idle: Duration, phase: Phase, now: Instant) {
        let at = id.index as usize;
        let Some(entry) = self.entries.get(at).filter(|entry| entry.generation == id.generation)
        else {
            return;
        };
        let same_list = entry.phase == phase && self.classes[entry.class].idle == idle;
        if same_list && now < entry.last + RESOLUTION {
            return;
        }
        let class = self.class_of(idle);
        self.unlink(at);
        let entry = &mut self.entries[at];
        (entry.last, entry.class, entry.phase) = (now, class, phase);
        self.append(at);
    }

    fn append(&mut self, at: usize) {
        let (class, phase) = (self.entries[at].class, self.entries[at].phase);
        let ends = &mut self.classes[class].lists[phase as usize];
        let last = std::mem::replace(&mut ends.last, at);
        if last == NONE {
            ends.first = at;
        } else {
            self.entries[last].next = at;
        }
        let entry = &mut self.entries[at];
        (entry.previous, entry.next) = (last, NONE);
    }

    fn unlink(&mut self, at: usize) {
        let entry = &self.entries[at];
        let (previous, next) = (entry.previous, entry.next);
        let list = &mut self.classes[entry.class].lists[entry.phase as usize];
        match previous {
            NONE => list.first = next,
            previous => self.entries[previous].next = next,
        }
        match next {
            NONE => list.last = previous,
            next => self.entries[next].previous = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn session_expires_after_idle_time_since_last_activity() {
        let start = Instant::now();
        let mut table = SessionTable::new();
        assert_eq!(table.next_expiry(), None);
        let slow = table.insert("slow", ms(500), start);
        let quick = table.insert("quick", ms(100), start);
        assert_eq!(table.next_expiry(), Some(start + ms(100)));
        assert_eq!(table.expired(start + ms(99)), None);
        table.touch(quick, ms(100), start + ms(99));
        assert_eq!(table.expired(start + ms(198)), None);
        assert_eq!(table.expired(start + ms(199)), Some(quick));
        assert_eq!(table.remove(quick), Some("quick"));
        assert_eq!(table.remove(quick), None);
        table.touch(slow, ms(300), start + ms(250));
        assert_eq!(table.next_expiry(), Some(start + ms(550)));
    }

    #[test]
    fn unanswered_session_is_evicted_before_answered_one() {
        let start = Instant::now();
        let mut table = SessionTable::new();
        let answered = table.insert("answered", ms(500), start);
        table.touch_answered(answered, ms(500), start + ms(1));
        let late = table.insert("late", ms(900), start + ms(200));
        let early = table.insert("early", ms(800), start + ms(100));
        for expected in [early, late, answered] {
            assert_eq!(table.eviction_candidate(), Some(expected));
            table.remove(expected);
        }
        assert_eq!((table.eviction_candidate(), table.len()), (None, 0));
    }

    #[test]
    fn session_in_place_of_another_has_another_identifier() {
        let (now, mut table) = (Instant::now(), SessionTable::new());
        let first = table.insert(1, ms(100), now);
        table.remove(first);
        let second = table.insert(2, ms(100), now);
        assert_eq!(first.index, second.index);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.get_mut(second), Some(&mut 2));
        table.touch_answered(first, ms(100), now);
        assert_eq!(table.remove(first), None);
    }

    proptest! {
        /// Compares the table with a list that is searched.
        #[test]
        fn sessions_expire_in_order_of_their_deadlines(
            steps in vec((0_u8..4, 0_usize..8, 1_u64..4), 1..200)
        ) {
            let start = Instant::now();
            let mut table = SessionTable::new();
            let mut model: Vec<(SessionId, Instant, Duration)> = Vec::new();
            for (number, (step, which, idle)) in steps.into_iter().enumerate() {
                let now = start + ms(100 * number as u64);
                let idle = ms(1000 * idle);
                let at = (!model.is_empty()).then(|| which % model.len());
                match (step, at) {
                    (0, _) | (_, None) => model.push((table.insert((), idle, now), now, idle)),
                    (1, Some(at)) => drop(table.remove(model.remove(at).0)),
                    (2, Some(at)) => {
                        table.touch(model[at].0, idle, now);
                        (model[at].1, model[at].2) = (now, idle);
                    }
                    (_, Some(at)) => {
                        table.touch_answered(model[at].0, idle, now);
                        (model[at].1, model[at].2) = (now, idle);
                    }
                }
                let expected = model.iter().map(|(_, last, idle)| *last + *idle).min();
                prop_assert_eq!(table.next_expiry(), expected);
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
