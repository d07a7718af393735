//! Where containers are read from.
//!
//! A [`Source`] holds who needs what; the task of its kind (`docker::follow`) publishes snapshots and events to them.

pub mod acme;
pub mod certificate;
pub mod compose;
pub mod docker;
mod merge;
pub mod own_ca;

mod description;
mod filter;
mod slice_store;
mod snapshot;
mod source;
mod update;

pub use description::{ContainerMap, Description, mark_exited, merge_networks};
pub use filter::{ContainerFilter, OwnLabels};
pub use merge::MergedWorld;
pub use slice_store::{Slice, SliceStore};
pub use snapshot::{EventCause, EventTimes, Snapshot, SnapshotConfig, StreamHeartbeat};
pub use source::{Registration, Source};
pub use update::{ContainerEvent, ContainerUpdate};
