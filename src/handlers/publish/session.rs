//! Writes the required keys to etcd, over one connection after another.
//!
//! A session only relies on what it has read itself: it starts with the lease and reads all our keys. If an operation
//! fails in an open session, it is retried once in a new session before it counts as a failure: tokens expire,
//! members restart, and leases expire while they cannot be renewed.

use super::{
    local_state::{INSPECT_FOLDER, LocalKeys, hash_text},
    params::{OnStop, Publish},
    remote_state::{self, KeyName, RemoteKey, RemoteKeys},
};
use crate::{
    handlers::{HandlerContext, state::HandlerState},
    model::{container::ContainerId, source_name::SourceName},
    sources::{
        ContainerMap,
        docker::{self, Engine},
        registry::{ALIVE_KEY, AliveRecord, NodeState},
    },
    support::etcd::{EtcdClient, EtcdWriteError, KeyValue, KeyWrite},
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    mem::take,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::{UdpSocket, lookup_host},
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
    node: Option<NodeKeys>,
    local: LocalKeys,
    /// Digests of texts that etcd refuses as too large.
    too_large: BTreeMap<KeyName, u64>,
    /// Independent of connections.
    lease: Option<i64>,
    session: Option<EtcdSession>,
    /// The index of the endpoint that answered last.
    endpoint: usize,
    /// Whether another writer changes our keys. This is logged once.
    has_conflict: bool,
    /// Whether it was logged that no other machine reaches this one.
    has_warned: bool,
}

/// The keys of this node.
#[derive(Debug, Clone)]
struct NodeKeys {
    /// What all of them begin with: `/docker-glue/NODE/`.
    prefix: String,
    /// What of that this publisher writes: all, or the inspections.
    folder: &'static str,
    /// The engine's id.
    engine: String,
}

impl NodeKeys {
    /// Returns the beginning of the keys that this publisher writes.
    fn range(&self) -> String {
        format!("{}{}", self.prefix, self.folder)
    }

    fn key_of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn name_of(&self, value: &KeyValue) -> KeyName {
        let key = String::from_utf8_lossy(&value.key);
        key.strip_prefix(self.prefix.as_str()).unwrap_or(&key).to_owned()
    }
}

#[derive(Debug)]
struct EtcdSession {
    etcd: EtcdClient,
    /// The sign of life, if there is one.
    alive: Option<AliveRecord>,
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

/// Returns the containers of one of several engines. A node publishes those of its own machine.
fn containers_of(engine: &SourceName, all: &Arc<ContainerMap>) -> Arc<ContainerMap> {
    if all.keys().all(|id| id.source() == engine) {
        return Arc::clone(all);
    }
    let own = all.iter().filter(|(id, _)| id.source() == engine);
    Arc::new(own.map(|(id, container)| (id.clone(), Arc::clone(container))).collect())
}

impl Publisher {
    pub(crate) fn new(publish: Publish, work: &HandlerContext) -> Self {
        // The sign of life names the engine, which has to be asked for that.
        let is_known = !publish.view.parts.has_records();
        let node = publish.node.as_ref().filter(|_| is_known);
        Self {
            node: node.map(|node| publish.node_keys(node, String::new())),
            publish,
            name: work.handler.name.clone(),
            // Without an engine, such a handler is refused.
            docker: work.settings.first_engine().cloned().unwrap_or_default(),
            containers: work.containers.clone(),
            leaving: work.leaving.clone(),
            state: HandlerState::new(&work.settings, &work.handler),
            local: LocalKeys::default(),
            too_large: BTreeMap::new(),
            lease: None,
            session: None,
            endpoint: 0,
            has_conflict: false,
            has_warned: false,
        }
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.publish.ttl
    }

    /// Returns when the next pass is due without a message.
    pub(crate) fn next_deadline(&self) -> Instant {
        let due = self.session.as_ref().map(|session| session.keep_alive_at.min(session.verify_at));
        due.unwrap_or_else(Instant::now)
    }

    /// Writes the current containers to etcd. Cancel safe: this future may be dropped at any await.
    pub(crate) async fn publish_changes(&mut self) -> Result<WriteReport> {
        let node = self.resolve_node().await?;
        let roster = containers_of(&self.docker.source, &self.containers.borrow_and_update());
        let leaving = Arc::clone(&self.leaving.borrow_and_update());
        while self.local.update_batch(&roster, &leaving, &self.publish.view) {
            // Other tasks may need to run.
            yield_now().await;
        }
        if let Some(session) = self.session.take() {
            match self.sync_keys(session, &node).await {
                Ok(report) => return Ok(report),
                Err(error) => debug!(handler = self.name, "reconnecting: {error:#}"),
            }
        }
        let session = self.open_session(&node).await?;
        let report = self.sync_keys(session, &node).await;
        report.with_context(|| self.endpoint_name())
    }

    fn endpoint_name(&self) -> String {
        format!("etcd at {}", self.publish.access.endpoints[self.endpoint])
    }

    async fn resolve_node(&mut self) -> Result<NodeKeys> {
        if let Some(node) = &self.node {
            return Ok(node.clone());
        }
        let (engine, host) = Engine::connect(&self.docker).await?.query_node().await?;
        let name = self.publish.node.clone().unwrap_or(host);
        if name.is_empty() {
            bail!("Docker does not report the name of its host; set node=");
        }
        Ok(self.node.insert(self.publish.node_keys(&name, engine)).clone())
    }

    /// Opens a session with the endpoint that answered last, or else with the next one that answers.
    async fn open_session(&mut self, node: &NodeKeys) -> Result<EtcdSession> {
        let endpoints = self.publish.access.endpoints.clone();
        let mut failures = Vec::new();
        for _ in &endpoints {
            match self.open_endpoint(&endpoints[self.endpoint], node).await {
                Ok(session) => return Ok(session),
                Err(error) => failures.push(format!("{}: {error:#}", self.endpoint_name())),
            }
            self.endpoint = (self.endpoint + 1) % endpoints.len();
        }
        bail!("{}", failures.join("; "))
    }

    async fn open_endpoint(&mut self, endpoint: &str, node: &NodeKeys) -> Result<EtcdSession> {
        let etcd = EtcdClient::connect(&self.publish.access, endpoint).await?;
        let lease = self.acquire_lease(&etcd, &node.range()).await?;
        let mut found = RemoteKeys::new();
        etcd.read_keys(&node.range(), false, |value| {
            found.insert(node.name_of(&value), RemoteKey::from(&value));
        })
        .await?;
        let now = Instant::now();
        let ttl = self.publish.ttl;
        Ok(EtcdSession {
            alive: self.build_alive_record(endpoint, node).await?,
            etcd,
            lease,
            remote: found,
            keep_alive_at: now + ttl / 3,
            verify_at: now + ttl * 2,
        })
    }

    /// Returns the sign of life, if records are published.
    async fn build_alive_record(
        &mut self,
        endpoint: &str,
        node: &NodeKeys,
    ) -> Result<Option<AliveRecord>> {
        if !self.publish.view.parts.has_records() {
            return Ok(None);
        }
        let addresses = match &self.publish.addresses {
            Some(addresses) => addresses.clone(),
            None => vec![find_own_address(endpoint).await?],
        };
        let is_reached = |ip: &IpAddr| !ip.is_loopback();
        if !addresses.iter().any(is_reached) && !std::mem::replace(&mut self.has_warned, true) {
            warn!(
                handler = self.name,
                "other machines cannot reach this one at {}; set addresses= to an address of its \
                 network",
                addresses[0]
            );
        }
        Ok(Some(AliveRecord::new(addresses, node.engine.clone())))
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
        node: &NodeKeys,
    ) -> Result<WriteReport> {
        session.keep_alive(self.publish.ttl).await?;
        if session.verify_at <= Instant::now() {
            let foreign = session.verify_keys(node, self.publish.ttl).await?;
            self.log_conflict(foreign);
        }
        let alive = session.alive.as_ref().map(AliveRecord::to_json);
        let mut digests = self.local.digests();
        digests
            .extend(alive.as_ref().map(|text| (ALIVE_KEY.to_owned(), hash_text(text.as_bytes()))));
        self.too_large.retain(|name, digest| digests.get(name) == Some(digest));
        let changes =
            remote_state::diff_keys(&session.remote, &digests, &self.too_large, session.lease);
        let mut report =
            WriteReport { puts: 0, deletes: changes.deletes.len(), key_prefix: node.range() };
        for names in changes.deletes.chunks(MAX_BATCH_KEYS) {
            session.delete_keys(names, node).await?;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for name in changes.puts {
            let text = match &alive {
                Some(text) if name == ALIVE_KEY => Some(text.clone()),
                _ => self.local.key_text(&name, &self.publish.view),
            };
            let Some(text) = text else { continue };
            if MAX_BATCH_KEYS <= batch.len() || MAX_BATCH_BYTES < bytes + text.len() {
                report.puts += self.put_batch(&mut session, take(&mut batch), node).await?;
                bytes = 0;
            }
            bytes += text.len();
            batch.push((name, text));
        }
        report.puts += self.put_batch(&mut session, batch, node).await?;
        self.session = Some(session);
        Ok(report)
    }

    /// Writes a batch. Returns how many keys were written. If etcd refuses one as too large, only that one is left
    /// out.
    async fn put_batch(
        &mut self,
        session: &mut EtcdSession,
        batch: Vec<(KeyName, String)>,
        node: &NodeKeys,
    ) -> Result<usize> {
        session.keep_alive(self.publish.ttl).await?;
        let mut count = 0;
        match session.put_keys(&batch, node).await {
            Ok(()) => return Ok(batch.len()),
            Err(EtcdWriteError::TooLarge) => {}
            Err(EtcdWriteError::Failed(error)) => return Err(error),
        }
        for one in batch {
            match session.put_keys(std::slice::from_ref(&one), node).await {
                Ok(()) => count += 1,
                Err(EtcdWriteError::TooLarge) => {
                    let (name, text) = one;
                    let bytes = text.len();
                    let id = ContainerId::new(name.rsplit('/').next().unwrap_or(&name));
                    warn!(
                        handler = self.name,
                        "container {id} is not published: etcd refuses its {bytes} bytes as too \
                         large"
                    );
                    self.too_large.insert(name, hash_text(text.as_bytes()));
                }
                Err(EtcdWriteError::Failed(error)) => return Err(error),
            }
        }
        Ok(count)
    }

    fn log_conflict(&mut self, foreign: usize) {
        let was = std::mem::replace(&mut self.has_conflict, 0 < foreign);
        if !was && self.has_conflict {
            let key_prefix = self.node.as_ref().map(NodeKeys::range).unwrap_or_default();
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
        let own = self.node.as_ref().map(|node| self.lease_record(&node.range()));
        if own.is_some() && self.state.read_value(LEASE_FILE).await == own {
            self.state.remove_value(LEASE_FILE).await;
        }
        let session = self.session.take();
        let revoked = timeout(SHUTDOWN_TIMEOUT, async {
            if let (Some(session), Some(node)) = (session, &self.node)
                && session.leave(node).await.is_ok()
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
    fn node_keys(&self, node: &str, engine: String) -> NodeKeys {
        let folder = if self.view.parts.has_records() { "" } else { INSPECT_FOLDER };
        NodeKeys { prefix: format!("{}{node}/", self.prefix), folder, engine }
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

    /// Writes that the keys go because docker-glue was stopped, unless another handler has taken them over.
    async fn leave(&self, node: &NodeKeys) -> Result<(), EtcdWriteError> {
        let Some(alive) = &self.alive else { return Ok(()) };
        let left = alive.clone().with_state(NodeState::Left);
        self.etcd.rewrite_key(node.key_of(ALIVE_KEY), left.to_json(), self.lease).await
    }

    /// Reads the keys again. Returns how many were changed by another writer.
    async fn verify_keys(&mut self, node: &NodeKeys, ttl: Duration) -> Result<usize> {
        let mut fetched = RemoteKeys::new();
        let bare = |value: &KeyValue| RemoteKey { digest: None, ..RemoteKey::from(value) };
        self.etcd
            .read_keys(&node.range(), true, |value| {
                fetched.insert(node.name_of(&value), bare(&value));
            })
            .await?;
        let (found, foreign) = remote_state::merge_fetched(&self.remote, fetched);
        self.remote = found;
        self.verify_at = Instant::now() + ttl * 2;
        Ok(foreign.len())
    }

    async fn delete_keys(&mut self, names: &[KeyName], node: &NodeKeys) -> Result<()> {
        let delete = |name: &KeyName| KeyWrite::Delete { key: node.key_of(name) };
        self.etcd.write_keys(names.iter().map(delete).collect()).await?;
        for name in names {
            self.remote.remove(name);
        }
        Ok(())
    }

    async fn put_keys(
        &mut self,
        all: &[(KeyName, String)],
        node: &NodeKeys,
    ) -> Result<(), EtcdWriteError> {
        let lease = self.lease;
        if all.is_empty() {
            return Ok(());
        }
        let put = |(name, text): &(KeyName, String)| KeyWrite::Put {
            key: node.key_of(name),
            value: text.clone(),
            lease,
        };
        let revision = self.etcd.write_keys(all.iter().map(put).collect()).await?;
        for (name, text) in all {
            let remote_key =
                RemoteKey { digest: Some(hash_text(text.as_bytes())), lease, revision };
            self.remote.insert(name.clone(), remote_key);
        }
        Ok(())
    }
}

/// Returns the address from which this machine connects to an endpoint.
async fn find_own_address(endpoint: &str) -> Result<IpAddr> {
    let place = endpoint.split_once("://").map_or(endpoint, |(_, place)| place);
    let found = lookup_host(place).await.with_context(|| format!("no address of {place}"))?;
    let remote = found.into_iter().next().with_context(|| format!("no address of {place}"))?;
    let any: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // This sends nothing: the kernel only chooses a route.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(remote).await?;
    Ok(socket.local_addr()?.ip())
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

#[cfg(test)]
mod tests {
    use super::containers_of;
    use crate::{
        model::{container::ContainerId, source_name::SourceName},
        sources::{ContainerMap, Description},
    };
    use std::sync::Arc;

    #[test]
    fn node_publishes_the_containers_of_its_own_engine() {
        let [here, there]: [SourceName; 2] = ["here", "there"].map(|name| name.parse().unwrap());
        let container = |source: &SourceName| {
            let id = ContainerId::in_source(source.clone(), "0".repeat(64));
            let (name, json) = ("web".to_owned(), "{}".into());
            (id.clone(), Arc::new(Description { id, name, json }))
        };
        let only: Arc<ContainerMap> = Arc::new([container(&here)].into());
        assert!(Arc::ptr_eq(&containers_of(&here, &only), &only));
        let both = Arc::new([container(&here), container(&there)].into());
        assert_eq!(containers_of(&here, &both), only);
    }
}
