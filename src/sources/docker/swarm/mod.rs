//! A Swarm as a source of containers: the tasks of its services, as a manager lists them.
//!
//! Managers send events of services and nodes, but none of tasks. So `follow` asks for the tasks of a service again and
//! again while something moves there (`pace`), and for everything every 30 s. A manager marks a task for shutdown three
//! seconds before its container gets its stop signal. This is the notice in which the task gets no new requests.
//!
//! ```text
//! manager ─event──▶ follow ─on_event()──▶ Pace: the service is busy
//!                          ◀─next_query()─ everything, some services, or only the nodes
//! manager ◀─GET──── follow
//! manager ─answer─▶ follow ─apply_…()───▶ SwarmCache ─world()─▶ a snapshot, if it differs
//! ```

mod cache;
mod convert;
mod follow;
mod object;
mod pace;
mod query;
mod template_state;
mod vantage;

pub use follow::{follow, list_once};
pub use query::{NotManagerError, manager_settings};
pub use template_state::SwarmState;
pub use vantage::find_vantage;
