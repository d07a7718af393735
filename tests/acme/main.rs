//! Certificates by ACME: with pebble, a CA for tests, and with a server of these tests for what pebble cannot do.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod account_key;
mod challenge;
mod dns_update;
mod fake;
mod faults;
mod follower;
mod issue;
mod knot;
mod pebble;
mod shared;
mod shared_whole;
mod whole;
