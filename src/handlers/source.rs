//! The sources whose containers handlers see.

use crate::{
    model::source_name::SourceName,
    settings::{GlueSettings, GlueSourceKind, GlueSourceSettings},
    sources::{
        ContainerFilter, ContainerMap, ContainerUpdate, Registration, Snapshot, SnapshotConfig,
        SnapshotEvents, Source, describe_world,
        docker::{self, Engine, SwarmState, swarm},
        registry,
    },
    support::supervise::supervise,
};
use anyhow::Result;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// A source that docker-glue follows.
#[derive(Debug, Clone)]
pub struct GlueSource {
    pub settings: GlueSourceSettings,
    pub source: Source,
}

/// What a source sends, in order.
pub type SourceUpdates = BoxStream<'static, (SourceName, ContainerUpdate)>;

impl GlueSource {
    /// Makes a source for each one of the settings.
    pub fn all_of(settings: &GlueSettings) -> Arc<[Self]> {
        let sources = settings.sources.iter().map(|settings| Self {
            source: Source::new(settings.name().clone()),
            settings: settings.clone(),
        });
        sources.collect()
    }

    pub fn name(&self) -> &SourceName {
        self.settings.name()
    }

    /// Follows the source until the tasks are dropped. Returns what it sends until the registration is dropped. `stored`
    /// are its containers at the end of the last run.
    pub fn follow(
        &self,
        stored: Option<Arc<ContainerMap>>,
        tasks: &mut JoinSet<()>,
    ) -> (SourceUpdates, Registration) {
        let followed = self.clone();
        tasks.spawn(supervise("Docker follower", move || {
            let (Self { settings, source }, stored) = (followed.clone(), stored.clone());
            async move { follow_source(&settings, &source, stored.as_deref()).await }
        }));
        let name = self.name().clone();
        let (updates, registration) = match self.settings.kind {
            GlueSourceKind::Engine => self.receive_events(),
            GlueSourceKind::Swarm | GlueSourceKind::Registry(_) => self.compare_snapshots(),
        };
        (updates.map(move |update| (name.clone(), update)).boxed(), registration)
    }

    fn receive_events(&self) -> (BoxStream<'static, ContainerUpdate>, Registration) {
        let (sender, updates) = mpsc::channel(1024);
        let next = async |mut updates: mpsc::Receiver<_>| {
            let update = updates.recv().await?;
            Some((update, updates))
        };
        (stream::unfold(updates, next).boxed(), self.source.send_events(sender))
    }

    /// Sources of these kinds have no events of containers.
    fn compare_snapshots(&self) -> (BoxStream<'static, ContainerUpdate>, Registration) {
        let (sender, snapshots) = watch::channel(Snapshot::default());
        let config = SnapshotConfig::new(ContainerFilter::all_of(self.name().clone()));
        let registration = self.source.publish_snapshots(config, Arc::new(sender));
        let next = async |(mut snapshots, mut events): (watch::Receiver<_>, SnapshotEvents)| {
            snapshots.changed().await.ok()?;
            let updates = events.update(&snapshots.borrow_and_update(), unix_time_nanos());
            Some((stream::iter(updates), (snapshots, events)))
        };
        let updates = stream::unfold((snapshots, SnapshotEvents::default()), next);
        (updates.flatten().boxed(), registration)
    }
}

async fn follow_source(
    settings: &GlueSourceSettings,
    source: &Source,
    stored: Option<&ContainerMap>,
) {
    match &settings.kind {
        GlueSourceKind::Engine => docker::follow(&settings.engine, source).await,
        GlueSourceKind::Swarm => swarm::follow(&settings.engine, source).await,
        GlueSourceKind::Registry(registry) => {
            let stored = stored.map(|stored| Arc::new(registry::restore_world(stored)));
            registry::follow(registry, source, stored.as_ref()).await;
        }
    }
}

/// Reads the containers of a source once.
///
/// # Errors
/// If it does not answer.
pub async fn list_source(settings: &GlueSourceSettings) -> Result<Arc<ContainerMap>> {
    let filter = ContainerFilter::all_of(settings.name().clone());
    let world = match &settings.kind {
        GlueSourceKind::Engine => return docker::list_descriptions(&settings.engine).await,
        GlueSourceKind::Swarm => swarm::list_once(&settings.engine, &filter).await?,
        GlueSourceKind::Registry(settings) => registry::list_once(settings, &filter).await?,
    };
    Ok(Arc::new(describe_world(&world)))
}

/// Asks the first source that has a manager of a Swarm. Returns `None` if none has.
///
/// # Errors
/// If no source has a manager, and one does not answer.
pub async fn query_swarm(sources: &[GlueSourceSettings]) -> Result<Option<SwarmState>> {
    let mut result = Ok(None);
    for engine in sources.iter().flat_map(GlueSourceSettings::managers) {
        let answer = async { Engine::connect(&engine).await?.query_swarm().await };
        match answer.await {
            Ok(None) => {}
            Ok(swarm) => return Ok(swarm),
            Err(error) => result = result.and(Err(error)),
        }
    }
    result
}

/// Returns the time in nanoseconds since 1970.
fn unix_time_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
