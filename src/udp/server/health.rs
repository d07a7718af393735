//! Whether an endpoint refuses datagrams, as all threads see it.
//!
//! A kernel limits its reports of refusals: Linux sends six, then one a second to each machine. So one report counts for
//! all flows of the endpoint: they change to others, and only one flow in each second tries the endpoint again. An
//! answer ends the refusal, as does a number of attempts that are not refused: some programs never answer.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The pause after a refusal and between two attempts, in milliseconds. The controller ends it by a change of the
/// endpoint.
const PAUSE: u64 = 1000;
/// The number of attempts without a report after which the endpoint counts as usable.
const SILENT_ATTEMPTS: u32 = 3;

/// The state of one endpoint. Times are in milliseconds since the start of the plane.
#[derive(Debug, Default)]
pub(super) struct EndpointHealth {
    /// When the endpoint may be tried again; 0 if it does not refuse.
    retry_at: AtomicU64,
    /// When the last refusal was reported.
    refused_at: AtomicU64,
    /// Attempts since then.
    attempts: AtomicU32,
}

impl EndpointHealth {
    pub(super) fn is_refusing(&self) -> bool {
        self.retry_at.load(Relaxed) != 0
    }

    /// Returns whether this is the first report of a refusal.
    pub(super) fn record_refusal(&self, now: u64) -> bool {
        self.refused_at.store(now, Relaxed);
        self.attempts.store(0, Relaxed);
        self.retry_at.swap(now + PAUSE, Relaxed) == 0
    }

    /// Records an answer to a datagram that was sent at this time. An answer to an earlier one says nothing about the
    /// time after the refusal.
    pub(super) fn record_answer(&self, sent_at: u64) {
        if self.is_refusing() && self.refused_at.load(Relaxed) < sent_at {
            self.retry_at.store(0, Relaxed);
        }
    }

    /// Returns whether the caller may try the endpoint. Only one caller in each pause may.
    pub(super) fn claim_attempt(&self, now: u64) -> bool {
        let retry_at = self.retry_at.load(Relaxed);
        if retry_at == 0 {
            return true;
        }
        let next = if SILENT_ATTEMPTS <= self.attempts.load(Relaxed) { 0 } else { now + PAUSE };
        let claimed = retry_at <= now
            && self.retry_at.compare_exchange(retry_at, next, Relaxed, Relaxed).is_ok();
        if claimed {
            self.attempts.fetch_add(1, Relaxed);
        }
        claimed
    }

    /// Returns when the last refusal was reported, if the endpoint refuses.
    pub(super) fn refused_at(&self) -> Option<u64> {
        self.is_refusing().then(|| self.refused_at.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusing_endpoint_is_tried_once_a_second_until_it_answers() {
        let health = EndpointHealth::default();
        assert!(health.claim_attempt(1) && health.claim_attempt(1));
        assert!(health.record_refusal(500));
        assert!(!health.record_refusal(600));
        assert!(!health.claim_attempt(1599));
        assert!(health.claim_attempt(1600));
        assert!(!health.claim_attempt(2599));
        health.record_answer(600);
        assert!(health.is_refusing());
        health.record_answer(1600);
        assert!(!health.is_refusing() && health.claim_attempt(1601) && health.claim_attempt(1601));
    }

    #[test]
    fn endpoint_that_never_answers_is_usable_after_silent_attempts() {
        let health = EndpointHealth::default();
        health.record_refusal(0);
        for attempt in 1..=4 {
            assert!(health.is_refusing());
            assert!(health.claim_attempt(attempt * 1000));
        }
        assert!(!health.is_refusing());
        health.record_refusal(9000);
        assert!(health.claim_attempt(10_000) && health.is_refusing());
    }
}
