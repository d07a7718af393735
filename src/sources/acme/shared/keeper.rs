//! The task that reads and writes a shared store: it carries out what [`Lease`] and [`Members`] decide.

use super::{
    super::acme_host::AcmeHost,
    EntryKind, SharedStore, SharedStoreError, SharedTimes, Tenure,
    lease::{Lease, LeaseAct},
    members::{EntryProblem, Members},
    record::{
        ChallengeName, Identity, Leader, LeaseRecord, MemberRecord, SharedChallenge, parse_request,
        request_text,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep_until, timeout},
};
use tracing::{debug, info, warn};

/// How many problems of entries are remembered, so that each is logged once.
const MAX_REPORTED: usize = 1000;
/// While answers to challenges are awaited, the store is read this much more often.
const FAST: u32 = 10;
/// The most renewals that are taken at a time.
const MAX_REQUESTS: usize = 64;

/// The channels of [`Keeper`].
#[derive(Debug)]
pub(super) struct Inputs {
    /// The hosts of this balancer.
    pub hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    /// The answers to challenges of another balancer that HAProxy serves.
    pub serves: watch::Receiver<BTreeSet<ChallengeName>>,
    pub commands: mpsc::Receiver<KeeperCommand>,
    pub requests: mpsc::Sender<AcmeHost>,
}

/// What the orders and the relay request. Only the leader does the first four.
#[derive(Debug)]
pub(crate) enum KeeperCommand {
    /// Give all balancers the answer to a challenge.
    PutChallenge {
        name: ChallengeName,
        challenge: SharedChallenge,
        /// Gets a value when they can read it.
        done: oneshot::Sender<()>,
    },
    DropChallenge {
        name: ChallengeName,
    },
    /// Tell the others to read certificates again.
    CountCertificates,
    /// Tell the others to read the ledger again.
    CountLedger,
    /// Whether this balancer is the leader of a term, by another look at the store.
    Confirm {
        term: u64,
        done: oneshot::Sender<bool>,
    },
    /// Let the leader renew a certificate.
    Request(AcmeHost),
}

/// What the orders have to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SharedView {
    /// The store was read, or cannot be read.
    pub is_polled: bool,
    /// The term in which this balancer orders.
    pub term: Option<u64>,
    /// The balancer that orders.
    pub leader: Option<Leader>,
    /// The directory of the leader's CA, if it is another one.
    pub other_ca: Option<String>,
    /// Differs when there are other certificates.
    pub certificates: (u64, u64),
    /// Differs when the ledger changed.
    pub ledger: (u64, u64),
    /// The hosts of the other balancers, for the leader.
    pub hosts: Arc<BTreeSet<AcmeHost>>,
    /// Why the store cannot be used.
    pub problem: Option<String>,
}

/// What the relay has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProofView {
    /// The answers that the leader wants to be served, if it is another balancer.
    pub challenges: BTreeMap<ChallengeName, SharedChallenge>,
    /// What each other balancer serves, for the leader.
    pub served: BTreeMap<String, BTreeSet<ChallengeName>>,
}

/// Ends orders when this balancer is the leader of a term no longer.
#[derive(Debug, Clone)]
pub(crate) struct LeaseGuard {
    tenure: watch::Receiver<Option<Tenure>>,
    term: u64,
}

/// The state of the task.
#[derive(Debug)]
pub(crate) struct Keeper<S: SharedStore> {
    store: S,
    identity: Identity,
    times: SharedTimes,
    inputs: Inputs,
    view: watch::Sender<SharedView>,
    proofs: watch::Sender<ProofView>,
    tenure: watch::Sender<Option<Tenure>>,
    lease: Lease,
    members: Members,
    /// The term that this balancer has begun last.
    begun: Option<u64>,
    /// The lease of this balancer, while it is the leader.
    record: LeaseRecord,
    /// The record has a change that is not in the store.
    is_changed: bool,
    /// The entry of this balancer, and when it was written.
    entry: Option<(MemberRecord, Instant)>,
    beat: u64,
    challenges: BTreeMap<ChallengeName, SharedChallenge>,
    /// Files to remove when the lease names them no longer.
    withdrawn: Vec<ChallengeName>,
    /// Those that wait for the end of a reading.
    puts: Vec<oneshot::Sender<()>>,
    confirms: Vec<(u64, oneshot::Sender<bool>)>,
    renewals: Vec<AcmeHost>,
    requests_sent: u64,
    problem: Option<String>,
    reported: BTreeSet<String>,
}

impl LeaseGuard {
    pub(crate) fn new(tenure: watch::Receiver<Option<Tenure>>, term: u64) -> Self {
        Self { tenure, term }
    }

    pub(crate) fn is_held(&self) -> bool {
        let tenure = *self.tenure.borrow();
        tenure.is_some_and(|tenure| tenure.term == self.term && std_now() < tenure.until)
    }

    /// Returns when the leader's term is over.
    pub(crate) async fn wait_until_lost(mut self) {
        loop {
            let tenure = *self.tenure.borrow_and_update();
            let until = tenure.filter(|tenure| tenure.term == self.term).map(|held| held.until);
            let Some(until) = until.filter(|until| std_now() < *until) else { return };
            tokio::select! {
                changed = self.tenure.changed() => if changed.is_err() { return },
                () = sleep_until(until.into()) => {}
            }
        }
    }
}

impl<S: SharedStore> Keeper<S> {
    pub(super) fn new(store: S, identity: Identity, times: SharedTimes, inputs: Inputs) -> Self {
        let record = LeaseRecord {
            owner: identity.clone(),
            beat: 0,
            released: false,
            certificates: 0,
            ledger: 0,
            challenges: BTreeSet::new(),
        };
        Self {
            store,
            times,
            inputs,
            view: watch::Sender::default(),
            proofs: watch::Sender::default(),
            tenure: watch::Sender::default(),
            lease: Lease::new(identity.id.clone(), times),
            members: Members::new(times, &identity.ca),
            begun: None,
            identity,
            record,
            is_changed: false,
            entry: None,
            beat: 0,
            challenges: BTreeMap::new(),
            withdrawn: Vec::new(),
            puts: Vec::new(),
            confirms: Vec::new(),
            renewals: Vec::new(),
            requests_sent: 0,
            problem: None,
            reported: BTreeSet::new(),
        }
    }

    pub(super) fn view(&self) -> watch::Receiver<SharedView> {
        self.view.subscribe()
    }

    pub(super) fn proofs(&self) -> watch::Receiver<ProofView> {
        self.proofs.subscribe()
    }

    pub(super) fn lease(&self) -> watch::Receiver<Option<Tenure>> {
        self.tenure.subscribe()
    }

    /// Keeps the store until it is dropped, which lets another balancer order at once.
    pub(crate) async fn run(mut self) {
        loop {
            self.poll().await;
            let pause = self.pause();
            tokio::select! {
                Some(command) = self.inputs.commands.recv() => self.take(command).await,
                Ok(()) = self.inputs.hosts.changed() => {}
                Ok(()) = self.inputs.serves.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(command) = self.inputs.commands.try_recv() {
                self.take(command).await;
            }
        }
    }

    fn pause(&self) -> Duration {
        let proofs = self.proofs.borrow();
        let is_waiting = |names: &BTreeSet<ChallengeName>| !self.record.challenges.is_subset(names);
        let is_awaited = self.lease.tenure().is_some() && proofs.served.values().any(is_waiting);
        if is_awaited { self.times.poll / FAST } else { self.times.poll }
    }

    async fn take(&mut self, command: KeeperCommand) {
        let is_leader = self.lease.tenure().is_some();
        match command {
            KeeperCommand::Confirm { term, done } => self.confirms.push((term, done)),
            KeeperCommand::Request(host) => self.renewals.push(host),
            _ if !is_leader => {}
            KeeperCommand::PutChallenge { name, challenge, done } => {
                let text = challenge.to_text();
                let kind = EntryKind::Challenge;
                let written = self.store.write(kind, name.as_str(), &text);
                if let Err(error) = patiently(&self.view, self.times, written).await {
                    debug!("cannot give an answer to a challenge to other balancers: {error}");
                    return;
                }
                self.withdrawn.retain(|other| *other != name);
                self.is_changed |= self.record.challenges.insert(name);
                self.puts.push(done);
            }
            KeeperCommand::DropChallenge { name } => {
                if self.record.challenges.remove(&name) {
                    self.is_changed = true;
                    self.withdrawn.push(name);
                }
            }
            KeeperCommand::CountCertificates => {
                self.record.certificates += 1;
                self.is_changed = true;
            }
            KeeperCommand::CountLedger => {
                self.record.ledger += 1;
                self.is_changed = true;
            }
        }
    }

    /// Reads the store, and writes what is due.
    async fn poll(&mut self) {
        let result = self.exchange().await;
        if let Err(error) = &result {
            let act = self.lease.observe_failure(std_now());
            self.end_term_if(act);
            if self.problem.is_none() {
                warn!("{error}; retrying");
            }
        } else if self.problem.is_some() {
            info!("the shared store is available again");
        }
        self.problem = result.err().map(|error| error.to_string());
        self.publish();
        self.answer();
    }

    async fn exchange(&mut self) -> Result<(), SharedStoreError> {
        self.keep_lease().await?;
        // What follows may take long.
        self.publish_tenure();
        if let Some((term, _)) = self.lease.tenure() {
            if self.begun != Some(term) {
                self.begin_term(term).await?;
            }
            self.read_members().await?;
            self.take_requests().await?;
        } else {
            self.read_challenges().await?;
        }
        self.write_entry().await?;
        self.send_requests().await
    }

    async fn keep_lease(&mut self) -> Result<(), SharedStoreError> {
        let begun = std_now();
        let found = patiently(&self.view, self.times, self.store.read_lease()).await?;
        let act = self.lease.observe(found, std_now());
        self.end_term_if(act);
        match act {
            LeaseAct::Create { term } => self.create_lease(term).await,
            LeaseAct::Keep { term } if self.is_changed => self.renew(term, begun).await,
            LeaseAct::Renew { term } => self.renew(term, begun).await,
            LeaseAct::Keep { .. } | LeaseAct::Follow | LeaseAct::StepDown => Ok(()),
        }
    }

    async fn create_lease(&mut self, term: u64) -> Result<(), SharedStoreError> {
        let begun = std_now();
        // Others notice a change by these numbers, so they go on from those of the former leader.
        if let Some((_, last)) = self.lease.record() {
            self.record.certificates = last.certificates + 1;
            self.record.ledger = last.ledger + 1;
        }
        self.record.beat += 1;
        self.record.challenges.clear();
        let text = self.record.to_text();
        let created = self.store.create_lease(term, &text);
        if !patiently(&self.view, self.times, created).await? {
            return Ok(());
        }
        // A balancer that was suspended before it created the lease may find that there are later ones.
        let found = patiently(&self.view, self.times, self.store.read_lease()).await?;
        self.lease.record_renewal(term, begun);
        self.lease.observe(found, std_now());
        Ok(())
    }

    async fn begin_term(&mut self, term: u64) -> Result<(), SharedStoreError> {
        info!(term, "this balancer orders the certificates of all that share the store");
        self.is_changed = false;
        self.withdrawn.clear();
        self.members = Members::new(self.times, &self.identity.ca);
        // What the former leader left.
        let kind = EntryKind::Challenge;
        for (name, _) in patiently(&self.view, self.times, self.store.list(kind)).await? {
            self.remove(kind, &name).await;
        }
        self.begun = Some(term);
        Ok(())
    }

    async fn renew(&mut self, term: u64, begun: Instant) -> Result<(), SharedStoreError> {
        self.record.beat += 1;
        let text = self.record.to_text();
        patiently(&self.view, self.times, self.store.write_lease(term, &text)).await?;
        self.lease.record_renewal(term, begun);
        self.is_changed = false;
        for name in std::mem::take(&mut self.withdrawn) {
            self.remove(EntryKind::Challenge, name.as_str()).await;
        }
        Ok(())
    }

    fn end_term_if(&mut self, act: LeaseAct) {
        if act == LeaseAct::StepDown {
            warn!(
                "this balancer no longer orders certificates: it has lost the lease of the shared store"
            );
            self.record.challenges.clear();
            self.is_changed = false;
        }
    }

    async fn read_members(&mut self) -> Result<(), SharedStoreError> {
        let list = self.store.list(EntryKind::Member);
        let mut found = patiently(&self.view, self.times, list).await?;
        found.retain(|(name, _)| name != self.identity.id.as_str());
        let now = std_now();
        for problem in self.members.observe(found, now) {
            self.report(&problem);
        }
        for name in self.members.forgotten(now) {
            self.remove(EntryKind::Member, &name).await;
        }
        Ok(())
    }

    fn report(&mut self, problem: &EntryProblem) {
        let text = match problem {
            EntryProblem::Damaged { name, error } => {
                format!("the entry {name} of a balancer in the shared store is damaged: {error}")
            }
            EntryProblem::OtherCa { host, ca } => format!(
                "the balancer at {host} shares the store, and orders from another CA, {ca}; it gets \
                 no certificates"
            ),
            EntryProblem::TooMany { name } => {
                format!("too many balancers share the store; {name} is skipped")
            }
        };
        self.report_once(text);
    }

    fn report_once(&mut self, text: String) {
        if self.reported.len() < MAX_REPORTED && !self.reported.contains(&text) {
            warn!("{text}");
            self.reported.insert(text);
        }
    }

    async fn take_requests(&mut self) -> Result<(), SharedStoreError> {
        let kind = EntryKind::Request;
        let found = patiently(&self.view, self.times, self.store.list(kind)).await?;
        for (name, text) in found.into_iter().take(MAX_REQUESTS) {
            if self.inputs.requests.capacity() == 0 {
                break;
            }
            // A request that cannot be removed would be made again and again.
            if !self.remove(kind, &name).await {
                continue;
            }
            match parse_request(&text) {
                Ok(host) => drop(self.inputs.requests.try_send(host)),
                Err(error) => self.report_once(format!(
                    "a request {name} in the shared store is damaged: {error}"
                )),
            }
        }
        Ok(())
    }

    /// Removes an entry, perhaps one that another program made. Returns whether it is gone.
    async fn remove(&mut self, kind: EntryKind, name: &str) -> bool {
        let removed = self.store.remove(kind, name);
        match patiently(&self.view, self.times, removed).await {
            Ok(()) => true,
            Err(error) => {
                self.report_once(format!("cannot remove {name} from the shared store: {error}"));
                false
            }
        }
    }

    async fn send_requests(&mut self) -> Result<(), SharedStoreError> {
        while let Some(host) = self.renewals.first() {
            let name = format!("{}-{}", self.identity.id.as_str(), self.requests_sent);
            let text = request_text(host);
            let written = self.store.write(EntryKind::Request, &name, &text);
            patiently(&self.view, self.times, written).await?;
            self.requests_sent += 1;
            self.renewals.remove(0);
        }
        Ok(())
    }

    /// Reads the answers that the leader wants to be served. One that is not there any more is withdrawn soon.
    async fn read_challenges(&mut self) -> Result<(), SharedStoreError> {
        let listed = self.lease.record().filter(|(_, record)| record.owner.id != self.identity.id);
        let listed = listed.map(|(_, record)| record.challenges.clone()).unwrap_or_default();
        self.challenges.retain(|name, _| listed.contains(name));
        for name in listed {
            if self.challenges.contains_key(&name) {
                continue;
            }
            let read = self.store.read(EntryKind::Challenge, name.as_str());
            let Some(text) = patiently(&self.view, self.times, read).await? else { continue };
            match SharedChallenge::parse(&text) {
                Ok(challenge) => drop(self.challenges.insert(name, challenge)),
                Err(error) => self.report_once(format!(
                    "a challenge {} in the shared store is damaged: {error}",
                    name.as_str()
                )),
            }
        }
        Ok(())
    }

    /// Writes the entry of this balancer, if it is due.
    async fn write_entry(&mut self) -> Result<(), SharedStoreError> {
        let now = std_now();
        let record = MemberRecord {
            owner: self.identity.clone(),
            hosts: Arc::clone(&self.inputs.hosts.borrow_and_update()),
            serves: self.inputs.serves.borrow_and_update().clone(),
        };
        let is_current = self
            .entry
            .as_ref()
            .is_some_and(|(written, at)| *written == record && now < *at + self.times.beat);
        if is_current {
            return Ok(());
        }
        self.beat += 1;
        let text = record.to_text(self.beat);
        let written = self.store.write(EntryKind::Member, self.identity.id.as_str(), &text);
        patiently(&self.view, self.times, written).await?;
        self.entry = Some((record, now));
        Ok(())
    }

    fn publish_tenure(&self) {
        let tenure = self.lease.tenure().map(|(term, until)| Tenure { term, until });
        self.tenure.send_if_modified(|last| std::mem::replace(last, tenure) != tenure);
    }

    fn publish(&mut self) {
        let now = std_now();
        self.publish_tenure();
        let term =
            self.lease.tenure().map(|(term, _)| term).filter(|term| self.begun == Some(*term));
        let proofs = match term {
            Some(_) => ProofView { served: self.members.served(now), challenges: BTreeMap::new() },
            None => ProofView { served: BTreeMap::new(), challenges: self.challenges.clone() },
        };
        send_if_changed(&self.proofs, proofs);
        let leader = match term {
            Some(_) => Some(self.identity.leader()),
            None => self
                .lease
                .live_record(now)
                .filter(|record| !record.released && record.owner.id != self.identity.id)
                .map(|record| record.owner.leader()),
        };
        let hosts = if term.is_some() { self.members.hosts(now) } else { Arc::default() };
        if self.lease.is_damaged() {
            self.report_once("the lease in the shared store is damaged".to_owned());
        }
        let versions = self.lease.record();
        let version = |number: fn(&LeaseRecord) -> u64| {
            versions.map(|(term, record)| (term, number(record))).unwrap_or_default()
        };
        let ca = versions.map(|(_, record)| &record.owner.ca);
        let view = SharedView {
            is_polled: true,
            term,
            leader,
            other_ca: ca.filter(|ca| **ca != self.identity.ca).cloned(),
            certificates: version(|record| record.certificates),
            ledger: version(|record| record.ledger),
            hosts,
            problem: self.problem.clone(),
        };
        send_if_changed(&self.view, view);
    }

    /// Answers those that waited for this reading.
    fn answer(&mut self) {
        let term = self.lease.tenure().map(|(term, _)| term).filter(|_| self.problem.is_none());
        for (expected, done) in self.confirms.drain(..) {
            let _ = done.send(term == Some(expected));
        }
        if term.is_some() && !self.is_changed {
            for done in self.puts.drain(..) {
                let _ = done.send(());
            }
        }
        if term.is_none() {
            self.puts.clear();
        }
    }
}

impl<S: SharedStore> Drop for Keeper<S> {
    fn drop(&mut self) {
        let lease = self.lease.tenure().map(|(term, _)| {
            let challenges = BTreeSet::new();
            let record = LeaseRecord { released: true, challenges, ..self.record.clone() };
            (term, record.to_text())
        });
        if lease.is_some() || self.entry.is_some() {
            self.store.release(lease, self.identity.id.as_str());
        }
    }
}

fn send_if_changed<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|last| {
        let is_changed = *last != value;
        if is_changed {
            *last = value;
        }
        is_changed
    });
}

/// Waits for the store. If it does not answer within the time of a sign of life, that is reported while the wait goes
/// on: another attempt would wait as well, and take a thread for it.
async fn patiently<T>(
    view: &watch::Sender<SharedView>,
    times: SharedTimes,
    work: impl Future<Output = Result<T, SharedStoreError>>,
) -> Result<T, SharedStoreError> {
    let mut work = std::pin::pin!(work);
    if let Ok(result) = timeout(times.beat, &mut work).await {
        return result;
    }
    let text = "the shared store does not answer";
    warn!("{text}; waiting");
    view.send_modify(|view| {
        view.is_polled = true;
        view.problem = Some(text.to_owned());
    });
    work.await
}

/// The moment by the clock of the runtime, which tests pause.
fn std_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
