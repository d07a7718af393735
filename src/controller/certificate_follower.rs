//! The tasks that read and order certificates, and keep those that HAProxy needs in the state directory.

use super::{
    control_error::ApiError,
    request::{ControlRequest, ReplySender},
};
use crate::{
    model::certificate::{CertificateOrigin, CertificateOriginKind},
    report::certificates::SharedOrders,
    settings::Settings,
    sources::{
        acme::{
            self, AcmeHandles, AcmeHost, AcmeRequest, AcmeSettings, AcmeStatus, IssuedCertificate,
            TokenRequest,
            acme_host::{CertificateVariant, NameRules},
            requests::CertificateRequests,
        },
        certificate::{
            self, CaSnapshot, CertificateProblem, CertificateShelf, CertificateSnapshot,
            CertificateStore, CertificateWithKey, SourceUpdate,
        },
        own_ca,
    },
    support::supervise::supervise,
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    task::JoinSet,
    time::timeout,
};
use tracing::error;

/// How long the first pass waits for the certificates. A directory of a network may not answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an operator waits for the CA to accept another key.
const KEY_REPLACEMENT_TIMEOUT: Duration = Duration::from_mins(1);

/// How many hosts an error lists.
const MAX_LISTED_HOSTS: usize = 20;

/// Updates that wait to be handled.
const QUEUE: usize = 4;

/// Follows the certificates until it is dropped.
#[derive(Debug)]
pub(super) struct CertificateFollower {
    store: CertificateStore,
    snapshot: watch::Receiver<CertificateSnapshot>,
    cas: watch::Receiver<CaSnapshot>,
    /// What the CA of the settings signs. `None` if no certificates are ordered.
    name_rules: Option<NameRules>,
    own_hosts: watch::Sender<Arc<BTreeSet<AcmeHost>>>,
    /// Inputs of the task that reads and issues certificates, until it is needed.
    inputs: Option<Inputs>,
    hosts: watch::Sender<Arc<BTreeSet<AcmeHost>>>,
    requests: broadcast::Sender<AcmeRequest>,
    tokens: mpsc::Receiver<TokenRequest>,
    status: watch::Receiver<Arc<AcmeStatus>>,
    tasks: JoinSet<()>,
    /// Keep the channels open if there is nothing to follow.
    _open:
        (watch::Sender<CertificateSnapshot>, watch::Sender<CaSnapshot>, mpsc::Sender<TokenRequest>),
}

/// What happened.
#[derive(Debug)]
pub(super) enum CertificateEvent {
    /// There are other certificates, or other problems with them.
    Changed,
    /// The state of orders changed.
    OrdersChanged,
    Token(TokenRequest),
}

/// Inputs of the tasks, which are started again after a panic.
#[derive(Debug, Clone)]
struct Inputs {
    store: CertificateStore,
    state_dir: PathBuf,
    directories: Vec<PathBuf>,
    own_hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    acme: Option<AcmeSettings>,
    snapshots: watch::Sender<CertificateSnapshot>,
    hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    requests: broadcast::Sender<AcmeRequest>,
    tokens: mpsc::Sender<TokenRequest>,
    status: watch::Sender<Arc<AcmeStatus>>,
}

impl CertificateFollower {
    /// Starts to read the certificate directories of the settings, and to order certificates.
    ///
    /// # Errors
    /// If the certificates cannot be stored in the state directory, or a file of the settings cannot be read.
    pub(super) fn start(settings: &Settings) -> Result<Self> {
        Self::start_with(settings, BTreeSet::new())
    }

    /// Same as [`Self::start`]. The first certificates include those that the own CA issues for these hosts.
    pub(super) fn start_with(settings: &Settings, own_hosts: BTreeSet<AcmeHost>) -> Result<Self> {
        let (directories, acme) = (settings.certificates.clone(), settings.acme()?);
        let name_rules = acme.as_ref().map(AcmeSettings::name_rules);
        let is_configured = !directories.is_empty() || acme.is_some();
        // Otherwise the task starts when a host needs a certificate of the own CA.
        let has_own_ca = own_ca::exists(&settings.state_dir) || !own_hosts.is_empty();
        let is_complete = !is_configured && !has_own_ca;
        let first = CertificateSnapshot { is_complete, ..CertificateSnapshot::default() };
        let (snapshots, snapshot) = watch::channel(first);
        let (hosts_sender, hosts) = watch::channel(Arc::default());
        let (tokens_sender, tokens) = mpsc::channel(QUEUE);
        let (status_sender, status) = watch::channel(Arc::default());
        let requests = broadcast::Sender::new(QUEUE);
        let (own_hosts_sender, own_hosts) = watch::channel(Arc::new(own_hosts));
        let access = settings.proxy().file_access();
        let store = CertificateStore::new(&settings.state_dir, access);
        if is_configured {
            CertificateStore::open(&settings.state_dir, access)?;
        }
        let inputs = Inputs {
            store: store.clone(),
            state_dir: settings.state_dir.clone(),
            directories,
            own_hosts,
            acme,
            snapshots: snapshots.clone(),
            hosts,
            requests: requests.clone(),
            tokens: tokens_sender.clone(),
            status: status_sender,
        };
        let mut tasks = JoinSet::new();
        let (ca_sender, cas) = start_ca_task(settings, &mut tasks)?;
        let hosts = hosts_sender;
        let open = (snapshots, ca_sender, tokens_sender);
        let mut follower = Self {
            store,
            snapshot,
            cas,
            name_rules,
            own_hosts: own_hosts_sender,
            inputs: Some(inputs),
            hosts,
            requests,
            tokens,
            status,
            tasks,
            _open: open,
        };
        if !is_complete {
            follower.start_task();
        }
        Ok(follower)
    }

    /// Waits for the first certificates, so that no host loses its certificate at a restart.
    pub(super) async fn wait_until_complete(&mut self) {
        let complete = async {
            // The senders are not dropped before the receivers.
            let _ = self.snapshot.wait_for(|snapshot| snapshot.is_complete).await;
            let _ = self.cas.wait_for(|snapshot| snapshot.is_complete).await;
        };
        if timeout(READ_TIMEOUT, complete).await.is_err() {
            error!("certificates were not read within {READ_TIMEOUT:?}; starting without them");
        }
    }

    pub(super) async fn next_event(&mut self) -> CertificateEvent {
        if self.tasks.is_empty() {
            return std::future::pending().await;
        }
        tokio::select! {
            Ok(()) = self.snapshot.changed() => CertificateEvent::Changed,
            Ok(()) = self.cas.changed() => CertificateEvent::Changed,
            Ok(()) = self.status.changed() => CertificateEvent::OrdersChanged,
            Some(request) = self.tokens.recv() => CertificateEvent::Token(request),
            else => std::future::pending().await,
        }
    }

    pub(super) fn current(&mut self) -> (CertificateSnapshot, CaSnapshot) {
        (self.snapshot.borrow_and_update().clone(), self.cas.borrow_and_update().clone())
    }

    pub(super) fn orders(&mut self) -> Arc<AcmeStatus> {
        Arc::clone(&self.status.borrow_and_update())
    }

    pub(super) fn store(&self) -> CertificateStore {
        self.store.clone()
    }

    /// Returns what the CA of the settings signs. `None` if no certificates are ordered.
    pub(super) fn name_rules(&self) -> Option<NameRules> {
        self.name_rules
    }

    fn start_task(&mut self) {
        if let Some(inputs) = self.inputs.take() {
            self.tasks.spawn(supervise("certificates", move || follow(inputs.clone())));
        }
    }

    /// Handles a request about certificates. Returns any other request.
    pub(super) fn handle_request(&mut self, request: ControlRequest) -> Option<ControlRequest> {
        match request {
            ControlRequest::RenewCertificate { host, answer } => {
                // The requester may be gone.
                let _ = answer.send(self.renew(&host));
            }
            ControlRequest::ReplaceAccountKey { answer } => self.replace_account_key(answer),
            other => return Some(other),
        }
        None
    }

    /// Orders a new certificate for a host now. Returns the host of the order, which may be the wildcard above it.
    ///
    /// # Errors
    /// If nothing is ordered for the host.
    fn renew(&self, host: &str) -> Result<String, ApiError> {
        self.check_ordering()?;
        let status = self.status.borrow();
        let found = host.parse::<AcmeHost>().ok().and_then(|host| status.find_host(&host));
        let Some((found, _)) = found else {
            let hosts = status.hosts.keys().filter(|host| host.variant == CertificateVariant::Main);
            let hosts = hosts.take(MAX_LISTED_HOSTS).map(ToString::to_string);
            return Err(ApiError::UnknownHost { host: host.to_owned(), hosts: hosts.collect() });
        };
        self.send_request(AcmeRequest::Renew(found.clone()))?;
        Ok(found.to_string())
    }

    /// Replaces the key of the account at the CA. `answer` gets the result.
    fn replace_account_key(&mut self, answer: ReplySender<Result<(), ApiError>>) {
        let last = self.status.borrow().key_replacement.clone();
        let sent = self
            .check_ordering()
            .and_then(|()| self.check_leader())
            .and_then(|()| self.send_request(AcmeRequest::ReplaceAccountKey));
        if let Err(error) = sent {
            let _ = answer.send(Err(error));
            return;
        }
        let mut status = self.status.clone();
        self.tasks.spawn(async move {
            let is_done = |status: &Arc<AcmeStatus>| status.key_replacement != last;
            let wait = timeout(KEY_REPLACEMENT_TIMEOUT, status.wait_for(is_done)).await;
            let failure = match wait {
                Ok(Ok(status)) => {
                    status.key_replacement.as_ref().and_then(|done| done.failure.clone())
                }
                _ => Some("the CA has not answered yet".to_owned()),
            };
            let _ = answer.send(failure.map_or(Ok(()), |why| Err(ApiError::NotOrdered(why))));
        });
    }

    fn check_ordering(&self) -> Result<(), ApiError> {
        let why = "certificates are not ordered: --acme is not set";
        self.name_rules.map(|_| ()).ok_or_else(|| ApiError::NotOrdered(why.to_owned()))
    }

    /// # Errors
    /// If another balancer that shares the store orders, which has the account.
    fn check_leader(&self) -> Result<(), ApiError> {
        let status = self.status.borrow();
        match SharedOrders::of_orders(Some(&status)) {
            Some(orders) if !orders.is_leader => {
                Err(ApiError::NotOrdered(format!("{orders}; run the command there")))
            }
            _ => Ok(()),
        }
    }

    /// Without a receiver the task is being started again, so the caller has to retry.
    fn send_request(&self, request: AcmeRequest) -> Result<(), ApiError> {
        let sent = self.requests.send(request).map(|_| ());
        sent.map_err(|_| ApiError::NotApplied("the orders are being started again".to_owned()))
    }

    /// Sets the hosts for which certificates are ordered, and those that get one of the own CA.
    pub(super) fn set_hosts(&mut self, CertificateRequests { acme, own }: CertificateRequests) {
        if !own.is_empty() {
            self.start_task();
        }
        send_if_changed(&self.hosts, acme);
        send_if_changed(&self.own_hosts, own);
    }
}

fn send_if_changed(sender: &watch::Sender<Arc<BTreeSet<AcmeHost>>>, hosts: BTreeSet<AcmeHost>) {
    sender.send_if_modified(|current| {
        let is_changed = **current != hosts;
        if is_changed {
            *current = Arc::new(hosts);
        }
        is_changed
    });
}

async fn follow(inputs: Inputs) {
    let Inputs { store, state_dir, directories, own_hosts, acme, snapshots, .. } = inputs;
    let Inputs { hosts, requests: operator_requests, tokens, status, .. } = inputs;
    let files = (!directories.is_empty()).then_some(CertificateOriginKind::File);
    let orders = acme.as_ref().map(|_| CertificateOriginKind::Acme);
    let own = [CertificateOriginKind::OwnCa];
    let expected = files.into_iter().chain(orders).chain(own);
    let shelf = CertificateShelf::new(store, expected, snapshots);
    let (updates, queue) = mpsc::channel(QUEUE);
    let follow_own_ca = own_ca::follow(state_dir, own_hosts, updates.clone());
    let follow_directories = async {
        if files.is_some() {
            certificate::follow(directories, updates.clone()).await;
        }
    };
    let follow_orders = async {
        let Some(settings) = acme else { return };
        let ca: Arc<str> = settings.directory.as_str().into();
        let (issued_sender, issued) = mpsc::channel(QUEUE);
        let (request_sender, requests) = mpsc::channel(QUEUE);
        let started = status.subscribe();
        let handles = AcmeHandles { hosts, tokens, issued: issued_sender, status, requests };
        tokio::join!(
            acme::follow(settings, handles),
            collect_issued(ca, issued, started, updates.clone()),
            forward_requests(operator_requests.subscribe(), request_sender)
        );
    };
    tokio::join!(shelf.run(queue), follow_directories, follow_orders, follow_own_ca);
}

/// Passes operators' requests on. The channel of the orders ends with their task.
async fn forward_requests(
    mut requests: broadcast::Receiver<AcmeRequest>,
    orders: mpsc::Sender<AcmeRequest>,
) {
    loop {
        match requests.recv().await {
            Ok(request) => {
                if orders.send(request).await.is_err() {
                    return;
                }
            }
            // An operator has sent more than the queue has room for; those that are left will be handled.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Sends all issued certificates together, after those of earlier runs were read.
async fn collect_issued(
    ca: Arc<str>,
    mut issued: mpsc::Receiver<IssuedCertificate>,
    mut started: watch::Receiver<Arc<AcmeStatus>>,
    updates: mpsc::Sender<SourceUpdate>,
) {
    let mut parsed = BTreeMap::new();
    let mut is_started = false;
    loop {
        tokio::select! {
            biased;
            certificate = issued.recv() => {
                let Some(IssuedCertificate { host, pem }) = certificate else { return };
                let origin = CertificateOrigin::Acme { ca: Arc::clone(&ca) };
                let name = host.folder();
                parsed.insert(host, CertificateWithKey::parse(&pem, origin, name));
            }
            // The first status comes after the certificates of earlier runs.
            Ok(()) = started.changed(), if !is_started => is_started = true,
        }
        if is_started && updates.send(acme_update(&parsed)).await.is_err() {
            return;
        }
    }
}

type ParsedCertificate = Result<CertificateWithKey, certificate::CertificateProblemKind>;

fn acme_update(parsed: &BTreeMap<AcmeHost, ParsedCertificate>) -> SourceUpdate {
    let problem = |(host, parsed): (&AcmeHost, &ParsedCertificate)| {
        let kind = parsed.as_ref().err()?.clone();
        Some(CertificateProblem::new(host.folder(), kind))
    };
    SourceUpdate {
        kind: CertificateOriginKind::Acme,
        certificates: parsed.values().filter_map(|parsed| parsed.as_ref().ok()).cloned().collect(),
        problems: parsed.iter().filter_map(problem).collect(),
    }
}

/// Starts to read the directories of CAs.
fn start_ca_task(
    settings: &Settings,
    tasks: &mut JoinSet<()>,
) -> Result<(watch::Sender<CaSnapshot>, watch::Receiver<CaSnapshot>)> {
    let directories = settings.ca_directories();
    let is_complete = directories.is_empty();
    let (sender, cas) = watch::channel(CaSnapshot { is_complete, ..CaSnapshot::default() });
    if !is_complete {
        let access = settings.proxy().file_access();
        let store = CertificateStore::open(&settings.state_dir, access)?;
        let inputs = (directories, store, sender.clone());
        tasks.spawn(supervise("CAs", move || {
            let (directories, store, sender) = inputs.clone();
            certificate::follow_cas(directories, store, sender)
        }));
    }
    Ok((sender, cas))
}
