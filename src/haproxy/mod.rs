//! HAProxy.
pub mod config;
pub mod files;
pub mod name;
pub mod render;
