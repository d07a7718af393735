//! Code that does not depend on containers: log, signals, the service manager, files, retries.

pub mod atomic_file;
pub mod backoff;
pub mod durable;
pub mod escape;
pub mod etcd;
pub mod format;
pub(crate) mod inotify;
pub mod log;
pub mod map_diff;
pub mod outage;
pub mod port_owner;
pub mod secret;
pub mod signals;
pub mod suggest;
pub mod supervise;
pub mod systemd;
