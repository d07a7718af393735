//! The right neighbour: what HAProxy should have, its files, process, reload and sockets. It has
//! never heard of Docker.

pub mod bind;
pub mod check;
pub mod config;
pub mod files;
pub mod lock;
pub mod master;
pub mod name;
pub mod options;
pub mod process;
pub mod proxy;
pub mod render;
pub mod said;
pub mod socket;
pub mod swap;
pub mod version;
