//! The task that orders certificates: it carries out what [`decide`] decides.

mod account_key;
mod jobs;
mod results;
mod shared;
mod status;
mod storage;

use super::{
    acme_host::AcmeHost,
    blocking::run_blocking,
    client::{Client, Issued, TokenRequest, unix_now},
    decide::{Act, CertificateSummary, Connection, Decision, Order, View, decide},
    error::AcmeError,
    ledger::{Ledger, Pause, RenewalWindow},
    settings::{AcmeSettings, DirectoryUrl},
    shared::{self as shared_store, Directory},
    status::{AcmeStatus, Counters, KeyReplacement},
    store::Store,
};
use shared::SharedPart;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
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
    /// What an operator requests.
    pub requests: mpsc::Receiver<AcmeRequest>,
}

/// A request of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcmeRequest {
    /// Renew the certificates of the host now. A host that has none, and that needs none, is ignored.
    Renew(AcmeHost),
    /// Replace the key of the account (RFC 8555, 7.3.5). The result is in [`AcmeStatus::key_replacement`].
    ReplaceAccountKey,
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
    AccountKeyReplaced(Result<Box<Client>, AcmeError>),
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
    /// The account's key is to be replaced, which waits for the end of the jobs that use it.
    key_requested: bool,
    key_replacement: Option<KeyReplacement>,
    /// `None` if this balancer alone uses its store.
    shared: Option<SharedPart>,
    jobs: JoinSet<Finished>,
    counters: Counters,
}

/// Orders and renews certificates until it is dropped. All its failures are states, which it publishes.
pub async fn follow(settings: AcmeSettings, mut handles: AcmeHandles) {
    let Some(shared) = settings.shared.clone() else {
        return Follower::new(settings, handles, None).run().await;
    };
    let store = Directory::new(&shared.folder, &settings.folder);
    let (hosts, haproxy) = (handles.hosts.clone(), handles.tokens);
    let (shared, keeper, relay) = shared_store::connect(store, &settings, shared, hosts, haproxy);
    handles.tokens = shared.tokens.clone();
    let follower = Follower::new(settings, handles, Some(shared));
    tokio::join!(keeper.run(), relay.run(), follower.run());
}

impl Environment {
    fn new(settings: &AcmeSettings, directory: DirectoryUrl) -> Self {
        let store = Store::new(settings.store_folder(), &directory);
        Self { directory, store, client: None, connection: Connection::None }
    }
}

impl Follower {
    fn new(
        settings: AcmeSettings,
        handles: AcmeHandles,
        shared: Option<shared_store::SharedHandle>,
    ) -> Self {
        let shared = shared.map(|handle| SharedPart::new(handle, &settings));
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
            key_requested: false,
            key_replacement: None,
            shared,
            jobs: JoinSet::new(),
            counters: Counters::default(),
        }
    }

    async fn run(mut self) {
        self.hand_out_stored().await;
        loop {
            let wake_at = self.step().await;
            self.wait(wake_at).await;
        }
    }

    /// Hands out the certificates of earlier runs.
    async fn hand_out_stored(&mut self) {
        if self.shared.is_some() {
            return self.hand_out_shared().await;
        }
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
        if !self.update_role().await {
            return self.step_without_orders(now).await;
        }
        self.search_certificates(false).await;
        self.save().await;
        let Some(ledger) = self.read_ledger(now).await else {
            self.publish_status(None);
            return now + STORAGE_PAUSE;
        };
        self.replace_requested_key();
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
        self.decide_with(ledger, &self.running, self.usable_production(), now)
    }

    fn decide_with(
        &self,
        ledger: &Ledger,
        running: &BTreeSet<AcmeHost>,
        production: &Connection,
        now: i64,
    ) -> Decision {
        let requested = self.requested_hosts();
        let usable = |_: &&Environment| self.staging_pause <= now;
        let view = View {
            requested: &requested,
            issued: &self.issued,
            running,
            asking: &self.asking,
            pending: &self.pending,
            production,
            staging: self.staging.as_ref().filter(usable).map(|staging| &staging.connection),
            rules: self.settings.name_rules(),
            limits: &self.settings.limits,
            now,
        };
        decide(&view, ledger)
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
            Some(request) = self.handles.requests.recv() => self.take_request(&request).await,
            request = Self::wait_for_store(&mut self.shared) => {
                if let Some(host) = request {
                    self.renew(&host);
                }
            }
            () = tokio::time::sleep(sleep) => {}
        }
        // One decision serves all that ended in the meantime.
        while let Some(Ok(finished)) = self.jobs.try_join_next() {
            self.finish(finished).await;
        }
    }

    async fn take_request(&mut self, request: &AcmeRequest) {
        match request {
            AcmeRequest::Renew(host) if self.pass_on(host).await => {}
            AcmeRequest::Renew(host) => self.renew(host),
            AcmeRequest::ReplaceAccountKey => self.key_requested = true,
        }
    }

    fn renew(&mut self, host: &AcmeHost) {
        for host in [host, &host.sibling()] {
            self.force(host);
        }
    }

    fn force(&mut self, host: &AcmeHost) {
        let is_followed = self.issued.contains_key(host) || self.requested_hosts().contains(host);
        if let Some(ledger) = self.ledger.as_mut().filter(|_| is_followed) {
            ledger.force(host);
            self.urgent = true;
        }
    }

    fn environment_mut(&mut self, staging: bool) -> &mut Environment {
        match &mut self.staging {
            Some(environment) if staging => environment,
            _ => &mut self.production,
        }
    }
}

impl fmt::Debug for IssuedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedCertificate").field("host", &self.host).finish_non_exhaustive()
    }
}
