//! Docker engines: connect, convert answers, follow events. The only folder that uses bollard; it does not depend on
//! docker-glue labels, routes or HAProxy.
//!
//! `follow` is the loop of one engine and serves all consumers registered with its source; `engine_state` decides which
//! requests are due, `request` sends them.

mod cache;
mod connect;
mod connection;
pub(super) mod convert;
mod engine;
mod engine_state;
mod event;
mod event_state;
mod follow;
#[cfg(fuzzing)]
pub mod fuzzed;
mod image;
mod image_labels;
pub(super) mod inspect;
mod inspect_cache;
mod lenient;
mod list_once;
mod pending;
mod ping;
mod query;
mod replay;
mod request;
mod signal;
mod ssh;
mod stopping;
pub mod swarm;
mod vantage;

pub use connect::{DEFAULT_URL, EngineSettings, Timeouts};
pub use engine::Engine;
pub use follow::follow;
pub use list_once::{list_descriptions, list_once};
pub use signal::parse_signal as signal_number;
pub use swarm::SwarmState;
pub(crate) use vantage::read_own_addresses;
pub use vantage::{AddressKind, detect_vantage, find_own_container_id, find_vantage};
