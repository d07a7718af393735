//! Starts the HTTP servers of docker-balancer: control socket, metrics, dashboard.

use crate::{
    api::{
        control::server::ControlSocket,
        dashboard::{Dashboard, DashboardConfig},
        users::UserServer,
    },
    controller::{request::ControlRequest, user_sets::UserSets},
    settings::Settings,
    support::supervise::supervise,
};
use anyhow::Result;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::error;

/// The servers, running until this is dropped.
#[derive(Debug)]
pub struct Servers {
    _control: ControlSocket,
    _dashboard: Option<Dashboard>,
    _metrics: JoinSet<()>,
    _users: Option<UserServer>,
}

/// Starts the servers that the settings enable. `changed` is notified after each pass. `users` are those whose passwords
/// HAProxy may ask for.
///
/// # Errors
/// If the control socket cannot be created. A port that is in use is retried in the background instead.
pub fn start(
    settings: &Settings,
    orders: &mpsc::Sender<ControlRequest>,
    changed: watch::Receiver<()>,
    users: UserSets,
) -> Result<Servers> {
    let control = ControlSocket::open(&settings.runtime_dir, orders.clone())?;
    let dir = settings
        .dashboard
        .map(|at| DashboardConfig { address: at, hosts: settings.dashboard_hosts.clone() });
    let dashboard = dir.map(|dir| Dashboard::open(dir, orders.clone(), changed));
    let mut exporters = JoinSet::new();
    if let Some(address) = settings.metrics {
        let (names, orders) = (settings.metrics_hosts.clone(), orders.clone());
        let haproxy = settings.proxy().worker_socket();
        let serve = move || {
            let (names, orders, haproxy) = (names.clone(), orders.clone(), haproxy.clone());
            super::metrics::serve_metrics(address, names, orders, haproxy)
        };
        exporters.spawn(supervise("metrics server", serve));
    }
    let users = settings.user_socket().and_then(|socket| UserServer::open(&socket, users));
    let users = users.inspect_err(|error| {
        error!("{error:#}; routes with users answer 503 to users that HAProxy does not know yet");
    });
    Ok(Servers {
        _control: control,
        _dashboard: dashboard,
        _metrics: exporters,
        _users: users.ok(),
    })
}
