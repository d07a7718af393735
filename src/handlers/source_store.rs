//! The containers of each source with a name, as they are stored for the next start.

use super::{roster::Roster, source::list_source};
use crate::{
    model::source_name::SourceName,
    settings::{GlueSettings, GlueSourceSettings},
    sources::{ContainerMap, DescriptionStore, keep_written, write_in_background},
};
use anyhow::Result;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tracing::{info, warn};

/// How long after a change of a source's containers their file is written again. Descriptions are large.
const STORE_PAUSE: Duration = Duration::from_secs(30);

/// Writes the containers of sources with names. Without a state directory, nothing is kept.
#[derive(Debug, Default)]
pub struct SourceStore {
    sources: BTreeMap<SourceName, StoredSource>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct StoredSource {
    store: DescriptionStore,
    containers: watch::Sender<Option<Arc<ContainerMap>>>,
}

impl SourceStore {
    /// Adds what is stored to the roster, and writes changes from now on.
    pub fn open(settings: &GlueSettings, roster: &mut Roster) -> Self {
        let mut opened = Self::default();
        let Some(state_dir) = &settings.state_dir else { return opened };
        let store = DescriptionStore::new(state_dir);
        let names = settings.sources.iter().map(GlueSourceSettings::name);
        for path in store.remove_others(&names.clone().cloned().collect()) {
            info!("removed {}: there is no such source any more", path.display());
        }
        for name in names.filter(|name| !name.is_none()) {
            if let Some(containers) = read_stored(&store, name) {
                roster.restore(name, containers);
            }
            let containers = watch::Sender::new(None);
            let (path, write) = (store.path(name), writer(&store, name));
            opened.tasks.spawn(keep_written(path, STORE_PAUSE, containers.subscribe(), write));
            let source = StoredSource { store: store.clone(), containers };
            opened.sources.insert(name.clone(), source);
        }
        opened
    }

    /// Has the containers of a source stored, once it has answered.
    pub fn update(&mut self, name: &SourceName, roster: &Roster) {
        let (Some(source), Some(containers)) = (self.sources.get(name), roster.answered(name))
        else {
            return;
        };
        source.containers.send_if_modified(|stored| {
            let is_stored = stored.as_ref().is_some_and(|stored| Arc::ptr_eq(stored, containers));
            if !is_stored {
                *stored = Some(Arc::clone(containers));
            }
            !is_stored
        });
    }

    /// Writes what has changed since the files were written last.
    pub async fn finish(mut self) {
        self.tasks.shutdown().await;
        for (name, StoredSource { store, containers }) in self.sources {
            let Some(containers) = containers.borrow().clone() else { continue };
            let (path, write) = (store.path(&name), writer(&store, &name));
            if let Err(error) = write_in_background(&path, containers, write).await {
                warn!("{error:#}");
            }
        }
    }
}

fn writer(
    store: &DescriptionStore,
    name: &SourceName,
) -> impl Fn(&Arc<ContainerMap>) -> Result<()> + Clone + Send + use<> {
    let (store, name) = (store.clone(), name.clone());
    move |containers| store.write(&name, containers)
}

fn read_stored(store: &DescriptionStore, name: &SourceName) -> Option<ContainerMap> {
    store.read(name).unwrap_or_else(|error| {
        warn!("could not read {}: {error:#}; waiting for {name}", store.path(name).display());
        None
    })
}

/// Reads the containers of each source once.
///
/// # Errors
/// If a source does not answer, and nothing is stored of it.
pub async fn list_sources(settings: &GlueSettings) -> Result<Vec<(SourceName, Arc<ContainerMap>)>> {
    let mut sources = Vec::new();
    for source in &settings.sources {
        let name = source.name();
        let containers = match list_source(source).await {
            Ok(containers) => containers,
            Err(error) => {
                let state_dir = settings.state_dir.as_ref().filter(|_| !name.is_none());
                let stored = state_dir
                    .and_then(|state_dir| read_stored(&DescriptionStore::new(state_dir), name));
                let Some(containers) = stored else { return Err(error) };
                warn!("{error:#}; using the containers of {name} as they were known last");
                Arc::new(containers)
            }
        };
        sources.push((name.clone(), containers));
    }
    Ok(sources)
}
