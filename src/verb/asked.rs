//! What a command that looks asks of Docker, of HAProxy and of the disk. Nothing is changed, and no lock taken.

use crate::{
    control::{client::get, socket},
    decide::Rules,
    docker::{self, Engine, Interest},
    haproxy::{files::Store, observed::Observed, on_disk, runtime::Runtime},
    serve,
    settings::Settings,
    view::{
        outlook::{Before, Disk, Source},
        status::Status,
    },
    world::World,
};
use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs};

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

/// `None` where none runs, or none that we may ask.
pub(super) async fn daemon(settings: &Settings) -> Option<Status> {
    get(&socket(&settings.runtime_dir), "/status").await.ok()
}

/// What HAProxy has, or at least its files.
pub(super) async fn before(settings: &Settings) -> Before {
    let store = Store::to_look_at(&settings.config_file, &settings.state_dir);
    let disk = disk(settings, &store);
    if let Some(observed) = observed(settings).await {
        return Before { source: Source::HAProxy, observed, disk };
    }
    match store.ours() {
        Some(config) => {
            let map = |map: crate::haproxy::config::MapName| store.stored(&map.to_string());
            let observed = on_disk::observed(&config, map);
            Before { source: Source::Files, observed, disk }
        }
        None => Before { source: Source::Nothing, observed: Observed::default(), disk },
    }
}

async fn observed(settings: &Settings) -> Option<Observed> {
    let socket = serve::proxy_settings(settings).stats_socket();
    Runtime::open(socket).await.ok()?.observe().await.ok()
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
