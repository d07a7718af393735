//! Where containers are read from.
//!
//! A [`Source`] holds who needs what; the task of its kind (`docker::follow`) publishes snapshots and events to them.

pub mod acme;
pub mod certificate;
pub mod compose;
pub mod docker;
pub mod own_ca;

mod description;
mod filter;
mod snapshot;
mod source;
mod update;

pub use description::{ContainerMap, Description, mark_exited, merge_networks};
pub use filter::{ContainerFilter, OwnLabels};
pub use snapshot::{EventCause, EventTimes, Snapshot, SnapshotConfig, StreamHeartbeat};
pub use source::{Registration, Source};
pub use update::{ContainerEvent, ContainerUpdate};
