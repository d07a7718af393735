//! Writes the required keys to etcd, over one connection after another.
//!
//! A session only relies on what it has read itself: it starts with the lease and reads all our keys. If an operation
//! fails in an open session, it is retried once in a new session before it counts as a failure: tokens expire,
//! members restart, and leases expire while they cannot be renewed.

use super::{
    etcd::{EtcdClient, EtcdWriteError, KeyValue, KeyWrite},
    local_state::{LocalKeys, hash_text},
    params::{OnStop, Publish},
    remote_state::{self, RemoteKey, RemoteKeys},
};
use crate::{
    handlers::{HandlerContext, state::HandlerState},
    model::container::ContainerId,
    sources::{
        ContainerMap,
        docker::{self, Engine},
    },
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    mem::take,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

/// The size of one request. etcd's limits are 128 operations and 1.5 MiB.
const MAX_BATCH_KEYS: usize = 64;
const MAX_BATCH_BYTES: usize = 512 * 1024;
/// How long to wait for etcd when docker-glue stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The name of the lease record in the handler's state.
const LEASE_FILE: &str = "lease";

/// Identifies this process. The start time is included, because process ids repeat when a container restarts.
static PROCESS_ID: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
});

/// The lease as it is stored across a restart. A process that continues a lease does not write the existing keys
/// again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseRecord {
    lease: i64,
    /// The process that holds the lease. Only the lease of an earlier process is continued: another handler of the
    /// same process revokes its lease when it ends.
    process: String,
    /// The lease is only valid for these keys in this etcd.
    keys: String,
    endpoints: Vec<String>,
    ttl: u64,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    publish: Publish,
    /// The name of the handler.
    name: String,
    docker: docker::EngineSettings,
    containers: watch::Receiver<Arc<ContainerMap>>,
    leaving: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    state: HandlerState,
    /// The key up to the container's id; `None` until the engine has reported the name of its host.
    key_prefix: Option<String>,
    local: LocalKeys,
    /// Digests of texts that etcd refuses as too large.
    too_large: BTreeMap<ContainerId, u64>,
    /// Independent of connections.
    lease: Option<i64>,
    session: Option<EtcdSession>,
    /// The index of the endpoint that answered last.
    endpoint: usize,
    /// Whether another writer changes our keys. This is logged once.
    has_conflict: bool,
}

#[derive(Debug)]
struct EtcdSession {
    etcd: EtcdClient,
    lease: i64,
    remote: RemoteKeys,
    /// When to renew the lease, and when to read the keys again.
    keep_alive_at: Instant,
    verify_at: Instant,
}

/// What a pass has written.
#[derive(Debug, Default)]
pub(crate) struct WriteReport {
    puts: usize,
    deletes: usize,
    key_prefix: String,
}

impl WriteReport {
    pub(crate) fn is_empty(&self) -> bool {
        self.puts + self.deletes == 0
    }
}

/// Prints for example `wrote 2, removed 1 under /docker-glue/node/containers/`.
impl fmt::Display for WriteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrote {}, removed {} under {}", self.puts, self.deletes, self.key_prefix)
    }
}

impl Publisher {
    pub(crate) fn new(publish: Publish, work: &HandlerContext) -> Self {
        let node = publish.node.as_ref();
        Self {
            key_prefix: node.map(|node| publish.key_prefix(node)),
            publish,
            name: work.handler.name.clone(),
            docker: work.settings.first_engine().clone(),
            containers: work.containers.clone(),
            leaving: work.leaving.clone(),
            state: HandlerState::new(&work.settings, &work.handler),
            local: LocalKeys::default(),
            too_large: BTreeMap::new(),
            lease: None,
            session: None,
            endpoint: 0,
            has_conflict: false,
        }
    }

    /// Returns when the next pass is due without a message.
    pub(crate) fn next_deadline(&self) -> Instant {
        let due = self.session.as_ref().map(|session| session.keep_alive_at.min(session.verify_at));
        due.unwrap_or_else(Instant::now)
    }

    /// Writes the current containers to etcd. Cancel safe: this future may be dropped at any await.
    pub(crate) async fn publish_changes(&mut self) -> Result<WriteReport> {
        let key_prefix = self.resolve_key_prefix().await?;
        let roster = Arc::clone(&self.containers.borrow_and_update());
        let leaving = Arc::clone(&self.leaving.borrow_and_update());
        while self.local.update_batch(&roster, &leaving, &self.publish.view) {
            // Other tasks may need to run.
            yield_now().await;
        }
        if let Some(session) = self.session.take() {
            match self.sync_keys(session, &key_prefix).await {
                Ok(report) => return Ok(report),
                Err(error) => debug!(handler = self.name, "reconnecting: {error:#}"),
            }
        }
        let session = self.open_session(&key_prefix).await?;
        let report = self.sync_keys(session, &key_prefix).await;
        report.with_context(|| self.endpoint_name())
    }

    fn endpoint_name(&self) -> String {
        format!("etcd at {}", self.publish.access.endpoints[self.endpoint])
    }

    async fn resolve_key_prefix(&mut self) -> Result<String> {
        if let Some(key_prefix) = &self.key_prefix {
            return Ok(key_prefix.clone());
        }
        let (_, node) = Engine::connect(&self.docker).await?.query_node().await?;
        if node.is_empty() {
            bail!("Docker does not report the name of its host; set node=");
        }
        Ok(self.key_prefix.insert(self.publish.key_prefix(&node)).clone())
    }

    /// Opens a session with the endpoint that answered last, or else with the next one that answers.
    async fn open_session(&mut self, key_prefix: &str) -> Result<EtcdSession> {
        let endpoints = self.publish.access.endpoints.clone();
        let mut failures = Vec::new();
        for _ in &endpoints {
            match self.open_endpoint(&endpoints[self.endpoint], key_prefix).await {
                Ok(session) => return Ok(session),
                Err(error) => failures.push(format!("{}: {error:#}", self.endpoint_name())),
            }
            self.endpoint = (self.endpoint + 1) % endpoints.len();
        }
        bail!("{}", failures.join("; "))
    }

    async fn open_endpoint(&mut self, endpoint: &str, key_prefix: &str) -> Result<EtcdSession> {
        let etcd = EtcdClient::connect(&self.publish.access, endpoint).await?;
        let lease = self.acquire_lease(&etcd, key_prefix).await?;
        let mut found = RemoteKeys::new();
        etcd.read_keys(key_prefix, false, |value| {
            found.insert(id_of(&value, key_prefix), RemoteKey::from(&value));
        })
        .await?;
        let now = Instant::now();
        let ttl = self.publish.ttl;
        Ok(EtcdSession {
            etcd,
            lease,
            remote: found,
            keep_alive_at: now + ttl / 3,
            verify_at: now + ttl * 2,
        })
    }

    /// Returns the current lease if it has not expired, or else the lease of an earlier process, or a new one.
    async fn acquire_lease(&mut self, etcd: &EtcdClient, key_prefix: &str) -> Result<i64> {
        if let Some(lease) = self.lease {
            if etcd.keep_alive(lease).await? {
                return Ok(lease);
            }
            info!(handler = self.name, "the lease has expired; writing all keys again");
        }
        let mut record = self.lease_record(key_prefix);
        record.lease = match self.previous_lease(etcd, &record).await? {
            Some(lease) => lease,
            None => etcd.grant_lease(self.publish.ttl).await?,
        };
        self.state.write_value(LEASE_FILE, &record).await;
        Ok(*self.lease.insert(record.lease))
    }

    /// Returns the lease of an earlier process if it has not expired.
    async fn previous_lease(
        &mut self,
        etcd: &EtcdClient,
        own: &LeaseRecord,
    ) -> Result<Option<i64>> {
        if self.lease.take().is_some() {
            return Ok(None);
        }
        let Some(before) = self.state.read_value::<LeaseRecord>(LEASE_FILE).await else {
            return Ok(None);
        };
        let same =
            LeaseRecord { lease: before.lease, process: before.process.clone(), ..own.clone() };
        let is_ours = same == before && before.process != own.process;
        Ok((is_ours && etcd.keep_alive(before.lease).await?).then_some(before.lease))
    }

    fn lease_record(&self, key_prefix: &str) -> LeaseRecord {
        LeaseRecord {
            lease: self.lease.unwrap_or_default(),
            process: PROCESS_ID.clone(),
            keys: key_prefix.to_owned(),
            endpoints: self.publish.access.endpoints.clone(),
            ttl: self.publish.ttl.as_secs(),
        }
    }

    /// Writes all changes. The session is kept only if everything succeeded.
    async fn sync_keys(
        &mut self,
        mut session: EtcdSession,
        key_prefix: &str,
    ) -> Result<WriteReport> {
        session.keep_alive(self.publish.ttl).await?;
        if session.verify_at <= Instant::now() {
            let foreign = session.verify_keys(key_prefix, self.publish.ttl).await?;
            self.log_conflict(foreign);
        }
        let digests = self.local.digests();
        self.too_large.retain(|id, digest| digests.get(id) == Some(digest));
        let changes =
            remote_state::diff_keys(&session.remote, digests, &self.too_large, session.lease);
        let mut report = WriteReport {
            puts: 0,
            deletes: changes.deletes.len(),
            key_prefix: key_prefix.to_owned(),
        };
        for ids in changes.deletes.chunks(MAX_BATCH_KEYS) {
            session.delete_keys(ids, key_prefix).await?;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for id in changes.puts {
            let Some(text) = self.local.key_text(&id, &self.publish.view) else { continue };
            if MAX_BATCH_KEYS <= batch.len() || MAX_BATCH_BYTES < bytes + text.len() {
                report.puts += self.put_batch(&mut session, take(&mut batch), key_prefix).await?;
                bytes = 0;
            }
            bytes += text.len();
            batch.push((id, text));
        }
        report.puts += self.put_batch(&mut session, batch, key_prefix).await?;
        self.session = Some(session);
        Ok(report)
    }

    /// Writes a batch. Returns how many keys were written. If etcd refuses one as too large, only that one is left
    /// out.
    async fn put_batch(
        &mut self,
        session: &mut EtcdSession,
        batch: Vec<(ContainerId, String)>,
        key_prefix: &str,
    ) -> Result<usize> {
        session.keep_alive(self.publish.ttl).await?;
        let mut count = 0;
        match session.put_keys(&batch, key_prefix).await {
            Ok(()) => return Ok(batch.len()),
            Err(EtcdWriteError::TooLarge) => {}
            Err(EtcdWriteError::Failed(error)) => return Err(error),
        }
        for one in batch {
            match session.put_keys(std::slice::from_ref(&one), key_prefix).await {
                Ok(()) => count += 1,
                Err(EtcdWriteError::TooLarge) => {
                    let (id, text) = one;
                    let bytes = text.len();
                    warn!(
                        handler = self.name,
                        "container {id} is not published: etcd refuses its {bytes} bytes as too \
                         large"
                    );
                    self.too_large.insert(id, hash_text(text.as_bytes()));
                }
                Err(EtcdWriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(count)
    }

    fn log_conflict(&mut self, foreign: usize) {
        let was = std::mem::replace(&mut self.has_conflict, 0 < foreign);
        if !was && self.has_conflict {
            let key_prefix = self.key_prefix.as_deref().unwrap_or_default();
            warn!(
                handler = self.name,
                "another writer uses {key_prefix} ({foreign} keys); check that no other node has \
                 this name"
            );
        }
    }

    /// Removes the keys, unless they are to be kept: nothing would update them any more.
    pub(crate) async fn shut_down(mut self) {
        let Some(lease) = self.lease else { return };
        let (handler, ttl) = (&self.name, self.publish.ttl.as_secs());
        if self.publish.on_stop == OnStop::Keep {
            info!(handler, "keeping the keys for up to {ttl}s");
            return;
        }
        let own = self.key_prefix.as_deref().map(|key_prefix| self.lease_record(key_prefix));
        if own.is_some() && self.state.read_value(LEASE_FILE).await == own {
            self.state.remove_value(LEASE_FILE).await;
        }
        let session = self.session.take();
        let revoked = timeout(SHUTDOWN_TIMEOUT, async {
            if let Some(session) = session
                && session.etcd.revoke_lease(lease).await.is_ok()
            {
                return Ok(());
            }
            let endpoint = &self.publish.access.endpoints[self.endpoint];
            EtcdClient::connect(&self.publish.access, endpoint).await?.revoke_lease(lease).await
        });
        match revoked.await {
            Ok(Ok(())) => info!(handler, "removed the keys"),
            Ok(Err(error)) => {
                warn!(
                    handler,
                    "could not remove the keys, which remain for up to {ttl}s: {error:#}"
                );
            }
            Err(_) => warn!(
                handler,
                "could not remove the keys, which remain for up to {ttl}s: etcd does not answer"
            ),
        }
    }
}

impl Publish {
    fn key_prefix(&self, node: &str) -> String {
        format!("{}{node}/containers/", self.prefix)
    }
}

impl EtcdSession {
    async fn keep_alive(&mut self, ttl: Duration) -> Result<()> {
        if Instant::now() < self.keep_alive_at {
            return Ok(());
        }
        if !self.etcd.keep_alive(self.lease).await? {
            bail!("the lease has expired");
        }
        self.keep_alive_at = Instant::now() + ttl / 3;
        Ok(())
    }

    /// Reads the keys again. Returns how many were changed by another writer.
    async fn verify_keys(&mut self, key_prefix: &str, ttl: Duration) -> Result<usize> {
        let mut fetched = RemoteKeys::new();
        let bare = |value: &KeyValue| RemoteKey { digest: None, ..RemoteKey::from(value) };
        self.etcd
            .read_keys(key_prefix, true, |value| {
                fetched.insert(id_of(&value, key_prefix), bare(&value));
            })
            .await?;
        let (found, foreign) = remote_state::merge_fetched(&self.remote, fetched);
        self.remote = found;
        self.verify_at = Instant::now() + ttl * 2;
        Ok(foreign.len())
    }

    async fn delete_keys(&mut self, ids: &[ContainerId], key_prefix: &str) -> Result<()> {
        let delete = |id: &ContainerId| KeyWrite::Delete { key: key_of(id, key_prefix) };
        self.etcd.write_keys(ids.iter().map(delete).collect()).await?;
        for id in ids {
            self.remote.remove(id);
        }
        Ok(())
    }

    async fn put_keys(
        &mut self,
        all: &[(ContainerId, String)],
        key_prefix: &str,
    ) -> Result<(), EtcdWriteError> {
        let lease = self.lease;
        if all.is_empty() {
            return Ok(());
        }
        let put = |(id, text): &(ContainerId, String)| KeyWrite::Put {
            key: key_of(id, key_prefix),
            value: text.clone(),
            lease,
        };
        let revision = self.etcd.write_keys(all.iter().map(put).collect()).await?;
        for (id, text) in all {
            let remote_key =
                RemoteKey { digest: Some(hash_text(text.as_bytes())), lease, revision };
            self.remote.insert(id.clone(), remote_key);
        }
        Ok(())
    }
}

impl From<&KeyValue> for RemoteKey {
    fn from(value: &KeyValue) -> Self {
        Self {
            digest: Some(hash_text(&value.value)),
            lease: value.lease,
            revision: value.mod_revision,
        }
    }
}

fn key_of(id: &ContainerId, key_prefix: &str) -> String {
    format!("{key_prefix}{}", id.as_str())
}

fn id_of(value: &KeyValue, key_prefix: &str) -> ContainerId {
    let key = String::from_utf8_lossy(&value.key);
    ContainerId::new(key.strip_prefix(key_prefix).unwrap_or(&key))
}
