//! Tests of docker-glue-udp in network namespaces: clients, the machine and the containers each have their own.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod balance;
mod control;
mod docker;
mod engine;
mod explain_agrees;
mod failure;
mod nft;
mod path;
mod policy;
mod rules;
mod site;

use common::record_skip;
