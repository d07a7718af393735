//! Which balancer orders certificates.
//!
//! Pure. [`Lease`] gets what the store has, and the moment at which it was read, and returns what to do.
//!
//! Each leader has a term with a lease of its own. A balancer becomes the leader if it creates the lease of the next
//! term, which the store permits exactly one balancer to do. A lease is never taken, moved or overwritten by another
//! balancer. So these cases need no further care:
//!
//! - Several balancers find that a lease is stale: one of them creates the next one, and the others find that it exists.
//! - A balancer finds that a lease is stale, and is suspended before it creates the next one: when it goes on, that
//!   lease exists.
//! - A leader is suspended between a look at its lease and a sign of life: it writes to the lease of its own term, which
//!   is not the highest one any more. Its next look shows that.
//!
//! The alternative, one file that a taker renames away, has a gap in the second case: the suspended taker would rename
//! the lease of the new leader, and find out too late.
//!
//! Two leaders at a time would need a leader that does not look for `stop` after its last sign of life, although it
//! stops by itself then, before others call its lease stale. Only a machine whose clock stands still as well, such as a
//! virtual machine that is suspended, goes on until its next look. Therefore the leader also looks before each order.
//!
//! Clocks of different machines are never compared: a lease is stale if the reader has not seen it change for `stale`.

use super::{
    SharedTimes,
    record::{LeaseRecord, MemberId},
};
use std::time::Instant;

/// What this balancer knows of the leases.
#[derive(Debug)]
pub(super) struct Lease {
    id: MemberId,
    times: SharedTimes,
    own: Option<OwnLease>,
    watched: Option<WatchedLease>,
}

/// The lease of this balancer, which is the leader.
#[derive(Debug)]
struct OwnLease {
    term: u64,
    /// When the last sign of life that succeeded was begun.
    renewed: Instant,
}

/// The lease of the highest term.
#[derive(Debug)]
struct WatchedLease {
    term: u64,
    text: Vec<u8>,
    /// `None` if the text is not a lease.
    record: Option<LeaseRecord>,
    /// Since when it has this text.
    since: Instant,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseAct {
    /// Another balancer orders, or may still do.
    Follow,
    /// Try to become the leader: create the lease of this term.
    Create { term: u64 },
    /// Give a sign of life.
    Renew { term: u64 },
    /// Nothing. This balancer is the leader.
    Keep { term: u64 },
    /// Stop to order at once: this balancer is the leader no longer.
    StepDown,
}

impl Lease {
    pub(super) fn new(id: MemberId, times: SharedTimes) -> Self {
        Self { id, times, own: None, watched: None }
    }

    /// Decides what to do about the lease of the highest term, which was read at `now`. `None` if there is none.
    pub(super) fn observe(&mut self, found: Option<(u64, Vec<u8>)>, now: Instant) -> LeaseAct {
        let Some((term, text)) = found else {
            self.watched = None;
            return match self.own.take() {
                Some(_) => LeaseAct::StepDown,
                None => LeaseAct::Create { term: 1 },
            };
        };
        self.watch(term, text, now);
        if let Some(own) = &self.own {
            let is_own = own.term == term && self.is_own();
            if !is_own || own.renewed + self.times.stop <= now {
                self.own = None;
                return LeaseAct::StepDown;
            }
            let is_due = own.renewed + self.times.beat <= now;
            return if is_due { LeaseAct::Renew { term } } else { LeaseAct::Keep { term } };
        }
        let is_free = match self.live_record(now) {
            // Nothing is ordered in that term any more, so it needs no wait.
            Some(record) => record.released || record.owner.id == self.id,
            None => self.watched.as_ref().is_some_and(|lease| self.is_stale(lease, now)),
        };
        if is_free { LeaseAct::Create { term: term.saturating_add(1) } } else { LeaseAct::Follow }
    }

    /// Decides what to do if the lease cannot be read.
    pub(super) fn observe_failure(&mut self, now: Instant) -> LeaseAct {
        match &self.own {
            Some(own) if own.renewed + self.times.stop <= now => {
                self.own = None;
                LeaseAct::StepDown
            }
            Some(own) => LeaseAct::Keep { term: own.term },
            None => LeaseAct::Follow,
        }
    }

    /// Records a sign of life, or the creation of a lease, that was begun at a moment, and succeeded.
    pub(super) fn record_renewal(&mut self, term: u64, begun: Instant) {
        self.own = Some(OwnLease { term, renewed: begun });
    }

    /// The term in which this balancer orders, and until when it does without another sign of life.
    pub(super) fn tenure(&self) -> Option<(u64, Instant)> {
        self.own.as_ref().map(|own| (own.term, own.renewed + self.times.stop))
    }

    /// Returns the highest term and its record. `None` without a lease, and if its text is damaged.
    pub(super) fn record(&self) -> Option<(u64, &LeaseRecord)> {
        let lease = self.watched.as_ref()?;
        Some((lease.term, lease.record.as_ref()?))
    }

    /// Returns the record of a leader that gives signs of life.
    pub(super) fn live_record(&self, now: Instant) -> Option<&LeaseRecord> {
        let lease = self.watched.as_ref().filter(|lease| !self.is_stale(lease, now))?;
        lease.record.as_ref()
    }

    /// Whether the text of the highest term is not a lease.
    pub(super) fn is_damaged(&self) -> bool {
        self.watched.as_ref().is_some_and(|lease| lease.record.is_none())
    }

    fn watch(&mut self, term: u64, text: Vec<u8>, now: Instant) {
        let is_same =
            self.watched.as_ref().is_some_and(|lease| (lease.term, &lease.text) == (term, &text));
        if !is_same {
            let record = LeaseRecord::parse(&text).ok();
            self.watched = Some(WatchedLease { term, text, record, since: now });
        }
    }

    fn is_own(&self) -> bool {
        let record = self.watched.as_ref().and_then(|lease| lease.record.as_ref());
        record.is_some_and(|record| record.owner.id == self.id && !record.released)
    }

    fn is_stale(&self, lease: &WatchedLease, now: Instant) -> bool {
        lease.since + self.times.stale <= now
    }
}

#[cfg(test)]
mod tests;
