//! The HAProxy side: desired configuration, files, process, reloads and sockets. It does not depend on Docker.

// Desired state.
pub mod config;
pub mod layout;
pub mod name;
pub mod provisioning;
pub mod render;
pub mod request_pattern;
pub mod requeue;
pub mod server_setting;
pub mod server_transport;
pub mod tls;
mod tls_merge;
// Actual state, and how it is changed to the desired one.
pub mod bind_line;
pub mod check;
pub mod check_scope;
pub mod command;
pub mod config_builder;
pub mod diagnosis;
pub mod error;
pub mod files;
pub mod health;
pub mod health_query;
pub mod incremental_plan;
pub mod inflight;
pub mod lock;
pub mod master;
pub mod observed;
pub mod old_worker_plan;
pub mod old_workers;
pub mod plan;
mod port_check;
pub mod process;
pub mod proxy;
pub mod reload_budget;
pub mod reload_reason;
pub mod route_recovery;
pub mod runtime;
pub mod settings;
pub mod socket;
pub mod stats;
pub mod stderr_log;
pub mod stored_state;
mod tls_commands;
pub mod version;
