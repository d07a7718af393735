//! The state without a running docker-balancer: Docker is asked once, and HAProxy is only read. Nothing is locked or
//! written.

use super::inputs;
use crate::{
    haproxy::{
        observed::ObservedState,
        stats::{Counters, StatsClient},
        tls::{CertificateDirectory, DefaultCertificate},
    },
    report::{StateSnapshot, offline},
    settings::Settings,
};
use anyhow::Result;
use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) struct OfflineState {
    pub(crate) state: StateSnapshot,
    /// What a HAProxy that still runs has and counts.
    pub(crate) observed: Option<ObservedState>,
    pub(crate) counters: Option<Counters>,
    /// Notes about files that could not be read and may change the result.
    pub(crate) notes: Vec<String>,
}

/// # Errors
/// [`DockerQueryError`](super::inputs::DockerQueryError) if Docker does not answer.
pub(crate) async fn load_offline(settings: &Settings) -> Result<OfflineState> {
    let (world, rules) = inputs::load_world(settings, |interest| interest).await?;
    let observed = inputs::observe_haproxy(settings).await.ok().flatten();
    let counters =
        StatsClient::for_socket(settings.proxy().stats_socket()).fetch_counters().await.ok();
    let (rollback, notes) = match inputs::stored_rollback(settings) {
        Ok(rollback) => (rollback, Vec::new()),
        Err(error) => {
            (None, vec![format!("{error:#}; if a rollback is active, the result is different")])
        }
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let moment = (Instant::now(), at_ms);
    let wait = settings.wait_for_start;
    let mut state =
        offline::offline_snapshot(world, rules, rollback, observed.as_ref(), wait, moment);
    Arc::make_mut(&mut state.config).default_certificate = DefaultCertificate::new(
        settings.default_certificate.as_ref(),
        &state.rules.certificates,
        &CertificateDirectory::default(),
    );
    Ok(OfflineState { state, observed, counters, notes })
}
