//! What can be known where no docker-balancer runs: Docker is asked once, and HAProxy only looked at. Nothing is
//! locked, and nothing written.

use crate::{
    docker::{self, Engine},
    haproxy::{
        observed::Observed,
        runtime::Runtime,
        stat::{Counters, Stat},
    },
    serve,
    settings::Settings,
    view::{Picture, alone},
};
use anyhow::Result;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Docker does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(super) struct NoDocker(anyhow::Error);

pub(super) struct Alone {
    pub(super) picture: Picture,
    /// What a HAProxy that runs all the same has, and counts.
    pub(super) observed: Option<Observed>,
    pub(super) counters: Option<Counters>,
}

/// # Errors
/// [`NoDocker`] where Docker does not answer.
pub(super) async fn look(settings: &Settings) -> Result<Alone> {
    let (world, vantage) = world(settings).await.map_err(NoDocker)?;
    let socket = serve::proxy_settings(settings).stats_socket();
    let observed = match Runtime::open(socket.clone()).await {
        Ok(mut runtime) => runtime.observe().await.ok(),
        Err(_) => None,
    };
    let counters = Stat::at(socket).ask().await.ok();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let rules = serve::rules(settings, vantage);
    let moment = (Instant::now(), at_ms);
    let picture = alone::picture(world, rules, observed.as_ref(), settings.wait_for_start, moment);
    Ok(Alone { picture, observed, counters })
}

async fn world(settings: &Settings) -> Result<(crate::world::World, crate::world::Vantage)> {
    let access = serve::access(settings);
    let engine = Engine::connect(&access).await?;
    let vantage = docker::vantage(&engine, &access, serve::reach(settings)).await?;
    let world = docker::list_once(&access, &serve::interest(settings, &vantage)).await?;
    Ok((world, vantage))
}
