//! What must survive a restart: tries, failures, pauses, and how much of the CA's limits is used.
//!
//! Pure. All moments are Unix seconds. `ledger_file` reads and writes the value.

use super::{
    acme_host::AcmeHost,
    bucket::{Bucket, BucketLimit},
    error::{AcmeError, FailureKind},
    schedule,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A record without a certificate and without a try for this long is removed.
const FORGET_AFTER: i64 = 8 * schedule::DAY;
/// The longest time that a record may wait for, which bounds the effect of a clock that was wrong.
const MAX_WAIT: i64 = 8 * schedule::DAY;

/// Limits of a try, kept just inside those of Let's Encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Orders, and questions for renewal windows, that run at the same time.
    pub running: usize,
    /// Orders of the account. Let's Encrypt permits 300, one more per 36 s.
    pub orders: BucketLimit,
    /// New names below one parent domain. Let's Encrypt permits 50, one more per 202 min.
    pub names: BucketLimit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 10,
            orders: BucketLimit { capacity: 250, refill: 40 },
            names: BucketLimit { capacity: 40, refill: 220 * 60 },
        }
    }
}

/// The memory of all orders with one CA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    #[serde(default)]
    pub hosts: BTreeMap<AcmeHost, HostRecord>,
    #[serde(default)]
    pub orders: Bucket,
    /// New names by parent domain. A domain that is missing has a full bucket.
    #[serde(default)]
    pub names: BTreeMap<String, Bucket>,
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Failures of the account or the CA in a row.
    #[serde(default)]
    pub account_failures: u32,
    /// The earlier ledger is lost: hosts without a record begin in the staging environment.
    #[serde(default)]
    pub lost: bool,
}

/// The memory of one host's orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    #[serde(default)]
    pub last_failure: Option<Failure>,
    /// No try before this moment.
    #[serde(default)]
    pub next_try: i64,
    /// When the order that runs was begun. After a restart, such an order was interrupted.
    #[serde(default)]
    pub started: Option<i64>,
    /// The next try is made in the staging environment.
    #[serde(default)]
    pub staging: bool,
    /// An operator demands a renewal.
    #[serde(default)]
    pub forced: bool,
    /// The CA does not accept that the order names its predecessor.
    #[serde(default)]
    pub without_predecessor: bool,
    #[serde(default)]
    pub window: Option<RenewalWindow>,
    /// When to ask for the renewal window again.
    #[serde(default)]
    pub ask_window_at: i64,
    #[serde(default)]
    pub unwanted_since: Option<i64>,
    /// When an existing certificate was last renewed.
    #[serde(default)]
    pub renewed_at: Option<i64>,
}

/// The last failure of a host's orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub at: i64,
    pub kind: FailureKind,
    /// Printable, bounded, without secrets.
    pub text: String,
    /// Whether the failure was in the staging environment.
    pub staging: bool,
}

/// The time in which the CA wants a certificate to be renewed (RFC 9773).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewalWindow {
    pub start: i64,
    pub end: i64,
}

/// Nothing is ordered until a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub until: i64,
    pub kind: FailureKind,
    pub text: String,
}

impl Ledger {
    /// Creates the ledger that replaces a damaged one. Its buckets have what the CA permits in addition to full ones, and
    /// each first try is in the staging environment.
    pub fn after_loss(limits: &Limits, now: i64) -> Self {
        let orders = Bucket::with_permits(limits.orders.capacity / 6, limits.orders, now);
        Self { orders, lost: true, ..Self::default() }
    }

    pub fn record(&self, host: &AcmeHost) -> HostRecord {
        let missing = || HostRecord { staging: self.lost, ..HostRecord::default() };
        self.hosts.get(host).cloned().unwrap_or_else(missing)
    }

    pub(super) fn record_mut(&mut self, host: &AcmeHost) -> &mut HostRecord {
        let record = self.record(host);
        self.hosts.entry(host.clone()).or_insert(record)
    }

    /// Takes permits for a new order. Nothing is taken if one is missing; then the moment is returned when there is one.
    pub(super) fn take_permits(
        &mut self,
        host: &AcmeHost,
        new_name: bool,
        limits: &Limits,
        now: i64,
    ) -> Result<(), i64> {
        let (parent, mut orders) = (host.parent(), self.orders);
        let full = if self.lost { 8.min(limits.names.capacity) } else { limits.names.capacity };
        let missing = || Bucket::with_permits(full, limits.names, now);
        let mut names = self.names.get(parent).copied().unwrap_or_else(missing);
        if !orders.take(limits.orders, now) {
            return Err(orders.next_at(limits.orders, now));
        }
        if new_name && !names.take(limits.names, now) {
            return Err(names.next_at(limits.names, now));
        }
        self.orders = orders;
        if new_name {
            self.names.insert(parent.to_owned(), names);
        }
        Ok(())
    }

    /// Repairs a ledger at the start of the program: an order that ran was interrupted, and counts as a failure unless
    /// the CA still knows it (`pending`).
    pub fn recover(&mut self, pending: &BTreeSet<AcmeHost>, now: i64) {
        for (host, record) in &mut self.hosts {
            record.next_try = record.next_try.min(now + MAX_WAIT);
            let Some(started) = record.started.take() else { continue };
            if !pending.contains(host) {
                let text = "the program ended before the order did".to_owned();
                let (kind, staging) = (FailureKind::Interrupted, record.staging);
                let failure = Failure { at: started.min(now), kind, text, staging };
                record.fail(host, failure, None);
            }
        }
        if let Some(pause) = &mut self.pause {
            pause.until = pause.until.min(now + MAX_WAIT);
        }
    }

    /// Records that a host's order has a certificate. A staging certificate permits a try in production. `renewed_at` is
    /// now, if there was a certificate before.
    pub fn record_success(&mut self, host: &AcmeHost, staging: bool, renewed_at: Option<i64>) {
        self.account_failures = 0;
        let record = self.record_mut(host);
        let unwanted_since = record.unwanted_since;
        let renewed_at = if staging { record.renewed_at } else { renewed_at };
        let forced = record.forced && staging;
        let kept = staging.then(|| (record.failures, record.last_failure.take()));
        let (failures, last_failure) = kept.unwrap_or_default();
        *record = HostRecord {
            failures,
            last_failure,
            forced,
            unwanted_since,
            renewed_at,
            ..HostRecord::default()
        };
    }

    /// Records that an order failed.
    pub fn record_failure(
        &mut self,
        host: &AcmeHost,
        error: &AcmeError,
        staging: bool,
        (now, has_staging): (i64, bool),
    ) {
        let record = self.record_mut(host);
        record.started = None;
        match error.kind {
            FailureKind::OrderGone => return,
            FailureKind::AlreadyReplaced if !record.without_predecessor => {
                record.without_predecessor = true;
                return;
            }
            _ => {}
        }
        record.staging |= has_staging && error.kind.is_about_name();
        let (kind, text) = (error.kind, error.text.clone());
        record.fail(host, Failure { at: now, kind, text, staging }, error.retry_after);
    }

    /// Records that an order ended because of a failure that is recorded for all orders.
    pub fn end_order(&mut self, host: &AcmeHost) {
        self.record_mut(host).started = None;
    }

    /// Records a failure that affects all orders: all of them wait.
    pub fn record_account_failure(&mut self, error: &AcmeError, now: i64) {
        self.account_failures = self.account_failures.saturating_add(1);
        let wait = schedule::pause_after_account_failure(self.account_failures, error.retry_after);
        let until = now + wait;
        self.pause = Some(Pause { until, kind: error.kind, text: error.text.clone() });
    }

    /// Records the answer to a question for the renewal window. A CA without ARI has no window.
    pub fn record_window(&mut self, host: &AcmeHost, window: Option<RenewalWindow>, at: i64) {
        let record = self.record_mut(host);
        record.window = window.or(record.window);
        record.ask_window_at = at;
    }

    /// Records an operator's demand for a renewal, which ends the host's pause.
    pub fn force(&mut self, host: &AcmeHost) {
        let record = self.record_mut(host);
        record.forced = true;
        record.next_try = 0;
    }

    /// Updates since when each certificate is not requested, and removes records without any use.
    pub(super) fn update_requested(
        &mut self,
        requested: &BTreeSet<AcmeHost>,
        issued: impl Fn(&AcmeHost) -> bool,
        now: i64,
    ) {
        for host in requested {
            if let Some(record) = self.hosts.get_mut(host) {
                record.unwanted_since = None;
            }
        }
        for (host, record) in &mut self.hosts {
            if !requested.contains(host) {
                record.unwanted_since.get_or_insert(now);
            }
        }
        self.hosts.retain(|host, record| {
            let since = record.unwanted_since.unwrap_or(now).max(record.next_try);
            record.started.is_some() || issued(host) || now < since + FORGET_AFTER
        });
        self.names.retain(|_, bucket| !bucket.is_full(now));
        self.pause.take_if(|pause| pause.until <= now);
    }
}

impl HostRecord {
    fn fail(&mut self, host: &AcmeHost, failure: Failure, retry_after: Option<i64>) {
        self.failures = self.failures.saturating_add(1);
        self.next_try =
            failure.at + schedule::pause_after_failure(host, self.failures, retry_after);
        self.forced = false;
        self.last_failure = Some(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> AcmeHost {
        name.parse().unwrap()
    }

    fn failed(kind: FailureKind) -> AcmeError {
        AcmeError::new(kind, "no")
    }

    #[test]
    fn interrupted_order_counts_as_failure_unless_it_can_continue() {
        for (pending, failures) in [(false, 1), (true, 0)] {
            let mut ledger = Ledger::default();
            ledger.record_mut(&host("a.example.com")).started = Some(100);
            let pending_hosts = pending.then(|| host("a.example.com")).into_iter().collect();
            ledger.recover(&pending_hosts, 5000);
            let record = ledger.record(&host("a.example.com"));
            assert_eq!((record.failures, record.started), (failures, None));
            assert!(record.next_try < 5000, "a pause counts from the start of the order");
        }
    }

    #[test]
    fn failure_of_name_leads_to_staging_and_outage_does_not() {
        for (kind, has_staging, staging) in [
            (FailureKind::Dns, true, true),
            (FailureKind::Unauthorized, true, true),
            (FailureKind::Unauthorized, false, false),
            (FailureKind::Unreachable, true, false),
            (FailureKind::RateLimited, true, false),
        ] {
            let mut ledger = Ledger::default();
            ledger.record_failure(&host("a.example.com"), &failed(kind), false, (0, has_staging));
            assert_eq!(ledger.record(&host("a.example.com")).staging, staging, "{kind}");
        }
    }

    #[test]
    fn success_in_staging_permits_production_and_keeps_failures() {
        let mut ledger = Ledger::default();
        let (name, error) = (host("a.example.com"), failed(FailureKind::Dns));
        ledger.record_failure(&name, &error, false, (0, true));
        ledger.record_failure(&name, &error, true, (100, true));
        ledger.record_success(&name, true, None);
        let record = ledger.record(&name);
        assert_eq!((record.failures, record.staging, record.next_try), (2, false, 0));
        ledger.record_success(&name, false, None);
        assert_eq!(ledger.record(&name).failures, 0);
    }

    #[test]
    fn lost_ledger_permits_few_orders_and_begins_in_staging() {
        let limits = Limits::default();
        let mut ledger = Ledger::after_loss(&limits, 1000);
        assert!(ledger.record(&host("new.example.com")).staging);
        let taken = |ledger: &mut Ledger, name: &str| {
            (0..100)
                .filter(|_| ledger.take_permits(&host(name), true, &limits, 1000).is_ok())
                .count()
        };
        assert_eq!(taken(&mut ledger, "a.example.com"), 8);
        let other =
            (0..20).map(|n| taken(&mut ledger, &format!("a.example{n}.com"))).sum::<usize>();
        assert_eq!(other, 41 - 8);
    }

    #[test]
    fn wrong_clock_does_not_pause_for_longer_than_eight_days() {
        let mut ledger = Ledger::default();
        ledger.record_mut(&host("a.example.com")).next_try = i64::MAX;
        ledger.recover(&BTreeSet::new(), 1000);
        assert_eq!(ledger.record(&host("a.example.com")).next_try, 1000 + MAX_WAIT);
    }

    #[test]
    fn record_of_unwanted_host_outlives_its_pause() {
        let mut ledger = Ledger::default();
        let name = host("a.example.com");
        ledger.record_failure(&name, &failed(FailureKind::Dns), false, (1000, false));
        let mut update = |now| {
            ledger.update_requested(&BTreeSet::new(), |_| false, now);
            ledger.hosts.contains_key(&name)
        };
        assert!(update(2000));
        assert!(update(2000 + FORGET_AFTER - 1));
        assert!(!update(2000 + FORGET_AFTER));
    }
}
