//! Why a container gets none of a route's requests though it shares it.
//!
//! Pure.

use crate::{
    claim::{Claim, Standing},
    container::{ContainerId, Health, State},
    decide::Memory,
    world::World,
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Out {
    Paused,
    Stopping,
    /// Somebody had it drained.
    Drained,
    /// Over and over.
    Crashing,
    /// Its HEALTHCHECK has not passed yet.
    Starting,
    /// Its HEALTHCHECK fails.
    Unhealthy,
}

impl Out {
    pub fn of(claim: &Claim, world: Option<&World>, memory: &Memory, now: Instant) -> Self {
        let id: &ContainerId = &claim.seniority.1;
        let container = world.and_then(|world| world.containers.get(id));
        let unwell = match container.map(|it| it.health) {
            Some(Health::Starting) => Self::Starting,
            _ => Self::Unhealthy,
        };
        match container {
            _ if claim.standing == Standing::Reserve => unwell,
            Some(it) if it.state == State::Paused => Self::Paused,
            None => Self::Stopping,
            Some(it) if it.leaving => Self::Stopping,
            Some(_) if memory.drained.contains(id) => Self::Drained,
            Some(_) if memory.crashing(id, now).is_some() => Self::Crashing,
            Some(_) => unwell,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Drained => "drained",
            Self::Crashing => "crashing",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
        }
    }
}
