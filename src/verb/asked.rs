//! What a command that looks asks of Docker, of HAProxy and of the disk. Nothing is changed, and no lock taken.

use crate::{
    control::{client::get, socket},
    decide::Rules,
    docker::{self, Engine, Interest},
    haproxy::{
        files::Store,
        inverse,
        observed::Observed,
        on_disk,
        runtime::{Runtime, RuntimeError},
    },
    label::value::HostMatch,
    rollback::Rollback,
    serve,
    settings::Settings,
    view::{
        outlook::{Before, Disk, Source},
        record,
        status::Status,
    },
    world::World,
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Until a docker-balancer that says nothing counts as none.
const PATIENCE: Duration = Duration::from_secs(10);
const AS_WHOM: &str = "be root, or the user that docker-balancer runs as";

/// Docker could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("Docker could not be asked")]
pub(super) struct DockerAway;

pub(super) async fn engine(settings: &Settings) -> Result<Engine> {
    Engine::connect(&serve::access(settings)).await.context(DockerAway)
}

/// The world as it is now, and the rules by which it is decided. `widen` may ask for more of it.
pub(super) async fn world(
    settings: &Settings,
    widen: impl FnOnce(Interest) -> Interest,
) -> Result<(World, Rules)> {
    let ask = async {
        let access = serve::access(settings);
        let engine = Engine::connect(&access).await?;
        let vantage = docker::vantage(&engine, &access, serve::reach(settings)).await?;
        let interest = widen(serve::interest(settings, &vantage));
        let world = docker::list_once(&access, &interest).await?;
        anyhow::Ok((world, serve::rules(settings, vantage)))
    };
    ask.await.context(DockerAway)
}

/// `None` where none runs.
pub(super) async fn daemon(settings: &Settings) -> Option<Status> {
    let socket = socket(&settings.runtime_dir);
    timeout(PATIENCE, get(&socket, "/status")).await.ok()?.ok()
}

/// What HAProxy has, or at least its files.
///
/// # Errors
/// Where they are somebody else's: that they cannot be read does not mean that there are none.
pub(super) async fn before(settings: &Settings) -> Result<Before> {
    let store = Store::to_look_at(&settings.config_file, &settings.state_dir);
    may_read(store.target())?;
    let (disk, owners) = (disk(settings, &store), owners(settings)?);
    if let Some(observed) = observed(settings).await? {
        return Ok(Before { source: Source::HAProxy, observed, disk, owners });
    }
    let Some(config) = store.ours() else {
        return Ok(Before { source: Source::Nothing, observed: Observed::default(), disk, owners });
    };
    let observed = on_disk::observed(&config, |map| store.stored(&map.to_string()));
    Ok(Before { source: Source::Files, observed, disk, owners })
}

/// Who has which host. What makes no sense does not count, as with a docker-balancer that begins.
///
/// # Errors
/// Where the file is somebody else's.
fn owners(settings: &Settings) -> Result<BTreeMap<HostMatch, Arc<str>>> {
    let text = stored(settings, "hosts.json")?;
    Ok(text.and_then(|text| record::read_owners(&text).ok()).unwrap_or_default())
}

/// A file of the state directory, if there is one.
fn stored(settings: &Settings, name: &str) -> Result<Option<String>> {
    let path = settings.state_dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            bail!("cannot read {}: {e}; {AS_WHOM}", path.display())
        }
        Err(_) => Ok(None),
    }
}

/// `None` where no HAProxy of ours answers.
pub(super) async fn observed(settings: &Settings) -> Result<Option<Observed>> {
    let socket = serve::proxy_settings(settings).stats_socket();
    match Runtime::open(socket.clone()).await {
        Ok(mut runtime) => Ok(runtime.observe().await.ok()),
        Err(RuntimeError::Unreachable { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            bail!("cannot ask HAProxy on {}: {source}; {AS_WHOM}", socket.display())
        }
        Err(_) => Ok(None),
    }
}

/// The one that holds, as the docker-balancer that runs has it; where none runs, as one that began now would.
///
/// # Errors
/// Where the file that says so is somebody else's.
pub(super) fn rollback(
    settings: &Settings,
    daemon: Option<&Status>,
    observed: &Observed,
) -> Result<Option<Rollback>> {
    let Some(daemon) = daemon else { return stored_rollback(settings) };
    let Some(holds) = daemon.rollback else { return Ok(None) };
    let is_it = |it: &Rollback| (it.generation, it.since_ms) == (holds.generation, holds.since_ms);
    // What could not be kept on disk still is what HAProxy has.
    let as_served = || {
        let then = Arc::new(inverse::routes(observed));
        Rollback::new(holds.generation, holds.since_ms, then)
    };
    Ok(Some(stored_rollback(settings)?.filter(is_it).unwrap_or_else(as_served)))
}

/// What makes no sense does not hold, as with a docker-balancer that begins.
///
/// # Errors
/// Where it is somebody else's.
pub(super) fn stored_rollback(settings: &Settings) -> Result<Option<Rollback>> {
    let text = stored(settings, "rollback.json")?;
    Ok(text.and_then(|text| record::read_rollback(&text).ok()))
}

fn may_read(file: &Path) -> Result<()> {
    match fs::File::open(file) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            bail!("cannot read {}: {e}; {AS_WHOM}", file.display())
        }
        _ => Ok(()),
    }
}

fn disk(settings: &Settings, store: &Store) -> Disk {
    let folder = store.generation();
    let files =
        folder.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let text = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, (entry.path(), fs::read_to_string(entry.path()).ok()?)))
    };
    Disk {
        target: store.target().to_owned(),
        config: store.current(),
        files: files.filter_map(text).collect::<BTreeMap<_, _>>(),
        generations: settings.state_dir.join("gen"),
    }
}
