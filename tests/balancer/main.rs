//! Tests of docker-balancer with a real Docker engine and a real HAProxy.

#![allow(clippy::unwrap_used, reason = "this is a test")]

#[path = "../common/mod.rs"]
mod common;

mod backend_tls;
mod cases;
mod check_verb;
mod client_certificate;
mod control;
mod dashboard;
mod default_certificate;
mod docker;
mod drain;
mod elsewhere;
mod error_pages;
mod explain_live;
mod features;
mod fleet;
mod forward_auth;
mod http3;
mod https;
mod https_browser;
mod inside;
mod keepalived;
mod labels;
mod logs;
mod metrics;
mod migrate;
mod odd_engine;
mod operator;
mod passthrough;
mod plan_verb;
mod ports;
mod ready;
mod registry;
mod servers;
mod service;
mod sources;
mod ssh;
mod strangers;
mod swarm;
mod tasks;
mod tcp_udp;
mod users;
mod why_down;
