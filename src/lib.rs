//! docker-glue: labels on containers become a running HAProxy.
//!
//! ```text
//! Docker ─events─▶ docker::watch ─▶ world ─▶ serve ─▶ balancer
//! drain, undrain ─▶ control ─▶ orders ─────────┘        │
//!  ┌──────── pure: no await, no I/O, no clock, cannot fail ─────────────┐
//!  │ label::read ─▶ claim::Board ───▶ decide ─▶ Config ─▶ render ─▶ files │
//!  └────────────────────────────────────────────────────────────────────┘
//!                                                       │
//!        haproxy::proxy: files checked, swapped, loaded, verified
//! ```

// What Docker said, in our words.
pub mod container;
pub mod world;
// What users asked for.
pub mod address;
pub mod container_ref;
pub mod label;
pub mod path;
pub mod problem;
pub mod problem_set;
pub mod route;
pub mod route_table;
// What should be served now, and what is different from before.
pub mod backoff;
pub mod crash_loop;
pub mod decide;
pub mod diagnosis;
pub mod malformed_http;
pub mod map_diff;
pub mod reload_budget;
pub mod reload_reason;
pub mod rollback;
pub mod route_diff;
// The neighbours.
pub mod docker;
pub mod durable;
pub mod haproxy;
pub mod port_owner;
// What an operator sees.
pub mod metrics;
pub mod view;
// The shell.
pub mod api;
pub mod balancer;
pub mod cli;
pub mod compose;
pub mod control;
pub mod daemon;
pub mod dashboard;
pub mod handler;
pub mod log;
pub mod outage;
pub mod problem_log;
pub mod serve;
pub mod settings;
pub mod signals;
pub mod supervise;
pub mod systemd;
pub mod verb;
pub mod web;
