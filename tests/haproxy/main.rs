//! Tests of single parts of the program with a real HAProxy.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod accepted;
mod explain_agrees;
mod frontend;
mod plan;
mod proxy;
mod tls;
mod unchecked;
mod users;
