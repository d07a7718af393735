//! Brings etcd to what it should hold, over one connection after another.
//!
//! Nothing is believed that was not read in this session: a new one begins with the lease, and with all
//! keys of ours as they are. What an open one has failed at is tried once more over a new one before it is a
//! failure: tokens end, members restart, and leases end while nobody could keep them.

use super::{
    etcd::{Etcd, KeyValue, Unwritten, Write},
    held::{self, Held, Shelf},
    params::{OnStop, Publish},
    wanted::{Wanted, digest},
};
use crate::{
    container::ContainerId,
    docker::{self, Engine, Roster},
    handler::{Work, state::State},
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

/// Changes in one request: etcd takes 128, and 1.5 MiB.
const MOST: usize = 64;
const MOST_BYTES: usize = 512 * 1024;
/// How long etcd is waited for when docker-glue is to stop.
const FAREWELL: Duration = Duration::from_secs(3);

/// The lease in the handler's state.
const LEASE: &str = "lease";

/// No other process has it, not even one of the same number in another life of a container.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
});

/// A lease as it is kept over a restart: whoever goes on with it writes nothing that is there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    lease: i64,
    /// Whose it is: another handler of the same process ends it when it goes.
    process: String,
    /// It is for these keys of this etcd alone.
    keys: String,
    endpoints: Vec<String>,
    ttl: u64,
}

#[derive(Debug)]
pub(super) struct Publisher {
    publish: Publish,
    /// The handler's.
    name: String,
    docker: docker::Access,
    roster: watch::Receiver<Arc<Roster>>,
    leaving: watch::Receiver<Arc<BTreeSet<ContainerId>>>,
    state: State,
    /// Before each container's id; `None` until the engine has said its name.
    keys: Option<String>,
    wanted: Wanted,
    /// Texts that etcd takes for too large.
    refused: BTreeMap<ContainerId, u64>,
    /// It outlives connections.
    lease: Option<i64>,
    session: Option<Session>,
    /// The endpoint that answered last.
    endpoint: usize,
    /// Somebody else writes our keys, and it has been said.
    disturbed: bool,
}

#[derive(Debug)]
struct Session {
    etcd: Etcd,
    lease: i64,
    shelf: Shelf,
    /// When the lease is to be kept alive, and when the keys are looked at again.
    alive: Instant,
    look: Instant,
}

/// What a pass did.
#[derive(Debug, Default)]
pub(super) struct Written {
    puts: usize,
    deletes: usize,
    place: String,
}

impl Written {
    pub(super) fn is_nothing(&self) -> bool {
        self.puts + self.deletes == 0
    }
}

/// `wrote 2, removed 1 under /docker-glue/node/containers/`
impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrote {}, removed {} under {}", self.puts, self.deletes, self.place)
    }
}

impl Publisher {
    pub(super) fn new(publish: Publish, work: &Work) -> Self {
        let node = publish.node.as_ref();
        Self {
            keys: node.map(|node| publish.keys(node)),
            publish,
            name: work.handler.name.clone(),
            docker: work.access.clone(),
            roster: work.roster.clone(),
            leaving: work.leaving.clone(),
            state: State::new(&work.settings, &work.handler),
            wanted: Wanted::default(),
            refused: BTreeMap::new(),
            lease: None,
            session: None,
            endpoint: 0,
            disturbed: false,
        }
    }

    /// When there is something to do though nothing happens.
    pub(super) fn due(&self) -> Instant {
        let due = self.session.as_ref().map(|session| session.alive.min(session.look));
        due.unwrap_or_else(Instant::now)
    }

    /// Brings etcd to what the roster says. It may be dropped at any place.
    pub(super) async fn pass(&mut self) -> Result<Written> {
        let keys = self.keys().await?;
        let roster = Arc::clone(&self.roster.borrow_and_update());
        let leaving = Arc::clone(&self.leaving.borrow_and_update());
        while self.wanted.step(&roster, &leaving, &self.publish.view) {
            // Others may want to do something meanwhile.
            yield_now().await;
        }
        if let Some(session) = self.session.take() {
            match self.bring(session, &keys).await {
                Ok(written) => return Ok(written),
                Err(error) => debug!(handler = self.name, "connecting anew: {error:#}"),
            }
        }
        let session = self.open(&keys).await?;
        let written = self.bring(session, &keys).await;
        written.with_context(|| self.place())
    }

    fn place(&self) -> String {
        format!("etcd at {}", self.publish.access.endpoints[self.endpoint])
    }

    async fn keys(&mut self) -> Result<String> {
        if let Some(keys) = &self.keys {
            return Ok(keys.clone());
        }
        let (_, node) = Engine::connect(&self.docker).await?.node().await?;
        if node.is_empty() {
            bail!("docker does not say its host's name; node= does");
        }
        Ok(self.keys.insert(self.publish.keys(&node)).clone())
    }

    /// By the endpoint that answered last, else by the next one that does.
    async fn open(&mut self, keys: &str) -> Result<Session> {
        let endpoints = self.publish.access.endpoints.clone();
        let mut told = Vec::new();
        for _ in &endpoints {
            match self.open_at(&endpoints[self.endpoint], keys).await {
                Ok(session) => return Ok(session),
                Err(error) => told.push(format!("{}: {error:#}", self.place())),
            }
            self.endpoint = (self.endpoint + 1) % endpoints.len();
        }
        bail!("{}", told.join("; "))
    }

    async fn open_at(&mut self, endpoint: &str, keys: &str) -> Result<Session> {
        let etcd = Etcd::open(&self.publish.access, endpoint).await?;
        let lease = self.lease_at(&etcd, keys).await?;
        let mut found = Shelf::new();
        etcd.read(keys, false, |it| {
            found.insert(id(&it, keys), Held::from(&it));
        })
        .await?;
        let now = Instant::now();
        let ttl = self.publish.ttl;
        Ok(Session { etcd, lease, shelf: found, alive: now + ttl / 3, look: now + ttl * 2 })
    }

    /// The one that there was, where it has not ended.
    async fn lease_at(&mut self, etcd: &Etcd, keys: &str) -> Result<i64> {
        if let Some(lease) = self.lease {
            if etcd.keep_alive(lease).await? {
                return Ok(lease);
            }
            info!(handler = self.name, "the lease has ended: everything is written anew");
        }
        let mut kept = self.kept(keys);
        kept.lease = match self.lease_before(etcd, &kept).await? {
            Some(lease) => lease,
            None => etcd.grant(self.publish.ttl).await?,
        };
        self.state.write(LEASE, &kept).await;
        Ok(*self.lease.insert(kept.lease))
    }

    /// Of a process before this one, where it has not ended.
    async fn lease_before(&mut self, etcd: &Etcd, own: &Kept) -> Result<Option<i64>> {
        if self.lease.take().is_some() {
            return Ok(None);
        }
        let Some(before) = self.state.read::<Kept>(LEASE).await else { return Ok(None) };
        let same = Kept { lease: before.lease, process: before.process.clone(), ..own.clone() };
        let is_ours = same == before && before.process != own.process;
        Ok((is_ours && etcd.keep_alive(before.lease).await?).then_some(before.lease))
    }

    fn kept(&self, keys: &str) -> Kept {
        Kept {
            lease: self.lease.unwrap_or_default(),
            process: PROCESS.clone(),
            keys: keys.to_owned(),
            endpoints: self.publish.access.endpoints.clone(),
            ttl: self.publish.ttl.as_secs(),
        }
    }

    /// The session is kept only where all went well.
    async fn bring(&mut self, mut session: Session, keys: &str) -> Result<Written> {
        session.keep_alive(self.publish.ttl).await?;
        if session.look <= Instant::now() {
            let strange = session.look_again(keys, self.publish.ttl).await?;
            self.tell(strange);
        }
        let digests = self.wanted.digests();
        self.refused.retain(|id, digest| digests.get(id) == Some(digest));
        let changes = held::changes(&session.shelf, digests, &self.refused, session.lease);
        let mut written =
            Written { puts: 0, deletes: changes.deletes.len(), place: keys.to_owned() };
        for ids in changes.deletes.chunks(MOST) {
            session.delete(ids, keys).await?;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for id in changes.puts {
            let Some(text) = self.wanted.text(&id, &self.publish.view) else { continue };
            if MOST <= batch.len() || MOST_BYTES < bytes + text.len() {
                written.puts += self.put(&mut session, take(&mut batch), keys).await?;
                bytes = 0;
            }
            bytes += text.len();
            batch.push((id, text));
        }
        written.puts += self.put(&mut session, batch, keys).await?;
        self.session = Some(session);
        Ok(written)
    }

    /// How many were written: one that etcd takes for too large costs itself.
    async fn put(
        &mut self,
        session: &mut Session,
        batch: Vec<(ContainerId, String)>,
        keys: &str,
    ) -> Result<usize> {
        session.keep_alive(self.publish.ttl).await?;
        let mut count = 0;
        match session.put(&batch, keys).await {
            Ok(()) => return Ok(batch.len()),
            Err(Unwritten::TooLarge) => {}
            Err(Unwritten::Other(error)) => return Err(error),
        }
        for one in batch {
            match session.put(std::slice::from_ref(&one), keys).await {
                Ok(()) => count += 1,
                Err(Unwritten::TooLarge) => {
                    let (id, text) = one;
                    let bytes = text.len();
                    warn!(
                        handler = self.name,
                        "container {id} is left out: its {bytes} bytes are more than etcd takes"
                    );
                    self.refused.insert(id, digest(text.as_bytes()));
                }
                Err(Unwritten::Other(error)) => return Err(error),
            }
        }
        Ok(count)
    }

    fn tell(&mut self, strange: usize) {
        let was = std::mem::replace(&mut self.disturbed, 0 < strange);
        if !was && self.disturbed {
            let keys = self.keys.as_deref().unwrap_or_default();
            warn!(
                handler = self.name,
                "somebody else writes under {keys} ({strange} keys); is there another node of this name?"
            );
        }
    }

    /// Keys that nobody would keep are not left to be believed.
    pub(super) async fn leave(mut self) {
        let Some(lease) = self.lease else { return };
        let (handler, ttl) = (&self.name, self.publish.ttl.as_secs());
        if self.publish.on_stop == OnStop::Keep {
            info!(handler, "the keys stay for up to {ttl}s");
            return;
        }
        let own = self.keys.as_deref().map(|keys| self.kept(keys));
        if own.is_some() && self.state.read(LEASE).await == own {
            self.state.remove(LEASE).await;
        }
        let session = self.session.take();
        let revoked = timeout(FAREWELL, async {
            if let Some(session) = session
                && session.etcd.revoke(lease).await.is_ok()
            {
                return Ok(());
            }
            let endpoint = &self.publish.access.endpoints[self.endpoint];
            Etcd::open(&self.publish.access, endpoint).await?.revoke(lease).await
        });
        match revoked.await {
            Ok(Ok(())) => info!(handler, "the keys are removed"),
            Ok(Err(error)) => {
                warn!(handler, "the keys stay for up to {ttl}s: {error:#}");
            }
            Err(_) => warn!(handler, "the keys stay for up to {ttl}s: etcd does not answer"),
        }
    }
}

impl Publish {
    fn keys(&self, node: &str) -> String {
        format!("{}{node}/containers/", self.prefix)
    }
}

impl Session {
    async fn keep_alive(&mut self, ttl: Duration) -> Result<()> {
        if Instant::now() < self.alive {
            return Ok(());
        }
        if !self.etcd.keep_alive(self.lease).await? {
            bail!("the lease has ended");
        }
        self.alive = Instant::now() + ttl / 3;
        Ok(())
    }

    /// How many keys are not as they were left.
    async fn look_again(&mut self, keys: &str, ttl: Duration) -> Result<usize> {
        let mut seen = Shelf::new();
        let bare = |it: &KeyValue| Held { digest: None, ..Held::from(it) };
        self.etcd
            .read(keys, true, |it| {
                seen.insert(id(&it, keys), bare(&it));
            })
            .await?;
        let (found, strange) = held::found(&self.shelf, seen);
        self.shelf = found;
        self.look = Instant::now() + ttl * 2;
        Ok(strange.len())
    }

    async fn delete(&mut self, ids: &[ContainerId], keys: &str) -> Result<()> {
        let delete = |id: &ContainerId| Write::Delete { key: key(id, keys) };
        self.etcd.write(ids.iter().map(delete).collect()).await?;
        for id in ids {
            self.shelf.remove(id);
        }
        Ok(())
    }

    async fn put(&mut self, all: &[(ContainerId, String)], keys: &str) -> Result<(), Unwritten> {
        let lease = self.lease;
        if all.is_empty() {
            return Ok(());
        }
        let put = |(id, text): &(ContainerId, String)| Write::Put {
            key: key(id, keys),
            value: text.clone(),
            lease,
        };
        let revision = self.etcd.write(all.iter().map(put).collect()).await?;
        for (id, text) in all {
            let held = Held { digest: Some(digest(text.as_bytes())), lease, revision };
            self.shelf.insert(id.clone(), held);
        }
        Ok(())
    }
}

impl From<&KeyValue> for Held {
    fn from(it: &KeyValue) -> Self {
        Self { digest: Some(digest(&it.value)), lease: it.lease, revision: it.mod_revision }
    }
}

fn key(id: &ContainerId, keys: &str) -> String {
    format!("{keys}{}", id.as_str())
}

fn id(it: &KeyValue, keys: &str) -> ContainerId {
    let key = String::from_utf8_lossy(&it.key);
    ContainerId::new(key.strip_prefix(keys).unwrap_or(&key))
}
