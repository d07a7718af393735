//! Whatever fails, the last good state is still served. The tests use real containers, a real HAProxy, and the program
//! as a user starts it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod asker;
mod crash;
mod disk;
mod docker;
mod haproxy;
mod injection;
mod labels;
mod life;
mod limit;
mod policies;
mod port;
mod start;
mod steps;
mod stop;
mod upgrade;
