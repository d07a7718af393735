//! What handlers receive from a source: every event, in order for each container.
//!
//! Pure.

use super::description::{ContainerMap, Description};
use crate::model::container::ContainerId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// An event of a container, with the container's description after the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerEvent {
    pub id: ContainerId,
    pub name: String,
    /// With its suffix: `health_status: healthy`.
    pub action: String,
    /// Nanoseconds since 1970, by the engine's clock.
    pub time_nano: i64,
    /// The container's labels, mixed with some keys of the engine's own.
    pub attributes: BTreeMap<String, String>,
    /// The last description if the container has been removed; `None` if there never was one. For an end (`die`,
    /// `stop`, `destroy`) it has the networks and ports that the container had until then.
    pub description: Option<Arc<Description>>,
}

/// What a source sends, in order.
#[derive(Debug, Clone)]
pub enum ContainerUpdate {
    /// The containers changed without an event: the first list, or the first one after an outage.
    Changed(Arc<ContainerMap>),
    /// An event, and all containers after it.
    Event(Arc<ContainerEvent>, Arc<ContainerMap>),
    /// Containers that have received their stop signal or have ended, and have not been inspected since.
    Stopping(Arc<BTreeSet<ContainerId>>),
    /// Whether the source answers, when that changes. Before the first one, it does not.
    Answering(bool),
}
