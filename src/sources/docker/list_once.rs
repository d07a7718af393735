//! Reads the current state of an engine once, without following it.

use super::{
    connect::EngineSettings, engine::Engine, engine_state::EngineState, follow::log_parse_warnings,
    replay::Replay, request::send_request,
};
use crate::{
    model::world::World,
    sources::{
        description::ContainerMap, filter::ContainerFilter, snapshot::SnapshotConfig,
        source::ConsumerId, update::ContainerUpdate,
    },
};
use anyhow::{Context, Result};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Returns the current world.
pub async fn list_once(settings: &EngineSettings, filter: &ContainerFilter) -> Result<World> {
    let relist_interval = Duration::from_hours(1);
    let config = SnapshotConfig { relist_interval, ..SnapshotConfig::new(filter.clone()) };
    let mut state = EngineState::default();
    state.add_world(ConsumerId::default(), &config, Instant::now());
    ask_all(settings, &mut state).await?;
    let world = state.take_snapshots().pop().map(|(_, update)| update.world);
    Ok(world.map(Arc::unwrap_or_clone).unwrap_or_default())
}

/// Returns all current containers.
pub async fn list_descriptions(settings: &EngineSettings) -> Result<Arc<ContainerMap>> {
    let mut state = EngineState::default();
    state.add_events(None, Instant::now());
    ask_all(settings, &mut state).await?;
    // The first update has all containers.
    let containers = state.take_updates().into_iter().find_map(|update| match update {
        ContainerUpdate::Changed(containers) => Some(containers),
        ContainerUpdate::Event(..)
        | ContainerUpdate::Stopping(_)
        | ContainerUpdate::Answering(_) => None,
    });
    containers.context("Docker returned no list of containers")
}

/// Sends requests until none is left.
async fn ask_all(settings: &EngineSettings, state: &mut EngineState) -> Result<()> {
    let engine = Engine::connect(settings).await?;
    state.on_connect(Replay::default(), Instant::now());
    let mut requests = FuturesUnordered::new();
    loop {
        let due = state.next_requests(Instant::now());
        requests.extend(due.into_iter().map(|request| send_request(&engine, request)));
        let Some(answer) = requests.next().await else { return Ok(()) };
        state.on_answer(answer?, Instant::now());
        log_parse_warnings(state);
    }
}
