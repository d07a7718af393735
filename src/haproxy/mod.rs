//! The right neighbour: HAProxy's files, process, reload and sockets. It has never heard of Docker.

pub mod bind;
pub mod check;
pub mod error;
pub mod files;
pub mod lock;
pub mod master;
pub mod options;
mod ports;
pub mod process;
pub mod proxy;
pub mod said;
pub mod settings;
pub mod socket;
pub mod swap;
pub mod version;
