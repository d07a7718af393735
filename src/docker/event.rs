//! What an event of the engine says, in our words: where to look, and how sure it makes us.
//!
//! Pure.

use super::signal;
use crate::container::ContainerId;
use std::{collections::BTreeMap, time::Instant};

/// The container events that can change what we know. One that was only created is of no use before it
/// starts, so that nobody is asked for it.
pub(super) const CONTAINER: &[&str] = &[
    "start",
    "kill",
    "stop",
    "die",
    "destroy",
    "health_status",
    "pause",
    "unpause",
    "rename",
    "update",
];

pub(super) const NETWORK: &[&str] = &["create", "connect", "disconnect", "destroy"];

/// The event behind a change of the world, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `start`, `kill`, `health_status: healthy`, …
    pub action: String,
    /// The container's name, or the network's where no container is meant.
    pub name: String,
    /// When it happened by the engine's clock: nanoseconds since 1970.
    pub time_nano: i64,
    /// When it was heard here; of several that are answered as one, the first. `None` until then.
    pub heard: Option<Instant>,
}

impl Cause {
    /// One answer shows both.
    pub(super) fn and(mut self, other: Option<&Self>) -> Self {
        self.heard = [self.heard, other.and_then(|it| it.heard)].into_iter().flatten().min();
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) cause: Cause,
    pub(super) about: About,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum About {
    Container {
        id: ContainerId,
        what: What,
        /// The container's labels, and some words of the engine's own among them.
        attributes: BTreeMap<String, String>,
    },
    /// A container's place on a network.
    Attachment(ContainerId),
    /// A network came or went.
    Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// It got this signal, if we could read it.
    Kill(Option<i32>),
    Die,
    Start,
    /// Something of it changed: ask.
    Other,
    /// Somebody wants to hear of it, though it changes nothing here.
    Extra,
}

impl What {
    pub(super) fn read(action: &str, attributes: &BTreeMap<String, String>) -> Self {
        match action {
            "kill" => Self::Kill(attributes.get("signal").and_then(|text| signal::number(text))),
            "die" => Self::Die,
            "start" => Self::Start,
            _ if CONTAINER.contains(&word(action)) => Self::Other,
            _ => Self::Extra,
        }
    }
}

/// An action without what may follow it: `health_status: healthy` is a `health_status`.
fn word(action: &str) -> &str {
    action.split_once(':').map_or(action, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::What;

    fn check(action: &str, signal: &str, expected: What) {
        let attributes = [("signal".to_owned(), signal.to_owned())].into();
        assert_eq!(What::read(action, &attributes), expected, "{action}");
    }

    #[test]
    fn an_action_is_read_with_its_signal_or_suffix() {
        check("kill", "15", What::Kill(Some(15)));
        check("kill", "SIGHUP", What::Kill(Some(1)));
        check("kill", "", What::Kill(None));
        check("die", "", What::Die);
        check("start", "", What::Start);
        check("health_status: healthy", "", What::Other);
        check("rename", "", What::Other);
        check("exec_create: whoami healthcheck", "", What::Extra);
    }
}
