//! The sources that docker-balancer follows, as one world.

use crate::{
    model::{
        source_name::SourceName,
        world::{Vantage, World},
    },
    report::source_status::NodeCounts,
    routing::decide::Rules,
    settings::{Settings, SourceKind, SourceSettings},
    sources::{
        ContainerFilter, EventCause, MergedWorld, Registration, Silence, Slice, SliceStore,
        Snapshot, SnapshotConfig, Source, SourceContainers, StreamHeartbeat,
        docker::{self, Engine},
        first_answers_timeout, keep_written,
        registry::{self, RegistrySettings},
        write_in_background,
    },
    support::{
        format::format_plural,
        outage::{FailureReport, Outage},
        supervise::supervise,
    },
};
use anyhow::Result;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, select_all},
};
use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until},
};
use tracing::{info, warn};

/// How long after a change of a source its file is written again.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// All sources.
#[derive(Debug)]
pub struct SourceSet {
    links: Vec<SourceLink>,
    merged: MergedWorld,
    started_at: Instant,
    has_shared: SharedLog,
    store: SliceStore,
    /// The tasks that follow the sources, and those that write their files.
    tasks: JoinSet<()>,
}

/// Whether it was logged that an engine has the same containers as a source of another kind.
#[derive(Debug, Default)]
struct SharedLog {
    tasks: bool,
    records: bool,
}

/// What changed.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// From where HAProxy reaches the containers of a source. Its containers come after this.
    Vantage { source: SourceName, vantage: Vantage },
    /// The containers, or the connection to a source. Completes "reason: …" in the log.
    Changed { cause: String },
}

/// For what the changes of sources are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    ForPass,
    /// It may run no pass, so the change causes one later.
    ForRequest,
}

/// What is known of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    pub name: SourceName,
    pub url: String,
    /// Whether it answers.
    pub connected: bool,
    /// When it stopped answering.
    pub silent_since: Option<SystemTime>,
    /// Seconds by which its clock is ahead of this machine's, if more than two; behind it if negative.
    pub clock_skew: Option<i64>,
    /// Whether it is to be a Swarm, but what answers is no manager of one.
    pub is_not_manager: bool,
    /// The machines of a registry.
    pub nodes: Option<NodeCounts>,
}

impl SourceSet {
    /// Follows the sources of the settings until the set is dropped. `followed` are those that are followed already.
    pub fn start(settings: &Settings, followed: &[Source]) -> Self {
        let mut set = Self {
            links: Vec::new(),
            merged: MergedWorld::default(),
            started_at: Instant::now(),
            has_shared: SharedLog::default(),
            store: SliceStore::new(&settings.state_dir),
            tasks: JoinSet::new(),
        };
        let shared = Arc::new(settings.clone());
        for source_settings in settings.sources() {
            let is_same = |source: &&Source| *source.name() == source_settings.engine.source;
            let source = followed.iter().find(is_same).cloned();
            let stored = set.read_stored(&source_settings);
            let world = stored.as_ref().map(|slice| &slice.world);
            let source = source.unwrap_or_else(|| set.follow(&source_settings, world));
            let link = SourceLink::new(source_settings, source, Arc::clone(&shared));
            set.add_link(link, stored);
        }
        let names = set.links.iter().map(|link| link.name.clone()).collect();
        for path in set.store.remove_others(&names) {
            info!("removed {}: there is no such source any more", path.display());
        }
        set
    }

    fn follow(&mut self, settings: &SourceSettings, stored: Option<&Arc<World>>) -> Source {
        let source = Source::new(settings.engine.source.clone());
        let followed = (settings.clone(), source.clone(), stored.cloned());
        self.tasks.spawn(supervise("Docker watch", move || {
            let (settings, source, stored) = followed.clone();
            async move { follow_source(&settings, &source, stored.as_ref()).await }
        }));
        source
    }

    /// Returns what is stored of a source, if it has a name.
    fn read_stored(&self, settings: &SourceSettings) -> Option<Slice> {
        let name = &settings.engine.source;
        if name.is_none() {
            return None;
        }
        let log = |error: &anyhow::Error| {
            warn!(
                "could not read {}: {error:#}; waiting for {}",
                self.store.path(name).display(),
                settings.engine.url()
            );
        };
        self.store.read(name).inspect_err(log).ok().flatten()
    }

    /// Adds a source with what is stored of it.
    fn add_link(&mut self, mut link: SourceLink, stored: Option<Slice>) {
        if let Some(Slice { vantage, world }) = stored {
            self.merged.replace(&link.name, world);
            link.vantage = Some(vantage);
            link.is_known = true;
        }
        if !link.name.is_none() {
            let (path, slices) = (self.store.path(&link.name), link.slices.subscribe());
            self.tasks.spawn(keep_written(path, STORE_PAUSE, slices, self.writer(&link.name)));
        }
        self.links.push(link);
    }

    /// Returns what writes the file of a source.
    fn writer(&self, source: &SourceName) -> impl Fn(&Slice) -> Result<()> + Clone + Send + use<> {
        let (store, source) = (self.store.clone(), source.clone());
        move |slice| store.write(&source, slice)
    }

    /// Returns the vantages that are stored.
    pub fn stored_vantages(&self) -> Vec<(SourceName, Vantage)> {
        let vantage = |link: &SourceLink| Some((link.name.clone(), link.vantage.clone()?));
        self.links.iter().filter_map(vantage).collect()
    }

    /// Waits for a change. Dropping the future loses none.
    pub async fn next_event(&mut self) -> SourceEvent {
        let is_partial = self.world().is_none() && self.is_any_known();
        let left = self.complete_at().saturating_duration_since(Instant::now());
        let forget_at = self.links.iter().filter_map(|link| link.silence.forget_at()).min();
        let events = self.links.iter_mut().map(|link| link.next_event().boxed());
        tokio::select! {
            (event, ..) = select_all(events) => event,
            () = sleep_until_set(forget_at) => {
                SourceEvent::Changed { cause: "a source that has not answered for too long".to_owned() }
            }
            () = sleep(left), if is_partial => {
                SourceEvent::Changed { cause: "sources that have not answered".to_owned() }
            }
        }
    }

    /// Takes over what the sources have published. Returns when the events were received that caused the changes.
    pub fn take_changes(&mut self, taking: Taking) -> Vec<Instant> {
        let mut times = Vec::new();
        for link in &mut self.links {
            let snapshot = match taking {
                Taking::ForPass => link.snapshot.borrow_and_update(),
                Taking::ForRequest => link.snapshot.borrow(),
            };
            times.extend(snapshot.event_times.take_unread(&mut link.event_cursor));
            match link.silence.update(snapshot.connected, Instant::now()) {
                SourceContainers::Keep => {
                    if let Some(world) = &snapshot.world
                        && self
                            .merged
                            .slice(&link.name)
                            .is_none_or(|slice| !Arc::ptr_eq(slice, world))
                    {
                        self.merged.replace(&link.name, Arc::clone(world));
                    }
                }
                SourceContainers::Forget => {
                    let count = self.merged.forget(&link.name);
                    let containers = format_plural(count, "container");
                    warn!("{} has not answered for too long; forgetting {containers}", link.name);
                }
                SourceContainers::Forgotten => {}
            }
            let silent_since = link.silent_since.unwrap_or_else(SystemTime::now);
            link.silent_since = link.silence.is_silent().then_some(silent_since);
            link.is_known |= snapshot.world.is_some();
            link.has_answered |= snapshot.world.is_some() || link.silence.is_forgotten();
            drop(snapshot);
            if let Some(world) = self.merged.slice(&link.name).filter(|_| link.has_answered) {
                link.store(world);
            }
        }
        self.log_shared();
        times
    }

    /// Logs once that an engine has tasks of a Swarm that is a source, too, and once that it has containers of a
    /// registry.
    fn log_shared(&mut self) {
        let has = |kind: SourceKind| self.links.iter().any(|link| link.settings.kind == kind);
        if !self.has_shared.tasks && 1 < self.links.len() && has(SourceKind::Swarm) {
            let count = self.merged.count_shared();
            self.has_shared.tasks = 0 < count;
            if 0 < count {
                info!("an engine has {count} tasks of the Swarm, too; they are served as tasks");
            }
        }
        let count = self.merged.count_left_records();
        if !self.has_shared.records && 0 < count {
            self.has_shared.records = true;
            let containers = format_plural(count, "container");
            info!("an engine has {containers} of a registry, too; they are served as the engine's");
        }
    }

    /// Writes what has changed since the files were written last.
    pub async fn finish(mut self) {
        self.tasks.shutdown().await;
        let slice = |link: &SourceLink| Some((link.name.clone(), link.slices.borrow().clone()?));
        let slices: Vec<_> = self.links.iter().filter_map(slice).collect();
        for (source, slice) in slices {
            let path = self.store.path(&source);
            if let Err(error) = write_in_background(&path, slice, self.writer(&source)).await {
                warn!("{error:#}");
            }
        }
    }

    /// Returns the containers of all sources; `None` until all have answered, or the others were waited for.
    pub fn world(&self) -> Option<Arc<World>> {
        let is_complete =
            self.links.iter().all(|link| link.has_answered) || self.complete_at() <= Instant::now();
        (is_complete && self.is_any_known()).then(|| Arc::clone(self.merged.world()))
    }

    /// Whether any source has answered or is stored. Otherwise HAProxy keeps what it has, although all may be forgotten.
    fn is_any_known(&self) -> bool {
        self.links.iter().any(|link| link.is_known)
    }

    /// Returns when the world is used although sources have not answered. HAProxy serves its last configuration until
    /// then.
    fn complete_at(&self) -> Instant {
        let is_known = |link: &SourceLink| self.merged.slice(&link.name).is_some();
        self.started_at + first_answers_timeout(self.links.iter().all(is_known))
    }

    /// Returns the event of a snapshot that was not taken yet. A pass that a timer or HAProxy causes applies it, too,
    /// and the log and the history have to name it.
    pub fn untaken_cause(&self) -> Option<String> {
        let mut links =
            self.links.iter().filter(|link| link.snapshot.has_changed().unwrap_or(false));
        links.find_map(|link| {
            link.snapshot.borrow().cause.as_ref().map(|cause| link.describe(cause))
        })
    }

    /// Makes the source of a server look at its container soon, because HAProxy has lost the server. `id` is its short
    /// id.
    pub fn on_server_down(&self, id: &str) {
        let Some(container) = self.merged.find_container(id) else { return };
        let mut links = self.links.iter();
        if let Some(link) = links.find(|link| link.name == *container.id.source()) {
            link.source.suspect_container(container.id.as_str());
        }
    }

    /// Whether all sources answer.
    pub fn is_connected(&self) -> bool {
        self.links.iter().all(|link| link.snapshot.borrow().connected)
    }

    /// Returns how long ago the source sent something that has been silent for the longest time.
    pub fn age(&self) -> Duration {
        self.links.iter().map(|link| link.heartbeat.age()).max().unwrap_or_default()
    }

    /// Returns what is known of each source.
    pub fn states(&self) -> Vec<SourceState> {
        let state = |link: &SourceLink| SourceState {
            name: link.name.clone(),
            url: link.settings.engine.url().to_owned(),
            connected: link.snapshot.borrow().connected,
            silent_since: link.silent_since,
            clock_skew: link.source.clock_skew().seconds(),
            is_not_manager: link.snapshot.borrow().is_not_manager,
            nodes: self.merged.node_report(&link.name).map(NodeCounts::from),
        };
        self.links.iter().map(state).collect()
    }
}

/// One source, and what is read from it.
struct SourceLink {
    name: SourceName,
    settings: SourceSettings,
    source: Source,
    /// Those of the program.
    all_settings: Arc<Settings>,
    updates: Arc<watch::Sender<Snapshot>>,
    snapshot: watch::Receiver<Snapshot>,
    heartbeat: StreamHeartbeat,
    /// `None` until HAProxy's vantage is known.
    registration: Option<Registration>,
    vantage: Option<Vantage>,
    /// The lookup of the vantage, which may be another one after a reconnect. Without a result, the source does not
    /// answer, and the next reconnect looks again.
    lookup: Option<BoxFuture<'static, Option<Vantage>>>,
    reconnects: Reconnects,
    silence: Silence,
    /// When it stopped answering.
    silent_since: Option<SystemTime>,
    /// How many of the snapshot's event times have been read.
    event_cursor: usize,
    /// Whether its containers are those of an answer, not those that are stored.
    has_answered: bool,
    /// Whether it has answered, or is stored.
    is_known: bool,
    /// What is to be stored of it.
    slices: watch::Sender<Option<Slice>>,
}

impl std::fmt::Debug for SourceLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceLink").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl SourceLink {
    fn new(source_settings: SourceSettings, source: Source, all_settings: Arc<Settings>) -> Self {
        let (updates, snapshot) = watch::channel(Snapshot::default());
        let lookup = find_vantage(source_settings.clone()).map(Some).boxed();
        let silence = Silence::new(source_settings.forget_silent());
        Self {
            name: source_settings.engine.source.clone(),
            settings: source_settings,
            source,
            all_settings,
            updates: Arc::new(updates),
            snapshot,
            heartbeat: StreamHeartbeat::default(),
            registration: None,
            vantage: None,
            lookup: Some(lookup),
            reconnects: Reconnects::default(),
            silence,
            silent_since: None,
            event_cursor: 0,
            has_answered: false,
            is_known: false,
            slices: watch::Sender::new(None),
        }
    }

    async fn next_event(&mut self) -> SourceEvent {
        loop {
            tokio::select! {
                vantage = finish(&mut self.lookup) => {
                    self.lookup = None;
                    if let Some(vantage) = self.set_vantage(vantage) {
                        return SourceEvent::Vantage { source: self.name.clone(), vantage };
                    }
                }
                Ok(()) = self.snapshot.changed() => {
                    let snapshot = self.snapshot.borrow();
                    // A container may join another network at any time.
                    let may_move = self.settings.kind == SourceKind::Swarm && self.lookup.is_none();
                    if may_move {
                        self.lookup = Some(find_vantage_again(self.settings.clone()).boxed());
                    }
                    if self.reconnects.is_reconnect(snapshot.connected) {
                        self.lookup = Some(find_vantage_again(self.settings.clone()).boxed());
                    }
                    let cause = snapshot.cause.as_ref().map(|cause| self.describe(cause));
                    return SourceEvent::Changed { cause: cause.unwrap_or_else(|| "list".to_owned()) };
                }
            }
        }
    }

    /// Takes over a vantage, and has the source publish its containers from the first one on. Returns the vantage if it
    /// is another one.
    fn set_vantage(&mut self, vantage: Option<Vantage>) -> Option<Vantage> {
        let vantage = vantage?;
        let is_new = self.vantage.as_ref() != Some(&vantage);
        // In a registry, only the addresses of this machine are others.
        if self.registration.is_some() && is_new && self.settings.kind == SourceKind::Engine {
            info!("Docker at {} has another address now", self.settings.engine.url());
        }
        self.vantage = Some(vantage.clone());
        if self.registration.is_none() {
            let filter = self.all_settings.container_filter(&self.settings, &vantage);
            let config = SnapshotConfig {
                extra_actions: self.all_settings.watch_set.iter().cloned().collect(),
                heartbeat: self.heartbeat.clone(),
                ..SnapshotConfig::new(filter)
            };
            let updates = Arc::clone(&self.updates);
            self.registration = Some(self.source.publish_snapshots(config, updates));
        }
        is_new.then_some(vantage)
    }

    /// Has the containers stored, if the source has a name.
    fn store(&self, world: &Arc<World>) {
        let Some(vantage) = self.vantage.as_ref().filter(|_| !self.name.is_none()) else { return };
        self.slices.send_if_modified(|slice| {
            let is_stored = slice
                .as_ref()
                .is_some_and(|slice| Arc::ptr_eq(&slice.world, world) && slice.vantage == *vantage);
            if !is_stored {
                *slice = Some(Slice { vantage: vantage.clone(), world: Arc::clone(world) });
            }
            !is_stored
        });
    }

    /// Returns the event's action and the name of its container.
    fn describe(&self, EventCause { action, name, .. }: &EventCause) -> String {
        if self.name.is_none() {
            format!("{action} {name}")
        } else {
            format!("{action} {name}@{}", self.name)
        }
    }
}

/// Detects reconnects to a source; the first connection is not one.
#[derive(Debug, Default)]
struct Reconnects {
    is_connected: bool,
    had_connection: bool,
}

impl Reconnects {
    /// Whether the source is connected again after an outage.
    fn is_reconnect(&mut self, is_connected: bool) -> bool {
        let was_connected = std::mem::replace(&mut self.is_connected, is_connected);
        let is_new = is_connected && !was_connected;
        is_new && std::mem::replace(&mut self.had_connection, true)
    }
}

/// Waits for the future; forever if there is none.
async fn finish<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn sleep_until_set(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when.into()).await,
        None => pending().await,
    }
}

/// Reads the containers of all sources once. Returns them with the rules for them.
///
/// # Errors
/// If a source does not answer, and nothing is stored of it.
pub async fn list_sources(
    settings: &Settings,
    widen: impl Fn(ContainerFilter) -> ContainerFilter,
) -> Result<(World, Rules)> {
    let (mut merged, mut rules) = (MergedWorld::default(), settings.rules());
    let store = SliceStore::new(&settings.state_dir);
    for source in settings.sources() {
        let name = &source.engine.source;
        let Slice { vantage, world } = match list_source(settings, &source, &widen).await {
            Ok(slice) => slice,
            Err(error) => {
                let stored = || store.read(name).ok().flatten().filter(|_| !name.is_none());
                let Some(slice) = stored() else { return Err(error) };
                warn!("{error:#}; using the containers of {name} as they were known last");
                slice
            }
        };
        merged.replace(name, world);
        rules.set_vantage(name, vantage);
    }
    Ok((merged.into_world(), rules))
}

async fn list_source(
    settings: &Settings,
    source: &SourceSettings,
    widen: impl Fn(ContainerFilter) -> ContainerFilter,
) -> Result<Slice> {
    let vantage = lookup_vantage(source).await?;
    let filter = widen(settings.container_filter(source, &vantage));
    let world = match source.kind {
        SourceKind::Engine => docker::list_once(&source.engine, &filter).await?,
        SourceKind::Registry => registry::list_once(&source.to_registry(), &filter).await?,
        SourceKind::Swarm => docker::swarm::list_once(&source.engine, &filter).await?,
    };
    Ok(Slice { vantage, world: Arc::new(world) })
}

/// Serves the consumers of a source of any kind; never returns.
async fn follow_source(settings: &SourceSettings, source: &Source, stored: Option<&Arc<World>>) {
    match settings.kind {
        SourceKind::Engine => docker::follow(&settings.engine, source).await,
        SourceKind::Registry => registry::follow(&settings.to_registry(), source, stored).await,
        SourceKind::Swarm => docker::swarm::follow(&settings.engine, source).await,
    }
}

/// Returns the vantage of HAProxy as soon as the source answers.
async fn find_vantage(source: SourceSettings) -> Vantage {
    let mut outage = Outage::inactive();
    loop {
        match lookup_vantage(&source).await {
            Ok(vantage) => return vantage,
            Err(error) => {
                let (report, pause) = outage.record_failure(Instant::now());
                if report == FailureReport::First {
                    warn!("cannot connect to Docker: {error:#}; retrying");
                }
                sleep(pause).await;
            }
        }
    }
}

/// Returns the current vantage of HAProxy. `None`: the source does not answer; the vantage is read again at the next
/// reconnect.
async fn find_vantage_again(source: SourceSettings) -> Option<Vantage> {
    lookup_vantage(&source).await.inspect_err(|error| tracing::debug!("{error:#}")).ok()
}

async fn lookup_vantage(source: &SourceSettings) -> Result<Vantage> {
    match source.kind {
        SourceKind::Engine => lookup_engine_vantage(source).await,
        SourceKind::Registry => Ok(RegistrySettings::vantage()),
        SourceKind::Swarm => Ok(docker::swarm::find_vantage(&source.engine, source.address)),
    }
}

async fn lookup_engine_vantage(source: &SourceSettings) -> Result<Vantage> {
    let engine = Engine::connect(&source.engine).await?;
    let vantage = docker::detect_vantage(&engine, &source.engine, source.address).await?;
    Ok(match (source.host, vantage) {
        (Some(host), Vantage::Published(_)) => Vantage::Published(host),
        (Some(engine), Vantage::Remote { own_addresses, .. }) => {
            Vantage::Remote { engine, own_addresses }
        }
        (_, vantage) => vantage,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_connection_is_no_reconnect() {
        let mut reconnects = Reconnects::default();
        let seen = [false, true, true, false, true].map(|now| reconnects.is_reconnect(now));
        assert_eq!(seen, [false, false, false, false, true]);
    }
}
