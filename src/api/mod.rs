//! The HTTP servers of docker-balancer: control socket, metrics, dashboard, and the socket for questions of HAProxy.

pub mod control;
pub mod dashboard;
pub mod http;
pub mod metrics;
pub mod start;
pub mod users;
