//! The tasks that read and order certificates, and keep those that HAProxy needs in the state directory.

use crate::{
    model::certificate::{CertificateOrigin, CertificateOriginKind},
    settings::Settings,
    sources::{
        acme::{
            self, AcmeHandles, AcmeHost, AcmeSettings, AcmeStatus, IssuedCertificate, TokenRequest,
        },
        certificate::{
            self, CaSnapshot, CertificateProblem, CertificateShelf, CertificateSnapshot,
            CertificateStore, CertificateWithKey, SourceUpdate,
        },
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
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::error;

/// How long the first pass waits for the certificates. A directory of a network may not answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Updates that wait to be handled.
const QUEUE: usize = 4;

/// Follows the certificates until it is dropped.
#[derive(Debug)]
pub(super) struct CertificateFollower {
    /// `None` if there are no certificates to store.
    store: Option<CertificateStore>,
    snapshot: watch::Receiver<CertificateSnapshot>,
    cas: watch::Receiver<CaSnapshot>,
    is_ordering: bool,
    hosts: watch::Sender<Arc<BTreeSet<AcmeHost>>>,
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
    directories: Vec<PathBuf>,
    acme: Option<AcmeSettings>,
    snapshots: watch::Sender<CertificateSnapshot>,
    hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    tokens: mpsc::Sender<TokenRequest>,
    status: watch::Sender<Arc<AcmeStatus>>,
}

impl CertificateFollower {
    /// Starts to read the certificate directories of the settings, and to order certificates.
    ///
    /// # Errors
    /// If the certificates cannot be stored in the state directory, or a file of the settings cannot be read.
    pub(super) fn start(settings: &Settings) -> Result<Self> {
        let (directories, acme) = (settings.certificates.clone(), settings.acme()?);
        let is_ordering = acme.is_some();
        let is_complete = directories.is_empty() && !is_ordering;
        let first = CertificateSnapshot { is_complete, ..CertificateSnapshot::default() };
        let (snapshots, snapshot) = watch::channel(first);
        let (hosts_sender, hosts) = watch::channel(Arc::default());
        let (tokens_sender, tokens) = mpsc::channel(QUEUE);
        let (status_sender, status) = watch::channel(Arc::default());
        let (mut tasks, mut store) = (JoinSet::new(), None);
        if !is_complete {
            let access = settings.proxy().file_access();
            let opened = CertificateStore::open(&settings.state_dir, access)?;
            store = Some(opened.clone());
            let inputs = Inputs {
                store: opened,
                directories,
                acme,
                snapshots: snapshots.clone(),
                hosts,
                tokens: tokens_sender.clone(),
                status: status_sender,
            };
            tasks.spawn(supervise("certificates", move || follow(inputs.clone())));
        }
        let (ca_sender, cas) = start_ca_task(settings, &mut tasks)?;
        let hosts = hosts_sender;
        let open = (snapshots, ca_sender, tokens_sender);
        Ok(Self { store, snapshot, cas, is_ordering, hosts, tokens, status, tasks, _open: open })
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

    pub(super) fn store(&self) -> Option<CertificateStore> {
        self.store.clone()
    }

    /// Whether certificates are ordered.
    pub(super) fn is_ordering(&self) -> bool {
        self.is_ordering
    }

    /// Sets the hosts for which certificates are ordered.
    pub(super) fn set_hosts(&self, hosts: BTreeSet<AcmeHost>) {
        self.hosts.send_if_modified(|current| {
            let is_changed = **current != hosts;
            if is_changed {
                *current = Arc::new(hosts);
            }
            is_changed
        });
    }
}

async fn follow(inputs: Inputs) {
    let Inputs { store, directories, acme, snapshots, hosts, tokens, status } = inputs;
    let files = (!directories.is_empty()).then_some(CertificateOriginKind::File);
    let orders = acme.as_ref().map(|_| CertificateOriginKind::Acme);
    let shelf = CertificateShelf::new(store, files.into_iter().chain(orders), snapshots);
    let (updates, queue) = mpsc::channel(QUEUE);
    let follow_directories = async {
        if files.is_some() {
            certificate::follow(directories, updates.clone()).await;
        }
    };
    let follow_orders = async {
        let Some(settings) = acme else { return };
        let ca: Arc<str> = settings.directory.as_str().into();
        let (issued_sender, issued) = mpsc::channel(QUEUE);
        // No operator's request uses it yet.
        let (_request_sender, requests) = mpsc::channel(1);
        let started = status.subscribe();
        let handles = AcmeHandles { hosts, tokens, issued: issued_sender, status, requests };
        tokio::join!(
            acme::follow(settings, handles),
            collect_issued(ca, issued, started, updates.clone())
        );
    };
    tokio::join!(shelf.run(queue), follow_directories, follow_orders);
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
