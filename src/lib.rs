//! docker-glue.

pub mod address;
pub mod cli;
pub mod container;
pub mod daemon;
pub mod label;
pub mod log;
pub mod origin;
pub mod problem;
pub mod route;
pub mod settings;
pub mod world;
