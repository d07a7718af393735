//! What is asked of the balancer by those who have no part in its loop, and how it answers.

use super::control_error::ApiError;
use crate::{
    controller::{balancer::rollback::RollbackResult, metrics::MetricsSnapshot},
    haproxy::{inflight::InflightRequests, stats::StatsClient},
    model::container::ContainerId,
    report::StateSnapshot,
};
use tokio::sync::{mpsc, oneshot};

/// What the balancer is asked to do.
#[derive(Debug)]
pub enum ControlRequest {
    /// No new requests for this container; answered when HAProxy has it.
    Drain {
        container: String,
        reply: ReplySender<Result<DrainTarget, ApiError>>,
    },
    Undrain {
        container: String,
        answer: ReplySender<Result<DrainTarget, ApiError>>,
    },
    Snapshot {
        answer: ReplySender<LiveSnapshot>,
    },
    /// HAProxy is asked how its servers are, unless it was just now; answered when it was.
    RefreshHealth {
        answer: ReplySender<()>,
    },
    /// What was served after this generation, until it is released; answered when HAProxy has it.
    Rollback {
        generation: u64,
        answer: ReplySender<Result<RollbackResult, ApiError>>,
    },
    Release {
        answer: ReplySender<Result<RollbackResult, ApiError>>,
    },
    /// For metrics: less than a look, and asked for often.
    Metrics {
        answer: ReplySender<MetricsSnapshot>,
    },
}

/// What is known once HAProxy was asked how its servers are.
///
/// # Errors
/// When the balancer stops.
pub(crate) async fn fetch_snapshot(
    orders: &mpsc::Sender<ControlRequest>,
) -> Result<LiveSnapshot, ApiError> {
    send_request(orders, |answer| ControlRequest::RefreshHealth { answer }).await?;
    send_request(orders, |answer| ControlRequest::Snapshot { answer }).await
}

/// What is known now, and where HAProxy's counts are asked for.
#[derive(Debug)]
pub struct LiveSnapshot {
    pub state: StateSnapshot,
    pub stat: StatsClient,
}

pub type ReplySender<T> = oneshot::Sender<T>;

/// The container that somebody meant.
#[derive(Debug, Clone)]
pub struct DrainTarget {
    pub name: String,
    pub id: ContainerId,
    /// Where its requests are counted; `None` where HAProxy did not say what it has.
    pub sessions: Option<InflightRequests>,
    /// The routes that it shares and that no container serves now.
    pub unserved: Vec<String>,
}

/// Hands an order to the balancer and waits for its answer.
pub(crate) async fn send_request<T>(
    orders: &mpsc::Sender<ControlRequest>,
    order: impl FnOnce(ReplySender<T>) -> ControlRequest,
) -> Result<T, ApiError> {
    let (answer, answered) = oneshot::channel();
    orders.send(order(answer)).await.map_err(|_| ApiError::Stopping)?;
    answered.await.map_err(|_| ApiError::Stopping)
}
