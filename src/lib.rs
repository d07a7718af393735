//! docker-glue.

pub mod container;
pub mod haproxy;
pub mod label;
pub mod listening;
pub mod origin;
pub mod problem;
pub mod route;
pub mod world;
