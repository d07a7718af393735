//! The right neighbour: what HAProxy should have, and its files, process, reload and sockets. It has
//! never heard of Docker.

// What it should have.
pub mod config;
pub mod growth;
pub mod layout;
pub mod name;
pub mod render;
pub mod requeue;
pub mod spelling;
// What it has, and how the one becomes the other.
pub mod command;
pub mod health;
pub mod inverse;
pub mod observed;
pub mod on_disk;
pub mod plan;
pub mod plan_old;
// How it gets it.
pub mod bind;
pub mod check;
pub mod error;
pub mod files;
pub mod lock;
pub mod master;
pub mod old_workers;
pub mod patrol;
mod ports;
pub mod process;
pub mod proxy;
pub mod runtime;
pub mod said;
pub mod sessions;
pub mod settings;
pub mod socket;
pub mod stat;
pub mod step;
pub mod swap;
pub mod unchecked;
pub mod version;
