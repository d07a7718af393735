//! docker-glue.

pub mod container;
pub mod docker;
pub mod label;
pub mod origin;
pub mod problem;
pub mod route;
pub mod world;
