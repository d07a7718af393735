//! What can be known where no docker-balancer runs: Docker is asked once, and HAProxy only looked at. Nothing is
//! locked, and nothing written.

use super::asked;
use crate::{
    haproxy::{
        observed::Observed,
        stat::{Counters, Stat},
    },
    serve,
    settings::Settings,
    view::{Picture, alone},
};
use anyhow::Result;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(super) struct Alone {
    pub(super) picture: Picture,
    /// What a HAProxy that runs all the same has, and counts.
    pub(super) observed: Option<Observed>,
    pub(super) counters: Option<Counters>,
    /// What could not be read, and would have a say.
    pub(super) notes: Vec<String>,
}

/// # Errors
/// [`asked::DockerAway`] where Docker does not answer.
pub(super) async fn look(settings: &Settings) -> Result<Alone> {
    let (world, rules) = asked::world(settings, |interest| interest).await?;
    let observed = asked::observed(settings).await.ok().flatten();
    let counters = Stat::at(serve::proxy_settings(settings).stats_socket()).ask().await.ok();
    let (rollback, notes) = match asked::stored_rollback(settings) {
        Ok(rollback) => (rollback, Vec::new()),
        Err(error) => (None, vec![format!("{error:#}; if a rollback holds, this is not so")]),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let moment = (Instant::now(), at_ms);
    let wait = settings.wait_for_start;
    let picture = alone::picture(world, rules, rollback, observed.as_ref(), wait, moment);
    Ok(Alone { picture, observed, counters, notes })
}
