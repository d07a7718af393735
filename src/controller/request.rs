//! Requests to the balancer's loop from other tasks, and its answers.

use super::control_error::ApiError;
use crate::{
    controller::{
        balancer::rollback::RollbackResult, fleet_link::FleetDrain, inflight::InflightWork,
        metrics::MetricsSnapshot,
    },
    fleet::FleetState,
    haproxy::stats::StatsClient,
    model::container::ContainerId,
    report::StateSnapshot,
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A request to the balancer.
#[derive(Debug)]
pub enum ControlRequest {
    /// Sends no new requests to this container; answered when HAProxy has applied that.
    Drain {
        container: String,
        reply: ReplySender<Result<DrainTarget, ApiError>>,
    },
    Undrain {
        container: String,
        answer: ReplySender<Result<DrainTarget, ApiError>>,
    },
    /// Sends the flows of a drained container to other containers; docker-glue-udp gets that soon afterwards.
    CutFlows {
        id: ContainerId,
        answer: ReplySender<()>,
    },
    /// What is known of the fleet; `None` without one.
    Fleet {
        answer: ReplySender<Option<Arc<FleetState>>>,
    },
    Snapshot {
        answer: ReplySender<LiveSnapshot>,
    },
    /// Reads the health of the servers from HAProxy, unless it was read just now; answered
    /// afterwards.
    RefreshHealth {
        answer: ReplySender<()>,
    },
    /// Serves the routes of this generation until the release; answered when HAProxy has applied
    /// that.
    Rollback {
        generation: u64,
        answer: ReplySender<Result<RollbackResult, ApiError>>,
    },
    /// Orders a new certificate for the host now; answered with the names of the certificate when the order is
    /// scheduled.
    RenewCertificate {
        host: String,
        answer: ReplySender<Result<String, ApiError>>,
    },
    /// Replaces the key of the account at the CA; answered when the CA has accepted it.
    ReplaceAccountKey {
        answer: ReplySender<Result<(), ApiError>>,
    },
    Release {
        answer: ReplySender<Result<RollbackResult, ApiError>>,
    },
    /// For metrics: cheaper than a snapshot, and requested often.
    Metrics {
        answer: ReplySender<MetricsSnapshot>,
    },
}

/// Returns the state after the health of the servers was read from HAProxy.
///
/// # Errors
/// The balancer is stopping.
pub(crate) async fn fetch_snapshot(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<LiveSnapshot, ApiError> {
    send_request(orders, |answer| ControlRequest::RefreshHealth { answer }).await?;
    send_request(orders, |answer| ControlRequest::Snapshot { answer }).await
}

/// The current state, and a client for HAProxy's statistics.
#[derive(Debug)]
pub struct LiveSnapshot {
    pub state: StateSnapshot,
    pub stat: StatsClient,
}

pub type ReplySender<T> = oneshot::Sender<T>;

/// The container that a request named.
#[derive(Debug, Clone)]
pub struct DrainTarget {
    pub name: String,
    pub id: ContainerId,
    /// Counts what the container still serves; `None` if HAProxy's state is not known.
    pub inflight: Option<InflightWork>,
    /// The routes that the container shares and that no container serves now.
    pub unserved: Vec<String>,
    /// Waits for the other balancers, if there is a fleet.
    pub fleet: Option<FleetDrain>,
}

/// Sends a request to the balancer and waits for its answer.
pub(crate) async fn send_request<T>(
    orders: &mpsc::Sender<ControlRequest>,
    order: impl FnOnce(ReplySender<T>) -> ControlRequest,
) -> Result<T, ApiError> {
    let (answer, answered) = oneshot::channel();
    orders.send(order(answer)).await.map_err(|_| ApiError::Stopping)?;
    answered.await.map_err(|_| ApiError::Stopping)
}
