//! The dashboard: one read-only page that shows live what docker-balancer does.
//!
//! ```text
//! event loop ─StateSnapshot─▶ Status ─▶ page ─render─▶ fragments ──▶ GET /        the whole page
//!                                                          └update─▶ GET /events  what changed
//! ```
//!
//! The update task requests a snapshot from the event loop when something changed, and each second for the counters.
//! While no browser is connected it requests nothing.

pub mod explain;
pub mod fragment;
mod live_updates;
pub mod page;
pub mod render;
mod server;

use crate::{
    controller::request::ControlRequest, model::option_value::Host, support::supervise::supervise,
};
use std::net::SocketAddr;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// The address of the dashboard and its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardConfig {
    pub address: SocketAddr,
    /// Host names that are accepted besides `localhost` and the address itself.
    pub hosts: Vec<Host>,
}

/// The dashboard, served until this is dropped.
#[derive(Debug)]
pub struct Dashboard(#[allow(dead_code, reason = "its tasks end with it")] JoinSet<()>);

impl Dashboard {
    /// Starts the dashboard. `changed` is notified after each pass. If the address cannot be bound, this is retried
    /// in the background: traffic does not depend on the dashboard.
    pub fn open(
        config: DashboardConfig,
        orders: mpsc::Sender<ControlRequest>,
        changed: watch::Receiver<()>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise("dashboard", move || {
            let (viewers, joining) = mpsc::channel(1);
            let paint = live_updates::run_updates(orders.clone(), changed.clone(), joining);
            let serve = server::serve_dashboard(config.clone(), orders.clone(), viewers);
            // Neither task is of use without the other.
            async {
                tokio::select! {
                    () = paint => {}
                    () = serve => {}
                }
            }
        }));
        Self(tasks)
    }
}
