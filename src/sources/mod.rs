//! Where containers are read from.
//!
//! A [`Source`] holds who needs what; the task of its kind (`docker::follow`) publishes snapshots and events to them.

pub mod acme;
pub mod certificate;
pub mod compose;
pub mod docker;
mod merge;
pub mod own_ca;
pub mod registry;

mod clock_skew;
mod describe;
mod description;
mod description_store;
mod filter;
mod silence;
mod slice_store;
mod snapshot;
mod snapshot_events;
mod source;
mod source_file;
mod update;

pub use clock_skew::ClockSkew;
pub use describe::describe_world;
pub use description::{ContainerMap, Description, mark_exited, merge_networks};
pub use description_store::DescriptionStore;
pub use filter::{ContainerFilter, OwnLabels};
pub use merge::MergedWorld;
pub use silence::{Silence, SourceContainers, first_answers_timeout};
pub use slice_store::{Slice, SliceStore};
pub use snapshot::{EventCause, EventTimes, Snapshot, SnapshotConfig, StreamHeartbeat};
pub use snapshot_events::SnapshotEvents;
pub use source::{Registration, Source};
pub use source_file::{keep_written, write_in_background};
pub use update::{ContainerEvent, ContainerUpdate};
