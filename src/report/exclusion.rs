//! Why a container gets no requests of a route that it has.
//!
//! Pure.

use crate::{
    model::{
        container::{ContainerId, ContainerState, Health},
        world::World,
    },
    routing::{
        decide::DecideState,
        route_table::{Claim, Eligibility},
    },
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exclusion {
    Paused,
    Stopping,
    /// An operator drained it.
    Drained,
    /// It crashes repeatedly.
    Crashing,
    /// Its HEALTHCHECK has not passed yet.
    Starting,
    /// Its HEALTHCHECK fails.
    Unhealthy,
    /// Its label says that others serve first.
    Backup,
}

impl Exclusion {
    pub fn from_claim(
        claim: &Claim,
        world: Option<&World>,
        state: &DecideState,
        now: Instant,
    ) -> Self {
        let id: &ContainerId = &claim.seniority.1;
        let container = world.and_then(|world| world.containers.get(id));
        let health_reason = match container.map(|container| container.health) {
            Some(Health::Starting) => Self::Starting,
            _ => Self::Unhealthy,
        };
        match container {
            _ if claim.eligibility == Eligibility::Backup => Self::Backup,
            _ if claim.eligibility == Eligibility::Doubtful => health_reason,
            Some(container) if container.state == ContainerState::Paused => Self::Paused,
            None => Self::Stopping,
            Some(container) if container.stopping => Self::Stopping,
            Some(_) if state.drained.contains(id) => Self::Drained,
            Some(_) if state.crash_delay_until(id, now).is_some() => Self::Crashing,
            Some(_) => health_reason,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Drained => "drained",
            Self::Crashing => "crashing",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Backup => "backup",
        }
    }
}
