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

/// What Podman calls an action of Docker's. It answers with `die` for `died`, but knows that one alone in a question.
const PODMAN: &[(&str, &str)] = &[
    ("die", "died"),
    ("destroy", "remove"),
    ("start", "restore"),
    ("exec_start", "exec"),
    ("exec_die", "exec_died"),
];

/// The actions to ask for, with `extra` ones, in both vocabularies: an engine passes over words that it does not know.
pub(super) fn actions(extra: &[String]) -> Vec<&str> {
    let docker = CONTAINER.iter().chain(NETWORK).copied().chain(extra.iter().map(String::as_str));
    let docker: Vec<_> = docker.collect();
    let podman = PODMAN.iter().filter(|(word, _)| docker.contains(word)).map(|(_, podman)| *podman);
    podman.chain(docker.iter().copied()).collect()
}

/// The action as Docker calls it.
pub(super) fn in_dockers_words(action: String) -> String {
    match PODMAN.iter().find(|(_, podman)| *podman == action) {
        Some((docker, _)) => (*docker).to_owned(),
        None => action,
    }
}

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

impl Event {
    /// Whether it can change what we know, or somebody wants to hear of it. The engine's filter knows no types: with
    /// networks that are created come containers that are.
    pub(super) fn is_asked_for(&self, extra: &[String]) -> bool {
        let Self { cause, about } = self;
        let is_extra = matches!(about, About::Container { what: What::Extra, .. });
        !is_extra || extra.iter().any(|it| *it == cause.action || it == word(&cause.action))
    }
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
    use super::{About, Cause, Event, What, actions, in_dockers_words};
    use crate::container::ContainerId;
    use std::collections::BTreeMap;

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

    #[test]
    fn an_action_in_podmans_words_is_read_as_dockers() {
        for (said, expected) in [
            ("died", "die"),
            ("die", "die"),
            ("remove", "destroy"),
            ("destroy", "destroy"),
            ("restore", "start"),
            ("start", "start"),
            ("exec", "exec_start"),
            ("exec_start: sh", "exec_start: sh"),
            ("exec_died", "exec_die"),
            ("health_status", "health_status"),
            ("health_status: healthy", "health_status: healthy"),
            ("cleanup", "cleanup"),
            ("init", "init"),
        ] {
            assert_eq!(in_dockers_words(said.to_owned()), expected);
        }
    }

    #[test]
    fn actions_are_asked_for_in_both_vocabularies() {
        let asked = |extra: &str, action: &str| {
            let extra: Vec<_> = extra.split_whitespace().map(str::to_owned).collect();
            actions(&extra).contains(&action)
        };
        for both in ["start", "die", "died", "destroy", "remove", "restore", "pause", "connect"] {
            assert!(asked("", both), "{both}");
        }
        assert!(!asked("", "exec") && !asked("", "exec_died") && !asked("", "cleanup"));
        assert!(asked("exec_start", "exec") && asked("exec_start", "exec_start"));
        assert!(asked("oom", "oom") && !asked("oom", "exec"));
    }

    #[test]
    fn a_container_that_is_created_is_nobodys_business_unless_somebody_wants_to_know() {
        for (action, extra, expected) in [
            ("start", "", true),
            ("health_status: healthy", "", true),
            ("create", "", false),
            ("create", "create", true),
            ("create", "oom", false),
            ("exec_create: sh", "exec_create", true),
            ("exec_create: sh", "create", false),
        ] {
            let none = BTreeMap::new();
            let what = What::read(action, &none);
            let about = About::Container { id: ContainerId::new("a"), what, attributes: none };
            let (action, name) = (action.to_owned(), "web".to_owned());
            let event = Event { cause: Cause { action, name, time_nano: 0, heard: None }, about };
            let extra: Vec<_> = extra.split_whitespace().map(str::to_owned).collect();
            assert_eq!(event.is_asked_for(&extra), expected, "{event:?} {extra:?}");
        }
    }
}
