//! The left neighbour: what Docker says becomes a `World`, and stays current. The only folder that
//! says bollard; it knows nothing of our labels, of routes or of HAProxy.
//!
//! ```text
//! connect ─▶ Engine ─ events ─▶ Known.hear ─┐
//!              ▲                            ├─▶ Seen { world, cause, connected }
//!              └──── ask ◀── Known.ask ─────┤
//!                     └─ answers ─▶ Known.answered
//! ```
//!
//! For handlers, which want every event and all that is known of every container: `report` listens, and
//! `roster` decides.

mod cache;
mod connect;
mod convert;
mod engine;
mod event;
mod event_stream;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzed;
mod image;
mod image_labels;
mod inspect;
mod inspect_cache;
mod lenient;
mod pending;
mod ping;
mod query;
mod signal;
mod ssh;
mod stopping;
mod swarm;
mod vantage;
mod watch;

pub use connect::{DEFAULT_URL, EngineSettings, Timeouts};
pub use engine::Engine;
pub use event::EventCause;
pub use event_stream::{Bookmark, follow_events, list_descriptions};
pub use filter::{ContainerFilter, OwnLabels};
pub use inspect_cache::{
    ContainerEvent, ContainerMap, ContainerUpdate, Description, mark_exited, merge_networks,
};
pub use signal::parse_signal as signal_number;
pub use swarm::SwarmState;
pub use vantage::{AddressKind, detect_vantage, find_own_container_id, find_vantage};
pub use watch::{DockerSnapshot, EventTimes, StreamHeartbeat, WatchConfig, list_once, watch};
