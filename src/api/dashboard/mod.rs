//! The dashboard: one page that shows what the balancer does, as it happens. It only shows.
//!
//! ```text
//! serve ─ Look ─▶ Status ─▶ page ─render─▶ fragments ─▶ GET /        the whole page
//!                                              └update─▶ GET /events  what is different now
//! ```
//!
//! The painter asks the loop for a picture when something changed, and each second for the counts; while
//! nobody looks it asks nobody.

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

/// Where it is, and who it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardConfig {
    pub address: SocketAddr,
    /// Names that it answers to, besides `localhost` and its addresses.
    pub hosts: Vec<Host>,
}

/// It is there for as long as this lives.
#[derive(Debug)]
pub struct Dashboard(#[allow(dead_code, reason = "its tasks end with it")] JoinSet<()>);

impl Dashboard {
    /// `changed` is told after each pass. An address that cannot be had is tried again until it can:
    /// the traffic does not wait for a page.
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
            // Neither is of use without the other.
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
