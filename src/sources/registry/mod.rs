//! A registry: containers of many machines in etcd, as docker-glue's publisher writes them there.
//!
//! ```text
//! etcd ─list, changes──▶ watch ─▶ Keeper (pure) ─▶ KeeperChanges ─▶ Snapshot, for each consumer of the source
//!                          ◀── resume_after(), forget_lost(), differs_from()
//! ```

mod keeper;
mod record;
mod restore;
mod watch;

pub use record::{
    ALIVE_KEY, AliveRecord, MAX_RECORD_BYTES, NodeState, RecordError, RecordKey, SERVED_FOLDER,
    ServedRecord,
};
pub use restore::restore_world;
pub use watch::{RegistrySettings, follow, list_once};
