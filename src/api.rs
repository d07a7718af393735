//! The HTTP servers of docker-balancer: control socket, metrics, dashboard.

use crate::{
    control::{order::Order, server::Control},
    dashboard::{Dashboard, Place},
    metrics,
    settings::Settings,
    supervise::supervise,
};
use anyhow::Result;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// They answer for as long as this lives.
#[derive(Debug)]
pub struct Servers {
    _control: Control,
    _dashboard: Option<Dashboard>,
    _metrics: JoinSet<()>,
}

/// Starts those that the settings ask for. `changed` is notified after each pass.
///
/// # Errors
/// When the control socket cannot be made; a port that is taken is waited for.
pub fn start(
    settings: &Settings,
    orders: &mpsc::Sender<Order>,
    changed: watch::Receiver<()>,
) -> Result<Servers> {
    let control = Control::open(&settings.runtime_dir, orders.clone())?;
    let place = settings.dashboard.map(|at| Place { at, names: settings.dashboard_hosts.clone() });
    let dashboard = place.map(|place| Dashboard::open(place, orders.clone(), changed));
    let mut exporters = JoinSet::new();
    if let Some(address) = settings.metrics {
        let (names, orders) = (settings.metrics_hosts.clone(), orders.clone());
        let serve = move || metrics::server::serve(address, names.clone(), orders.clone());
        exporters.spawn(supervise("metrics server", serve));
    }
    Ok(Servers { _control: control, _dashboard: dashboard, _metrics: exporters })
}
