//! Where containers are read from.

pub mod compose;
pub mod docker;
