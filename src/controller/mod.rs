//! docker-balancer's loop: reconcile the world with HAProxy, apply, count, keep the history.

pub mod balancer;
mod certificate_follower;
mod certificate_publisher;
pub mod control_error;
pub mod event_loop;
pub mod find;
pub mod fleet_link;
pub mod inflight;
pub mod metrics;
mod policy_follower;
pub mod problem_log;
pub mod request;
pub mod source_set;
pub mod udp_plane;
pub mod udp_process;
pub mod user_sets;
