//! docker-glue: labels on containers become a running HAProxy.
//!
//! ```text
//! Docker ─events─▶ sources::docker ─▶ world ─▶ controller ─▶ haproxy::proxy: checked, swapped, loaded, verified
//! drain, undrain ─▶ api::control ─▶ requests ───┘   │
//!  ┌──────── pure: no await, no I/O, no clock, cannot fail ───────────────────┐
//!  │ label::parse ─▶ routing::route_table ─▶ routing::decide ─▶ haproxy::config │
//!  └──────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Folders are layers: each imports those below it only (tests/core/layers.rs).
//!
//! - `bin/`: the programs: `main` alone
//! - `cli/`: options and subcommands; what starts the tasks and connects them
//! - `handlers/`: docker-glue: events in order to scripts, plugins, templates, publishers, a balancer
//! - `api/`: the HTTP servers: control socket, metrics, dashboard
//! - `controller/`: docker-balancer's loop: reconcile, apply, count, keep the history
//! - `settings/`: options and settings files as checked values
//! - `report/`: what an operator reads: status, explain, plan, history; pure
//! - `haproxy/`: HAProxy: desired configuration, observed state, plan, runtime commands, process
//! - `sources/`: where containers are read from: Docker engines, compose files
//! - `routing/`: from containers to routes, over time; pure
//! - `label/`: from the text of labels to options; pure
//! - `model/`: containers, routes, options, problems as values; pure
//! - `support/`: what knows nothing of containers: log, signals, systemd, files, text

pub mod api;
pub mod cli;
pub mod controller;
pub mod handlers;
pub mod haproxy;
pub mod label;
pub mod model;
pub mod report;
pub mod routing;
pub mod settings;
pub mod sources;
pub mod support;
