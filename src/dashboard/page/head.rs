//! The head of the page: how it is altogether.
//!
//! Pure.

use super::{
    super::words::{several, span},
    Counted, Mark, Pass,
};
use crate::view::status::{Load, Status};

/// How it is altogether.
#[derive(Debug, Clone)]
pub struct Head {
    pub version: String,
    pub up: String,
    pub docker: Light,
    pub haproxy: Light,
    pub listeners: Vec<Port>,
    pub routes: String,
    pub rate: String,
    pub open: String,
    pub last: Option<Pass>,
    pub trouble: Option<String>,
    /// A rollback holds.
    pub held: Option<Held>,
}

/// What is served is what was served after an earlier change.
#[derive(Debug, Clone)]
pub struct Held {
    pub generation: u64,
    pub since: String,
}

/// A neighbour: there or not.
#[derive(Debug, Clone)]
pub struct Light {
    pub mark: Mark,
    pub text: String,
    pub more: String,
}

/// A listener.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: String,
    /// `on port 8080`, where another port is bound for it.
    pub bound: Option<String>,
    pub taken: bool,
}

impl Head {
    pub(super) fn of(status: &Status) -> Self {
        let counted = Counted(status.haproxy.answers);
        let sum = |of: fn(&Load) -> u64| {
            counted.say(status.listeners.iter().map(|it| of(&it.load)).sum())
        };
        Self {
            version: status.version.clone(),
            up: span(status.at_ms.saturating_sub(status.since_ms) / 1000),
            docker: docker(status),
            haproxy: haproxy(status),
            listeners: status
                .listeners
                .iter()
                .map(|it| Port {
                    name: format!("{} :{}", it.protocol, it.port),
                    bound: (it.bound != it.port).then(|| format!("on port {}", it.bound)),
                    taken: it.taken.is_some(),
                })
                .collect(),
            routes: several(status.routes.len(), "route"),
            rate: sum(|it| it.rate),
            open: sum(|it| it.sessions),
            last: status.last.as_ref().map(|it| Pass::of(it, status.at_ms)),
            trouble: status.trouble.clone(),
            held: status.rollback.map(|it| Held {
                generation: it.generation,
                since: span(status.at_ms.saturating_sub(it.since_ms) / 1000),
            }),
        }
    }
}

fn docker(status: &Status) -> Light {
    let it = &status.docker;
    Light {
        mark: if it.connected && !it.is_silent() { Mark::Up } else { Mark::Down },
        text: match it.connected {
            true if it.is_silent() => "Docker is silent",
            true => "Docker connected",
            false => "Docker away",
        }
        .to_owned(),
        more: match (it.containers, it.connected) {
            (Some(number), _) => several(number, "container"),
            (None, true) => "it lists its containers".to_owned(),
            (None, false) => "it did not answer yet".to_owned(),
        },
    }
}

fn haproxy(status: &Status) -> Light {
    let it = &status.haproxy;
    let whose = if it.managed { "ours" } else { "a service" };
    let old = (it.old_workers != 0).then(|| several(it.old_workers, "old worker"));
    let pid = it.pid.map(|pid| format!("pid {pid}"));
    let more = [Some(whose.to_owned()), pid, old];
    Light {
        mark: if it.answers { Mark::Up } else { Mark::Down },
        text: format!(
            "HAProxy {} {}",
            it.version,
            if it.answers { "answers" } else { "does not answer" }
        ),
        more: more.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}
