//! A store that several balancers share, one of which orders the certificates of all.
//!
//! ```text
//!                     ┌────────────── shared store ──────────────┐
//!                     │ leader/N.json    who orders; what changed │
//! each balancer ────▶ │ members/ID.json  its hosts; what it serves│ ────▶ the leader orders for all hosts
//!                     │ challenges/…     answers for the CA       │ ────▶ each balancer serves them
//!                     │ requests/…       renewals to be made      │
//!                     │ ledger.json, CA/ as in the state directory│ ────▶ each balancer copies certificates
//!                     └───────────────────────────────────────────┘
//! ```
//!
//! `lease` decides who orders, `members` for whom, and `record` is what they write; these are pure. [`Keeper`] is the
//! task that reads and writes the store. [`Relay`] is between the orders and HAProxy: it passes answers to challenges
//! on to the other balancers, and serves theirs.
//!
//! [`SharedStore`] is the place for another kind of store, such as etcd.

mod directory;
mod identity;
mod keeper;
mod lease;
mod members;
mod record;
mod relay;

pub(super) use directory::Directory;
pub(crate) use keeper::LeaseGuard;
pub(super) use keeper::{Keeper, KeeperCommand, SharedView};
pub use record::Leader;
pub(super) use relay::Relay;

use super::{AcmeHost, AcmeSettings, client::TokenRequest};
use crate::model::host::HostMatch;
use record::Identity;
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Messages that wait to be handled.
const QUEUE: usize = 64;

/// How a store is shared.
#[derive(Debug, Clone)]
pub struct SharedSettings {
    /// The directory that all balancers can write.
    pub folder: PathBuf,
    /// The hosts for which other balancers get certificates; all if there is none.
    pub allowed_hosts: Vec<HostMatch>,
    pub times: SharedTimes,
}

/// The times of a shared store. All balancers must have the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedTimes {
    /// The pause between two readings of the store.
    pub poll: Duration,
    /// The pause between two signs of life.
    pub beat: Duration,
    /// A leader whose last sign of life is older stops by itself. It must be shorter than `stale`.
    pub stop: Duration,
    /// A balancer is silent if its content did not change for this long, by the reader's clock.
    pub stale: Duration,
    /// The longest wait until other balancers serve an answer to a challenge.
    pub answer: Duration,
    /// How long the hosts of a silent balancer remain requested.
    pub keep_hosts: Duration,
    /// When the file of a silent balancer is removed.
    pub forget: Duration,
    /// The longest pause between two searches for certificates.
    pub scan: Duration,
}

impl Default for SharedTimes {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            beat: Duration::from_secs(5),
            stop: Duration::from_secs(10),
            stale: Duration::from_secs(15),
            answer: Duration::from_secs(5),
            keep_hosts: Duration::from_mins(10),
            forget: Duration::from_hours(24),
            scan: Duration::from_mins(1),
        }
    }
}

impl SharedSettings {
    /// Creates settings with the default times, that allow all hosts.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, allowed_hosts: Vec::new(), times: SharedTimes::default() }
    }

    /// Whether another balancer gets a certificate for the host.
    pub fn allows(&self, host: &AcmeHost) -> bool {
        let host = host.to_host_match();
        self.allowed_hosts.is_empty()
            || self.allowed_hosts.iter().any(|allowed| allowed.covers(&host))
    }
}

/// What balancers write into a shared store, apart from the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A balancer's hosts, and the challenges that it serves.
    Member,
    /// The answer to a challenge. It may contain a private key.
    Challenge,
    /// A renewal that an operator demands.
    Request,
}

/// The store cannot be read or written, or does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SharedStoreError(String);

/// A store that several balancers share. The names of entries contain only letters, digits, `-` and `_`.
///
/// A term is a number that grows with each new leader. The lease of a term is written only by the balancer that created
/// it, so a leader that was replaced without noticing can damage nothing of its successor's.
pub(super) trait SharedStore: Send + Sync {
    /// Returns the lease of the highest term, and its text. `None` if there was none yet.
    ///
    /// # Errors
    /// Also if there are no leases any more: the store is not the one that was used before.
    fn read_lease(&self) -> impl Future<Output = Result<Option<(u64, Vec<u8>)>, Error>> + Send;

    /// Creates the lease of a term. Of several balancers that try, exactly one succeeds; the others get `false`.
    fn create_lease(
        &self,
        term: u64,
        text: &str,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Replaces the text of a lease that this balancer created.
    fn write_lease(&self, term: u64, text: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Replaces the text of a lease, and removes the entry of a member, at the end of the program. It takes a second at
    /// most, and may fail.
    fn release(&self, lease: Option<(u64, String)>, member: &str);

    /// Returns the texts of all entries by name, in order. An entry that is too long or not a file has an empty text.
    fn list(
        &self,
        kind: EntryKind,
    ) -> impl Future<Output = Result<Vec<(String, Vec<u8>)>, Error>> + Send;

    /// Returns the text of an entry; `None` if there is no such entry.
    fn read(
        &self,
        kind: EntryKind,
        name: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    fn write(
        &self,
        kind: EntryKind,
        name: &str,
        text: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Removes an entry, if there is one.
    fn remove(&self, kind: EntryKind, name: &str)
    -> impl Future<Output = Result<(), Error>> + Send;
}

use SharedStoreError as Error;

/// What the orders have of the shared store.
pub(super) struct SharedHandle {
    pub settings: SharedSettings,
    pub view: watch::Receiver<SharedView>,
    pub lease: watch::Receiver<Option<Tenure>>,
    pub commands: mpsc::Sender<KeeperCommand>,
    /// Renewals that operators demand at other balancers.
    pub requests: mpsc::Receiver<AcmeHost>,
    /// Where orders publish and withdraw answers to challenges.
    pub tokens: mpsc::Sender<TokenRequest>,
}

/// This balancer orders certificates in a term, until a moment that is moved again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub term: u64,
    pub until: Instant,
}

/// Connects the orders, a store, and HAProxy. The tasks have to run as long as the orders.
pub(super) fn connect<S: SharedStore>(
    store: S,
    settings: &AcmeSettings,
    shared: SharedSettings,
    hosts: watch::Receiver<Arc<BTreeSet<AcmeHost>>>,
    haproxy: mpsc::Sender<TokenRequest>,
) -> (SharedHandle, Keeper<S>, Relay) {
    let (commands, command_receiver) = mpsc::channel(QUEUE);
    let (request_sender, requests) = mpsc::channel(QUEUE);
    let (tokens, token_receiver) = mpsc::channel(QUEUE);
    let (serves, serves_receiver) = watch::channel(BTreeSet::new());
    let identity = Identity::new(settings.directory.as_str());
    let inputs = keeper::Inputs {
        hosts,
        serves: serves_receiver,
        commands: command_receiver,
        requests: request_sender,
    };
    let keeper = Keeper::new(store, identity, shared.times, inputs);
    let relay = Relay::new(
        (token_receiver, haproxy),
        (commands.clone(), keeper.proofs(), serves),
        shared.times,
    );
    let (view, lease) = (keeper.view(), keeper.lease());
    let handle = SharedHandle { settings: shared, view, lease, commands, requests, tokens };
    (handle, keeper, relay)
}
