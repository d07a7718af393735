//! Tests of docker-glue with a real Docker engine.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod certificates;
mod haproxy;
mod nginx;
mod nodes;
mod other_sources;
mod ovs;
#[path = "../acme/pebble.rs"]
#[allow(dead_code, clippy::print_stdout, reason = "tests of ACME need the rest")]
mod pebble;
mod plugins;
mod publish;
mod scripts;
mod swarm;
mod template;
