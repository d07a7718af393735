//! What an attacker tries who is a container, a client, a user of the machine or a file: with real parts.
//! `tests/attacks/list.txt` says what else holds attacks off; `make attack` tries them all.

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
