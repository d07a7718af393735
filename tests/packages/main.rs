//! Tests of the packages and of the image (`make packages-test`). They need Docker.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod compose;
mod debian;
mod nft;
mod users;
