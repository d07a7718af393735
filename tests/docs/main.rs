//! Tests of README and the book: text, references and commands. They need Docker and HAProxy.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod book;
mod readme;
mod reference;
mod tour;
