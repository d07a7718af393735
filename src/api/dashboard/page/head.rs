//! The head of the page: the overall status.
//!
//! Pure.

use super::{CountFormat, Pass, StatusIcon};
use crate::{
    report::{
        status::{Load, Status},
        udp_table::describe_addresses,
    },
    support::format::{format_plural, format_span},
};
use std::time::Duration;

/// The overall status.
#[derive(Debug, Clone)]
pub struct Head {
    pub version: String,
    pub up: String,
    pub docker: StatusBadge,
    pub haproxy: StatusBadge,
    /// Present if there are listeners of UDP.
    pub udp: Option<StatusBadge>,
    pub listeners: Vec<ListenerBadge>,
    pub routes: String,
    pub rate: String,
    pub open: String,
    pub last: Option<Pass>,
    pub trouble: Option<String>,
    /// Present while a rollback is active.
    pub rollback: Option<RollbackBanner>,
}

/// A rollback: the routes of an earlier generation are served.
#[derive(Debug, Clone)]
pub struct RollbackBanner {
    pub generation: u64,
    pub since: String,
}

/// Whether Docker, HAProxy or docker-glue-udp is connected.
#[derive(Debug, Clone)]
pub struct StatusBadge {
    pub mark: StatusIcon,
    pub text: String,
    pub more: String,
}

/// A listener.
#[derive(Debug, Clone)]
pub struct ListenerBadge {
    pub name: String,
    /// For example `on port 8080`, if HAProxy listens on another port than the public one.
    pub bound: Option<String>,
    pub taken: bool,
}

impl Head {
    pub(crate) fn from_status(status: &Status) -> Self {
        let counts = CountFormat(status.haproxy.answers);
        let sum = |of: fn(&Load) -> u64| {
            // Without listeners the sum is 0. If none of them is counted, it is not.
            let loads = status.listeners.iter().filter_map(|status| status.load.as_ref());
            let none = status.listeners.is_empty().then_some(0);
            counts.format_number(loads.map(of).reduce(|sum, number| sum + number).or(none))
        };
        Self {
            version: status.version.clone(),
            up: format_span(Duration::from_millis(status.at_ms.saturating_sub(status.since_ms))),
            docker: docker_badge(status),
            haproxy: haproxy_badge(status),
            udp: udp_badge(status),
            listeners: status
                .listeners
                .iter()
                .map(|status| ListenerBadge {
                    name: format!("{} :{}", status.protocol, status.port),
                    bound: (status.bound != status.port)
                        .then(|| format!("on port {}", status.bound)),
                    taken: status.taken.is_some(),
                })
                .collect(),
            routes: format_plural(status.routes.len(), "route"),
            rate: sum(|load| load.rate),
            open: sum(|load| load.sessions),
            last: status.last.as_ref().map(|apply| Pass::from_apply(apply, status.at_ms)),
            trouble: status.trouble.clone(),
            rollback: status.rollback.map(|rollback_status| RollbackBanner {
                generation: rollback_status.generation,
                since: format_span(Duration::from_millis(
                    status.at_ms.saturating_sub(rollback_status.since_ms),
                )),
            }),
        }
    }
}

fn docker_badge(status: &Status) -> StatusBadge {
    let docker_status = &status.docker;
    StatusBadge {
        mark: if docker_status.connected && !docker_status.is_silent() {
            StatusIcon::Up
        } else {
            StatusIcon::Down
        },
        text: match docker_status.connected {
            true if docker_status.is_silent() => "Docker does not answer",
            true => "Docker connected",
            false => "Docker not connected",
        }
        .to_owned(),
        more: match (docker_status.containers, docker_status.connected) {
            (Some(number), _) => format_plural(number, "container"),
            (None, true) => "listing containers".to_owned(),
            (None, false) => "no answer yet".to_owned(),
        },
    }
}

fn haproxy_badge(status: &Status) -> StatusBadge {
    let haproxy_status = &status.haproxy;
    let whose = if haproxy_status.managed { "managed" } else { "system service" };
    let old = (haproxy_status.old_workers != 0)
        .then(|| format_plural(haproxy_status.old_workers, "old worker"));
    let pid = haproxy_status.pid.map(|pid| format!("pid {pid}"));
    let more = [Some(whose.to_owned()), pid, old];
    StatusBadge {
        mark: if haproxy_status.answers { StatusIcon::Up } else { StatusIcon::Down },
        text: format!(
            "HAProxy {} {}",
            haproxy_status.version,
            if haproxy_status.answers { "answers" } else { "does not answer" }
        ),
        more: more.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

fn udp_badge(status: &Status) -> Option<StatusBadge> {
    status.listeners.iter().find(|listener| listener.protocol == "udp")?;
    let Some(udp) = &status.udp else {
        let (text, more) = ("docker-glue-udp does not answer".to_owned(), String::new());
        return Some(StatusBadge { mark: StatusIcon::Down, text, more });
    };
    Some(StatusBadge {
        mark: StatusIcon::Up,
        text: format!("docker-glue-udp {} answers", udp.version),
        more: format!("engine {}: {}", udp.engine, describe_addresses(udp.engine)),
    })
}
