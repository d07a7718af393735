//! Follows a registry for the consumers of its source.
//!
//! The loop is thin: it reads keys and changes, and passes them to [`Keeper`], which decides. A connection that ends, for
//! whatever reason, leaves what is known as it is.

use super::keeper::{Keeper, KeeperChanges, KeeperSettings, Moment};
use crate::{
    model::{
        container::{Container, ContainerId},
        source_name::SourceName,
        world::{NodeReport, Vantage, World},
    },
    sources::{
        ContainerFilter, EventCause,
        docker::read_own_addresses,
        source::{ConsumerId, Consumers, SnapshotConsumer, Source},
    },
    support::{
        etcd::{EtcdClient, EtcdSettings, EtcdWatch, KeyValue, WatchMessage},
        outage::{FailureReport, Outage},
    },
};
use anyhow::{Context as _, Result, bail};
use futures_util::{FutureExt as _, future::BoxFuture};
use ipnet::IpNet;
use std::{
    collections::BTreeMap,
    future::pending,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info, warn};

/// How often a member of etcd is asked for a sign of life, and how long it may be silent. A member that hangs keeps its
/// connections.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// How often the keys are compared with those that are known. etcd before 3.4.31 can lose changes for a watch without
/// notice (etcd#17529, etcd#18089), as Debian 12's.
const COMPARE_INTERVAL: Duration = Duration::from_mins(5);

/// How many messages that have arrived are handled before the result is published.
const MAX_MESSAGES: usize = 1000;

/// Where a registry is, and what of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrySettings {
    pub source: SourceName,
    pub access: EtcdSettings,
    /// With a slash at the end: `/docker-glue/`.
    pub prefix: String,
    /// How long the containers of a lost node are kept; `None` is forever.
    pub forget: Option<Duration>,
    /// Networks of the addresses that nodes may name; all if there is none.
    pub allowed_addresses: Vec<IpNet>,
}

impl RegistrySettings {
    fn keeper_settings(&self) -> KeeperSettings {
        KeeperSettings {
            source: self.source.clone(),
            prefix: self.prefix.clone(),
            forget: self.forget,
            allowed_addresses: self.allowed_addresses.clone(),
            own_addresses: read_own_addresses(),
        }
    }

    /// From where HAProxy reaches the containers: each record says where its machine is.
    pub fn vantage() -> Vantage {
        let engine = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Vantage::Remote { engine, own_addresses: read_own_addresses() }
    }
}

/// Serves all consumers that are registered with the source; never returns. `stored` is what was known at the end of the
/// last run.
pub async fn follow(settings: &RegistrySettings, source: &Source, stored: Option<&Arc<World>>) {
    let consumers = source.consumers();
    // After a panic, what was published is later than what was stored.
    let published = consumers.borrow().snapshots.values().find_map(|consumer| {
        let snapshot = consumer.updates.borrow();
        snapshot.world.clone()
    });
    let known = published.as_ref().or(stored).map(Arc::as_ref);
    let keeper = Keeper::new(settings.keeper_settings(), known, now());
    let mut follower = RegistryFollower {
        settings,
        changes: consumers,
        consumers: Consumers::default(),
        worlds: BTreeMap::new(),
        keeper,
        outage: Outage::inactive(),
        endpoint: 0,
    };
    let _disconnect = DisconnectGuard(source);
    loop {
        follower.update_consumers();
        if follower.consumers.is_empty() {
            // The source owns the sender and outlives this follower.
            let _ = follower.changes.changed().await;
            continue;
        }
        let Err(error) = follower.follow_connection().await;
        follower.publish(Connection::Lost);
        let pause = follower.log_disconnected(&error);
        follower.endpoint = (follower.endpoint + 1) % settings.access.endpoints.len();
        sleep(pause).await;
    }
}

/// Reads the containers once.
///
/// # Errors
/// If no member of etcd answers.
pub async fn list_once(settings: &RegistrySettings, filter: &ContainerFilter) -> Result<World> {
    let mut failures = Vec::new();
    for endpoint in &settings.access.endpoints {
        let mut keeper = Keeper::new(settings.keeper_settings(), None, now());
        match read_endpoint(settings, endpoint, &mut keeper).await {
            Ok(()) => {
                let report = keeper.take_changes().map(|changes| changes.report);
                return Ok(build_world(settings, &keeper, report.unwrap_or_default(), filter));
            }
            Err(error) => failures.push(format!("etcd at {endpoint}: {error:#}")),
        }
    }
    bail!("{}", failures.join("; "))
}

async fn read_endpoint(
    settings: &RegistrySettings,
    endpoint: &str,
    keeper: &mut Keeper,
) -> Result<()> {
    let etcd = EtcdClient::connect(&settings.access, endpoint).await?;
    read_all(&etcd, &settings.prefix, keeper).await.map(drop)
}

/// Reads all keys. Returns their revision.
async fn read_all(etcd: &EtcdClient, prefix: &str, keeper: &mut Keeper) -> Result<i64> {
    let cluster = etcd.query_state(prefix).await?.cluster_id;
    keeper.begin_list(cluster);
    let state = etcd.read_keys(prefix, false, |kv| keeper.on_listed(&kv)).await?;
    if state.cluster_id != cluster {
        bail!("the endpoint belongs to several clusters");
    }
    keeper.end_list(state, now());
    Ok(state.revision)
}

/// Marks the registry as disconnected when following ends, including by a panic. The world is kept.
struct DisconnectGuard<'a>(&'a Source);

impl Drop for DisconnectGuard<'_> {
    fn drop(&mut self) {
        for consumer in self.0.consumers().borrow().snapshots.values() {
            consumer.updates.send_if_modified(|snapshot| std::mem::take(&mut snapshot.connected));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Open,
    Lost,
}

/// A list of keys and their revisions that is under way.
type Comparison = BoxFuture<'static, Result<BTreeMap<Vec<u8>, i64>>>;

/// State that survives a connection.
struct RegistryFollower<'a> {
    settings: &'a RegistrySettings,
    changes: watch::Receiver<Consumers>,
    consumers: Consumers,
    /// What each consumer has.
    worlds: BTreeMap<ConsumerId, Arc<World>>,
    keeper: Keeper,
    outage: Outage,
    /// The index of the endpoint that is used.
    endpoint: usize,
}

impl RegistryFollower<'_> {
    fn endpoint_url(&self) -> &str {
        &self.settings.access.endpoints[self.endpoint]
    }

    /// Follows one connection until it fails.
    async fn follow_connection(&mut self) -> Result<std::convert::Infallible> {
        let url = self.endpoint_url().to_owned();
        self.follow_endpoint(&url).await.with_context(|| format!("etcd at {url}"))
    }

    async fn follow_endpoint(&mut self, url: &str) -> Result<std::convert::Infallible> {
        let prefix = self.settings.prefix.as_str();
        let etcd = EtcdClient::connect(&self.settings.access, url).await?;
        let state = etcd.query_state(prefix).await?;
        let mut after = match self.keeper.resume_after(state) {
            Some(revision) => revision,
            None => read_all(&etcd, prefix, &mut self.keeper).await?,
        };
        loop {
            let mut watch = etcd.watch(prefix, after + 1).await?;
            let reason = self.follow_watch(&etcd, &mut watch).await?;
            info!("reading all keys of {} again: {reason}", self.settings.source);
            after = read_all(&etcd, prefix, &mut self.keeper).await?;
        }
    }

    /// Follows a watch. Returns the reason when all keys have to be read again.
    async fn follow_watch(
        &mut self,
        etcd: &EtcdClient,
        watch: &mut EtcdWatch,
    ) -> Result<&'static str> {
        let begun = Instant::now();
        let (mut answered_at, mut progress_at) = (begun, begun + PROGRESS_INTERVAL);
        let mut compare_at = begun + COMPARE_INTERVAL;
        let mut comparison: Option<Comparison> = None;
        loop {
            // A node may have come back while there was no connection: the watch has to report that first.
            let wake_at =
                self.keeper.wake_at().map(|at| at.max((begun + SILENCE_LIMIT).into_std()));
            tokio::select! {
                message = watch.next_message() => {
                    answered_at = Instant::now();
                    if !self.handle_messages(message?, watch)? {
                        return Ok("older changes are not stored any more");
                    }
                    self.log_connected();
                    self.publish(Connection::Open);
                }
                () = sleep_until(progress_at) => {
                    watch.request_progress();
                    progress_at = Instant::now() + PROGRESS_INTERVAL;
                }
                () = sleep_until(answered_at + SILENCE_LIMIT) => {
                    bail!("no answer within {SILENCE_LIMIT:?}");
                }
                () = sleep_until_set(wake_at) => {
                    self.keeper.forget_lost(now().instant);
                    self.publish(Connection::Open);
                }
                () = sleep_until(compare_at), if comparison.is_none() => {
                    self.keeper.begin_comparison();
                    comparison = Some(list_revisions(etcd.clone(), self.settings.prefix.clone()));
                }
                listed = finish(&mut comparison) => {
                    (comparison, compare_at) = (None, Instant::now() + COMPARE_INTERVAL);
                    if self.keeper.differs_from(&listed?) {
                        return Ok("etcd has other keys than its watch reported");
                    }
                }
                Ok(()) = self.changes.changed() => {
                    self.update_consumers();
                    self.publish(Connection::Open);
                }
            }
        }
    }

    /// Handles a message, and those that have arrived since. Returns `false` if the watch was too late.
    fn handle_messages(&mut self, first: WatchMessage, watch: &mut EtcdWatch) -> Result<bool> {
        let mut next = Some(first);
        for _ in 0..MAX_MESSAGES {
            match next {
                None => break,
                Some(WatchMessage::Compacted) => return Ok(false),
                Some(WatchMessage::Created(_) | WatchMessage::Progress) => {}
                Some(WatchMessage::Events(state, events)) => {
                    self.keeper.on_events(state, &events, now());
                }
            }
            next = watch.next_ready().transpose()?;
        }
        let consumers = self.consumers.snapshots.values();
        consumers.for_each(|consumer| consumer.config.heartbeat.record_beat());
        Ok(true)
    }

    fn update_consumers(&mut self) {
        self.consumers = self.changes.borrow_and_update().clone();
        let Self { consumers, worlds, .. } = self;
        worlds.retain(|id, _| consumers.snapshots.contains_key(id));
    }

    /// Publishes what changed, and whether etcd answers.
    fn publish(&mut self, connection: Connection) {
        let changes = self.keeper.take_changes();
        let ids: Vec<_> = self.consumers.snapshots.keys().copied().collect();
        for id in ids {
            let consumer = &self.consumers.snapshots[&id];
            let world = match (self.worlds.remove(&id), &changes) {
                (Some(world), Some(changes)) => {
                    Some(change_world(self.settings, world, changes, &consumer.config.filter))
                }
                (None, _) => self.keeper.last_report().map(|report| {
                    let filter = &consumer.config.filter;
                    Arc::new(build_world(self.settings, &self.keeper, report, filter))
                }),
                (world, None) => world,
            };
            let cause = changes.as_ref().and_then(|changes| changes.cause.clone());
            publish_snapshot(consumer, world.as_ref(), cause, connection);
            self.worlds.extend(world.map(|world| (id, world)));
        }
    }

    /// Returns how long to wait before the next attempt to connect. The first failure of an outage is logged as a warning.
    fn log_disconnected(&mut self, error: &anyhow::Error) -> Duration {
        let (report, pause) = self.outage.record_failure(now().instant);
        let name = &self.settings.source;
        match report {
            FailureReport::First => {
                warn!("lost connection to registry {name}: {error:#}; retrying");
            }
            FailureReport::Repeat => debug!("still not connected to registry {name}: {error:#}"),
        }
        pause
    }

    fn log_connected(&mut self) {
        if let Some(away) = self.outage.finish(now().instant) {
            info!("connected to registry {} again after {}s", self.settings.source, away.as_secs());
        }
    }
}

/// Changes nothing if all is as before, so that no pass is run.
fn publish_snapshot(
    consumer: &SnapshotConsumer,
    world: Option<&Arc<World>>,
    cause: Option<EventCause>,
    connection: Connection,
) {
    consumer.updates.send_if_modified(|snapshot| {
        let connected = connection == Connection::Open && world.is_some();
        let is_same = match (&snapshot.world, world) {
            (Some(before), Some(world)) => Arc::ptr_eq(before, world),
            (before, None) => before.is_none() || connection == Connection::Lost,
            (None, Some(_)) => false,
        };
        if is_same && snapshot.connected == connected {
            return false;
        }
        if let Some(moment) = cause.as_ref().and_then(|cause| cause.received_at) {
            snapshot.event_times.push_time(moment);
        }
        if let Some(world) = world {
            snapshot.world = Some(Arc::clone(world));
        }
        (snapshot.cause, snapshot.connected) = (cause, connected);
        true
    });
}

fn build_world(
    settings: &RegistrySettings,
    keeper: &Keeper,
    report: Arc<NodeReport>,
    filter: &ContainerFilter,
) -> World {
    let containers = keeper.all_served().into_values();
    let containers = containers.map(|container| (container.id.clone(), slim(container, filter)));
    World {
        containers: containers.collect(),
        nodes: [(settings.source.clone(), report)].into(),
        ..World::default()
    }
}

fn change_world(
    settings: &RegistrySettings,
    mut world: Arc<World>,
    changes: &KeeperChanges,
    filter: &ContainerFilter,
) -> Arc<World> {
    let own: &mut World = Arc::make_mut(&mut world);
    for (id, container) in &changes.containers {
        change_container(&mut own.containers, id, container.as_ref(), filter);
    }
    own.nodes.insert(settings.source.clone(), Arc::clone(&changes.report));
    world
}

fn change_container(
    containers: &mut BTreeMap<ContainerId, Arc<Container>>,
    id: &ContainerId,
    container: Option<&Arc<Container>>,
    filter: &ContainerFilter,
) {
    match container {
        Some(container) => drop(containers.insert(id.clone(), slim(Arc::clone(container), filter))),
        None => drop(containers.remove(id)),
    }
}

/// Returns the container with the labels that are read; the same value if those are all.
fn slim(container: Arc<Container>, filter: &ContainerFilter) -> Arc<Container> {
    let mut slim = Container::clone(&container);
    if filter.own_labels.is_some() {
        let fault = "a registry does not say which labels are of the image (--image-labels off)";
        slim.hide_labels(Some(fault.into()));
    }
    filter.drop_unused_labels(&mut slim);
    if slim == *container { container } else { Arc::new(slim) }
}

/// Lists the revisions of all keys, next to the watch.
fn list_revisions(etcd: EtcdClient, prefix: String) -> Comparison {
    let list = async move {
        let mut keys = BTreeMap::new();
        let insert = |kv: KeyValue| {
            keys.insert(kv.key, kv.mod_revision);
        };
        etcd.read_keys(&prefix, true, insert).await?;
        Ok(keys)
    };
    list.boxed()
}

/// Waits for the future; forever if there is none.
async fn finish<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn sleep_until_set(when: Option<std::time::Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { instant: Instant::now().into_std(), unix_time: since.as_secs() }
}
