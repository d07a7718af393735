//! docker-glue.

pub mod address;
pub mod change;
pub mod claim;
pub mod container;
pub mod decide;
pub mod docker;
pub mod haproxy;
pub mod label;
pub mod origin;
pub mod problem;
pub mod route;
pub mod world;
