//! Attacks by a container, a client, a user of the machine or a file, tried with real engines and a real HAProxy.
//! `tests/attacks/list.txt` lists further tests against attacks; `make attack` runs them all.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod container;
mod damage;
mod far_end;
mod file;
mod http1;
mod http2;
mod list;
mod slow;
mod socket_proxy;
