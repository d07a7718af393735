//! The task that orders certificates: it carries out what [`decide`] decides.

use super::{
    acme_host::AcmeHost,
    blocking::run_blocking,
    client::{Client, Issued, Solver, TokenRequest, unix_now},
    decide::{Act, CertificateSummary, Connection, Decision, Order, View, decide},
    error::{AcmeError, ErrorScope, FailureKind},
    ledger::{Ledger, Pause, RenewalWindow},
    ledger_file::{read_ledger, write_ledger},
    schedule,
    settings::{AcmeSettings, DirectoryUrl},
    status::{AcmeStatus, Counters, HostStatus},
    store::{Store, join_pem},
};
use crate::support::atomic_file::{FileAccess, create_directory};
use futures_util::FutureExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

/// How long to wait before another try to write a file, in seconds.
const STORAGE_PAUSE: i64 = 60;
/// How long a change of the ledger that can be repeated, such as a renewal window, may stay in memory, in seconds. The
/// file has megabytes with 10,000 certificates, each of which is asked for every few hours.
const WRITE_PAUSE: i64 = 10;
/// How long the staging environment is not used after a failure of its own, in seconds.
const STAGING_PAUSE: i64 = 600;
/// The longest sleep. A clock that is set, or a machine that was suspended, has an effect after it.
const MAX_SLEEP: i64 = 600;

/// A certificate for HAProxy. The debug text has no PEM.
pub struct IssuedCertificate {
    pub host: AcmeHost,
    /// The chain with the leaf first, then the key, in PEM form without empty lines.
    pub pem: Zeroizing<String>,
}

/// The channels of [`follow`].
#[derive(Debug)]
pub struct AcmeHandles {
    /// The certificates to have.
    pub hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    pub tokens: mpsc::Sender<TokenRequest>,
    /// Certificates that were stored earlier, and then each that is issued. It must be read.
    pub issued: mpsc::Sender<IssuedCertificate>,
    pub status: watch::Sender<Arc<AcmeStatus>>,
    /// Hosts whose certificates an operator wants to be renewed now.
    pub renew: mpsc::Receiver<AcmeHost>,
}

/// A CA's environment.
struct Environment {
    directory: DirectoryUrl,
    store: Store,
    client: Option<Client>,
    connection: Connection,
}

/// The end of a job.
enum Finished {
    Connected { staging: bool, result: Result<Box<Client>, AcmeError> },
    Ordered { order: Order, result: Result<Issued, AcmeError> },
    WindowRead { host: AcmeHost, result: Result<(RenewalWindow, Option<i64>), AcmeError> },
}

struct Follower {
    settings: Arc<AcmeSettings>,
    handles: AcmeHandles,
    production: Environment,
    staging: Option<Environment>,
    /// The staging environment is not used before this moment.
    staging_pause: i64,
    /// `None` until the file can be read.
    ledger: Option<Ledger>,
    /// The ledger on disk.
    written: Option<Ledger>,
    /// When the ledger was last written, in Unix seconds.
    written_at: i64,
    /// The ledger has a change that must be on disk at once: the end of an order.
    urgent: bool,
    /// A file cannot be written.
    storage_pause: Option<Pause>,
    issued: BTreeMap<AcmeHost, CertificateSummary>,
    running: BTreeSet<AcmeHost>,
    asking: BTreeSet<AcmeHost>,
    pending: BTreeSet<AcmeHost>,
    /// Certificates that are not on disk yet.
    unsaved: BTreeMap<AcmeHost, Arc<Issued>>,
    jobs: JoinSet<Finished>,
    counters: Counters,
}

/// Orders and renews certificates until it is dropped. All its failures are states, which it publishes.
pub async fn follow(settings: AcmeSettings, handles: AcmeHandles) {
    let mut follower = Follower::new(settings, handles);
    follower.hand_out_stored().await;
    loop {
        let wake_at = follower.step().await;
        follower.wait(wake_at).await;
    }
}

impl Environment {
    fn new(settings: &AcmeSettings, directory: DirectoryUrl) -> Self {
        let store = Store::new(&settings.folder, &directory);
        Self { directory, store, client: None, connection: Connection::None }
    }
}

impl Follower {
    fn new(settings: AcmeSettings, handles: AcmeHandles) -> Self {
        let production = Environment::new(&settings, settings.directory.clone());
        let staging =
            settings.staging.clone().map(|directory| Environment::new(&settings, directory));
        Self {
            settings: Arc::new(settings),
            handles,
            production,
            staging,
            staging_pause: 0,
            ledger: None,
            written: None,
            written_at: 0,
            urgent: true,
            storage_pause: None,
            issued: BTreeMap::new(),
            running: BTreeSet::new(),
            asking: BTreeSet::new(),
            pending: BTreeSet::new(),
            unsaved: BTreeMap::new(),
            jobs: JoinSet::new(),
            counters: Counters::default(),
        }
    }

    /// Hands out the certificates of earlier runs.
    async fn hand_out_stored(&mut self) {
        let store = self.production.store.clone();
        let (stored, pending) =
            run_blocking(move || (store.read_certificates(), store.pending_hosts())).await;
        self.pending = pending;
        for (host, certificate) in stored {
            self.issued.insert(host.clone(), certificate.leaf.issued);
            self.hand_out(host, certificate.pem).await;
        }
    }

    async fn hand_out(&self, host: AcmeHost, pem: Zeroizing<String>) {
        let _ = self.handles.issued.send(IssuedCertificate { host, pem }).await;
    }

    /// Decides, and begins what is due. Returns when to decide again.
    async fn step(&mut self) -> i64 {
        let now = unix_now();
        self.save().await;
        let Some(ledger) = self.read_ledger(now).await else {
            self.publish_status(None);
            return now + STORAGE_PAUSE;
        };
        let decision = self.decide(&ledger, now);
        // What the CA issues must have a place on disk. An earlier certificate without one shows that it has not.
        self.urgent |= decision.acts.iter().any(|act| matches!(act, Act::Order(_)));
        let begins = self.unsaved.is_empty() && self.write_ledger(&decision.ledger, now).await;
        if !begins {
            self.publish_status(Some(&decision));
            return now + STORAGE_PAUSE;
        }
        self.ledger = Some(decision.ledger.clone());
        for act in decision.acts.clone() {
            self.begin(act).await;
        }
        self.publish_status(Some(&decision));
        let wake_at = decision.wake_at.unwrap_or(now + MAX_SLEEP);
        if self.written == self.ledger { wake_at } else { wake_at.min(now + WRITE_PAUSE) }
    }

    fn decide(&self, ledger: &Ledger, now: i64) -> Decision {
        let requested = self.handles.hosts.borrow().clone();
        let usable = |_: &&Environment| self.staging_pause <= now;
        let view = View {
            requested: &requested,
            issued: &self.issued,
            running: &self.running,
            asking: &self.asking,
            pending: &self.pending,
            production: &self.production.connection,
            staging: self.staging.as_ref().filter(usable).map(|staging| &staging.connection),
            rules: self.settings.name_rules(),
            limits: &self.settings.limits,
            now,
        };
        decide(&view, ledger)
    }

    fn ledger_path(&self) -> PathBuf {
        self.settings.folder.join("ledger.json")
    }

    /// Returns the ledger, which is read once.
    async fn read_ledger(&mut self, now: i64) -> Option<Ledger> {
        if let Some(ledger) = &self.ledger {
            return Some(ledger.clone());
        }
        let (path, limits, folder) =
            (self.ledger_path(), self.settings.limits, self.settings.folder.clone());
        let read = run_blocking(move || {
            create_directory(&folder, FileAccess::Private)?;
            read_ledger(&path, &limits, now)
                .map_err(|error| crate::support::atomic_file::WriteError { path, why: error })
        });
        match read.await {
            Ok(mut ledger) => {
                ledger.recover(&self.pending, now);
                self.ledger = Some(ledger.clone());
                Some(ledger)
            }
            Err(error) => {
                self.pause_for_storage(&error, now);
                None
            }
        }
    }

    /// Writes the ledger if it changed. Returns whether the acts may begin.
    async fn write_ledger(&mut self, ledger: &Ledger, now: i64) -> bool {
        let waits = !self.urgent && now < self.written_at + WRITE_PAUSE;
        if waits || self.written.as_ref() == Some(ledger) {
            return true;
        }
        let (path, copy) = (self.ledger_path(), ledger.clone());
        match run_blocking(move || write_ledger(&path, &copy)).await {
            Ok(()) => {
                self.written = Some(ledger.clone());
                (self.written_at, self.urgent) = (now, false);
                self.storage_pause = None;
                true
            }
            Err(error) => {
                self.pause_for_storage(&error, now);
                false
            }
        }
    }

    fn pause_for_storage(&mut self, error: &dyn fmt::Display, now: i64) {
        if self.storage_pause.is_none() {
            warn!("ordering no certificates: {error}; trying again in {STORAGE_PAUSE}s");
        }
        let (kind, text) = (FailureKind::Storage, error.to_string());
        self.storage_pause = Some(Pause { until: now + STORAGE_PAUSE, kind, text });
    }

    async fn begin(&mut self, act: Act) {
        match act {
            Act::Connect { staging } => self.connect(staging),
            Act::Order(order) => self.order(order),
            Act::AskWindow(host) => self.ask_window(host),
            Act::Remove(host) => self.remove(&host).await,
        }
    }

    fn connect(&mut self, staging: bool) {
        let settings = self.settings.clone();
        let environment = self.environment_mut(staging);
        environment.connection = Connection::Connecting;
        let (directory, store) = (environment.directory.clone(), environment.store.clone());
        self.spawn(
            async move { Client::connect(settings, directory, store).await },
            move |result| Finished::Connected { staging, result: result.map(Box::new) },
        );
    }

    fn order(&mut self, order: Order) {
        let counters = &mut self.counters;
        *if order.staging { &mut counters.staging_orders } else { &mut counters.orders } += 1;
        self.running.insert(order.host.clone());
        let client = self.environment_mut(order.staging).client.clone();
        let (challenge, tokens) = (self.settings.challenge.clone(), self.handles.tokens.clone());
        let solver = Solver { challenge, dns: self.settings.dns.clone(), tokens };
        let run = order.clone();
        let work = async move {
            let client = client.ok_or_else(not_connected)?;
            client.order(&run, &solver).await
        };
        self.spawn(work, move |result| Finished::Ordered { order, result });
    }

    fn ask_window(&mut self, host: AcmeHost) {
        self.asking.insert(host.clone());
        let client = self.production.client.clone();
        let id =
            self.issued.get(&host).and_then(|issued| issued.ari_id.clone()).unwrap_or_default();
        let work = async move { client.ok_or_else(not_connected)?.ask_window(&id).await };
        self.spawn(work, move |result| Finished::WindowRead { host, result });
    }

    /// Runs a job, which always ends with a value, even if it panics.
    fn spawn<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = Result<T, AcmeError>> + Send + 'static,
        finish: impl FnOnce(Result<T, AcmeError>) -> Finished + Send + 'static,
    ) {
        self.jobs.spawn(async move {
            let result = AssertUnwindSafe(work).catch_unwind().await;
            finish(result.unwrap_or_else(|_| {
                Err(AcmeError::new(FailureKind::BadResponse, "a bug in this program"))
            }))
        });
    }

    async fn remove(&mut self, host: &AcmeHost) {
        let (store, copy) = (self.production.store.clone(), host.clone());
        self.issued.remove(host);
        if let Err(error) = run_blocking(move || store.remove_certificates(&copy)).await {
            warn!("could not remove the expired certificate of {host}: {error}");
        }
    }

    /// Waits until something happens, or until a moment.
    async fn wait(&mut self, wake_at: i64) {
        let seconds = (wake_at - unix_now()).clamp(0, MAX_SLEEP);
        let sleep = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let requested = self.handles.hosts.clone();
        let open = requested.has_changed().is_ok();
        tokio::select! {
            Some(Ok(finished)) = self.jobs.join_next() => self.finish(finished).await,
            Ok(()) = self.handles.hosts.changed(), if open => {}
            Some(host) = self.handles.renew.recv() => self.force(&host),
            () = tokio::time::sleep(sleep) => {}
        }
        // One decision serves all that ended in the meantime.
        while let Some(Ok(finished)) = self.jobs.try_join_next() {
            self.finish(finished).await;
        }
    }

    fn force(&mut self, host: &AcmeHost) {
        let is_followed =
            self.issued.contains_key(host) || self.handles.hosts.borrow().contains(host);
        if let Some(ledger) = self.ledger.as_mut().filter(|_| is_followed) {
            ledger.force(host);
            self.urgent = true;
        }
    }

    async fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Connected { staging, result } => {
                self.finish_connect(staging, result.map(|client| *client));
            }
            Finished::WindowRead { host, result } => self.finish_ask(&host, result),
            Finished::Ordered { order, result } => {
                self.running.remove(&order.host);
                match result {
                    Ok(issued) => self.finish_order(order, issued).await,
                    Err(error) => self.fail_order(&order, &error).await,
                }
            }
        }
    }

    fn finish_connect(&mut self, staging: bool, result: Result<Client, AcmeError>) {
        let environment = self.environment_mut(staging);
        match result {
            Ok(client) => {
                let renewal_info = client.notes().renewal_info;
                environment.connection = Connection::Ready { renewal_info };
                environment.client = Some(client);
            }
            Err(error) => {
                environment.connection = Connection::None;
                self.fail_environment(staging, &error);
            }
        }
    }

    /// Records a failure that affects all orders of an environment.
    fn fail_environment(&mut self, staging: bool, error: &AcmeError) {
        self.count(error.kind);
        self.urgent = true;
        let now = unix_now();
        let environment = self.environment_mut(staging);
        // The next connection measures the difference of the clocks again.
        let lost = matches!(
            error.kind,
            FailureKind::Account | FailureKind::UnknownAccount | FailureKind::Clock
        );
        if lost || environment.client.is_none() {
            environment.client = None;
            environment.connection = Connection::None;
        }
        if error.kind == FailureKind::UnknownAccount {
            let retired = environment.store.retire_account();
            warn!("the CA does not know the account: {error}; registering another one");
            if let Err(error) = retired {
                self.pause_for_storage(&error, now);
            }
        }
        if staging {
            debug!("the staging environment of the CA failed: {error}");
            self.staging_pause = now + STAGING_PAUSE;
        } else if let Some(ledger) = &mut self.ledger {
            ledger.record_account_failure(error, now);
            let pause = ledger.pause.as_ref().map_or(0, |pause| pause.until - now);
            warn!("ordering no certificates for {pause}s: {error}");
        }
    }

    fn finish_ask(
        &mut self,
        host: &AcmeHost,
        result: Result<(RenewalWindow, Option<i64>), AcmeError>,
    ) {
        self.asking.remove(host);
        let (window, retry_after) = match result {
            Ok((window, retry_after)) => (Some(window), retry_after),
            Err(error) => {
                debug!("the CA does not say when to renew {host}: {error}");
                (None, error.retry_after)
            }
        };
        if let Some(ledger) = &mut self.ledger {
            let at = schedule::ask_window_at(unix_now(), retry_after);
            ledger.record_window(host, window, at);
        }
    }

    async fn finish_order(&mut self, order: Order, issued: Issued) {
        self.urgent = true;
        let host = order.host;
        if let Some(ledger) = &mut self.ledger {
            let renewed_at = self.issued.contains_key(&host).then(unix_now);
            ledger.record_success(&host, order.staging, renewed_at);
        }
        if order.staging {
            info!("the CA's staging environment accepts {host}; ordering in production");
            return;
        }
        info!("received a certificate for {host}");
        self.counters.issued += 1;
        self.issued.insert(host.clone(), issued.leaf.issued.clone());
        let pem = join_pem(&issued.chain, &issued.key);
        self.unsaved.insert(host.clone(), Arc::new(issued));
        self.save().await;
        self.hand_out(host, pem).await;
    }

    async fn fail_order(&mut self, order: &Order, error: &AcmeError) {
        self.urgent = true;
        if order.staging || error.scope == ErrorScope::Host {
            self.count(error.kind);
            warn!("could not get a certificate for {}: {error}", order.host);
        } else {
            self.fail_environment(false, error);
        }
        let (now, has_staging) = (unix_now(), self.staging.is_some());
        if let Some(ledger) = &mut self.ledger {
            match error.scope {
                ErrorScope::Account if !order.staging => ledger.end_order(&order.host),
                _ => ledger.record_failure(&order.host, error, order.staging, (now, has_staging)),
            }
        }
        self.read_pending().await;
    }

    /// Writes certificates that are not on disk yet. Each remains in memory until it is written: another order would
    /// count against the CA's limits.
    async fn save(&mut self) {
        for (host, issued) in self.unsaved.clone() {
            let (store, directory) =
                (self.production.store.clone(), self.production.directory.clone());
            let name = host.clone();
            let written = run_blocking(move || {
                store.write_certificate(&name, (&issued.chain, &issued.key), &directory)?;
                let _ = store.remove_pending(&name);
                Ok::<_, crate::support::atomic_file::WriteError>(())
            });
            match written.await {
                Ok(()) => drop(self.unsaved.remove(&host)),
                Err(error) => self.pause_for_storage(&error, unix_now()),
            }
        }
        self.read_pending().await;
    }

    async fn read_pending(&mut self) {
        let store = self.production.store.clone();
        self.pending = run_blocking(move || store.pending_hosts()).await;
    }

    fn count(&mut self, kind: FailureKind) {
        *self.counters.failures.entry(kind).or_default() += 1;
    }

    fn environment_mut(&mut self, staging: bool) -> &mut Environment {
        match &mut self.staging {
            Some(environment) if staging => environment,
            _ => &mut self.production,
        }
    }

    fn publish_status(&self, decision: Option<&Decision>) {
        let status = Arc::new(self.status(decision));
        self.handles.status.send_if_modified(|present| {
            let modified = **present != *status;
            *present = status;
            modified
        });
    }

    fn status(&self, decision: Option<&Decision>) -> AcmeStatus {
        let client = self.production.client.as_ref();
        let notes = client.map(Client::notes).unwrap_or_default();
        let pause = decision.and_then(|decision| decision.ledger.pause.clone());
        let hosts = decision.map(|decision| self.host_statuses(decision)).unwrap_or_default();
        AcmeStatus {
            directory: self.production.directory.as_str().to_owned(),
            account: client.map(|client| client.account_id().to_owned()),
            terms_of_service: notes.meta.terms_of_service,
            caa_identities: notes.meta.caa_identities,
            pause: self.storage_pause.clone().or(pause),
            clock_skew: notes.skew,
            hosts,
            counters: self.counters.clone(),
        }
    }

    fn host_statuses(&self, decision: &Decision) -> BTreeMap<AcmeHost, HostStatus> {
        let status = |host: &AcmeHost| {
            let (view, record) = (decision.hosts.get(host)?, decision.ledger.record(host));
            let not_after = self.issued.get(host).map(|issued| issued.not_after);
            let refusal = view.refusal.map(|refusal| refusal.to_string());
            let (state, next_order) = (view.state, view.next_order);
            let (failures, staging) = (record.failures, record.staging);
            let last_failure = record.last_failure;
            Some(HostStatus {
                state,
                next_order,
                not_after,
                refusal,
                failures,
                last_failure,
                staging,
            })
        };
        decision.hosts.keys().filter_map(|host| Some((host.clone(), status(host)?))).collect()
    }
}

fn not_connected() -> AcmeError {
    AcmeError::new(FailureKind::Unreachable, "there is no connection to the CA").of_account()
}

impl fmt::Debug for IssuedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCertificate").field("host", &self.host).finish_non_exhaustive()
    }
}
