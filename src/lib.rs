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
//! - `bin/`: the `main` functions of the programs
//! - `cli/`: runs subcommands, and starts the programs with their tasks and channels
//! - `handlers/`: docker-glue: passes events in order to scripts, plugins, templates, publishers and a balancer
//! - `api/`: the HTTP servers: control socket, metrics, dashboard
//! - `controller/`: docker-balancer's loop: reconcile, apply, count, keep the history
//! - `settings/`: options and settings files as checked values
//! - `report/`: what an operator reads: status, explain, plan, history; pure
//! - `migrate/`: translates labels for other proxies into labels of docker-balancer; pure
//! - `haproxy/`: desired configuration, observed state, plan, runtime commands, the HAProxy process
//! - `sources/`: reads containers: from a Docker engine that it follows, or once from a compose file
//! - `fleet/`: several balancers that know each other through etcd: what each serves, and drains of all
//! - `routing/`: from containers to routes, over time; pure
//! - `label/`: parses the text of labels into options; pure
//! - `model/`: containers, routes, options and problems as values; pure
//! - `udp/`: what docker-glue-udp serves, the protocol on its socket, and the data plane itself
//! - `support/`: everything that does not depend on containers: log, signals, systemd, files, text

pub mod api;
pub mod cli;
pub mod controller;
pub mod fleet;
pub mod handlers;
pub mod haproxy;
pub mod label;
pub mod migrate;
pub mod model;
pub mod report;
pub mod routing;
pub mod settings;
pub mod sources;
pub mod support;
pub mod udp;
