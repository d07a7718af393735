//! From containers to routes, over time: who gets which route, what is held, drained, delayed or rolled back.
//!
//! Pure: the world and the clock come in as arguments.

pub mod address;
pub mod auth_server;
pub mod crash_loop;
pub mod decide;
pub mod host_terms;
pub mod rollback;
pub mod route_diff;
pub mod route_table;
pub mod udp_listener;
