//! What is asked of the balancer by those who have no part in its loop, and how it answers.

use super::failure::Failure;
use crate::{
    balancer::past::Turned,
    container::ContainerId,
    haproxy::{sessions::Sessions, stat::Stat},
    metrics::Count,
    view::Picture,
};
use tokio::sync::{mpsc, oneshot};

/// What the balancer is asked to do.
#[derive(Debug)]
pub enum Order {
    /// No new requests for this container; answered when HAProxy has it.
    Drain {
        container: String,
        answer: Answer<Result<Meant, Failure>>,
    },
    Undrain {
        container: String,
        answer: Answer<Result<Meant, Failure>>,
    },
    Look {
        answer: Answer<Look>,
    },
    /// HAProxy is asked how its servers are, unless it was just now; answered when it was.
    Examine {
        answer: Answer<()>,
    },
    /// What was served after this generation, until it is released; answered when HAProxy has it.
    Rollback {
        generation: u64,
        answer: Answer<Result<Turned, Failure>>,
    },
    Release {
        answer: Answer<Result<Turned, Failure>>,
    },
    /// For metrics: less than a look, and asked for often.
    Count {
        answer: Answer<Count>,
    },
}

/// What is known once HAProxy was asked how its servers are.
///
/// # Errors
/// When the balancer stops.
pub(crate) async fn look(orders: &mpsc::Sender<Order>) -> Result<Look, Failure> {
    order(orders, |answer| Order::Examine { answer }).await?;
    order(orders, |answer| Order::Look { answer }).await
}

/// What is known now, and where HAProxy's counts are asked for.
#[derive(Debug)]
pub struct Look {
    pub picture: Picture,
    pub stat: Stat,
}

pub type Answer<T> = oneshot::Sender<T>;

/// The container that somebody meant.
#[derive(Debug, Clone)]
pub struct Meant {
    pub name: String,
    pub id: ContainerId,
    /// Where its requests are counted; `None` where HAProxy did not say what it has.
    pub sessions: Option<Sessions>,
    /// The routes that it shares and that no container serves now.
    pub unserved: Vec<String>,
}

/// Hands an order to the balancer and waits for its answer.
pub(crate) async fn order<T>(
    orders: &mpsc::Sender<Order>,
    order: impl FnOnce(Answer<T>) -> Order,
) -> Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    orders.send(order(answer)).await.map_err(|_| Failure::Stopping)?;
    answered.await.map_err(|_| Failure::Stopping)
}
