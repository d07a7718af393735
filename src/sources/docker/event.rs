//! Events of the engine, parsed: which container to look at, and how far the event can be trusted.
//!
//! Pure.

use super::signal;
use crate::{model::container::ContainerId, sources::EventCause};
use std::collections::{BTreeMap, BTreeSet};

/// The container events that can change the world. `create` is not among them: a container that was only created does
/// not matter before it starts, so it is not requested.
pub(crate) const CONTAINER_ACTIONS: &[&str] = &[
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

pub(crate) const NETWORK_ACTIONS: &[&str] = &["create", "connect", "disconnect", "destroy"];

/// Docker's actions and Podman's names for them. Podman reports `die` for its `died`, but as a filter it accepts only
/// `died`.
const PODMAN_ACTIONS: &[(&str, &str)] = &[
    ("die", "died"),
    ("destroy", "remove"),
    ("start", "restore"),
    ("exec_start", "exec"),
    ("exec_die", "exec_died"),
];

/// Returns the actions to subscribe to, including `extra`, in both vocabularies: an engine ignores names that it does
/// not know.
pub(crate) fn subscribed_actions(extra: &BTreeSet<String>) -> Vec<&str> {
    let docker = CONTAINER_ACTIONS
        .iter()
        .chain(NETWORK_ACTIONS)
        .copied()
        .chain(extra.iter().map(String::as_str));
    let docker: Vec<_> = docker.collect();
    let podman =
        PODMAN_ACTIONS.iter().filter(|(word, _)| docker.contains(word)).map(|(_, podman)| *podman);
    podman.chain(docker.iter().copied()).collect()
}

/// Returns the action under Docker's name.
pub(crate) fn to_docker_action(action: String) -> String {
    match PODMAN_ACTIONS.iter().find(|(_, podman)| *podman == action) {
        Some((docker, _)) => (*docker).to_owned(),
        None => action,
    }
}

/// An event of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) cause: EventCause,
    pub(crate) about: EventSubject,
}

impl Event {
    /// The container that the event is about; `None` if the event is about a network as a whole.
    pub(crate) fn container_id(&self) -> Option<&ContainerId> {
        match &self.about {
            EventSubject::Container { id, .. } | EventSubject::Attachment(id) => Some(id),
            EventSubject::Network => None,
        }
    }

    /// Whether this is an event of the container itself, and not of a network that the container is on.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.about, EventSubject::Container { .. })
    }

    /// Returns the same event as a hint only: it names the container to look at, but its content is not trusted. `None`
    /// if there is nothing to look at.
    pub(crate) fn into_hint(mut self) -> Option<Self> {
        if let EventSubject::Container { what, .. } = &mut self.about {
            if *what == EventAction::Extra {
                return None;
            }
            *what = EventAction::Other;
        }
        Some(self)
    }

    /// Whether the event can change the world, or is one of the `extra` actions. The engine's filter does not combine
    /// actions with types: subscribing to created networks also delivers created containers.
    pub(crate) fn is_relevant(&self, extra: &[String]) -> bool {
        let Self { cause, about } = self;
        let is_extra = matches!(about, EventSubject::Container { what: EventAction::Extra, .. });
        !is_extra
            || extra.iter().any(|text| *text == cause.action || text == action_name(&cause.action))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EventSubject {
    Container {
        id: ContainerId,
        what: EventAction,
        /// The container's labels, mixed with some keys of the engine's own.
        attributes: BTreeMap<String, String>,
    },
    /// A container was connected to a network or disconnected from it.
    Attachment(ContainerId),
    /// A network was created or removed.
    Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventAction {
    /// The container received this signal; `None` if it could not be parsed.
    Kill(Option<i32>),
    Die,
    Start,
    /// Some other change: inspect the container.
    Other,
    /// An event that changes nothing here, but may be requested as an extra action.
    Extra,
}

impl EventAction {
    pub(crate) fn from_action(action: &str, attributes: &BTreeMap<String, String>) -> Self {
        match action {
            "kill" => {
                Self::Kill(attributes.get("signal").and_then(|text| signal::parse_signal(text)))
            }
            "die" => Self::Die,
            "start" => Self::Start,
            _ if CONTAINER_ACTIONS.contains(&action_name(action)) => Self::Other,
            _ => Self::Extra,
        }
    }
}

/// Returns an action without its suffix: `health_status: healthy` is a `health_status`.
fn action_name(action: &str) -> &str {
    action.split_once(':').map_or(action, |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::{
        Event, EventAction, EventCause, EventSubject, subscribed_actions, to_docker_action,
    };
    use crate::model::container::ContainerId;
    use std::collections::BTreeMap;

    fn check(action: &str, signal: &str, expected: EventAction) {
        let attributes = [("signal".to_owned(), signal.to_owned())].into();
        assert_eq!(EventAction::from_action(action, &attributes), expected, "{action}");
    }

    #[test]
    fn action_is_parsed_with_signal_or_suffix() {
        check("kill", "15", EventAction::Kill(Some(15)));
        check("kill", "SIGHUP", EventAction::Kill(Some(1)));
        check("kill", "", EventAction::Kill(None));
        check("die", "", EventAction::Die);
        check("start", "", EventAction::Start);
        check("health_status: healthy", "", EventAction::Other);
        check("rename", "", EventAction::Other);
        check("exec_create: whoami healthcheck", "", EventAction::Extra);
    }

    #[test]
    fn podman_action_is_translated_to_docker_action() {
        for (podman_action, expected) in [
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
            assert_eq!(to_docker_action(podman_action.to_owned()), expected);
        }
    }

    #[test]
    fn subscribed_actions_include_podman_names() {
        let is_subscribed = |extra: &str, action: &str| {
            let extra = extra.split_whitespace().map(str::to_owned).collect();
            subscribed_actions(&extra).contains(&action)
        };
        for both in ["start", "die", "died", "destroy", "remove", "restore", "pause", "connect"] {
            assert!(is_subscribed("", both), "{both}");
        }
        assert!(
            !is_subscribed("", "exec")
                && !is_subscribed("", "exec_died")
                && !is_subscribed("", "cleanup")
        );
        assert!(is_subscribed("exec_start", "exec") && is_subscribed("exec_start", "exec_start"));
        assert!(is_subscribed("oom", "oom") && !is_subscribed("oom", "exec"));
    }

    #[test]
    fn created_container_is_irrelevant_unless_requested() {
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
            let what = EventAction::from_action(action, &none);
            let about =
                EventSubject::Container { id: ContainerId::new("a"), what, attributes: none };
            let (action, name) = (action.to_owned(), "web".to_owned());
            let event = Event {
                cause: EventCause { action, name, time_nano: 0, received_at: None },
                about,
            };
            let extra: Vec<_> = extra.split_whitespace().map(str::to_owned).collect();
            assert_eq!(event.is_relevant(&extra), expected, "{event:?} {extra:?}");
        }
    }
}
