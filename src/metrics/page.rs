//! What `GET /metrics` answers, on the control socket and on a port.

use super::Metrics;
use crate::{
    control::{Order, failure::Failure, order},
    haproxy::stat::Stat,
    view::census::Census,
};
use http_body_util::Full;
use hyper::{
    Response,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use std::time::Duration;
use tokio::{sync::mpsc, time::timeout};

/// A pass may take seconds, where it is a reload; Prometheus waits for 10.
const PATIENCE: Duration = Duration::from_secs(9);

/// How things stand, and where the rest is counted.
#[derive(Debug)]
pub struct Count {
    pub census: Census,
    pub stat: Stat,
    pub metrics: Metrics,
}

/// # Errors
/// When the balancer stops, or does not answer in time.
pub async fn page(orders: &mpsc::Sender<Order>) -> Result<Response<Full<Bytes>>, Failure> {
    let ask = async {
        order(orders, |answer| Order::Examine { answer }).await?;
        order(orders, |answer| Order::Count { answer }).await
    };
    let late = |_| Failure::NotCounted("it is busy; try again".to_owned());
    let Count { census, stat, metrics } = timeout(PATIENCE, ask).await.map_err(late)??;
    let text = metrics
        .text(&census, stat.old_workers().await)
        .map_err(|error| Failure::NotCounted(error.to_string()))?;
    let mut page = Response::new(Full::from(text));
    page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
    Ok(page)
}
