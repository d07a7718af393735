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

mod connect;
mod convert;
mod details;
mod engine;
mod event;
#[cfg(fuzzing)]
pub mod fuzzed;
mod heard;
mod image;
mod image_labels;
mod interest;
mod known;
mod leaving;
mod lenient;
mod ping;
mod raw;
mod report;
mod roster;
mod signal;
mod ssh;
mod swarm;
mod vantage;
mod watch;

pub use connect::{Access, DEFAULT_URL, Patience};
pub use engine::Engine;
pub use event::Cause;
pub use interest::{Interest, OwnLabels};
pub use report::{Bookmark, follow, take_roll};
pub use roster::{Description, Happened, News, Roster, ended, with_networks_of};
pub use signal::number as signal_number;
pub use swarm::SwarmSaid;
pub use vantage::{Reach, find_vantage, own_container_id, vantage};
pub use watch::{Moments, Pulse, Seen, Watching, list_once, watch};
