//! The task that keeps the record of this balancer in etcd, and reads those of the others.
//!
//! The loop is thin: it reads keys and changes, and passes them to [`FleetKeeper`], which decides. A connection that ends
//! leaves what is known as it is.

use super::{
    keeper::FleetKeeper,
    record::{BalancerName, BalancerRecord, DrainId},
    state::{DrainIntent, DrainIntents, FleetState},
};
use crate::support::{
    etcd::{EtcdClient, EtcdSettings, EtcdWatch, KeyWrite, WatchMessage},
    outage::{FailureReport, Outage},
    supervise::supervise,
};
use anyhow::{Context as _, Result, bail};
use std::{
    convert::Infallible,
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

/// How long the record of a balancer stays after its last sign of life, and how often it gives one.
const LEASE_TTL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// The shortest time between two writes of the own record.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);

/// How often a member of etcd is asked for a sign of life, and how long it may be silent. A member that hangs keeps its
/// connections.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);
const SILENCE_LIMIT: Duration = Duration::from_secs(7);

/// How often all keys are read again: etcd before 3.4.31 can lose changes for a watch (etcd#17529, etcd#18089). A fleet
/// has a few keys.
const LIST_INTERVAL: Duration = Duration::from_mins(1);

/// How long to wait for etcd when docker-balancer stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// How a balancer takes part in a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    pub name: BalancerName,
    pub access: EtcdSettings,
    /// With a slash at the end: `/docker-glue/`.
    pub prefix: String,
}

/// The fleet of this balancer, until it is dropped.
#[derive(Debug)]
pub struct Fleet {
    own: Arc<watch::Sender<Option<BalancerRecord>>>,
    intents: Arc<watch::Sender<DrainIntents>>,
    state: watch::Receiver<Arc<FleetState>>,
    ending: watch::Sender<bool>,
    task: JoinSet<()>,
}

impl Fleet {
    /// Nothing is written before the own record is set.
    pub fn start(settings: FleetSettings) -> Self {
        let own = Arc::new(watch::Sender::new(None));
        let intents = Arc::new(watch::Sender::new(DrainIntents::new()));
        let first = FleetState::new(settings.name.clone());
        let (sender, state) = watch::channel(Arc::new(first));
        let (ending, ended) = watch::channel(false);
        let inputs = FollowerInputs {
            settings: Arc::new(settings),
            own: own.subscribe(),
            intents: Arc::clone(&intents),
            state: Arc::new(sender),
            session: Arc::new(watch::Sender::new(None)),
        };
        let mut task = JoinSet::new();
        task.spawn(follow_until_end(inputs, ended));
        Self { own, intents, state, ending, task }
    }

    /// Returns what sets the own record.
    pub fn own(&self) -> &Arc<watch::Sender<Option<BalancerRecord>>> {
        &self.own
    }

    /// Returns what is known of the fleet.
    pub fn state(&self) -> &watch::Receiver<Arc<FleetState>> {
        &self.state
    }

    /// Returns the changes of drains that etcd does not have yet.
    pub fn intents(&self) -> watch::Receiver<DrainIntents> {
        self.intents.subscribe()
    }

    /// Has a drain written or removed as soon as etcd answers.
    pub fn set_intent(&self, id: DrainId, intent: DrainIntent) {
        self.intents.send_if_modified(|intents| intents.insert(id, intent.clone()) != Some(intent));
    }

    /// Removes the record of this balancer, so that the others need not wait for its lease to end.
    pub async fn finish(mut self) {
        self.ending.send_replace(true);
        let _ = timeout(SHUTDOWN_TIMEOUT, self.task.join_next()).await;
    }
}

/// What the task has in common with the rest of the program.
#[derive(Debug, Clone)]
struct FollowerInputs {
    settings: Arc<FleetSettings>,
    own: watch::Receiver<Option<BalancerRecord>>,
    intents: Arc<watch::Sender<DrainIntents>>,
    state: Arc<watch::Sender<Arc<FleetState>>>,
    /// The connection that worked last, and the lease.
    session: Arc<watch::Sender<Option<(EtcdClient, i64)>>>,
}

async fn follow_until_end(inputs: FollowerInputs, mut ended: watch::Receiver<bool>) {
    let session = Arc::clone(&inputs.session);
    let follow = || {
        let inputs = inputs.clone();
        async move { FleetFollower::new(inputs).follow().await }
    };
    tokio::select! {
        () = supervise("fleet", follow) => {}
        _ = ended.wait_for(|ended| *ended) => {}
    }
    // The end of the lease is the end of the record.
    let session = session.borrow().clone();
    if let Some((etcd, lease)) = session
        && let Err(error) = etcd.revoke_lease(lease).await
    {
        debug!("the others of the fleet wait for the lease to end: {error:#}");
    }
}

/// State that survives a connection.
#[derive(Debug)]
struct FleetFollower {
    inputs: FollowerInputs,
    intents: watch::Receiver<DrainIntents>,
    keeper: FleetKeeper,
    outage: Outage,
    /// In seconds since 1970.
    silent_since: Option<u64>,
    /// The index of the endpoint that is used.
    endpoint: usize,
}

/// When something was done over an open connection, or is to be done next.
#[derive(Debug)]
struct Timetable {
    answered: [Instant; 2],
    next_progress: Instant,
    next_keep_alive: Instant,
    next_list: Instant,
    /// When the own record may be written again.
    next_write: Instant,
}

impl Timetable {
    fn begin(now: Instant) -> Self {
        Self {
            answered: [now, now],
            next_progress: now + PROGRESS_INTERVAL,
            next_keep_alive: now + KEEP_ALIVE_INTERVAL,
            next_list: now + LIST_INTERVAL,
            next_write: now,
        }
    }

    fn silent_at(&self) -> Instant {
        self.answered[0].min(self.answered[1]) + SILENCE_LIMIT
    }
}

impl FleetFollower {
    fn new(inputs: FollowerInputs) -> Self {
        let FleetSettings { name, prefix, .. } = &*inputs.settings;
        Self {
            intents: inputs.intents.subscribe(),
            keeper: FleetKeeper::new(name.clone(), prefix),
            outage: Outage::inactive(),
            silent_since: None,
            endpoint: 0,
            inputs,
        }
    }

    async fn follow(&mut self) {
        let endpoints = self.inputs.settings.access.endpoints.clone();
        loop {
            let url = &endpoints[self.endpoint];
            let Err(error) = self.follow_endpoint(url).await;
            let error = error.context(format!("etcd at {url}"));
            self.silent_since.get_or_insert_with(unix_seconds);
            let own = self.inputs.own.borrow().clone();
            if let Some(own) = own {
                self.keeper.set_own(own, now().into_std());
            }
            self.publish();
            let pause = self.log_disconnected(&error);
            self.endpoint = (self.endpoint + 1) % endpoints.len();
            sleep(pause).await;
        }
    }

    /// Follows one connection until it fails.
    async fn follow_endpoint(&mut self, url: &str) -> Result<Infallible> {
        let etcd = EtcdClient::connect(&self.inputs.settings.access, url).await?;
        let lease = self.acquire_lease(&etcd).await?;
        let revisions = self.read_all(&etcd).await?;
        let [balancers, drains] = self.keeper.prefixes();
        let mut watches = [
            etcd.watch(&balancers, revisions[0] + 1).await?,
            etcd.watch(&drains, revisions[1] + 1).await?,
        ];
        self.write_own(&etcd, lease).await?;
        self.write_intents(&etcd).await?;
        self.log_connected();
        self.silent_since = None;
        self.publish();
        self.follow_watches(&etcd, lease, &mut watches).await
    }

    async fn follow_watches(
        &mut self,
        etcd: &EtcdClient,
        lease: i64,
        [balancers, drains]: &mut [EtcdWatch; 2],
    ) -> Result<Infallible> {
        let mut times = Timetable::begin(Instant::now());
        loop {
            let wake_at = self.keeper.wake_at(now().into_std()).map(Instant::from_std);
            let has_own = self.inputs.own.has_changed()?;
            tokio::select! {
                message = balancers.next_message() => {
                    times.answered[0] = now();
                    self.handle_message(message?, lease)?;
                }
                message = drains.next_message() => {
                    times.answered[1] = now();
                    self.handle_message(message?, lease)?;
                }
                () = sleep_until(times.next_progress) => {
                    balancers.request_progress();
                    drains.request_progress();
                    times.next_progress = now() + PROGRESS_INTERVAL;
                }
                () = sleep_until(times.silent_at()) => bail!("no answer within {SILENCE_LIMIT:?}"),
                () = sleep_until(times.next_keep_alive) => {
                    if !etcd.keep_alive(lease).await? {
                        bail!("the lease has expired");
                    }
                    times.next_keep_alive = now() + KEEP_ALIVE_INTERVAL;
                }
                () = sleep_until(times.next_list) => {
                    self.read_all(etcd).await?;
                    times.next_list = now() + LIST_INTERVAL;
                }
                changed = self.intents.changed() => {
                    changed?;
                    self.write_intents(etcd).await?;
                }
                changed = self.inputs.own.changed(), if !has_own => {
                    changed?;
                    self.inputs.own.mark_changed();
                }
                () = sleep_until(times.next_write), if has_own => {
                    self.write_own(etcd, lease).await?;
                    times.next_write = now() + WRITE_INTERVAL;
                }
                () = sleep_until_set(wake_at) => {
                    if self.keeper.take_rewrite(now().into_std()) {
                        self.inputs.own.mark_changed();
                    }
                }
            }
            self.publish();
        }
    }

    fn handle_message(&mut self, message: WatchMessage, lease: i64) -> Result<()> {
        match message {
            WatchMessage::Created(_) | WatchMessage::Progress => {}
            WatchMessage::Events(_, events) => {
                self.keeper.on_events(&events, lease, now().into_std());
            }
            WatchMessage::Compacted => bail!("older changes are not stored any more"),
        }
        Ok(())
    }

    /// Returns the lease of the last connection, if it has not expired.
    async fn acquire_lease(&mut self, etcd: &EtcdClient) -> Result<i64> {
        let before = self.inputs.session.borrow().as_ref().map(|(_, lease)| *lease);
        let lease = match before {
            Some(lease) if etcd.keep_alive(lease).await? => lease,
            _ => etcd.grant_lease(LEASE_TTL).await.context("cannot get a lease")?,
        };
        self.inputs.session.send_replace(Some((etcd.clone(), lease)));
        Ok(lease)
    }

    /// Reads all keys. Returns the revisions of balancers and of drains.
    async fn read_all(&mut self, etcd: &EtcdClient) -> Result<[i64; 2]> {
        self.keeper.begin_list();
        let mut revisions = [0; 2];
        for (prefix, revision) in self.keeper.prefixes().iter().zip(&mut revisions) {
            let keeper = &mut self.keeper;
            let found = |kv| keeper.on_listed(&kv, now().into_std());
            *revision = etcd.read_keys(prefix, false, found).await?.revision;
        }
        self.keeper.end_list(now().into_std());
        Ok(revisions)
    }

    async fn write_own(&mut self, etcd: &EtcdClient, lease: i64) -> Result<()> {
        let Some(record) = self.inputs.own.borrow_and_update().clone() else { return Ok(()) };
        let (key, value) = (self.keeper.own_key(), record.to_json());
        self.keeper.set_own(record, now().into_std());
        let written = etcd.write_keys(vec![KeyWrite::Put { key, value, lease }]).await;
        if written.is_err() {
            self.inputs.own.mark_changed();
        }
        written.context("cannot write the record of this balancer")?;
        Ok(())
    }

    /// Writes drains that etcd does not have.
    async fn write_intents(&mut self, etcd: &EtcdClient) -> Result<()> {
        let intents = self.intents.borrow_and_update().clone();
        for (id, intent) in intents {
            let key = self.keeper.drain_key(&id);
            let (write, record) = match &intent {
                DrainIntent::Write(record) => {
                    let value = record.to_json();
                    (KeyWrite::Put { key, value, lease: 0 }, Some(record.clone()))
                }
                DrainIntent::Remove => (KeyWrite::Delete { key }, None),
            };
            let written = etcd.write_keys(vec![write]).await;
            if written.is_err() {
                self.intents.mark_changed();
            }
            written.with_context(|| format!("cannot write the drain of {id}"))?;
            self.keeper.set_drain(&id, record);
            // Before the intent is gone, so that no reader misses the drain.
            self.publish();
            self.inputs.intents.send_if_modified(|intents| {
                let is_done = intents.get(&id) == Some(&intent);
                if is_done {
                    intents.remove(&id);
                }
                is_done
            });
        }
        Ok(())
    }

    fn publish(&self) {
        let state = self.keeper.state(self.silent_since, now().into_std());
        self.inputs.state.send_if_modified(|before| {
            let is_changed = **before != state;
            if is_changed {
                *before = Arc::new(state);
            }
            is_changed
        });
    }

    /// Returns how long to wait before the next attempt to connect. The first failure of an outage is logged as a warning.
    fn log_disconnected(&mut self, error: &anyhow::Error) -> Duration {
        let (report, pause) = self.outage.record_failure(now().into_std());
        match report {
            FailureReport::First => warn!("lost connection to the fleet: {error:#}; retrying"),
            FailureReport::Repeat => debug!("still not connected to the fleet: {error:#}"),
        }
        pause
    }

    fn log_connected(&mut self) {
        let name = &self.inputs.settings.name;
        if let Some(away) = self.outage.finish(now().into_std()) {
            info!("connected to the fleet again after {}s", away.as_secs());
        } else {
            info!("connected to the fleet as {name}");
        }
    }
}

fn now() -> Instant {
    Instant::now()
}

async fn sleep_until_set(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
