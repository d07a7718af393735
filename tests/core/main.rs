//! Tests without external programs: pure functions as tables, stories and properties, and the command line.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod auth_server;
mod census;
mod check_interval;
mod cli;
mod decide;
mod diagnosis;
mod explain;
mod find;
mod golden;
mod history;
mod https;
mod layers;
mod layout;
mod migrate;
mod model;
mod observed;
mod outlook;
mod page;
mod property;

mod settings;
mod show;
mod stream;
mod template;
mod tls_plan;
mod udp_status;
