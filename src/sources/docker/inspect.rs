//! What only an inspection reports about a container, and how it is merged into what the list
//! reported.
//!
//! Pure.

use crate::model::container::{
    Container, ContainerState, ExposedPorts, Health, NetworkMode, StopConfig,
};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InspectDetails {
    /// More precise than the list, where all containers that one `docker compose up` creates in the
    /// same second have the same time.
    pub(crate) created: Option<i64>,
    pub(crate) started: Option<i64>,
    /// Missing in Podman's list.
    pub(crate) network_mode: Option<NetworkMode>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) stop: StopConfig,
    /// EXPOSE, which the list leaves out for host networking.
    pub(crate) exposed: ExposedPorts,
    /// Also set for a paused container; the list reports only that it is paused.
    pub(crate) health: Health,
}

/// Completes a container with the details of its inspection.
pub(crate) fn apply_details(container: &mut Container, details: InspectDetails) {
    let InspectDetails { created, started, network_mode, environment, stop, exposed, health } =
        details;
    container.created = created.unwrap_or(container.created);
    // An event may have reported a later start already.
    container.started = container.started.max(Some(started.unwrap_or(0)));
    if let Some(mode) = network_mode {
        container.network_mode = mode;
    }
    container.environment = environment;
    container.stop_config = Some(stop);
    container.exposed.merge(&exposed);
    if container.state == ContainerState::Paused && container.health == Health::Unchecked {
        container.health = health;
    }
}

/// Carries over the details of an earlier inspection, which cannot change while the container
/// exists.
pub(crate) fn carry_over_details(fresh: &mut Container, cached: &Container) {
    fresh.started = cached.started;
    if cached.stop_config.is_some() {
        // Missing in the list.
        if fresh.network_mode == NetworkMode::Own {
            fresh.network_mode.clone_from(&cached.network_mode);
        }
        fresh.created = cached.created;
        fresh.environment.clone_from(&cached.environment);
        fresh.stop_config.clone_from(&cached.stop_config);
        fresh.exposed.merge(&cached.exposed);
    }
    if fresh.state == ContainerState::Paused && fresh.health == Health::Unchecked {
        fresh.health = cached.health;
    }
}
