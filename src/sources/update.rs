//! What handlers receive of a source: every event, in each container's order.
//!
//! Pure.

use super::description::{ContainerMap, Description};
use crate::model::container::ContainerId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// An event of a container, and what is known of it after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    pub id: ContainerId,
    pub name: String,
    /// With its suffix: `health_status: healthy`.
    pub action: String,
    /// Nanoseconds since 1970, by the engine's clock.
    pub time_nano: i64,
    /// Its labels, and some words of the engine's own among them.
    pub attributes: BTreeMap<String, String>,
    /// The last that was known where the container is gone; `None` if it never was. Of an end (`die`, `stop`,
    /// `destroy`) with the networks and ports that it had until then.
    pub description: Option<Arc<Description>>,
}

/// What is told, in order.
#[derive(Debug, Clone)]
pub enum ContainerUpdate {
    /// The roster is another one, and no event said so: a first list, or one after an outage.
    Changed(Arc<ContainerMap>),
    /// The roster is the one after it.
    Event(Arc<ContainerEvent>, Arc<ContainerMap>),
    /// These got their stop signal or have ended, and the engine was not asked for them since.
    Stopping(Arc<BTreeSet<ContainerId>>),
}
