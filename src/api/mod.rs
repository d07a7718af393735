//! The HTTP servers of docker-balancer: control socket, metrics, dashboard.

pub mod control;
pub mod dashboard;
pub mod http;
pub mod metrics;
pub mod start;
