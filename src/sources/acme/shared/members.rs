//! The balancers that share a store, as the leader sees them.
//!
//! Pure. A balancer is alive if its entry changed within `stale`, by the reader's clock.

use super::{
    super::acme_host::AcmeHost,
    SharedTimes,
    record::{ChallengeName, MemberRecord, RecordError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

/// The most balancers that share a store. Further entries are skipped.
const MAX_MEMBERS: usize = 64;

/// The other balancers.
#[derive(Debug)]
pub(super) struct Members {
    times: SharedTimes,
    ca: String,
    seen: BTreeMap<String, Member>,
    /// The hosts of these members together.
    hosts: (Vec<Arc<BTreeSet<AcmeHost>>>, Arc<BTreeSet<AcmeHost>>),
}

/// What was read of a balancer.
#[derive(Debug)]
struct Member {
    text: Vec<u8>,
    /// The last one that was valid.
    record: Option<MemberRecord>,
    /// Since when it has this text.
    since: Instant,
    /// Whether the last reading had it.
    is_present: bool,
}

/// What to tell an operator of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryProblem {
    Damaged { name: String, error: RecordError },
    OtherCa { host: String, ca: String },
    TooMany { name: String },
}

impl Members {
    /// `ca` is the directory of the CA that the leader orders from.
    pub(super) fn new(times: SharedTimes, ca: &str) -> Self {
        Self { times, ca: ca.to_owned(), seen: BTreeMap::new(), hosts: Default::default() }
    }

    /// Takes over all entries, without that of the leader itself. Returns what is wrong with those that changed.
    pub(super) fn observe(
        &mut self,
        found: Vec<(String, Vec<u8>)>,
        now: Instant,
    ) -> Vec<EntryProblem> {
        for member in self.seen.values_mut() {
            member.is_present = false;
        }
        let problems = found.into_iter().filter_map(|(name, text)| self.take(name, text, now));
        let problems = problems.collect();
        let keep = self.times.keep_hosts;
        self.seen.retain(|_, member| member.is_present || now < member.since + keep);
        problems
    }

    fn take(&mut self, name: String, text: Vec<u8>, now: Instant) -> Option<EntryProblem> {
        if let Some(member) = self.seen.get_mut(&name).filter(|member| member.text == text) {
            member.is_present = true;
            return None;
        }
        if MAX_MEMBERS <= self.seen.len() && !self.seen.contains_key(&name) {
            return Some(EntryProblem::TooMany { name });
        }
        let parsed = MemberRecord::parse(&text);
        let problem = match &parsed {
            Err(error) => Some(EntryProblem::Damaged { name: name.clone(), error: error.clone() }),
            Ok(MemberRecord { owner, .. }) if owner.ca != self.ca => {
                Some(EntryProblem::OtherCa { host: owner.host.clone(), ca: owner.ca.clone() })
            }
            Ok(_) => None,
        };
        // A file that is damaged for a moment does not change what is requested.
        let before = self.seen.remove(&name).and_then(|member| member.record);
        let record = match (parsed, before) {
            (Ok(record), Some(before)) if record.hosts == before.hosts => {
                Some(MemberRecord { hosts: before.hosts, ..record })
            }
            (Ok(record), _) => Some(record),
            (Err(_), before) => before,
        };
        self.seen.insert(name, Member { text, record, since: now, is_present: true });
        problem
    }

    /// Returns the hosts for which members need certificates. Those of a member that is silent stay for a while, so that
    /// a restart changes nothing.
    pub(super) fn hosts(&mut self, now: Instant) -> Arc<BTreeSet<AcmeHost>> {
        let keep = self.times.keep_hosts;
        let members = self.seen.values().filter(|member| now < member.since + keep);
        let records = members.filter_map(|member| member.record.as_ref());
        let sets: Vec<_> = records
            .filter(|record| record.owner.ca == self.ca)
            .map(|record| Arc::clone(&record.hosts))
            .collect();
        let is_same = sets.len() == self.hosts.0.len()
            && sets.iter().zip(&self.hosts.0).all(|(set, last)| Arc::ptr_eq(set, last));
        if !is_same {
            let all: BTreeSet<_> = sets.iter().flat_map(|set| set.iter().cloned()).collect();
            self.hosts = (sets, Arc::new(all));
        }
        Arc::clone(&self.hosts.1)
    }

    /// Returns the answers that each member serves which is alive.
    pub(super) fn served(&self, now: Instant) -> BTreeMap<String, BTreeSet<ChallengeName>> {
        let live = self.seen.iter().filter(|(_, member)| {
            member.is_present && now < member.since + self.times.stale && member.record.is_some()
        });
        let serves = |member: &Member| {
            member.record.as_ref().map(|record| record.serves.clone()).unwrap_or_default()
        };
        live.map(|(name, member)| (name.clone(), serves(member))).collect()
    }

    /// Returns the entries of members that are silent for so long that they can be removed.
    pub(super) fn forgotten(&self, now: Instant) -> Vec<String> {
        let is_old = |member: &Member| member.is_present && member.since + self.times.forget <= now;
        self.seen
            .iter()
            .filter(|(_, member)| is_old(member))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
