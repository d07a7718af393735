//! A bucket of permits that is refilled at a constant rate, as CAs count orders.
//!
//! Pure. The state is a single moment, so that a file of it is small and a restart changes nothing.

use serde::{Deserialize, Serialize};

/// Size and refill of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLimit {
    /// Permits that can be taken in a row.
    pub capacity: u32,
    /// Seconds until one permit is refilled.
    pub refill: u32,
}

/// When the bucket is full again, in Unix seconds. The default is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket {
    full_at: i64,
}

impl BucketLimit {
    /// The seconds in which an empty bucket is refilled.
    fn whole(self) -> i64 {
        i64::from(self.capacity) * i64::from(self.refill)
    }
}

impl Bucket {
    /// Creates a bucket with `permits` permits.
    pub fn with_permits(permits: u32, limit: BucketLimit, now: i64) -> Self {
        let missing = limit.capacity.saturating_sub(permits);
        Self { full_at: now.saturating_add(i64::from(missing) * i64::from(limit.refill)) }
    }

    /// Takes a permit, if there is one.
    pub fn take(&mut self, limit: BucketLimit, now: i64) -> bool {
        let permitted = self.next_at(limit, now) <= now;
        if permitted {
            self.full_at = self.effective(limit, now) + i64::from(limit.refill);
        }
        permitted
    }

    /// Returns when the next permit can be taken, in Unix seconds; `now` or earlier if there is one.
    pub fn next_at(self, limit: BucketLimit, now: i64) -> i64 {
        self.effective(limit, now) + i64::from(limit.refill) - limit.whole()
    }

    pub fn is_full(self, now: i64) -> bool {
        self.full_at <= now
    }

    /// A bucket is never emptier than empty, even if the clock was set back since.
    fn effective(self, limit: BucketLimit, now: i64) -> i64 {
        self.full_at.clamp(now, now.saturating_add(limit.whole()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: BucketLimit = BucketLimit { capacity: 3, refill: 10 };

    #[test]
    fn empty_bucket_refills_one_by_one() {
        let mut bucket = Bucket::default();
        let takes = |bucket: &mut Bucket, now| (0..9).filter(|_| bucket.take(LIMIT, now)).count();
        assert_eq!(takes(&mut bucket, 1000), 3);
        assert_eq!(bucket.next_at(LIMIT, 1000), 1010);
        for (now, expected) in [(1009, 0), (1010, 1), (1025, 1), (1030, 1), (5000, 3)] {
            assert_eq!(takes(&mut bucket, now), expected, "{now}");
        }
    }

    #[test]
    fn clock_that_was_set_back_leaves_an_empty_bucket_at_most() {
        let mut bucket = Bucket::with_permits(0, LIMIT, 1_000_000);
        assert!(!bucket.take(LIMIT, 1000));
        assert_eq!(bucket.next_at(LIMIT, 1000), 1010);
        assert!(bucket.take(LIMIT, 1_000_010));
    }

    #[test]
    fn bucket_with_permits_has_them() {
        let mut bucket = Bucket::with_permits(2, LIMIT, 50);
        assert_eq!((0..9).filter(|_| bucket.take(LIMIT, 50)).count(), 2);
    }
}
