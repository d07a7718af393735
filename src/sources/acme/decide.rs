//! What to do for the certificates that are requested.
//!
//! Pure. [`decide`] reads what is requested, held and remembered, and returns what to do now, the memory of it, which is
//! written to disk first, and when to decide again. The same input always leads to the same decision.
//!
//! ```text
//!            ┌──────── failed, pause over ────────┐
//!            ▼                                    │
//! Missing ─▶ Ordering ─ issued ─▶ Held ─ due ─▶ Renewing ─ issued ─▶ Held
//!                                  └─ unwanted for 30 days ─▶ Archived ─ expired ─▶ removed
//! ```

use super::{
    acme_host::{AcmeHost, CertificateVariant, NameRefusal, NameRules},
    ledger::{HostRecord, Ledger, Limits},
    schedule,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A certificate that is not requested for this long is not renewed any more, in seconds.
const ARCHIVE_AFTER: i64 = 30 * schedule::DAY;

/// What is known of a current certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Unix seconds.
    pub not_before: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// The identifier by which an order names the certificate as its predecessor (RFC 9773, 4.1).
    pub ari_id: Option<String>,
}

/// What the follower knows at one moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub requested: &'a BTreeSet<AcmeHost>,
    pub issued: &'a BTreeMap<AcmeHost, CertificateSummary>,
    /// Hosts with an order that runs.
    pub running: &'a BTreeSet<AcmeHost>,
    /// Hosts with a question for the renewal window that runs.
    pub asking: &'a BTreeSet<AcmeHost>,
    /// Hosts with an order in production that the CA knows, and that can be continued.
    pub pending: &'a BTreeSet<AcmeHost>,
    pub production: &'a Connection,
    /// `None` if the CA has no staging environment.
    pub staging: Option<&'a Connection>,
    pub rules: NameRules,
    pub limits: &'a Limits,
    /// Unix seconds.
    pub now: i64,
}

/// Whether there is an account that can be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Connection {
    #[default]
    None,
    Connecting,
    Ready {
        /// The CA says when to renew, and accepts that an order names its predecessor.
        renewal_info: bool,
    },
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Log on to the CA.
    Connect { staging: bool },
    /// Order a certificate.
    Order(Order),
    /// Ask the CA when to renew the certificate.
    AskWindow(AcmeHost),
    /// Remove an expired certificate that is not requested.
    Remove(AcmeHost),
}

/// How to order a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub host: AcmeHost,
    pub staging: bool,
    /// The predecessor that the order names.
    pub replaces: Option<String>,
}

/// Where a host is in its life. The names are values of a metric's label and of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::Display, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HostState {
    /// An order waits for a limit or for the account.
    Missing,
    Ordering,
    Issued,
    Renewing,
    /// There is no certificate, and the next try is later.
    Failed,
    /// There is no certificate, and nothing is ordered at present.
    Paused,
    /// Issued, and not renewed, because it is not requested.
    Archived,
    /// The CA would not sign the name.
    Refused,
}

/// What to show of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    pub state: HostState,
    /// When the next order begins, in Unix seconds, if a moment is known.
    pub next_order: Option<i64>,
    /// Why the name is refused.
    pub refusal: Option<NameRefusal>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub acts: Vec<Act>,
    /// The memory after the acts. It is written to disk before the acts begin.
    pub ledger: Ledger,
    pub hosts: BTreeMap<AcmeHost, HostView>,
    /// When to decide again, in Unix seconds, if nothing else happens.
    pub wake_at: Option<i64>,
}

/// A host whose order is due.
struct Candidate<'a> {
    host: &'a AcmeHost,
    issued: Option<&'a CertificateSummary>,
    record: HostRecord,
    due: i64,
}

/// Decides what to do, from all that is known.
pub fn decide(view: &View<'_>, ledger: &Ledger) -> Decision {
    let (acts, hosts, wake_at) = (Vec::new(), BTreeMap::new(), None);
    let mut decision = Decision { acts, hosts, wake_at, ledger: ledger.clone() };
    decision.ledger.update_requested(
        view.requested,
        |host| view.issued.contains_key(host),
        view.now,
    );
    let hosts: BTreeSet<_> = view.requested.iter().chain(view.issued.keys()).collect();
    let due = hosts.into_iter().filter_map(|host| decision.judge(view, host));
    let mut due: Vec<_> = due.collect();
    due.sort_by(|a, b| a.rank().cmp(&b.rank()));
    decision.start(view, due);
    decision
}

impl Decision {
    /// Sets a host's state, and returns it if its order is due.
    fn judge<'a>(&mut self, view: &View<'a>, host: &'a AcmeHost) -> Option<Candidate<'a>> {
        let record = self.ledger.record(host);
        match (view.issued.get(host), view.requested.contains(host)) {
            (Some(issued), _) => self.judge_issued(view, host, issued, record),
            (None, true) => self.judge_missing(view, host, record),
            (None, false) => None,
        }
    }

    fn judge_missing<'a>(
        &mut self,
        view: &View<'a>,
        host: &'a AcmeHost,
        record: HostRecord,
    ) -> Option<Candidate<'a>> {
        if view.running.contains(host) {
            self.show(host, HostState::Ordering, None);
            return None;
        }
        if let Some(refusal) = host.refusal(view.rules) {
            let (state, refusal) = (HostState::Refused, Some(refusal));
            self.hosts.insert(host.clone(), HostView { state, next_order: None, refusal });
            return None;
        }
        let due = record.next_try;
        if view.now < due {
            self.wake(due);
            self.show(host, HostState::Failed, Some(due));
            return None;
        }
        self.show(host, HostState::Missing, None);
        Some(Candidate { host, issued: None, record, due })
    }

    fn judge_issued<'a>(
        &mut self,
        view: &View<'a>,
        host: &'a AcmeHost,
        issued: &'a CertificateSummary,
        record: HostRecord,
    ) -> Option<Candidate<'a>> {
        if view.running.contains(host) {
            self.show(host, HostState::Renewing, None);
            return None;
        }
        if !view.requested.contains(host) && self.archive(view, host, issued, &record) {
            return None;
        }
        self.ask_window(view, host, issued, &record);
        let life = (issued.not_before, issued.not_after);
        let at = schedule::renew_at(host, life, record.window)
            .max(schedule::earliest_renewal(life, record.renewed_at));
        let due = if record.forced { record.next_try } else { at.max(record.next_try) };
        self.show(host, HostState::Issued, Some(due.max(view.now)));
        if view.now < due || host.refusal(view.rules).is_some() {
            self.wake(due);
            return None;
        }
        Some(Candidate { host, issued: Some(issued), record, due })
    }

    /// Returns whether the certificate, which is not requested, is archived. The first decision that sees it records since
    /// when that is.
    fn archive(
        &mut self,
        view: &View<'_>,
        host: &AcmeHost,
        issued: &CertificateSummary,
        record: &HostRecord,
    ) -> bool {
        let since = record.unwanted_since.unwrap_or(view.now);
        self.ledger.record_mut(host).unwanted_since = Some(since);
        let archived = since + ARCHIVE_AFTER <= view.now;
        match archived && issued.not_after <= view.now {
            true => self.acts.push(Act::Remove(host.clone())),
            false if archived => self.wake(issued.not_after),
            false => self.wake(since + ARCHIVE_AFTER),
        }
        if archived {
            self.show(host, HostState::Archived, None);
        }
        archived
    }

    fn ask_window(
        &mut self,
        view: &View<'_>,
        host: &AcmeHost,
        issued: &CertificateSummary,
        record: &HostRecord,
    ) {
        if issued.ari_id.is_none() || view.asking.contains(host) {
            return;
        }
        match view.production {
            _ if view.now < record.ask_window_at => self.wake(record.ask_window_at),
            Connection::Ready { renewal_info: true } => {
                let asks = self.acts.iter().filter(|act| matches!(act, Act::AskWindow(_))).count();
                if view.asking.len() + asks < view.limits.running {
                    self.acts.push(Act::AskWindow(host.clone()));
                }
            }
            Connection::None => self.connect(view, false),
            Connection::Connecting | Connection::Ready { renewal_info: false } => {}
        }
    }

    fn start(&mut self, view: &View<'_>, due: Vec<Candidate<'_>>) {
        let mut free = view.limits.running.saturating_sub(view.running.len());
        for candidate in due {
            if let Some(pause) = &self.ledger.pause {
                let until = pause.until;
                self.wake(until);
                self.delay(&candidate, HostState::Paused, until);
            } else if self.waits_for_sibling(view, candidate.host) {
                // The end of the other order leads to another decision.
            } else if 0 < free && self.order(view, &candidate) {
                free -= 1;
            }
        }
    }

    /// Whether the order must wait for that of the other certificate for the same names: a CA answers an order with an
    /// unfinished one for the same names (RFC 8555, 7.4), and would issue one certificate for both.
    ///
    /// Of two certificates, the first one shows whether the CA issues any for the names. So a name that fails counts
    /// once against the CA's limits.
    fn waits_for_sibling(&self, view: &View<'_>, host: &AcmeHost) -> bool {
        let sibling = host.sibling();
        let record = self.ledger.record(&sibling);
        if record.started.is_some() {
            return true;
        }
        let is_first = host.variant == CertificateVariant::Main;
        if is_first || !view.requested.contains(&sibling) {
            return false;
        }
        let is_proven = view.issued.contains_key(&sibling) && record.failures == 0;
        view.pending.contains(&sibling) || (!is_proven && !view.pending.contains(host))
    }

    /// Begins an order, unless the account or a permit is missing.
    fn order(&mut self, view: &View<'_>, candidate: &Candidate<'_>) -> bool {
        let staging = candidate.record.staging && view.staging.is_some();
        let connection = view.staging.filter(|_| staging).unwrap_or(view.production);
        let Connection::Ready { renewal_info } = *connection else {
            if *connection == Connection::None {
                self.connect(view, staging);
            }
            return false;
        };
        let replaces = candidate.predecessor().filter(|_| renewal_info && !staging);
        let free = staging || replaces.is_some() || view.pending.contains(candidate.host);
        if !free {
            // The CA counts another certificate for the same names as a renewal.
            let is_main = candidate.host.variant == CertificateVariant::Main;
            let new = candidate.issued.is_none() && is_main;
            let taken = self.ledger.take_permits(candidate.host, new, view.limits, view.now);
            if let Err(at) = taken {
                self.wake(at);
                self.delay(candidate, HostState::Missing, at);
                return false;
            }
        }
        self.begin(view, candidate, Order { host: candidate.host.clone(), staging, replaces });
        true
    }

    fn begin(&mut self, view: &View<'_>, candidate: &Candidate<'_>, order: Order) {
        self.ledger.record_mut(candidate.host).started = Some(view.now);
        let state =
            if candidate.issued.is_some() { HostState::Renewing } else { HostState::Ordering };
        self.show(candidate.host, state, None);
        self.acts.push(Act::Order(order));
    }

    fn connect(&mut self, view: &View<'_>, staging: bool) {
        let act = Act::Connect { staging };
        match &self.ledger.pause {
            Some(pause) => {
                let until = pause.until;
                self.wake(until);
            }
            None if !self.acts.contains(&act) => self.acts.push(act),
            None => {}
        }
        debug_assert!(!staging || view.staging.is_some());
    }

    /// Shows a host whose order must wait. A certificate that exists stays `Issued`.
    fn delay(&mut self, candidate: &Candidate<'_>, state: HostState, at: i64) {
        let state = if candidate.issued.is_some() { HostState::Issued } else { state };
        self.show(candidate.host, state, Some(at));
    }

    fn show(&mut self, host: &AcmeHost, state: HostState, next_order: Option<i64>) {
        self.hosts.insert(host.clone(), HostView { state, next_order, refusal: None });
    }

    fn wake(&mut self, at: i64) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake| wake.min(at)));
    }
}

impl Candidate<'_> {
    fn predecessor(&self) -> Option<String> {
        let issued = self.issued.filter(|_| !self.record.without_predecessor)?;
        issued.ari_id.clone()
    }

    /// Orders candidates: demands of an operator, certificates that expire, first tries, and then hosts that failed.
    fn rank(&self) -> (bool, bool, u32, i64, &AcmeHost) {
        (!self.record.forced, self.issued.is_none(), self.record.failures, self.due, self.host)
    }
}

#[cfg(test)]
mod tests;
