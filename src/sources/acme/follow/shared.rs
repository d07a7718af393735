//! The follower's part in a store that several balancers share: it orders only while it is the leader.

use super::{
    super::{
        acme_host::AcmeHost,
        blocking::run_blocking,
        client::unix_now,
        decide::{Connection, Decision},
        error::FailureKind,
        ledger::{Ledger, Pause},
        ledger_file::peek_ledger,
        settings::AcmeSettings,
        shared::{KeeperCommand, LeaseGuard, SharedHandle, SharedView},
        status::SharedStatus,
        store::{Store, StoredCertificate, split_pem},
    },
    Environment, Follower, MAX_SLEEP, STORAGE_PAUSE,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::{debug, info, warn};

/// The longest wait for another look at the lease.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for the first reading of the store. Meanwhile there are no certificates at all.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a follower with a shared store has in addition.
pub(super) struct SharedPart {
    pub handle: SharedHandle,
    /// This balancer's copy of the certificates, which it has if the shared store is away.
    local: Store,
    /// The term in which it orders.
    term: Option<u64>,
    /// The certificates that were read, by the number of their folder.
    read: BTreeMap<AcmeHost, u64>,
    /// The state of the store when they were read, and when that was.
    searched: Option<((u64, u64), Instant)>,
    /// The leader's ledger, and the state of the store when it was read.
    ledger: ((u64, u64), Ledger),
}

impl SharedPart {
    pub(super) fn new(handle: SharedHandle, settings: &AcmeSettings) -> Self {
        let local = Store::new(&settings.folder, &settings.directory);
        let (term, read, searched, ledger) = Default::default();
        Self { handle, local, term, read, searched, ledger }
    }

    fn guard(&self, term: u64) -> LeaseGuard {
        LeaseGuard::new(self.handle.lease.clone(), term)
    }

    fn is_leader(&self) -> bool {
        self.term.is_some_and(|term| self.guard(term).is_held())
    }

    async fn send(&self, command: KeeperCommand) {
        // The task of the store ends with this one.
        let _ = self.handle.commands.send(command).await;
    }
}

impl Follower {
    /// Returns what ends the orders when this balancer is not the leader any more. `None` without a shared store.
    pub(super) fn lease_guard(&self) -> Option<LeaseGuard> {
        let shared = self.shared.as_ref()?;
        // Without a term there is no order; the guard then ends it.
        Some(shared.guard(shared.term.unwrap_or(0)))
    }

    /// Returns the hosts of this balancer and, for a leader, those of the others that its settings allow.
    pub(super) fn requested_hosts(&self) -> BTreeSet<AcmeHost> {
        let own = self.handles.hosts.borrow().clone();
        let Some(shared) = &self.shared else { return self.settings.keys.expand(&own) };
        let others = shared.handle.view.borrow().hosts.clone();
        let allowed = others.iter().filter(|host| shared.handle.settings.allows(host));
        self.settings.keys.expand(&own.iter().chain(allowed).cloned().collect())
    }

    /// Hands out this balancer's copies, and then what the shared store has. The first status comes after them.
    pub(super) async fn hand_out_shared(&mut self) {
        let Some(shared) = &mut self.shared else { return };
        let mut view = shared.handle.view.clone();
        let _ = timeout(FIRST_TIMEOUT, view.wait_for(|view| view.is_polled)).await;
        let local = shared.local.clone();
        let is_available = view.borrow().problem.is_none();
        let copies = run_blocking(move || local.read_certificates()).await;
        if is_available {
            self.search_certificates(true).await;
        }
        let now = unix_now();
        for (host, StoredCertificate { leaf, pem }) in copies {
            let Some(shared) = &self.shared else { return };
            if shared.read.contains_key(&host) {
                continue;
            }
            // The leader removes what is expired and not requested.
            if is_available && leaf.issued.not_after <= now {
                let local = shared.local.clone();
                let _ = run_blocking(move || local.remove_certificates(&host)).await;
                continue;
            }
            debug!("the certificate of {host} is not in the shared store");
            self.issued.insert(host.clone(), leaf.issued);
            self.hand_out(host, pem).await;
        }
    }

    /// Takes over what the store says about the leader. Returns whether this balancer orders.
    pub(super) async fn update_role(&mut self) -> bool {
        let Some(shared) = &self.shared else { return true };
        let view = shared.handle.view.borrow().clone();
        let before = shared.term;
        // A term begins when the store can be read.
        let can_begin = view.problem.is_none();
        let term = view.term.filter(|term| can_begin || before == Some(*term));
        if term != before {
            self.forget_orders();
            if let Some(shared) = &mut self.shared {
                shared.term = term;
            }
            if term.is_some() {
                self.begin_term().await;
            }
        }
        self.shared.as_ref().is_some_and(SharedPart::is_leader)
    }

    /// Forgets what another leader may change. The orders that run end by themselves.
    fn forget_orders(&mut self) {
        (self.ledger, self.written, self.key_requested) = (None, None, false);
        self.urgent = true;
        let staging = self.staging.as_mut();
        for Environment { client, connection, .. } in
            staging.into_iter().chain([&mut self.production])
        {
            (*client, *connection) = (None, Connection::None);
        }
    }

    /// Reads what the former leader left, and adds the copies that the store lacks: those of the time before it was
    /// shared, or of a store that was lost.
    async fn begin_term(&mut self) {
        self.search_certificates(true).await;
        self.read_pending().await;
        let Some(shared) = &self.shared else { return };
        let known = shared.read.keys().cloned().collect::<BTreeSet<_>>();
        let (local, store) = (shared.local.clone(), self.production.store.clone());
        let (ca, now) = (self.production.directory.clone(), unix_now());
        let added = run_blocking(move || {
            let copies = local.read_certificates().into_iter();
            let missing = copies
                .filter(|(host, copy)| !known.contains(host) && now < copy.leaf.issued.not_after);
            let add = |(host, copy): (AcmeHost, StoredCertificate)| {
                let number = store.write_certificate(&host, split_pem(&copy.pem), &ca);
                Some((host, number.ok()?))
            };
            missing.filter_map(add).collect::<BTreeMap<_, _>>()
        });
        let added = added.await;
        if added.is_empty() {
            return;
        }
        info!("added {} certificates of this balancer to the shared store", added.len());
        if let Some(shared) = &mut self.shared {
            shared.read.extend(added);
            shared.send(KeeperCommand::CountCertificates).await;
        }
    }

    /// One step of a balancer that does not order. Returns when to look again.
    pub(super) async fn step_without_orders(&mut self, now: i64) -> i64 {
        let Some(shared) = &self.shared else { return now + MAX_SLEEP };
        let view = shared.handle.view.borrow().clone();
        if view.problem.is_some() {
            self.publish_status(None);
            return now + STORAGE_PAUSE;
        }
        // Those of a time in which it was the leader.
        self.save().await;
        self.search_certificates(false).await;
        self.read_leaders_ledger(&view).await;
        let decision = self.decide_as_leader_does(now);
        self.publish_status(Some(&decision));
        let scan = self.scan_pause().as_secs();
        decision
            .wake_at
            .unwrap_or(now + MAX_SLEEP)
            .min(now + i64::try_from(scan).unwrap_or(1).max(1))
    }

    fn scan_pause(&self) -> Duration {
        let shared = self.shared.as_ref();
        shared.map_or(Duration::MAX, |shared| shared.handle.settings.times.scan)
    }

    /// Hands out the certificates that other balancers stored since the last search, if the store says that there are
    /// any, and otherwise now and then.
    pub(super) async fn search_certificates(&mut self, now: bool) {
        let scan = self.scan_pause();
        let Some(shared) = &self.shared else { return };
        let version = shared.handle.view.borrow().certificates;
        let is_current =
            shared.searched.is_some_and(|(last, at)| last == version && at.elapsed() < scan);
        if is_current && !now {
            return;
        }
        let (store, read) = (self.production.store.clone(), shared.read.clone());
        let found = run_blocking(move || store.read_other_certificates(&read)).await;
        if let Some(shared) = &mut self.shared {
            shared.searched = Some((version, Instant::now()));
        }
        for (host, (number, StoredCertificate { leaf, pem })) in found {
            debug!("read the certificate of {host} from the shared store");
            if let Some(shared) = &mut self.shared {
                shared.read.insert(host.clone(), number);
            }
            self.issued.insert(host.clone(), leaf.issued);
            self.copy_certificate(host.clone(), &pem).await;
            self.hand_out(host, pem).await;
        }
    }

    /// Keeps a certificate in this balancer's own directory.
    async fn copy_certificate(&self, host: AcmeHost, pem: &str) {
        let Some(shared) = &self.shared else { return };
        let (local, ca) = (shared.local.clone(), self.production.directory.clone());
        let pem = zeroize::Zeroizing::new(pem.to_owned());
        let written = run_blocking(move || local.write_copy(&host, &pem, &ca)).await;
        if let Err(error) = written {
            warn!("could not keep a copy of a certificate of the shared store: {error}");
        }
    }

    /// Records that a certificate was stored, and tells the other balancers.
    pub(super) async fn announce_certificate(&mut self, host: AcmeHost, number: u64, pem: &str) {
        let Some(shared) = &mut self.shared else { return };
        shared.read.insert(host.clone(), number);
        shared.send(KeeperCommand::CountCertificates).await;
        self.copy_certificate(host, pem).await;
    }

    pub(super) async fn announce_ledger(&self) {
        if let Some(shared) = &self.shared {
            shared.send(KeeperCommand::CountLedger).await;
        }
    }

    /// Removes the copy of a certificate that was removed from the store.
    pub(super) async fn remove_copy(&mut self, host: &AcmeHost) {
        let Some(shared) = &mut self.shared else { return };
        shared.read.remove(host);
        let (local, host) = (shared.local.clone(), host.clone());
        let _ = run_blocking(move || local.remove_certificates(&host)).await;
    }

    /// Looks at the lease again, before an act that only the leader may do.
    pub(super) async fn confirm_lease(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        let Some(term) = shared.term.filter(|_| shared.is_leader()) else { return false };
        let (done, answer) = oneshot::channel();
        let confirmed = async {
            shared.send(KeeperCommand::Confirm { term, done }).await;
            answer.await.unwrap_or(false)
        };
        timeout(CONFIRM_TIMEOUT, confirmed).await.unwrap_or(false) && shared.is_leader()
    }

    async fn read_leaders_ledger(&mut self, view: &SharedView) {
        let Some(shared) = &self.shared else { return };
        if shared.ledger.0 == view.ledger {
            return;
        }
        let path = self.ledger_path();
        if let Some(ledger) = run_blocking(move || peek_ledger(&path)).await
            && let Some(shared) = &mut self.shared
        {
            shared.ledger = (view.ledger, ledger);
        }
    }

    /// Decides as the leader does, with its ledger. Only what that shows of the hosts is used.
    fn decide_as_leader_does(&self, now: i64) -> Decision {
        let ledger = self.shared.as_ref().map(|shared| shared.ledger.1.clone()).unwrap_or_default();
        let running = ledger.hosts.iter().filter(|(_, record)| record.started.is_some());
        let running = running.map(|(host, _)| host.clone()).collect();
        self.decide_with(&ledger, &running, &Connection::Connecting, now)
    }

    /// Passes an operator's demand on to the leader. Returns `false` if this balancer is the leader.
    pub(super) async fn pass_on(&self, host: &AcmeHost) -> bool {
        match &self.shared {
            Some(shared) if !shared.is_leader() => {
                shared.send(KeeperCommand::Request(host.clone())).await;
                true
            }
            _ => false,
        }
    }

    /// Waits until the store says something else.
    pub(super) async fn wait_for_store(shared: &mut Option<SharedPart>) -> Option<AcmeHost> {
        let Some(shared) = shared else { return std::future::pending().await };
        tokio::select! {
            Ok(()) = shared.handle.view.changed() => None,
            Some(host) = shared.handle.requests.recv() => Some(host),
            else => std::future::pending().await,
        }
    }

    pub(super) fn shared_status(&self) -> Option<SharedStatus> {
        let shared = self.shared.as_ref()?;
        let view = shared.handle.view.borrow();
        let is_leader = shared.is_leader();
        Some(SharedStatus { is_leader, leader: view.leader.clone() })
    }

    /// Returns why the store cannot be used, or is used by a leader with another CA.
    pub(super) fn shared_pause(&self) -> Option<Pause> {
        let view = self.shared.as_ref()?.handle.view.borrow();
        let other = view.other_ca.as_ref().map(|ca| {
            format!("the balancer that orders for all that share the store has another CA: {ca}")
        });
        let text = view.problem.clone().or(other)?;
        Some(Pause { until: unix_now() + STORAGE_PAUSE, kind: FailureKind::Storage, text })
    }
}
