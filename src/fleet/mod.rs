//! Several balancers that know each other through etcd: what each of them serves, and drains of all.
//!
//! ```text
//! PREFIX/balancers/NAME    BalancerRecord, under the lease of the balancer
//! PREFIX/drains/ID         DrainRecord of one container, without a lease
//! ```
//!
//! [`FleetKeeper`] decides who is alive and who serves something else; it is pure. [`Fleet`] is the task that reads and
//! writes etcd for it. While etcd is away, nothing that is served changes.

mod keeper;
mod record;
mod served;
mod state;
mod task;

pub use keeper::FleetKeeper;
pub use record::{
    BalancerName, BalancerNameError, BalancerRecord, DrainId, DrainRecord, FleetRecordError,
};
pub use served::{ServedHash, ServedHashError};
pub use state::{DrainIntent, DrainIntents, FleetMember, FleetState, OtherDrain};
pub use task::{Fleet, FleetSettings};
