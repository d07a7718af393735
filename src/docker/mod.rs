//! The left neighbour: what Docker says becomes a `World`, and stays current. The only folder that
//! says bollard; it knows nothing of our labels, of routes or of HAProxy.
//!
//! ```text
//! connect ─▶ Engine ─ events ─▶ Known.hear ─┐
//!              ▲                            ├─▶ Seen { world, cause, connected }
//!              └──── ask ◀── Known.ask ─────┤
//!                     └─ answers ─▶ Known.answered
//! ```

mod connect;
mod convert;
mod details;
mod engine;
mod event;
mod interest;
mod known;
mod outage;
mod signal;
mod vantage;
mod watch;

pub use connect::{Access, DEFAULT_URL, Patience};
pub use engine::Engine;
pub use event::Cause;
pub use interest::Interest;
pub use vantage::{Reach, own_container_id, vantage};
pub use watch::{Seen, Watching, list_once, watch};
